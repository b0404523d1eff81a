"""Bounces, log lines and complaints find their sender and count once."""

import asyncio
from dataclasses import replace

import pytest

from shaper.core.message import Action
from shaper.core.outcome import Kind, Meaning, Outcome
from shaper.core.ports import StateUnavailableError
from shaper.core.reply import Phase, Reply
from shaper.core.sent import mark_of
from shaper.feedback.mail import read_mail
from shaper.feedback.table import shipped_table
from shaper.smtp.trace import trace_field
from tests.support.engine import EngineBox
from tests.support.redis_server import RedisServer

ALICE = "login:alice"
BOB = "bob@example.net"
DEAD = Reply(550, ("5.1.1 No such user",), Phase.RCPT)


@pytest.fixture(scope="module")
def server():
    with RedisServer() as redis:
        yield redis


@pytest.fixture
async def box(server, tmp_path):
    server.flush()
    async with EngineBox(server.url, tmp_path) as engine_box:
        yield engine_box


@pytest.fixture
async def twin(box, tmp_path):
    """Give another instance on the same Redis."""
    async with EngineBox(box.url, tmp_path, hop=box.hop, instance="twin") as engine_box:
        yield engine_box


class Hearer:
    """Keeps what a part is told."""

    def __init__(self):
        self.heard = []

    async def note(self, outcome, sender):
        self.heard.append((outcome, sender))


async def send(box, *recipients, sender=ALICE, **more):
    await box.offer(sender, recipients or (BOB,), **more)
    return box.offered[-1]


def bounce(submission, recipient=BOB, meaning=Meaning.DEAD_ADDRESS, **more):
    """Return what a DSN with the whole message inside tells."""
    return Outcome(
        **{
            "kind": Kind.DSN,
            "meaning": meaning,
            "recipient": recipient,
            "permanent": True,
            "message_id": submission.message_id.strip("<>"),
            "trace_id": submission.id,
            **more,
        }
    )


def log_line(queue_id, recipient=BOB, meaning=Meaning.DELIVERED, **more):
    return Outcome(
        Kind.LOG, meaning, recipient, permanent=True, queue_id=queue_id, **more
    )


async def profile(box, sender=ALICE):
    record, _ = await box.engine.senders.read(sender)
    return record.profile


# -- finding


@pytest.mark.parametrize("by", ["trace_id", "message_id", "queue_id"])
@pytest.mark.parametrize("crash", [False, True])
async def test_a_bounce_finds_its_sender_by_any_of_its_ids(box, by, crash):
    sent = await send(box, queue_id="4AB12")
    if crash:
        await box.upkeep.store()
        await box.crash()
    before = await profile(box)
    ids = {"trace_id": sent.id, "message_id": sent.message_id, "queue_id": "4AB12"}
    empty = dict.fromkeys(ids, "")
    box.now += 30
    outcome = bounce(sent, **{**empty, by: ids[by]})
    assert await box.engine.outcomes.take(outcome) == "taken"
    after = await profile(box)
    assert after.bad == pytest.approx(before.bad + 1, rel=0.02)
    assert after.cusum > before.cusum


async def test_each_queue_id_of_a_message_that_left_in_parts_is_found(box):
    sent = await send(box, BOB, "carol@example.net")
    memory = box.engine.outcomes.sent
    memory.note(sent, [BOB], "4AB12")
    memory.note(sent, [BOB, "carol@example.net"], "4AB13")
    for name, recipient in (("4AB12", BOB), ("4AB13", "carol@example.net")):
        assert await box.engine.outcomes.take(log_line(name, recipient)) == "taken"


async def test_one_message_id_for_all_mail_costs_little(box, monkeypatch):
    sent = await send(box, message_id="<m1@example.org>")
    memory = box.engine.outcomes.sent
    hashed = []
    monkeypatch.setattr(
        "shaper.engine.sentmail.mark_of", lambda one: hashed.append(1) or mark_of(one)
    )
    for number in range(50):
        memory.note(replace(sent, id=f"other{number}"), ["x@example.net"], "")
    hashed.clear()
    found = await memory.find(bounce(sent, trace_id=""))
    assert found.sent.sender == ALICE
    assert len(hashed) <= 2


