"""The engine on real stores: who is held, what leaves when, what comes back."""

from itertools import pairwise

import pytest

from shaper.core.message import Action
from shaper.core.ports import StateUnavailableError
from shaper.core.reply import Reply
from tests.support.engine import EngineBox

THIEF = "login:thief"


@pytest.fixture
async def box(redis_url, tmp_path):
    async with EngineBox(redis_url, tmp_path) as engine_box:
        yield engine_box


async def slowed(box, sender=THIEF, waiting=5):
    """Have a sender slowed with so many messages waiting."""
    while not box.engine.held.waiting(sender):
        await box.blast(sender, 1)
        assert box.now < 1_800_000_500, "the blast was never noticed"
    while box.engine.held.waiting(sender) < waiting:
        await box.blast(sender, 1, gap=0.01)
    assert await box.state(sender) == "slowed"


async def test_a_blast_is_slowed_and_its_case_tells_the_counts(box):
    await slowed(box, waiting=3)
    await box.upkeep.store()
    (case,) = await box.control.cases()
    assert case["sender"] == THIEF
    assert case["held"] == {"messages": 3, "recipients": 3}
    assert case["escaped"]["messages"] > 0
    assert "%" in case["why"]
    shown = await box.control.show(case["id"])
    assert shown["case"]["subjects"] == ["hello"]
    assert shown["case"]["domains"] == [("example.net", 3)]


async def test_people_are_told_once_for_each_step_also_after_a_crash(box):
    await slowed(box)
    for _ in range(3):
        await box.upkeep.store()
        await box.step()
    await box.crash()
    await box.upkeep.store()
    await box.step()
    notices = [t for t in box.hop.transactions if t.sender == "mailshaper@shaper.test"]
    assert len(notices) == 1
    assert b"is slowed" in notices[0].content
    assert b"mailshaper release login:thief --reason" in notices[0].content
    await box.control.block(box.change("password changed"), THIEF)
    await box.upkeep.store()
    await box.step()
    notices = [t for t in box.hop.transactions if t.sender == "mailshaper@shaper.test"]
    assert len(notices) == 2
    assert b"blocked by root: password changed" in notices[1].content


async def test_the_trickle_keeps_its_pace_and_slows_down_while_evidence_stays(box):
    await slowed(box, waiting=8)
    times = []
    while len(times) < 5 and box.now < 1_800_010_000:
        box.now += 1
        times += [box.now] * await box.step()
    gaps = [b - a for a, b in pairwise(times)]
    assert all(gap >= 60 for gap in gaps)
    assert gaps == sorted(gaps)


async def test_familiar_correspondents_go_first(box):
    owner = "login:owner"
    for _ in range(20):
        box.now += 86400
        await box.offer(owner, ["friend@example.org"])
    start = box.now
    while not box.engine.held.waiting(owner):
        await box.blast(owner, 1)
        assert box.now < start + 500
    await box.blast(owner, 2, gap=0.01)
    await box.offer(owner, ["friend@example.org"])
    box.now += 61
    assert await box.step() == 1
    assert box.hop.transactions[-1].recipients == ["friend@example.org"]


async def test_senders_do_not_wait_for_each_other(box):
    await slowed(box, "login:a", waiting=6)
    await slowed(box, "login:b", waiting=2)
    box.now += 61
    assert await box.step() == 2
    assert {t.sender for t in box.hop.transactions} == {
        "a@example.org",
        "b@example.org",
    }


async def test_a_temporary_failure_is_tried_again_later(box):
    await slowed(box, waiting=1)
    box.hop.on("rcpt", "450 4.2.0 later", times=1)
    box.now += 61
    await box.step()
    assert box.delivered() == []
    (message,) = [m for m in box.engine.held.all() if not m.notice]
    assert message.not_before > box.now + 60
    assert await box.advance(200, by=20) == 0
    await box.advance(400, by=20)
    assert len(box.delivered()) == 1
    assert len(box.engine.held) == 0


