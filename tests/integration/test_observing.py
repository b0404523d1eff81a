"""Observation: mail that has left is judged, nothing is held, and it ends in order."""

from datetime import UTC, datetime

import pytest

from shaper import observation
from shaper.core.state import State
from shaper.feedback.joiner import Sent
from shaper.feedback.live import LiveLog
from shaper.feedback.table import shipped_table
from shaper.watch import Watch, _submission
from tests.support.engine import EngineBox

ALICE = "login:alice@example.com"
BOUNCED = (
    "dsn=5.1.1, status=bounced (host mx[192.0.2.1] said: 550 5.1.1 <{0}>: Recipient "
    "address rejected: User unknown (in reply to RCPT TO command))"
)


def _log(box, number, recipient, *, ago=0.0, fate="dsn=2.0.0, status=sent (250 ok)"):
    when = datetime.fromtimestamp(box.now - ago, UTC).isoformat()
    name = f"{0x10000000 + number:X}"
    return [
        f"{when} mx postfix/{text}"
        for text in (
            (
                f"submission/smtpd[1]: {name}: client=pc[192.0.2.7], "
                "sasl_method=PLAIN, sasl_username=alice@example.com"
            ),
            f"cleanup[2]: {name}: message-id=<{name}@example.com>",
            f"qmgr[3]: {name}: from=<alice@example.com>, size=9, nrcpt=1 (queue act)",
            (
                f"smtp[4]: {name}: to=<{recipient}>, relay=mx[192.0.2.1]:25, delay=1, "
                f"delays=0/0/0/1, {fate.format(recipient)}"
            ),
            f"qmgr[3]: {name}: removed",
        )
    ]


async def _feed(watch, lines):
    for line in lines:
        await watch.line(line)


async def _usual(box, watch, days=20):
    """Let alice write to her friends for some days."""
    number = 0
    for _ in range(days):
        for hour in range(4):
            number += 1
            await _feed(watch, _log(box, number, f"friend{hour}@example.org"))
            box.now += 7200
        box.now += 16 * 3600
    return number


async def _steal(box, watch, *, ago=0.0, count=60):
    for shot in range(count):
        lines = _log(box, 5000 + shot, f"victim{shot}@example.net", ago=ago)
        await _feed(watch, lines)
        box.now += 3


@pytest.fixture
async def box(redis_url, tmp_path):
    async with EngineBox(redis_url, tmp_path, enforce=False) as made:
        made.context.placement = "watch"
        yield made


def _watch(box):
    return Watch(box.engine.observing, box.engine.outcomes.take, box.clock)


async def test_a_theft_in_the_log_opens_a_case_and_a_notice_and_holds_nothing(box):
    watch = _watch(box)
    await _usual(box, watch)
    assert box.engine.casebook.all() == []
    await _steal(box, watch)
    (case,) = box.engine.casebook.all()
    assert case.sender == ALICE
    assert case.held[0] > 40  # what would have been held
    assert case.clients == {"192.0.2.7": case.held[0]}
    assert case.domains == {"example.net": case.held[0]}
    assert case.escaped[1] <= 10
    assert not list(box.engine.held.all())


async def test_the_case_closes_by_itself_though_it_was_blocked(box):
    watch = _watch(box)
    await _usual(box, watch)
    await _steal(box, watch)
    record, _ = await box.engine.senders.read(ALICE)
    assert record.state is State.BLOCKED
    for _ in range(40 * 24):
        box.now += 3600
        await box.engine.observing.review()
        if not box.engine.senders.names("blocked"):
            break
    (case,) = box.engine.casebook.all()
    assert (case.outcome, case.state) == ("faded", State.NORMAL)


async def test_a_backlog_teaches_and_opens_no_case(box):
    watch = _watch(box)
    await _usual(box, watch)
    await _steal(box, watch, ago=30 * 3600)
    assert box.engine.casebook.all() == []
    record, known = await box.engine.senders.read(ALICE)
    assert known
    assert record.state is State.NORMAL


async def test_a_theft_that_goes_on_after_a_backlog_is_told_at_once(box):
    watch = _watch(box)
    await _usual(box, watch)
    await _steal(box, watch, ago=2 * 3600)
    lines = _log(box, 9000, "victim@example.net")
    await _feed(watch, lines)
    assert [case.sender for case in box.engine.casebook.all()] == [ALICE]


async def test_lines_that_are_read_twice_count_once(box):
    watch = _watch(box)
    await _usual(box, watch, days=3)
    lines = _log(box, 900, "stranger@example.net")
    await _feed(watch, lines)
    before = (await box.engine.senders.read(ALICE))[0].profile.encode()
    await _feed(_watch(box), lines)
    assert (await box.engine.senders.read(ALICE))[0].profile.encode() == before


async def test_bounces_in_the_log_find_their_sender(box):
    watch = _watch(box)
    lines = _log(box, 1, "nobody@example.net", fate=BOUNCED)
    await _feed(watch, lines)
    live = LiveLog(shipped_table(), box.clock)
    results = [
        await box.engine.outcomes.take(outcome)
        for line in lines
        for outcome in live.feed(line)
    ]
    assert results == ["taken"]
    record, _ = await box.engine.senders.read(ALICE)
    assert record.profile.bad > 0


