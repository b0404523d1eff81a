"""Placement policy in the engine: what the MTA is answered, what leaves its hold."""

import asyncio
import shutil
from functools import partial

import pytest

from shaper.cli.lists import status_lines
from shaper.core.asked import HOLD, PASS, Stage
from shaper.core.message import RecipientFate
from shaper.core.outcome import Kind, Meaning, Outcome
from shaper.core.ports import SpoolFullError
from shaper.policy.postfix import PolicyServer, PolicySettings
from shaper.policy.queue import QueueTroubleError
from shaper.policy.request import written
from shaper.spool.spool import Limits
from tests.support.engine import EngineBox
from tests.support.mta_queue import MtaQueue, offer, question

BOB = "login:bob"


@pytest.fixture
def queue():
    return MtaQueue()


@pytest.fixture
async def box(redis_server, tmp_path, queue):
    redis_server.flush()
    async with EngineBox(redis_server.url, tmp_path, queue=queue) as box:
        yield box


@pytest.fixture
async def blocked(box):
    await box.control.block(box.change(), BOB)
    return box


async def held(box, queue, ident, *recipients):
    assert await offer(box.asking, queue, ident, BOB, *recipients) == HOLD
    return next(m for m in box.engine.held.all() if m.submission.client.ident == ident)


async def settle(box):
    while True:
        before = len(box.engine.held)
        await box.engine.trickle.step(box.now)
        await box.engine.trickle.settle()
        if len(box.engine.held) == before:
            return


async def test_recipients_are_those_of_rcpt(blocked, queue):
    message = await held(blocked, queue, "Q1", "a@x.test", "b@x.test", "a@x.test")
    envelope = message.submission.envelope
    assert [r.address for r in envelope.recipients] == ["a@x.test", "b@x.test"]
    assert (message.by_mta, message.size) == (True, 1234)
    assert message.submission.sender == BOB
    assert message.id.startswith("Q1-")


async def test_the_record_survives_with_its_size(blocked, queue):
    before = await held(blocked, queue, "Q1", "a@x.test")
    await blocked.crash()
    (after,) = blocked.engine.held.all()
    assert after == before
    assert blocked.engine.held.bytes == 1234


UNKNOWN = [("Q1", [], 3), ("", ["a@x.test"], 1), ("../../x", ["a@x.test"], 1)]


@pytest.mark.parametrize(("ident", "recipients", "count"), UNKNOWN)
async def test_what_cannot_be_judged_passes_but_not_of_a_blocked_sender(
    box, ident, recipients, count
):
    """Not even after a restart amid the message, or where no queue id is told."""
    ask = partial(box.asking.answer, question(ident, BOB, recipients, count=count))
    assert await ask() == PASS
    await box.control.block(box.change(), BOB)
    answer = await ask()
    assert answer.reply.code == 451
    assert await box.asking.answer(question(ident, "login:eve", count=3)) == PASS
    await box.control.release(box.change(), BOB, 0.0)
    assert await ask() == PASS
    assert len(box.engine.held) == 0


async def test_observing_refuses_nothing_either(blocked):
    blocked.engine.context.enforce = False
    assert await blocked.asking.answer(question("Q1", BOB, count=3)) == PASS


async def test_mail_of_a_normal_sender_passes_and_the_log_tells_its_end(box, queue):
    assert await offer(box.asking, queue, "Q1", BOB, "a@x.test", "b@x.test") == PASS
    told = Outcome(Kind.LOG, Meaning.DEAD_ADDRESS, "b@x.test", queue_id="Q1")
    assert await box.engine.outcomes.take(told) == "taken"


async def test_observing_holds_nothing(blocked, queue):
    blocked.context.enforce = False
    assert await offer(blocked.asking, queue, "Q1", BOB, "a@x.test") == PASS


async def test_asked_twice_it_is_held_once(blocked, queue):
    await held(blocked, queue, "Q1", "a@x.test")
    again = question("Q1", BOB, ["a@x.test"])
    assert await blocked.asking.answer(again) == HOLD
    assert len(blocked.engine.held) == 1


async def test_a_queue_id_used_again_is_not_taken_for_the_message_that_left(
    blocked, queue
):
    await held(blocked, queue, "Q1", "a@x.test")
    await blocked.control.order(blocked.change(), "release", filter="age>=0s")
    await settle(blocked)
    assert queue.verbs("Q1") == {"release": 1}
    again = question("Q1", BOB, ["a@x.test"])
    assert await blocked.asking.answer(again) == PASS, "nobody would release it"