async def test_a_real_dsn_is_understood_and_found(box):
    sent = await send(box, message_id="<m1@example.org>")
    trace = trace_field("other.name", "ESMTP", sent.id, box.now).decode()
    text = (
        "Return-Path: <>\r\nFrom: MAILER-DAEMON@mx.example.net\r\n"
        "To: alice@example.org\r\nSubject: Undelivered\r\nMIME-Version: 1.0\r\n"
        "Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n"
        "\r\n--b\r\nContent-Type: text/plain\r\n\r\nSorry.\r\n\r\n"
        "--b\r\nContent-Type: message/delivery-status\r\n\r\n"
        "Reporting-MTA: dns; mx.example.net\r\n\r\n"
        f"Final-Recipient: rfc822; {BOB}\r\nAction: failed\r\nStatus: 5.1.1\r\n"
        "Diagnostic-Code: smtp; 550 5.1.1 User unknown\r\n\r\n"
        "--b\r\nContent-Type: text/rfc822-headers\r\n\r\n"
        "Received: from a by b with ESMTP id 77\r\n"
        f"{trace}From: alice@example.org\r\nSubject: hi\r\n\r\n--b--\r\n"
    )
    (outcome,) = read_mail(text.encode(), shipped_table())
    assert (outcome.trace_id, outcome.message_id) == (sent.id, "")
    assert await box.engine.outcomes.take(outcome) == "taken"


async def test_a_forged_bounce_changes_nothing(box):
    two = await send(box, BOB, "carol@example.net", queue_id="4AB12")
    one = await send(box, queue_id="4AB13")
    await box.upkeep.store()
    record, _ = await box.engine.senders.read(ALICE)
    heard = box.engine.outcomes.suppression = Hearer()
    stranger = "stranger@example.net"
    forged = [
        bounce(two, trace_id="6567", message_id="guessed@example.org"),
        bounce(two, recipient=stranger),
        bounce(two, recipient=""),
        bounce(one, recipient=stranger, trace_id="", message_id="", queue_id="4AB13"),
        bounce(one, recipient="", trace_id="", message_id="", queue_id="4AB13"),
        bounce(one, time=box.now - 2 * 86400),
    ]
    for outcome in forged:
        assert await box.engine.outcomes.take(outcome) == "unmatched", outcome
    box.now += 10
    await box.upkeep.store()
    after, _ = await box.engine.senders.read(ALICE)
    assert after.encode() == record.encode()
    assert heard.heard == []
    assert +box.engine.outcomes.counts == {"unmatched": len(forged)}
    nameless = bounce(one, trace_id="", message_id="")
    assert await box.engine.outcomes.take(nameless) == "nobody"


async def test_a_forwarded_mail_counts_and_condemns_nobody(box):
    sent = await send(box)
    heard = box.engine.outcomes.suppression = Hearer()
    before = await profile(box)
    behind = bounce(sent, recipient="gone@forward.example")
    assert await box.engine.outcomes.take(behind) == "taken"
    assert (await profile(box)).bad > before.bad
    assert heard.heard == []
    # The same death in other words.
    same = bounce(sent, recipient="GONE@mail.forward.example", original_recipient=BOB)
    assert await box.engine.outcomes.take(same) == "repeated"


async def test_bounces_of_null_sender_mail_are_nobodys(box):
    sent = await send(box, sender="")
    assert await box.engine.outcomes.take(bounce(sent)) == "unmatched"


# -- once


async def test_log_bounce_and_a_log_read_again_count_once(box):
    sent = await send(box, queue_id="4AB12")
    before = await profile(box)
    dead = Meaning.DEAD_ADDRESS
    told = [
        log_line("4AB12", meaning=dead),
        bounce(sent),
        log_line("4AB12", meaning=dead),
    ]
    results = [await box.engine.outcomes.take(outcome) for outcome in told]
    assert results == ["taken", "repeated", "repeated"]
    await box.upkeep.store()
    await box.crash()
    assert [await box.engine.outcomes.take(o) for o in told] == ["repeated"] * 3
    assert (await profile(box)).bad == pytest.approx(before.bad + 1, rel=0.02)


async def test_two_instances_count_once_together(box, twin):
    sent = await send(box)
    await box.upkeep.store()
    assert await twin.engine.outcomes.take(bounce(sent)) == "taken"
    assert await box.engine.outcomes.take(bounce(sent)) == "repeated"