async def test_a_refusal_is_returned_to_the_sender_once(box):
    await slowed(box, waiting=1)
    box.hop.on("rcpt", "550 5.1.1 no such user", match="stranger", times=1)
    box.now += 61
    await box.step()
    box.now += 1
    await box.step()
    (dsn,) = [t for t in box.hop.transactions if t.accepted]
    assert dsn.sender == ""
    assert dsn.recipients == ["thief@example.org"]
    assert b"550 5.1.1 no such user" in dsn.content
    assert len(box.engine.held) == 0


async def test_mixed_recipients_each_have_their_fate(box):
    await slowed(box, waiting=1)
    everybody = ["ok@example.net", "later@example.net", "gone@example.net"]
    await box.offer(THIEF, everybody, subject="mixed")
    box.hop.on("rcpt", "450 4.2.0 later", match="later@", times=1)
    box.hop.on("rcpt", "550 5.1.1 gone", match="gone@")
    await box.control.order(box.change(), "release", filter="subject=mixed")
    for _ in range(80):
        box.now += 10
        await box.step()
    got = box.delivered()
    assert got.count("ok@example.net") == 1
    assert got.count("later@example.net") == 1
    assert "gone@example.net" not in got
    dsns = [t for t in box.hop.transactions if t.sender == "" and t.accepted]
    assert len(dsns) == 1
    assert b"gone@example.net" in dsns[0].content
    assert b"later@example.net" not in dsns[0].content


async def test_release_lets_everything_go_and_the_sender_be_normal(box):
    await slowed(box, waiting=7)
    tried = await box.control.release(box.change(dry_run=True), THIEF, 0.0)
    assert (tried["messages"], tried["state"]) == (7, "slowed")
    result = await box.control.release(box.change("it was a newsletter"), THIEF, 0.0)
    assert (result["messages"], result["state"]) == (7, "normal")
    for _ in range(5):
        await box.step()
    assert len(box.delivered()) == 7
    assert await box.state(THIEF) == "normal"
    await box.upkeep.store()
    assert await box.control.cases() == []
    (case,) = await box.control.cases(closed=True)
    assert case["outcome"] == "innocent"
    assert (await box.offer(THIEF, ["new@example.net"])).action is Action.PASS


async def test_a_paced_release_keeps_its_pace(box):
    await slowed(box, waiting=6)
    await box.control.release(box.change(), THIEF, 2.0)  # two a minute
    left = []
    for second in range(160):
        box.now += 1
        left += [second] * await box.step()
    assert len(left) == 6
    gaps = [b - a for a, b in pairwise(left)]
    assert min(gaps) >= 29


async def test_an_order_is_carried_out_once_and_resumed_after_a_crash(box):
    await slowed(box, waiting=5)
    change = box.change()
    first = await box.control.order(change, "drop", filter="recipients=1")
    again = await box.control.order(change, "drop", filter="recipients=1")
    assert (first["messages"], again["messages"]) == (5, 0)
    await slowed(box, waiting=2)
    await box.crash()
    await box.upkeep.store()
    assert box.engine.held.waiting(THIEF) == 2, "an old order took new mail"
    assert box.delivered() == []


async def test_bounce_returns_and_drop_is_silent(box):
    await slowed(box, waiting=2)
    first, second = [m.id for m in box.engine.held.all()]
    await box.control.order(box.change(), "drop", filter=f"id={first}")
    await box.control.order(box.change(), "bounce", filter=f"id={second}")
    for _ in range(3):
        await box.step()
    assert [t.sender for t in box.hop.transactions] == [""]
    assert len(box.engine.held) == 0


@pytest.mark.parametrize("text", ["age>0s", "rcpt-domain=example.net"])
async def test_orders_reach_mail_that_came_before_the_clock_was_set_back(box, text):
    await slowed(box, waiting=2)
    box.now -= 3600
    result = await box.control.order(box.change(), "drop", filter=text)
    assert result["messages"] == 2
    assert len(box.engine.held) == 0


async def test_blocked_mail_never_leaves_by_itself_but_is_returned_at_last(box):
    await slowed(box, waiting=2)
    await box.control.block(box.change(), THIEF)
    assert await box.advance(4 * 86400, by=6 * 3600) == 0
    assert await box.state(THIEF) == "blocked"
    await box.crash()
    assert await box.state(THIEF) == "blocked"
    box.now += 86400
    await box.upkeep.expire()
    for _ in range(3):
        await box.step()
    assert [t.sender for t in box.hop.transactions] == ["", ""]
    assert await box.state(THIEF) == "blocked"