class Deaf:
    """A Redis whose first copy of a held message waits until ``heard``."""

    def __init__(self, ledger):
        self._ledger = ledger
        self.heard = asyncio.Event()
        self.first = True

    def __getattr__(self, name):
        return getattr(self._ledger, name)

    async def put_held(self, *words):
        first, self.first = self.first, False
        if first:
            await self.heard.wait()
        await self._ledger.put_held(*words)


@pytest.fixture
def deaf(blocked):
    deaf = blocked.context.ledger = Deaf(blocked.ledger)
    yield deaf
    deaf.heard.set()


async def test_the_answer_does_not_wait_for_the_copy_in_redis(blocked, queue, deaf):
    # Else Postfix lets it pass, and its record is shown as held.
    message = await held(blocked, queue, "Q1", "a@x.test")
    assert await blocked.ledger.held() == {}
    deaf.heard.set()
    await blocked.engine.held.settle()
    assert set((await blocked.ledger.held())["main"]) == {message.id}


async def test_the_copy_of_what_left_meanwhile_goes_too(blocked, queue, deaf):
    await held(blocked, queue, "Q1", "a@x.test")
    await blocked.control.order(blocked.change(), "release", filter="age>=0s")
    await settle(blocked)
    deaf.heard.set()
    await blocked.engine.held.settle()
    assert await blocked.ledger.held() == {}