async def test_a_bounce_that_is_faster_than_the_other_instance_is_found_later(
    box, twin
):
    sent = await send(box)
    assert await twin.engine.outcomes.take(bounce(sent)) == "unmatched"
    await box.upkeep.store()
    before = await profile(box)
    twin.now += 1
    await twin.upkeep.store()
    assert (await profile(box)).bad == before.bad
    twin.now += 3
    await twin.upkeep.store()
    assert (await profile(box)).bad > before.bad
    assert await box.engine.outcomes.take(bounce(sent)) == "repeated"
    assert +twin.engine.outcomes.counts == {"taken": 1}


async def test_a_death_after_a_delivery_counts_and_not_the_reverse(box):
    box.context.deliveries_from_log = True
    await send(box, queue_id="A1")
    await send(box, queue_id="B2")
    take = box.engine.outcomes.take
    dead = Meaning.DEAD_ADDRESS
    assert await take(log_line("A1")) == "taken"
    assert await take(log_line("A1", meaning=dead)) == "taken"
    assert await take(log_line("B2", meaning=dead)) == "taken"
    assert await take(log_line("B2")) == "repeated"


async def test_a_bounce_mail_condemns_nobody_whose_server_took_the_message(box):
    box.context.deliveries_from_log = True
    listed = []

    class Suppression:
        async def note(self, outcome, sender):
            listed.append((outcome.kind, outcome.meaning, sender))

    box.engine.outcomes.suppression = Suppression()
    submission = await send(box, queue_id="A1")
    take = box.engine.outcomes.take
    assert await take(log_line("A1")) == "taken"
    before = (await profile(box)).bad
    # The sender's evidence: many servers accept first and bounce later.
    assert await take(bounce(submission)) == "taken"
    assert (await profile(box)).bad == before + 1
    assert listed == [(Kind.LOG, Meaning.DELIVERED, ALICE)]


async def test_a_deferral_is_told_each_time_and_is_no_evidence(box):
    await send(box, queue_id="A1")
    await box.upkeep.store()
    record, _ = await box.engine.senders.read(ALICE)
    heard = box.engine.outcomes.receivers = Hearer()
    later = replace(log_line("A1", meaning=Meaning.TEMPORARY), permanent=False)
    for _ in range(2):
        assert await box.engine.outcomes.take(later) == "taken"
    after, _ = await box.engine.senders.read(ALICE)
    assert after.encode() == record.encode()
    assert len([o for o, _ in heard.heard if o.kind is Kind.LOG]) == 2


@pytest.mark.parametrize("meaning", [Meaning.MESSAGE_REFUSED, Meaning.HOST_REFUSED])
async def test_a_refused_message_or_host_is_no_evidence(box, meaning):
    sent = await send(box)
    await box.upkeep.store()
    before = (await profile(box)).encode()
    assert await box.engine.outcomes.take(bounce(sent, meaning=meaning)) == "taken"
    assert (await profile(box)).encode() == before


# -- deliveries


async def test_a_next_hop_that_only_queues_delivers_nothing(box):
    box.context.deliveries_from_log = True
    await send(box, queue_id="A1")
    await box.upkeep.store()
    assert (await profile(box)).good == 0
    assert await box.engine.outcomes.take(log_line("A1")) == "taken"
    await box.upkeep.store()
    assert (await profile(box)).good == pytest.approx(1.0)


async def test_without_a_log_the_next_hops_word_counts_once(box):
    sent = await send(box, queue_id="A1")
    told = bounce(sent, meaning=Meaning.DELIVERED)
    assert await box.engine.outcomes.take(told) == "taken"
    await box.upkeep.store()
    assert (await profile(box)).good == pytest.approx(1.0)


async def test_deliveries_of_a_sender_not_in_memory_are_kept(box):
    box.context.deliveries_from_log = True
    await send(box, queue_id="A1")
    await box.upkeep.store()
    await box.crash()
    box.context.deliveries_from_log = True
    assert await box.engine.outcomes.take(log_line("A1")) == "taken"
    await box.upkeep.store()
    assert (await profile(box)).good == pytest.approx(1.0)


