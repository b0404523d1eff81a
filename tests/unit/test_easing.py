"""An innocent alarm of a slow bucket costs an hour, and a theft gains nothing by it."""

from dataclasses import replace

import pytest

from shaper.core.evidence import OutcomeKind, learn, record_outcome, standing
from shaper.core.judgement import Rules, judge, review
from shaper.core.message import Action
from shaper.core.model import Model
from shaper.core.record import Record
from shaper.core.state import Event, State
from shaper.core.surprise import limits

MODEL = Model.default()
RULES = Rules()
HOUR = 3600.0
START = 1_700_000_000.0


def nearly_full():
    """Return a sender whose week of new recipients is full but for a few."""
    record = Record.new("login:alice", START - 60)
    judge(record, MODEL, RULES, [1], 0, START - 60)
    learn(record.profile, MODEL, [1], START - 60)
    profile = record.profile
    profile.levels[10] = limits(profile, MODEL)[10] - 2.5
    return record


def alarmed():
    record = nearly_full()
    now = START
    for recipient in range(10, 20):
        now += 600
        if judge(record, MODEL, RULES, [recipient], 0, now).transitions:
            part = standing(record.profile, MODEL, now)
            assert part.main == "new recipients 7 days"
            return record, now
    pytest.fail("never slowed")


def reviewed(record, since, seconds, waiting=1):
    """Review every minute; return the first change of state."""
    now = since
    while now < since + seconds:
        now += 60
        transition = review(record, MODEL, RULES, waiting, now)
        if transition:
            return transition
    return None


def test_an_alarm_that_brings_nothing_more_is_let_go_after_an_hour():
    record, now = alarmed()
    transition = reviewed(record, now, 5 * HOUR)
    assert transition.event is Event.CALM
    assert transition.at - now == pytest.approx(RULES.quiet, abs=60)
    assert record.state is State.NORMAL
    after = standing(record.profile, MODEL, transition.at)
    assert after.total < RULES.low_mark * after.limits[1]
    assert judge(record, MODEL, RULES, [1], 0, transition.at).action is Action.PASS


def test_mail_to_friends_does_not_put_it_off():
    record, now = alarmed()
    for i in range(6):
        later = now + 600 * (i + 1)
        assert judge(record, MODEL, RULES, [1], 1 + i, later).action is Action.HOLD
    assert reviewed(record, now + HOUR - 60, 600).event is Event.CALM


@pytest.mark.parametrize("pause", [60.0, 300.0, 1800.0])
def test_an_attack_that_goes_on_is_never_let_go(pause):
    record, now = alarmed()
    begun = now
    stranger = 10**6
    while record.state is State.SLOWED:
        now += pause
        stranger += 1
        judge(record, MODEL, RULES, [stranger], 5, now)
        transition = review(record, MODEL, RULES, 5, now)
        assert transition is None or transition.event is not Event.CALM
        assert now - begun <= RULES.block_after + pause
    assert record.state is State.BLOCKED


@pytest.mark.parametrize(
    ("waiting", "caught"), [(RULES.most_eased + 1, 11), (2, 2 * RULES.most_eased + 1)]
)
def test_more_mail_than_a_little_waits_for_a_person(waiting, caught):
    record, now = alarmed()
    record.caught = caught
    assert reviewed(record, now, 5 * HOUR, waiting).event is Event.PERSISTED


def test_one_message_to_many_counts_by_its_recipients():
    record, now = alarmed()
    judge(record, MODEL, RULES, list(range(100, 130)), 1, now)
    transition = reviewed(record, now, 5 * HOUR, waiting=2)
    assert transition.event is not Event.CALM


def test_bounces_keep_it():
    record, now = alarmed()
    kind = OutcomeKind.HARD_BOUNCE
    record_outcome(record.profile, MODEL, kind, 2, now + 30)
    assert reviewed(record, now, 5 * HOUR).event is not Event.CALM


def test_it_is_let_go_once_a_week():
    record, now = alarmed()
    record.eased = now - RULES.ease_again + 6 * HOUR
    assert reviewed(record, now, 5 * HOUR).event is Event.PERSISTED
    record, now = alarmed()
    record.eased = now - RULES.ease_again
    assert reviewed(record, now, 5 * HOUR).event is Event.CALM
    assert record.eased > now


def test_no_rule_no_easing():
    record, now = alarmed()
    never = replace(RULES, most_eased=-1)
    assert review(record, MODEL, never, 1, now + 2 * HOUR) is None


def test_what_it_remembers_is_stored():
    record, now = alarmed()
    judge(record, MODEL, RULES, [777, 778], 1, now + 5)
    record.eased = 12345.0
    back = Record.decode(record.encode())
    assert (back.caught, back.stirred, back.eased) == (3, now + 5, 12345.0)
    assert "eased" not in record.standing_json()
    assert "stirred" not in record.standing_json()
