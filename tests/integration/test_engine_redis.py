"""Redis away, slow, emptied, full of garbage, or shared: nothing is forgotten."""

import asyncio
import contextlib

import pytest

from shaper.core.message import Action
from shaper.core.ports import StateUnavailableError
from tests.support.engine import EngineBox
from tests.support.nexthop import NextHop
from tests.support.redis_server import RedisServer

THIEF = "login:thief"
DAY = 86400.0


@pytest.fixture
def server():
    """A Redis that the test may mistreat."""
    with RedisServer(aof=True) as redis:
        yield redis


@pytest.fixture
async def box(server, tmp_path):
    async with EngineBox(server.url, tmp_path) as engine_box:
        yield engine_box


async def block(box, sender=THIEF):
    await box.offer(sender, ["x@example.net"])
    await box.control.block(box.change("stolen"), sender)


async def hold_some(box, sender=THIEF, waiting=3):
    while box.engine.held.waiting(sender) < waiting:
        await box.blast(sender, 1)


async def test_a_redis_that_is_gone_forgets_no_block_and_stops_no_mail(box, server):
    await block(box)
    server.kill()
    assert (await box.offer(THIEF, ["y@example.net"])).action is Action.HOLD
    assert (await box.offer("login:new", ["y@example.net"])).action is Action.PASS
    await box.upkeep.store()
    await box.crash()
    assert await box.state(THIEF) == "blocked"
    assert (await box.offer(THIEF, ["z@example.net"])).action is Action.HOLD
    assert box.engine.held.waiting(THIEF) == 2


async def test_a_blast_is_noticed_while_redis_is_gone_and_known_when_it_is_back(
    box, server
):
    server.kill()
    await hold_some(box)
    assert await box.state(THIEF) == "slowed"
    server.start()
    await wait_until_usable(box)
    await box.upkeep.store()
    await box.upkeep.resynchronise()
    assert await box.ledger.senders("slowed") == [THIEF]
    assert await box.state(THIEF) == "slowed"


async def wait_until_usable(box):
    """The ledger tries again a second after a failure."""
    for _ in range(200):
        with contextlib.suppress(StateUnavailableError):
            await box.ledger.ping()
            return
        await asyncio.sleep(0.05)
    pytest.fail("Redis was not used again within ten seconds")


async def test_defer_answers_451_while_redis_is_gone(box, server):
    box.context.defer_when_unavailable = True
    server.kill()
    decision = await box.offer("login:alice", ["y@example.net"])
    assert decision.action is Action.ANSWER
    assert decision.reply.code == 451


async def test_an_emptied_redis_gets_everything_back(box, server):
    await hold_some(box)
    await block(box, "login:blocked")
    until = box.now + DAY
    await box.control.exempt(box.change("letter"), "login:exempt", until)
    await box.control.plan(
        box.change("letter"), "login:plan", box.now, box.now + DAY, 50
    )
    await box.upkeep.store()
    server.flush()
    await box.upkeep.resynchronise()
    await box.upkeep.store()
    assert await box.ledger.senders("slowed") == [THIEF]
    assert await box.ledger.senders("blocked") == ["login:blocked"]
    assert len((await box.ledger.held())["main"]) == 3
    assert {c["sender"] for c in await box.control.cases()} == {THIEF, "login:blocked"}
    exempt, _ = await box.engine.senders.read("login:exempt")
    assert exempt.exemption.until == until
    plan, _ = await box.engine.senders.read("login:plan")
    assert plan.plans[0].messages == 50


async def test_emptied_while_down_everything_comes_back_from_the_journal(box, server):
    await hold_some(box)
    await block(box, "login:blocked")
    server.flush()
    await box.crash()
    await box.upkeep.store()
    assert await box.state(THIEF) == "slowed"
    assert await box.state("login:blocked") == "blocked"
    by_sender = {c["sender"]: c for c in await box.control.cases()}
    assert by_sender[THIEF]["held"] == {"messages": 3, "recipients": 3}


async def test_a_flush_between_two_messages_lifts_nothing(box, server):
    await block(box)
    server.flush()
    assert (await box.offer(THIEF, ["y@example.net"])).action is Action.HOLD


async def test_a_slow_redis_delays_mail_by_a_bounded_time(box, server):
    await block(box)
    with server.frozen():
        assert (await box.offer("login:new", ["y@example.net"])).action is Action.PASS
        assert (await box.offer(THIEF, ["y@example.net"])).action is Action.HOLD


@pytest.mark.parametrize("garbage", [b"", b"\xff\x00", b"{}", b"{}\n", b"[1]\nxx"])
async def test_a_damaged_record_is_rebuilt_from_the_journal(box, server, garbage):
    await block(box)
    with server.client() as client:
        (key,) = [key for key in client.scan_iter() if b":record:" in key]
        head = client.get(key).partition(b"\n")[0]
        client.set(key, head + b"\n" + garbage)
    await box.crash()
    assert await box.state(THIEF) == "blocked"
    assert (await box.offer(THIEF, ["y@example.net"])).action is Action.HOLD


async def test_keys_of_a_wrong_type_cost_a_sender_its_habits_not_its_block(box, server):
    await block(box)
    with server.client() as client:
        for key in list(client.scan_iter()):
            client.delete(key)
            client.lpush(key, "nonsense")
    await box.crash()
    assert (await box.offer(THIEF, ["y@example.net"])).action is Action.HOLD


async def test_two_instances_share_states_pace_and_cases(server, tmp_path):
    async with (
        NextHop() as hop,
        EngineBox(server.url, tmp_path, hop=hop, instance="one") as one,
        EngineBox(server.url, tmp_path, hop=hop, instance="two") as two,
    ):
        await hold_some(one)
        two.now = one.now
        assert (await two.offer(THIEF, ["y@example.net"])).action is Action.HOLD
        await one.upkeep.store()
        await two.upkeep.store()
        (case,) = await two.control.cases()
        assert case["held"]["messages"] == 4
        for _ in range(59):
            one.now = two.now = one.now + 1
            await one.step()
            await two.step()
        assert len([r for r in one.delivered() if r != "admin@example.org"]) <= 1
        await one.control.block(one.change("stolen"), THIEF)
        assert (await two.offer(THIEF, ["z@example.net"])).action is Action.HOLD
        assert await two.state(THIEF) == "blocked"
        # An order given at one instance frees the mail of both.
        await one.control.release(one.change("innocent"), THIEF, 0.0)
        await two.upkeep.store()
        for _ in range(4):
            await one.step()
            await two.step()
        assert len(one.engine.held) + len(two.engine.held) == 0
        assert (await two.offer(THIEF, ["n@example.net"])).action is Action.PASS


async def test_a_clock_that_steps_back_loses_and_doubles_nothing(box):
    await hold_some(box, waiting=4)
    box.now += 61
    assert await box.step() == 1
    box.now -= 7200
    for _ in range(10):
        box.now += 10
        await box.upkeep.review()
        await box.step()
    assert await box.state(THIEF) in {"slowed", "blocked"}
    await box.control.release(box.change("innocent"), THIEF, 0.0)
    for _ in range(4):
        await box.step()
    box.now += 7300
    for _ in range(6):
        box.now += 61
        await box.step()
    assert len(box.delivered()) == len(set(box.delivered())) == 4


async def test_an_emptied_redis_does_not_make_a_blast_start_anew(box, server):
    passed = 0
    while not box.engine.held.waiting(THIEF):
        passed += await box.blast(THIEF, 1)
        server.flush()
        assert passed < 200, "evidence was lost with Redis"