async def _follow(box, watch, live, lines):
    """Do what follows a log."""
    for line in lines:
        await watch.line(line)
        for outcome in live.feed(line):
            await watch.take(outcome)


async def test_a_bounce_waits_until_its_message_is_judged(box):
    watch, live = _watch(box), LiveLog(shipped_table(), box.clock)
    client, message_id, queued, bounced, end = _log(
        box, 1, "nobody@example.net", fate=BOUNCED
    )
    slow = bounced.replace("nobody@", "slow@").replace(
        BOUNCED.format("nobody@example.net"), "dsn=4.4.1, status=deferred (timed out)"
    )
    queued = queued.replace("nrcpt=1", "nrcpt=2")
    await _follow(box, watch, live, [client, message_id, queued, bounced])
    box.now += 120
    await box.engine.outcomes.flush()
    await _follow(box, watch, live, [slow, end])
    assert +box.engine.outcomes.counts == {"taken": 2}
    record, _ = await box.engine.senders.read(ALICE)
    assert record.profile.bad > 0


async def test_after_a_restart_an_open_message_is_judged(box):
    *before, delivered, end = _log(box, 1, "bob@example.net")
    watch = _watch(box)
    for line in before:
        watch.learn(line)
    await _feed(watch, [delivered, end])
    assert watch.counts.messages == 1
    assert (await box.engine.senders.read(ALICE))[1]


@pytest.mark.parametrize("told", [True, False])
async def test_exim_tells_a_message_though_a_recipient_is_deferred(box, told):
    when = datetime.fromtimestamp(box.now, UTC).strftime("%Y-%m-%d %H:%M:%S +0000")
    name = f"{when} 1abcDE-000001-AB"
    to = " for a@example.net b@example.net" if told else ""
    watch, live = _watch(box), LiveLog(shipped_table(), box.clock)
    lines = [
        (
            f"{name} <= a@example.com H=pc [192.0.2.7] P=esmtpa "
            f"A=plain:alice@example.com S=9 id=x@example.com{to}"
        ),
        (
            f"{name} ** a@example.net R=r T=t H=mx [192.0.2.1]: SMTP error from "
            "remote mail server after RCPT TO:<a@example.net>: 550 5.1.1 User unknown"
        ),
        f"{name} == b@example.net R=r T=remote_smtp defer (-44): 450 Greylisted",
    ]
    await _follow(box, watch, live, lines)
    assert watch.counts.messages == int(told)
    await _follow(box, watch, live, [f"{name} Completed"])
    assert watch.counts.messages == 1
    assert box.engine.outcomes.counts["taken"] == 2


async def test_strangers_mail_to_our_mailboxes_is_not_judged(box):
    watch = _watch(box)
    lines = [
        line.replace("sasl_method=PLAIN, sasl_username=alice@example.com", "")
        .replace("postfix/smtp[4]", "postfix/virtual[4]")
        .replace("relay=mx[192.0.2.1]:25", "relay=virtual")
        for line in _log(box, 1, "us@example.com")
    ]
    await _feed(watch, lines)
    assert watch.counts.inbound == 1
    assert not (await box.engine.senders.read("from:alice@example.com"))[1]


async def test_what_arose_in_observation_lapses_when_holding_begins(
    box, tmp_path, caplog
):
    await observation.switch(box.engine, tmp_path)
    watch = _watch(box)
    await _usual(box, watch)
    await _steal(box, watch)
    change = box.change("it is stolen")
    await box.control.block(change, "login:mallory@example.com")
    box.context.enforce = True
    await observation.switch(box.engine, tmp_path)
    assert (await box.engine.senders.read(ALICE))[0].state is State.NORMAL
    (mallory, _) = await box.engine.senders.read("login:mallory@example.com")
    assert mallory.state is State.BLOCKED  # an operator's word
    assert box.context.enforce
    assert "arose in observation" in caplog.text
    lines = [line for line in box.audit.replay() if line["event"] == "sender"]
    assert lines[-1]["sender"] == ALICE
    assert (lines[-1]["state"], lines[-1]["reason"]) == (
        "normal",
        "it arose while nothing was held",
    )
    (case,) = [c for c in box.engine.casebook.all() if c.sender == ALICE]
    assert case.steps[-1].event == "lapsed"


async def test_what_was_slowed_before_observation_stays_when_it_ends(box, tmp_path):
    watch = _watch(box)
    await _usual(box, watch)
    await _steal(box, watch)
    box.now += 60
    await observation.switch(box.engine, tmp_path)  # observation begins only now
    box.context.enforce = True
    await observation.switch(box.engine, tmp_path)
    assert (await box.engine.senders.read(ALICE))[0].state is State.BLOCKED


async def test_a_start_that_never_observed_lets_nothing_lapse(box, tmp_path):
    watch = _watch(box)
    await _usual(box, watch)
    await _steal(box, watch)
    box.context.enforce = True
    await observation.switch(box.engine, tmp_path)
    assert (await box.engine.senders.read(ALICE))[0].state is State.BLOCKED


def test_a_message_of_a_log_is_told_once_and_as_sent():
    sent = Sent("login:a", ("b@c",), 1.0, "pc (helo) [192.0.2.1]", "x@y")
    made = _submission(sent, "4ABC", "a@b")
    assert made.client.address == "192.0.2.1"
    assert made.message_id == "<x@y>"
    assert made.client.ident == "4ABC@1"