async def test_old_news_teaches_the_ratio_and_alarms_nobody(box):
    sent = []
    for i in range(30):
        box.now += 3600
        sent.append(await send(box, f"old{i}@example.net", queue_id=f"A{i}"))
    then = box.now + 60
    box.now += 2 * 86400
    before = await profile(box)
    for i, _ in enumerate(sent):
        line = log_line(f"A{i}", f"old{i}@example.net", Meaning.DEAD_ADDRESS, time=then)
        assert await box.engine.outcomes.take(line) == "taken"
    after = await profile(box)
    assert after.cusum == before.cusum
    assert after.bad > before.bad + 20


# -- complaints


async def test_a_complaint_that_hides_its_recipient_counts_once(box):
    sent = await send(box, BOB, "carol@example.net")
    before = await profile(box)
    hidden = bounce(sent, "", Meaning.COMPLAINT, kind=Kind.ARF, permanent=False)
    assert await box.engine.outcomes.take(hidden) == "taken"
    assert await box.engine.outcomes.take(hidden) == "repeated"
    complained = (await profile(box)).cusum - before.cusum
    other = await send(box)
    middle = (await profile(box)).cusum
    assert await box.engine.outcomes.take(bounce(other)) == "taken"
    assert complained > (await profile(box)).cusum - middle > 0


async def test_a_case_counts_what_was_told_of_its_run(box):
    before = await send(box, sender="login:thief")
    box.now += 86400
    await box.blast("login:thief", 60, gap=0.5)
    assert await box.state("login:thief") != "normal"
    run = [s for s in box.offered if s.received > before.received]
    for sent in run[:3]:
        address = sent.envelope.recipients[0].address
        assert await box.engine.outcomes.take(bounce(sent, address)) == "taken"
    told = bounce(run[5], "", Meaning.COMPLAINT, kind=Kind.ARF)
    assert await box.engine.outcomes.take(told) == "taken"
    assert await box.engine.outcomes.take(bounce(before)) == "taken"
    await box.upkeep.store()
    (case,) = await box.engine.casebook.read()
    assert (case.bounces, case.complaints) == (3, 1)


# -- the next hop's own word


async def test_refused_recipients_are_evidence_when_nothing_follows(box):
    submission = await send(box)
    before = await profile(box)
    lone = replace(
        submission, id="x1", envelope=replace(submission.envelope, recipients=())
    )
    heard = box.engine.outcomes.suppression = Hearer()
    await box.upkeep.store()
    heard.heard.clear()
    await box.engine.gate.refused(lone, {"gone@example.net": DEAD})
    await box.upkeep.store()
    assert (await profile(box)).bad == pytest.approx(before.bad + 1, rel=0.02)
    ((outcome, sender),) = heard.heard
    assert (outcome.recipient, outcome.meaning, sender) == (
        "gone@example.net",
        Meaning.DEAD_ADDRESS,
        ALICE,
    )
    ours = replace(DEAD, synthetic=True)
    await box.engine.gate.refused(lone, {"gone2@example.net": ours})
    await box.upkeep.store()
    assert len(heard.heard) == 1


async def test_a_refusal_of_a_message_for_several_condemns_none(box):
    heard = box.engine.outcomes.suppression = Hearer()
    submission = await send(box, BOB, "carol@example.net", accept=False)
    end = Reply(550, ("5.1.1 User unknown",), Phase.END)
    before = await profile(box)
    await box.engine.gate.passed(submission, {}, end)
    await box.upkeep.store()
    assert (await profile(box)).bad == before.bad
    assert Meaning.DEAD_ADDRESS not in {o.meaning for o, _ in heard.heard}


async def test_held_mail_is_remembered_when_it_leaves(box):
    await box.blast("login:thief", 35)
    held = [m.submission for m in box.engine.held.all()]
    assert held
    await box.advance(1200)
    waiting = {m.submission.id for m in box.engine.held.all()}
    left = next(s for s in held if s.id not in waiting)
    address = left.envelope.recipients[0].address
    assert await box.engine.outcomes.take(bounce(left, address)) == "taken"


# -- earlier


