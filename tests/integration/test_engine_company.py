"""Messages of one sender at the same time: judged one by one, stored together."""

import asyncio

import pytest

from shaper.core.message import Action
from tests.support.engine import EngineBox
from tests.support.redis_server import RedisServer

ALICE = "login:alice"
THIEF = "login:thief"


@pytest.fixture(scope="module")
def server():
    with RedisServer() as redis:
        yield redis


@pytest.fixture
async def box(server, tmp_path):
    server.flush()
    async with EngineBox(server.url, tmp_path) as engine_box:
        yield engine_box


class Counting:
    """The ledger, counting what is written; ``gate`` makes a write wait."""

    def __init__(self, ledger):
        self._ledger = ledger
        self.saves = 0
        self.gate = asyncio.Event()
        self.gate.set()

    def __getattr__(self, name):
        return getattr(self._ledger, name)

    async def save(self, *words):
        self.saves += 1
        await self.gate.wait()
        return await self._ledger.save(*words)


def count(box):
    box.context.ledger = Counting(box.ledger)
    return box.context.ledger


async def stored(box, sender):
    record, _ = await box.engine.senders.read(sender)
    return record


async def test_mail_that_comes_together_is_stored_in_two_writes(box):
    ledger = count(box)
    offers = [box.offer(ALICE, ["bob@example.net"]) for _ in range(20)]
    decisions = await asyncio.gather(*offers)
    assert {decision.action for decision in decisions} == {Action.PASS}
    assert ledger.saves == 2  # the first alone, the others behind it
    record = await stored(box, ALICE)
    assert record.run.messages == 20  # each was weighed, before any went on


async def test_the_order_of_arrival_decides_who_passes_and_who_is_held(box, tmp_path):
    """As one after the other: before the alarm all pass, from then on none."""

    def strangers(n):
        return [f"stranger{n}-{i}@example.net" for i in range(20)]

    together = await asyncio.gather(*(box.offer(THIEF, strangers(n)) for n in range(9)))
    async with EngineBox(box.url, tmp_path, instance="other") as other:
        alone = [await other.offer("login:second", strangers(n)) for n in range(9)]
    actions = [decision.action for decision in together]
    assert actions == [decision.action for decision in alone]
    assert actions == sorted(actions, key=[Action.PASS, Action.HOLD].index)
    assert actions[-1] is Action.HOLD
    record = await stored(box, THIEF)
    assert {decision.case for decision in together} - {""} == {record.case}


async def test_a_caller_that_is_cancelled_leaves_the_others_alone(box):
    ledger = count(box)
    ledger.gate.clear()
    tasks = [
        asyncio.create_task(box.offer(ALICE, ["bob@example.net"])) for _ in range(6)
    ]
    while not ledger.saves:
        await asyncio.sleep(0)
    tasks[0].cancel()
    tasks[2].cancel()
    ledger.gate.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(r, asyncio.CancelledError) for r in results] == [
        n in {0, 2} for n in range(6)
    ]
    # Alone again, and nothing is left behind that others would wait for.
    assert (await box.offer(ALICE, ["bob@example.net"])).action is Action.PASS


async def test_a_collision_judges_the_whole_group_again(box, tmp_path):
    await box.offer(ALICE, ["bob@example.net"])
    async with EngineBox(box.url, tmp_path, instance="other") as other:
        for n in range(3):
            await other.offer(ALICE, ["bob@example.net"], ident=f"OTHER{n}")
        await other.engine.senders.flush()
    await asyncio.gather(*(box.offer(ALICE, ["bob@example.net"]) for _ in range(5)))
    assert (await stored(box, ALICE)).run.messages == 9


async def test_a_bug_reaches_everyone_in_the_group_and_nobody_after_it(
    box, monkeypatch
):
    def broken(*_):
        raise ZeroDivisionError

    ledger = count(box)
    ledger.gate.clear()
    first = asyncio.create_task(box.offer(ALICE, ["bob@example.net"]))
    while not ledger.saves:
        await asyncio.sleep(0)
    others = [
        asyncio.create_task(box.offer(ALICE, ["bob@example.net"])) for _ in range(3)
    ]
    await asyncio.sleep(0)
    with monkeypatch.context() as patch:
        patch.setattr("shaper.engine.gate.judge", broken)
        ledger.gate.set()
        results = await asyncio.gather(first, *others, return_exceptions=True)
    assert [type(r) for r in results[1:]] == [ZeroDivisionError] * 3
    assert (await box.offer(ALICE, ["bob@example.net"])).action is Action.PASS