async def test_given_up_amid_the_record_nothing_is_held(blocked, queue):
    """The policy service's time runs out while the disk writes."""
    spool, free = blocked.context.spool, asyncio.Event()
    directory = spool.directory
    publish = directory.publish
    loop = asyncio.get_running_loop()

    def slowly(*words):
        asyncio.run_coroutine_threadsafe(free.wait(), loop).result(30)
        publish(*words)

    directory.publish = slowly
    asked = question("Q1", BOB, ["a@x.test"])
    server = PolicyServer(
        lambda _values: written_by(blocked.asking, asked),
        PolicySettings(answer_timeout=0.05),
    )
    await server.listen("127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"request=smtpd_access_policy\n\n")
    try:
        assert await reader.readuntil(b"\n\n") == b"action=DUNNO\n\n"
    finally:
        free.set()
        writer.close()
        server.close()
    await spool._batcher.idle()
    while spool._tasks:
        await asyncio.wait(spool._tasks)
    assert len(blocked.engine.held) == 0
    assert list(spool.all()) == []
    await blocked.crash()
    assert len(blocked.engine.held) == 0


async def written_by(asking, asked):
    return written(await asking.answer(asked))


async def test_a_full_spool_has_it_offered_again(redis_server, tmp_path, queue):
    redis_server.flush()
    limits = Limits(messages=1, free=0)
    box = EngineBox(redis_server.url, tmp_path, queue=queue, limits=limits)
    async with box:
        await box.control.block(box.change(), BOB)
        await held(box, queue, "Q1", "a@x.test")
        answer = await offer(box.asking, queue, "Q2", BOB, "a@x.test")
        assert not answer.hold
        assert answer.reply.code == 452
        assert len(box.engine.held) == 1


async def test_the_table_of_recipients_is_bounded(box, monkeypatch):
    monkeypatch.setattr("shaper.engine.asking._MOST_COLLECTED", 50)
    for number in range(200):
        asked = question(f"Q{number}", BOB, ["a@x.test"], stage=Stage.RCPT)
        assert await box.asking.answer(asked) == PASS
    assert box.asking._count == 50
    assert len(box.asking._collected) == 50
    assert await box.asking.answer(question("Q199", BOB, count=1)) == PASS
    assert box.asking._count == 49


async def test_what_the_mta_still_writes_is_waited_for(blocked, queue):
    await held(blocked, queue, "Q1", "a@x.test")
    queue.held.clear()  # a milter is looking at it
    await blocked.control.order(blocked.change(), "release", filter="age>=0s")
    await settle(blocked)
    assert len(blocked.engine.held) == 1
    queue.held.add("Q1")
    blocked.now += 11
    await settle(blocked)
    assert queue.verbs("Q1") == {"release": 1}
    assert len(blocked.engine.held) == 0


async def fates_of(box, queue, state, seconds):
    ended = []
    box.engine.release.on_finished = ended.append
    await held(box, queue, "Q1", "a@x.test")
    queue.held.clear()
    if state == "queued":
        queue.queued.add("Q1")
    box.now += seconds
    await box.engine.reconcile.round()
    return [fate for message in ended for fate in message.fates.values()]


async def test_what_never_arrived_is_gone_after_a_while(blocked, queue):
    assert await fates_of(blocked, queue, "absent", 601) == [RecipientFate.GONE]


async def test_what_a_person_let_go_is_delivered(blocked, queue):
    assert await fates_of(blocked, queue, "queued", 601) == [RecipientFate.DELIVERED]


async def test_before_that_nothing_is_concluded(blocked, queue):
    assert await fates_of(blocked, queue, "absent", 599) == []


async def test_what_was_on_hold_and_is_not_has_left(blocked, queue, caplog):
    ended = []
    blocked.engine.release.on_finished = ended.append
    await held(blocked, queue, "Q1", "a@x.test")
    await held(blocked, queue, "Q2", "b@x.test")
    await blocked.engine.reconcile.round()
    queue.held.clear()
    queue.queued.add("Q1")
    blocked.now += 30
    await blocked.engine.reconcile.round()
    fates = {m.submission.client.ident: set(m.fates.values()) for m in ended}
    assert fates == {"Q1": {RecipientFate.DELIVERED}, "Q2": {RecipientFate.GONE}}
    assert blocked.engine.release.on_hold == set()
    assert "('Q2') was on hold in the MTA and is not: removed or let go" in caplog.text


async def test_dropping_what_a_person_let_go_leaves_no_record(blocked, queue):
    await held(blocked, queue, "Q1", "a@x.test")
    await blocked.engine.reconcile.round()
    queue.held.clear()
    await blocked.control.order(blocked.change(), "drop", filter="age>=0s")
    assert len(blocked.engine.held) == 0, "else a purge is refused over it"
    assert queue.took == {}


async def test_a_clock_that_went_back_concludes_nothing(blocked, queue):
    assert await fates_of(blocked, queue, "absent", -7200) == []


async def test_long_on_hold_it_gets_a_new_life(blocked, queue):
    await held(blocked, queue, "Q1", "a@x.test")
    blocked.now += 86400 + 1
    await blocked.control.order(blocked.change(), "release", filter="age>=0s")
    await settle(blocked)
    assert queue.verbs("Q1") == {"requeue": 1}


PICKUP = (
    "Nov 26 12:00:00 mx postfix/pickup[7]: 4jZNEW: uid=102 "
    "from=<bob@x.test> orig_id=4jZOLD"
)


@pytest.mark.parametrize("first", ["log", "answer"])
async def test_what_becomes_of_a_message_with_a_new_queue_id_is_its_senders(
    blocked, queue, first
):
    await held(blocked, queue, "4jZOLD", "a@x.test")
    await blocked.control.order(blocked.change(), "release", filter="age>=0s")
    if first == "log":  # the MTA may be faster than our record of it
        await blocked.asking.line(PICKUP)
    await settle(blocked)
    await blocked.engine.outcomes.flush()
    if first == "answer":
        await blocked.asking.line(PICKUP)
    told = Outcome(Kind.LOG, Meaning.DEAD_ADDRESS, "a@x.test", queue_id="4jZNEW")
    await blocked.upkeep.store()
    await blocked.crash()  # nothing of it is only in memory
    assert await blocked.engine.outcomes.take(told) == "taken"
    assert await blocked.engine.outcomes.take(told) == "repeated"


@pytest.mark.parametrize("filter_first", [True, False])
async def test_what_becomes_of_mail_behind_a_content_filter_is_its_senders(
    blocked, queue, filter_first
):
    """Amavis and its kind hand it back, each part under another queue id."""
    await held(blocked, queue, "4jZONE", "a@x.test", "b@x.test")
    await blocked.control.order(blocked.change(), "release", filter="age>=0s")
    await settle(blocked)
    outcomes = blocked.engine.outcomes
    dead = [
        Outcome(Kind.LOG, Meaning.DEAD_ADDRESS, f"{one}@x.test", queue_id=f"4jZ{one}")
        for one in "ab"
    ]
    if not filter_first:  # it hands back before it answers
        assert [await outcomes.take(one) for one in dead] == ["unmatched"] * 2
    for one in "aba":  # as often as it has recipients
        outcomes.sent.rename("4jZONE", f"4jZ{one}")
    if filter_first:
        assert [await outcomes.take(one) for one in dead] == ["taken"] * 2
    else:
        blocked.now += 60
        await outcomes.flush()
        assert outcomes.counts["taken"] == 2
    await outcomes.flush()
    await blocked.upkeep.store()
    await blocked.crash()  # nothing of it is only in memory
    assert [await blocked.engine.outcomes.take(one) for one in dead] == ["repeated"] * 2


@pytest.mark.parametrize(
    "line",
    [
        PICKUP.replace(" orig_id=4jZOLD", ""),
        # What a local user may write as its sender.
        PICKUP.replace("bob@x.test> orig_id=4jZOLD", 'a" orig_id=4jZOLD"@x.test>'),
        PICKUP.replace("pickup", "smtpd"),
        PICKUP + " more",
    ],
)
async def test_no_other_line_gives_a_message_another_name(blocked, queue, line):
    await held(blocked, queue, "4jZOLD", "a@x.test")
    await blocked.control.order(blocked.change(), "release", filter="age>=0s")
    await settle(blocked)
    await blocked.asking.line(line)
    told = Outcome(Kind.LOG, Meaning.DEAD_ADDRESS, "a@x.test", queue_id="4jZNEW")
    assert await blocked.engine.outcomes.take(told) == "unmatched"


async def test_held_for_the_longest_time_the_mta_returns_it(blocked, queue):
    await held(blocked, queue, "Q1", "a@x.test")
    blocked.now += 5 * 86400 + 1
    await blocked.upkeep.expire()
    assert queue.verbs("Q1") == {"return": 1}
    assert [m for m in blocked.engine.held.all() if m.notice] == []


async def test_a_mute_helper_delays_what_was_decided(blocked, queue):
    await held(blocked, queue, "Q1", "a@x.test")
    queue.trouble = True
    result = await blocked.control.order(blocked.change(), "drop", filter="age>=0s")
    assert result["messages"] == 1
    assert queue.held == {"Q1"}
    await blocked.crash()
    queue.trouble = False
    blocked.now += 61
    await settle(blocked)
    assert queue.verbs("Q1") == {"drop": 1}
    assert len(blocked.engine.held) == 0


@pytest.mark.parametrize("where", ["absent", "queued"])
async def test_what_is_dropped_while_the_mta_writes_it_does_not_stay_on_hold(
    blocked, queue, where
):
    await held(blocked, queue, "Q1", "a@x.test")
    queue.held.clear()  # a milter is looking at it
    if where == "queued":
        queue.queued.add("Q1")
    await blocked.control.order(blocked.change(), "drop", filter="age>=0s")
    queue.queued.clear()
    queue.held.add("Q1")
    await blocked.crash()
    await settle(blocked)
    assert queue.verbs("Q1") == {"drop": 1}
    assert len(blocked.engine.held) == 0


async def test_what_is_dropped_and_never_arrived_is_forgotten(blocked, queue):
    await held(blocked, queue, "Q1", "a@x.test")
    queue.held.clear()
    await blocked.control.order(blocked.change(), "drop", filter="age>=0s")
    assert len(blocked.engine.held) == 1
    blocked.now += 601
    await settle(blocked)
    assert len(blocked.engine.held) == 0


async def test_a_mute_helper_is_not_asked_without_a_rest(blocked, queue, monkeypatch):
    await held(blocked, queue, "Q1", "a@x.test")
    asked = []

    async def drop(queue_id):
        asked.append(queue_id)
        raise QueueTroubleError("the helper is away")

    monkeypatch.setattr(queue, "drop", drop)
    await blocked.control.order(blocked.change(), "drop", filter="age>=0s")
    blocked.now += 61
    for _ in range(4):
        await blocked.engine.trickle.step(blocked.now)
        await blocked.engine.trickle.settle()
    assert len(asked) == 2


async def test_a_full_disk_behind_a_release_releases_nothing_twice(blocked, queue):
    await held(blocked, queue, "Q1", "a@x.test")
    note = blocked.spool.note_fates
    full = True

    async def note_fates(*words, **named):
        if full:
            raise SpoolFullError("no room")
        return await note(*words, **named)

    blocked.spool.note_fates = note_fates
    await blocked.control.order(blocked.change(), "release", filter="age>=0s")
    await settle(blocked)
    assert queue.verbs("Q1") == {"release": 1}
    assert len(blocked.engine.held) == 1
    full = False
    await blocked.upkeep.store()
    assert not any(m.by_mta for m in blocked.engine.held.all())
    assert queue.verbs("Q1") == {"release": 1}


async def test_what_the_spool_holds_since_the_hop_still_goes_by_smtp(blocked, queue):
    await blocked.offer(BOB, ["old@x.test"], ident="OLD")
    await held(blocked, queue, "Q1", "a@x.test")
    await blocked.control.order(blocked.change(), "release", filter="age>=0s")
    await settle(blocked)
    await blocked.step()
    assert blocked.delivered() == ["old@x.test"]
    assert queue.verbs("Q1") == {"release": 1}


async def test_two_instances_each_release_their_own(redis_server, tmp_path, queue):
    redis_server.flush()
    one = EngineBox(redis_server.url, tmp_path, queue=queue, instance="one")
    async with (
        one,
        EngineBox(
            redis_server.url, tmp_path, queue=queue, instance="two", hop=one.hop
        ) as two,
    ):
        await one.control.block(one.change(), BOB)
        await held(one, queue, "Q1", "a@x.test")
        await held(two, queue, "Q2", "a@x.test")
        await one.control.order(one.change(), "release", filter="age>=0s")
        await two.upkeep.store()
        for box in (one, two):
            box.now += 700
            await box.engine.reconcile.round()
            await settle(box)
            assert len(box.engine.held) == 0
        assert queue.verbs("Q1") == queue.verbs("Q2") == {"release": 1}


REFUSALS = [
    "Nov 25 19:43:39 mta postfix/cleanup[3241]: Q1: milter-reject: END-OF-MESSAGE from",
    "2026-11-25T19:43:39.1+01:00 mta postfix/cleanup[3241]: Q1: reject: header X: y",
    "Nov 25 19:43:39 mta postfix/submission/smtpd[3241]: Q1: reject: END-OF-MESSAGE",
]


@pytest.mark.parametrize("line", [*REFUSALS, ""])
async def test_what_the_mta_refuses_after_all_teaches_nothing(box, queue, line):
    taught = []
    box.engine.gate.learn = taught.append
    line = line.replace("Q1", "4jZTwT597BzJrF7")
    await offer(box.asking, queue, "4jZTwT597BzJrF7", BOB, "a@x.test")
    await box.asking.line(line)
    await box.asking.learn()
    assert taught == []
    box.now += 6
    await box.asking.learn()
    assert len(taught) == (0 if line else 1)


async def test_exims_refusal_is_known_too(box, queue):
    taught = []
    box.engine.gate.learn = taught.append
    await offer(box.asking, queue, "1u2Ab3-00000000abc-0XyZ", BOB, "a@x.test")
    await box.asking.line(
        "2026-11-25 19:43:39 1u2Ab3-00000000abc-0XyZ H=(x) [192.0.2.1] A=plain:bob "
        "F=<bob@x.test> rejected after DATA: virus"
    )
    box.now += 6
    await box.asking.learn()
    assert taught == []


async def test_released_before_a_crash_it_is_delivered_and_not_gone(blocked, queue):
    await held(blocked, queue, "Q1", "a@x.test")

    async def note_fates(*_words, **_named):
        raise SpoolFullError("no room")

    blocked.spool.note_fates = note_fates
    await blocked.control.order(blocked.change(), "release", filter="age>=0s")
    await settle(blocked)
    await blocked.crash()
    ended = []
    blocked.engine.release.on_finished = ended.append
    blocked.now += 700
    await blocked.engine.reconcile.round()
    assert queue.verbs("Q1") == {"release": 1}
    assert [m.fates for m in ended] == [{0: RecipientFate.DELIVERED}]


async def slowed(box, queue):
    """Have Bob's mail look stolen until it is held; return what waits."""
    for number in range(100):
        box.now += 1
        strangers = f"s{number}@x.test"
        if await offer(box.asking, queue, f"S{number}", BOB, strangers) == HOLD:
            break
    assert await box.state(BOB) == "slowed"
    return list(box.engine.held.all())


async def test_an_absent_helper_does_not_slow_the_pace(box, queue):
    await slowed(box, queue)
    (first,) = queue.held
    queue.trouble = True
    await box.advance(600)
    assert await box.state(BOB) == "slowed"
    record, _ = await box.engine.senders.read(BOB)
    assert record.released == 0, "nothing has left"
    queue.trouble = False
    await box.advance(70)
    assert queue.verbs(first) == {"release": 1}


async def test_mail_that_never_came_does_not_take_the_turn_of_what_waits(box, queue):
    await slowed(box, queue)
    (ghost,) = queue.held
    queue.held.clear()  # a virus scanner refused it after our answer
    await held(box, queue, "Q1", "a@x.test")
    await box.advance(62, by=1)
    assert queue.verbs("Q1") == {"release": 1}
    record, _ = await box.engine.senders.read(BOB)
    assert record.released == 1
    queue.held.add(ghost)  # the scanner was only slow
    await box.advance(130, by=1)
    assert queue.verbs(ghost) == {"release": 1}


@pytest.mark.parametrize("dropped", [False, True])
async def test_status_says_that_the_helper_is_away(blocked, queue, dropped):
    await held(blocked, queue, "Q1", "a@x.test")
    queue.trouble = True
    if dropped:
        await blocked.control.order(blocked.change(), "drop", filter="age>0s")
    with pytest.raises(QueueTroubleError):
        await blocked.engine.reconcile.round()
    status = blocked.control.status()
    assert status["queue_helper"] == "the helper is away"
    (line,) = [one for one in status_lines(status) if one.startswith("STUCK")]
    assert "the helper is away" in line
    queue.trouble = False
    await blocked.engine.reconcile.round()
    assert blocked.control.status()["queue_helper"] is None


async def test_a_redis_older_than_the_held_mail_lists_it_again(
    blocked, queue, redis_server
):
    with redis_server.client() as client:
        dump = {key: client.dump(key) for key in client.keys("*")}
        await blocked.upkeep.resynchronise()
        message = await held(blocked, queue, "Q1", "a@x.test")
        await blocked.engine.held.settle()
        client.flushall()
        for key, value in dump.items():
            client.restore(key, 0, value)
    await blocked.upkeep.resynchronise()
    assert set((await blocked.ledger.held())["main"]) == {message.id}


async def test_an_instance_that_was_renamed_shows_its_mail_once(blocked, queue):
    await held(blocked, queue, "Q1", "a@x.test")
    await blocked.engine.held.settle()
    await blocked.stop()
    old = blocked.directory
    blocked.instance = "mx1"
    blocked.directory = old.rename(old.with_name("mx1"))
    await blocked.start()
    assert [row["instance"] async for row in blocked.control.queue()] == ["mx1"]
    await blocked.control.order(blocked.change(), "release", filter="age>=0s")
    await settle(blocked)
    assert await blocked.ledger.held() == {}


async def test_a_state_directory_of_yesterday_opens_no_closed_case(
    blocked, queue, tmp_path
):
    await held(blocked, queue, "Q1", "a@x.test")
    await blocked.upkeep.store()
    await blocked.stop()
    shutil.copytree(blocked.directory, tmp_path / "backup")
    await blocked.start()
    await blocked.control.release(blocked.change(), BOB, 0.0)
    await settle(blocked)
    await blocked.upkeep.store()
    told = await blocked.control.cases(closed=True)
    await blocked.stop()
    shutil.rmtree(blocked.directory)
    shutil.move(tmp_path / "backup", blocked.directory)
    blocked.now += 86400
    await blocked.start()
    await blocked.engine.reconcile.round()
    await blocked.upkeep.store()
    assert not any(m.by_mta for m in blocked.engine.held.all())
    assert queue.verbs("Q1") == {"release": 1}
    assert await blocked.control.cases() == []
    assert await blocked.control.cases(closed=True) == told


async def test_a_case_closed_while_an_instance_was_down_is_closed_there_too(
    redis_server, tmp_path, queue
):
    redis_server.flush()
    one = EngineBox(redis_server.url, tmp_path, queue=queue, instance="one")
    two = EngineBox(
        redis_server.url, tmp_path, queue=queue, instance="two", hop=one.hop
    )
    async with one, two:
        await one.control.block(one.change(), BOB)
        await held(two, queue, "Q1", "a@x.test")
        await two.upkeep.store()
        await two.stop()
        await one.control.release(one.change(), BOB, 0.0)
        await one.upkeep.store()
        await two.start()
        await two.upkeep.follow()
        await two.upkeep.store()
        assert await one.control.cases() == []
        assert two.control.status()["open_cases"] == 0
        # Its part can be read again, and the one that knows how it ended tells.
        two.engine.casebook._cases.clear()
        (case,) = await two.control.cases(closed=True)
        assert (case["outcome"], case["held"]["messages"]) == ("innocent", 1)