async def test_an_alarm_that_fades_ends_by_itself_and_mail_drains_faster(box):
    await slowed(box, waiting=12)
    left = []
    while box.engine.held.waiting(THIEF) and box.now < 1_800_000_000 + 5 * 86400:
        left += [box.now] * await box.advance(30, by=30)
    assert await box.state(THIEF) in {"normal", "blocked"}
    if await box.state(THIEF) == "normal":
        assert len(box.delivered()) == 12
        (case,) = await box.control.cases(closed=True)
        assert case["outcome"] == "faded"


async def test_the_same_queue_id_is_not_held_twice(box):
    await slowed(box, waiting=1)
    first = await box.offer(THIEF, ["x@example.net"], ident="4bXyz1")
    again = await box.offer(THIEF, ["x@example.net"], ident="4bXyz1")
    assert first.action is Action.HOLD
    assert again.action is Action.ANSWER
    assert again.reply.code == 250
    await box.crash()
    later = await box.offer(THIEF, ["x@example.net"], ident="4bXyz1")
    assert later.action is Action.ANSWER
    assert box.engine.held.waiting(THIEF) == 2


async def test_the_null_sender_always_passes(box):
    for _ in range(300):
        decision = await box.offer("", ["x@example.net"])
        assert decision.action is Action.PASS
    assert await box.control.cases() == []


async def test_observation_decides_and_holds_nothing(redis_url, tmp_path):
    async with EngineBox(redis_url, tmp_path, enforce=False) as box:
        assert await box.blast(THIEF, 60) == 60
        assert await box.state(THIEF) in {"slowed", "blocked"}
        assert len(await box.control.cases()) == 1
        await box.upkeep.store()
        await box.step()
        assert b"nothing was held" in box.hop.transactions[0].content


async def test_a_plan_asked_for_twice_is_one_plan_however_much_was_used(box):
    change = box.change("letter")
    ask = (change, "login:letter", box.now, box.now + 3600, 3)
    await box.control.plan(*ask)
    await box.offer("login:letter", ["a@example.net"])
    await box.control.plan(*ask)
    record, _ = await box.engine.senders.read("login:letter")
    assert [(plan.messages, plan.used) for plan in record.plans] == [(3, 1)]


async def test_old_journal_lines_go_what_still_holds_stays(box):
    await slowed(box, waiting=2)
    await box.control.block(box.change("stolen"), THIEF)
    await slowed(box, "login:other", waiting=1)
    await box.control.release(box.change("innocent"), "login:other", 0.0)
    await box.control.exempt(box.change("letter"), "login:e", box.now + 400 * 86400)
    await box.upkeep.store()
    before = list(box.audit.replay())
    await box.upkeep.prune()
    assert list(box.audit.replay()) == before
    box.now += 91 * 86400
    await box.upkeep.prune()
    after = list(box.audit.replay())
    assert len(after) < len(before)
    assert {line["sender"] for line in after if line["event"] == "sender"} == {
        THIEF,
        "login:e",
    }
    await box.crash()
    assert await box.state(THIEF) == "blocked"
    record, _ = await box.engine.senders.read("login:e")
    assert record.exemption is not None


async def test_forget_removes_a_person_but_not_its_block(box):
    await slowed(box, "login:a@example.org", waiting=1)
    await box.control.block(box.change("stolen"), "login:a@example.org")
    await box.upkeep.store()
    found = await box.engine.forget("a@example.org", box.audit.forget)
    assert found["messages_still_held"] == 1
    assert found["audit_lines"] > 0
    (case,) = await box.control.cases(closed=True)  # the block is still one
    shown = (await box.control.show(case["id"]))["case"]
    assert (shown["subjects"], shown["domains"], shown["clients"]) == ([], [], [])
    assert await box.state("login:a@example.org") == "blocked"
    lines = [line for line in box.audit.replay() if "a@example.org" in str(line)]
    assert [line["event"] for line in lines] == ["sender"]


