"""The decision about a message: who is held, when, and what is remembered."""

import pytest

from shaper.core.evidence import Level, standing
from shaper.core.judgement import Rules, judge, move, review
from shaper.core.message import Action
from shaper.core.model import Model
from shaper.core.record import Exemption, Plan, Record
from shaper.core.state import Event, IllegalTransitionError, State

MODEL = Model.default()
RULES = Rules()
DAY = 86400.0
START = 1_700_000_000.0


def blast(record, seconds, *, since, waiting=0, gap=1.0):
    """Send one message a second to somebody new; return the judgements."""
    return [
        judge(
            record,
            MODEL,
            RULES,
            [hash((since, i)) & 0xFFFFFFFF],
            waiting,
            since + i * gap,
        )
        for i in range(seconds)
    ]


def until_slowed(record, since=START):
    for i in range(500):
        judgement = judge(record, MODEL, RULES, [1000 + i], 0, since + float(i))
        if judgement.transitions:
            return i, judgement
    pytest.fail("a blast of 500 recipients was never noticed")


def test_the_message_that_raises_the_alarm_is_held():
    record = Record.new("login:alice", START)
    passed, judgement = until_slowed(record)
    assert judgement.action is Action.HOLD
    assert judgement.transitions[0].event is Event.ALARM
    assert judgement.evidence.level >= Level.SLOW
    assert record.state is not State.NORMAL
    assert record.run.messages == passed


def test_a_retry_is_not_weighed_again():
    record = Record.new("login:alice", START)
    assert judge(record, MODEL, RULES, [1], 0, START).weighed
    before = record.profile.encode()
    for _ in range(100):
        again = judge(record, MODEL, RULES, [], 0, START)
        assert not again.weighed
        assert again.action is Action.PASS
    assert record.profile.encode() == before


def test_a_retry_takes_nothing_from_a_plan_and_passes_by_it():
    record = Record.new("login:alice", START)
    record.plans = (Plan(START, START + 3600, 1, "root", "letter"),)
    record.state = State.SLOWED
    assert judge(record, MODEL, RULES, [1], 0, START).action is Action.PASS
    assert judge(record, MODEL, RULES, [], 0, START + 1).action is Action.PASS
    assert record.plans[0].used == 1
    assert judge(record, MODEL, RULES, [2], 0, START + 2).action is Action.HOLD


def test_block_level_evidence_slows_and_blocks_in_one_step():
    record = Record.new("login:alice", START)
    many = list(range(5000))
    judgement = judge(record, MODEL, RULES, many, 0, START)
    assert [t.event for t in judgement.transitions] == [Event.ALARM, Event.SEVERE]
    assert record.state is State.BLOCKED


def test_too_many_waiting_messages_block():
    record = Record.new("login:alice", START)
    until_slowed(record)
    if record.state is State.SLOWED:
        later = START + 2 * DAY  # evidence has faded; only the count speaks
        judgement = judge(record, MODEL, RULES, [5], RULES.block_at - 1, later)
        assert [t.event for t in judgement.transitions] == [Event.CROWDED]
    assert record.state is State.BLOCKED


def test_an_exemption_passes_everything_and_weighs_nothing():
    record = Record.new("login:alice", START)
    record.exemption = Exemption(START + 100, "root", "newsletter")
    judgements = blast(record, 100, since=START)
    assert all(j.action is Action.PASS for j in judgements)
    assert all(j.allowance == "exemption" for j in judgements)
    assert standing(record.profile, MODEL, START + 100).total == pytest.approx(
        standing(Record.new("login:alice", START).profile, MODEL, START).total
    )
    after = judge(record, MODEL, RULES, [7], 0, START + 100)
    assert after.weighed
    assert record.exemption is None


def test_an_exemption_does_not_open_a_blocked_sender():
    record = Record.new("login:alice", START)
    move(record, Event.CONFIRMED, START, standing(record.profile, MODEL, START))
    record.exemption = Exemption(START + 100, "root", "mistake")
    judgement = judge(record, MODEL, RULES, [1], 0, START + 1)
    assert judgement.action is Action.HOLD


def test_a_plan_is_consumed_and_then_over():
    record = Record.new("login:alice", START)
    record.plans = (Plan(START, START + 3600, 3, "root", "letter"),)
    judgements = blast(record, 4, since=START)
    assert [j.allowance for j in judgements] == ["plan", "plan", "plan", ""]
    assert record.plans[0].used == 3


def test_a_plan_counts_only_inside_its_time():
    record = Record.new("login:alice", START)
    record.plans = (Plan(START + 10, START + 20, 100, "root", "letter"),)
    assert blast(record, 1, since=START)[0].allowance == ""
    assert blast(record, 1, since=START + 10)[0].allowance == "plan"
    assert blast(record, 1, since=START + 20)[0].allowance == ""
    assert record.plans == ()


def test_a_slowed_sender_returns_after_the_dwell_time_and_not_before():
    record = Record.new("login:alice", START)
    _, judgement = until_slowed(record)
    record.state = State.SLOWED
    record.since = since = judgement.transitions[0].at
    assert review(record, MODEL, RULES, 1, since) is None
    now, calm_at = since, 0.0
    while now < since + 3 * DAY:
        now += 60.0
        transition = review(record, MODEL, Rules(block_after=9 * DAY), 1, now)
        if transition:
            break
        calm_at = record.calm_since or calm_at
    assert transition is not None
    assert transition.event is Event.CALM
    assert now - calm_at >= RULES.dwell
    assert record.state is State.NORMAL


def test_an_anomaly_that_goes_on_blocks():
    record = Record.new("login:alice", START)
    until_slowed(record)
    record.state = State.SLOWED
    record.since = START
    now = START
    while now < START + RULES.block_after:
        now += 300.0
        for i in range(5):
            judge(
                record,
                MODEL,
                Rules(block_at=10**6),
                [int(now) + i],
                0,
                now,
            )
        if record.state is State.BLOCKED:
            return
        transition = review(record, MODEL, RULES, 1, now)
        if transition:
            assert transition.event is Event.PERSISTED
            return
    pytest.fail("the sender was neither blocked by evidence nor by time")


def test_a_clock_that_steps_back_does_not_end_the_dwell():
    record = Record.new("login:alice", START)
    move(record, Event.ALARM, START, standing(record.profile, MODEL, START))
    assert review(record, MODEL, RULES, 1, START + 10) is None
    assert record.calm_since == START + 10
    assert review(record, MODEL, RULES, 1, START - 5000) is None
    assert record.calm_since == START - 5000
    assert review(record, MODEL, RULES, 1, START - 5000 + RULES.dwell) is not None


def test_an_illegal_move_changes_nothing():
    record = Record.new("login:alice", START)
    before = record.encode()
    with pytest.raises(IllegalTransitionError):
        move(record, Event.CALM, START, standing(record.profile, MODEL, START))
    assert record.encode() == before


def test_the_same_arguments_give_the_same_judgement():
    a, b = Record.new("login:alice", START), Record.new("login:alice", START)
    assert blast(a, 30, since=START) == blast(b, 30, since=START)
    assert a.encode() == b.encode()


def test_an_anomaly_that_has_ended_and_left_nothing_waiting_does_not_block():
    record = Record.new("login:alice", START)
    until_slowed(record)
    record.state = State.SLOWED
    record.since = START
    late = START + 2 * RULES.block_after
    transition = review(record, MODEL, RULES, 0, late)
    assert transition is None or transition.event is Event.CALM