async def passed_before_the_alarm(box, delay):
    """Let a thief with a bad list send; return how much passed until it was slowed.

    Every third recipient does not exist, which a bounce tells ``delay`` later
    (None: nobody tells).
    """
    sender = "login:thief"
    for _ in range(20):
        box.now += 3600
        await box.offer(sender, ["friend@example.net"])
    box.now += 3600
    told = []
    for number in range(200):
        box.now += 10
        decision = await box.offer(sender, [f"s{number}@example.net"])
        if decision.action is not Action.PASS:
            return number
        if number % 3 == 0:
            told.append((box.now + (delay or 0), box.offered[-1]))
        while delay is not None and told and told[0][0] <= box.now:
            sent = told.pop(0)[1]
            address = sent.envelope.recipients[0].address
            assert await box.engine.outcomes.take(bounce(sent, address)) == "taken"
    return 200


async def test_a_thief_whose_recipients_bounce_is_slowed_earlier(server, tmp_path):
    count = {}
    for delay in (None, 2, 60):
        server.flush()
        async with EngineBox(server.url, tmp_path / str(delay)) as box:
            count[delay] = await passed_before_the_alarm(box, delay)
    assert count[2] <= count[60] < count[None]


# -- Redis away


async def test_bounces_count_once_while_redis_is_away(tmp_path):
    with RedisServer(aof=True) as server:
        async with EngineBox(server.url, tmp_path) as box:
            early = await send(box, "early@example.net")
            await box.upkeep.store()
            before = await profile(box)
            server.kill()
            late = await send(box, "late@example.net")
            take = box.engine.outcomes.take
            for sent in (early, late):
                address = sent.envelope.recipients[0].address
                assert await take(bounce(sent, address)) == "taken"
                assert await take(bounce(sent, address)) == "repeated"
            unknown = bounce(late, trace_id="from-before", message_id="")
            with pytest.raises(StateUnavailableError):
                await take(unknown)  # a mail waits where it is
            unknown = replace(unknown, kind=Kind.LOG)
            assert await take(unknown) == "unmatched"
            await box.engine.outcomes.flush()
            assert box.engine.outcomes.counts["unmatched"] == 0
            server.start()
            await back(box)
            box.now += 10
            await box.upkeep.store()
            assert box.engine.outcomes.counts["unmatched"] == 1
            bad = (await profile(box)).bad
            assert bad == pytest.approx(before.bad + 2, rel=0.02)
            await box.crash()
            address = late.envelope.recipients[0].address
            # Claimed while Redis was away, so only this instance knew of it.
            found = await box.engine.outcomes.sent.find(bounce(late, address))
            assert found is not None


async def back(box):
    """Wait until the breaker has tried again."""
    for _ in range(200):
        try:
            await box.ledger.ping()
        except Exception:  # noqa: BLE001 - not yet
            await asyncio.sleep(0.05)
        else:
            return
    raise AssertionError("Redis did not come back")


async def test_memory_is_bounded_while_redis_is_away(box, monkeypatch):
    monkeypatch.setattr("shaper.engine.sentmail._RECENT", 5)
    sent = [await send(box, f"r{i}@example.net") for i in range(8)]
    memory = box.engine.outcomes.sent
    assert memory.lost == 3
    first, last = sent[0], sent[-1]
    take = box.engine.outcomes.take
    assert await take(bounce(first, "r0@example.net")) == "unmatched"
    assert await take(bounce(last, "r7@example.net")) == "taken"


async def test_what_redis_lost_is_written_again(box, server):
    sent = await send(box)
    await box.upkeep.store()
    server.flush()
    await box.upkeep.resynchronise()
    await box.upkeep.store()
    await box.crash()
    assert await box.engine.outcomes.take(bounce(sent)) == "taken"


async def test_a_forgotten_sender_is_found_no_more(box):
    sent = await send(box, sender="login:alice@example.org")
    await box.upkeep.store()

    async def none(_address):
        return 0

    found = await box.engine.forget("Alice@example.org", none)
    assert found["messages_remembered"] == 1
    assert await box.engine.outcomes.take(bounce(sent)) == "unmatched"


# -- learning that comes late


async def test_learning_survives_a_faster_instance(box, twin):
    for _ in range(3):
        await send(box)
    await box.upkeep.store()
    await twin.engine.senders.change(ALICE, lambda _: None)
    await send(box)
    # The twin stores the record between what was learned here and our writing.
    await twin.engine.senders.change(
        ALICE, lambda record: setattr(record, "released", record.released + 1)
    )
    await box.upkeep.store()
    record, _ = await twin.engine.senders.read(ALICE)
    assert record.released == 1
    assert record.profile.good == pytest.approx(4.0)
