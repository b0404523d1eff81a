"""A case tells the story, bounded, and its parts become one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shaper.core.case import DOMAINS, SAMPLES, STEPS, Case, Step, merge
from shaper.core.envelope import Client, Envelope, Recipient
from shaper.core.evidence import standing
from shaper.core.judgement import Transition
from shaper.core.message import Submission
from shaper.core.model import Model
from shaper.core.record import Record, Run
from shaper.core.state import Event, State

NOW = 1.7e9


def moved(event, old, new, at):
    evidence = standing(Record.new("login:a", at).profile, Model.default(), at)
    return Transition(event, old, new, at, evidence)


def opened(part="one", at=NOW):
    case = Case.open("c1", "login:a", Run(at - 60, 4, 7), at, part)
    case.moved(moved(Event.ALARM, State.NORMAL, State.SLOWED, at))
    return case


def submission(i, subject="win a prize", domains=1):
    recipients = tuple(Recipient(f"u{i}@d{j}.example") for j in range(domains))
    return Submission(
        f"m{i}",
        "login:a",
        Envelope("a@example.org", recipients),
        Client(address=f"192.0.2.{i % 256}"),
        NOW,
        subject=subject,
    )


def test_a_case_counts_what_escaped_and_what_was_held():
    case = opened()
    case.saw(submission(1, domains=3))
    case.left(2)
    assert case.escaped == (4, 7)
    assert case.held == (1, 3)
    assert case.delivered == (1, 2)
    assert case.state is State.SLOWED
    assert case.onset == NOW - 60


def test_samples_are_bounded():
    case = opened()
    for i in range(300):
        case.saw(submission(i, subject=f"{i}" * 500, domains=2))
        case.note(Step(NOW, "noted", "slowed"))
    assert len(case.subjects) == SAMPLES
    assert max(map(len, case.subjects)) <= 200
    assert len(case.domains) <= DOMAINS
    assert len(case.steps) == STEPS
    assert case.steps[0].event == "alarm"


@pytest.mark.parametrize(
    ("event", "outcome"), [(Event.CALM, "faded"), (Event.RELEASED, "innocent")]
)
def test_a_return_to_normal_closes_it(event, outcome):
    case = opened()
    case.moved(moved(event, State.SLOWED, State.NORMAL, NOW + 9), "root", "why")
    assert (case.closed, case.outcome) == (NOW + 9, outcome)


def test_parts_of_instances_become_one_story():
    one, two = opened("one"), Case("c1", "login:a", NOW + 1, "two")
    one.saw(submission(1))
    two.saw(submission(2, subject="another"))
    two.moved(moved(Event.SEVERE, State.SLOWED, State.BLOCKED, NOW + 5))
    whole = merge([two, one])
    assert whole.held == (2, 2)
    assert whole.subjects == ["win a prize", "another"]
    assert [step.event for step in whole.steps] == ["alarm", "severe"]
    assert whole.state is State.BLOCKED
    assert (whole.opened, whole.onset) == (NOW, NOW - 60)
    assert merge([one, two]).encode() == whole.encode()


def test_round_trip():
    case = opened()
    case.saw(submission(1, subject="\udcff\x00é"))
    case.told.append("opened")
    assert Case.decode(case.encode()).encode() == case.encode()


@given(st.binary(max_size=200) | st.just(b"[]") | st.just(b"{}") | st.just(b"3"))
def test_garbage_raises_value_error_and_nothing_else(raw):
    with pytest.raises(ValueError):  # noqa: PT011 - json's own messages vary
        Case.decode(raw)


def test_there_is_no_case_without_parts():
    with pytest.raises(ValueError, match="no part"):
        merge([])