async def test_held_mail_that_bounces_is_evidence_and_blocks(box):
    await slowed(box, waiting=12)
    before = (await box.control.explain(THIEF))["evidence"]
    box.hop.on("rcpt", "550 5.1.1 no such user", match="stranger")
    for message in [m for m in box.engine.held.all() if not m.notice]:
        await box.engine.delivery.attempt(message)
    after = (await box.control.explain(THIEF))["evidence"]
    parts = {part[0]: part[1] for part in after["parts"]}
    assert after["total"] > before["total"]
    assert parts["bounces"] > 9
    await box.upkeep.review()
    assert await box.state(THIEF) == "blocked"


async def test_a_confirmed_theft_teaches_nothing(box):
    async def theft():
        passed = 0
        while not box.engine.held.waiting(THIEF):
            passed += await box.blast(THIEF, 1)
            assert passed < 300
        return passed

    for _ in range(30):  # a settled sender
        box.now += 86400
        await box.offer(THIEF, ["friend@example.org"])
    first = await theft()
    while await box.state(THIEF) != "blocked":
        await box.blast(THIEF, 1)
    await box.control.block(box.change("stolen"), THIEF)
    await box.control.block(box.change("stolen"), THIEF)
    await box.upkeep.store()
    (case,) = await box.control.cases()
    story = (await box.control.show(case["id"]))["case"]["steps"]
    assert [step["event"] for step in story].count("confirmed") == 1
    await box.control.order(box.change("spam"), "drop", sender=THIEF)
    await box.control.release(box.change("password changed"), THIEF, 0.0)
    box.now += 3 * 86400
    assert await theft() <= first + 5


async def test_a_year_with_one_dead_address_in_a_hundred_alarms_nobody(box):
    sender, count = "login:office", 0
    for _ in range(365):
        box.now += 86400
        for i in range(10):
            count += 1
            box.now += 600
            refused = {}
            if count % 100 == 0:
                refused[f"gone{count}@example.net"] = Reply(550, ("5.1.1 gone",))
            to = [f"friend{i}@example.org"]
            decision = await box.offer(sender, to, refused=refused)
            assert decision.action is Action.PASS, count


async def test_a_repeated_message_id_hides_nothing(box):
    for i in range(300):
        box.now += 1
        to = [f"v{i % 3}@example.net", f"w{i % 3}@example.net"]
        decision = await box.offer(THIEF, to, message_id="<same@id>")
        if decision.action is Action.HOLD:
            return
    pytest.fail("three hundred messages in five minutes under one Message-ID passed")


async def test_an_outage_of_the_next_hop_slows_nobody(box):
    sender = "login:office"
    for day in range(20):
        box.now += 86400
        for i in range(40):
            box.now += 300
            await box.offer(sender, [f"f{i}@example.org"], ident=f"d{day}-{i}")
    for attempt in range(12):
        box.now += 600
        for i in range(45):
            to = [f"f{i % 40}@example.org"]
            ident = f"q{i}"
            decision = await box.offer(sender, to, ident=ident, accept=False)
            assert decision.action is Action.PASS, attempt


async def test_a_block_takes_back_what_a_release_has_not_let_go_yet(box):
    await slowed(box, waiting=4)
    await box.control.release(box.change("innocent"), THIEF, 1.0)
    assert await box.step() == 1
    result = await box.control.block(box.change("stolen after all"), THIEF)
    assert result["messages"] == 3
    assert await box.advance(600) == 0
    await box.crash()
    assert await box.advance(600) == 0
    await box.control.release(box.change("innocent"), THIEF, 0.0)
    assert await box.advance(30) == 3


async def test_blocked_and_released_while_redis_is_away_the_last_word_counts(box):
    await slowed(box, waiting=4)

    async def put_order(_raw):
        raise StateUnavailableError("away")

    box.ledger.put_order = put_order

    async def resumed():
        for _ in range(3):
            await box.engine.orders.resume()
        return [bool(message.order) for message in box.engine.held.all()]

    await box.control.release(box.change("innocent"), THIEF, 1.0)
    assert await resumed() == [True] * 4
    box.now += 1
    await box.control.block(box.change("stolen after all"), THIEF)
    assert await resumed() == [False] * 4
    box.now += 1
    await box.control.release(box.change("no"), THIEF, 1.0)
    assert await resumed() == [True] * 4
