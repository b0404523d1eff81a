"""The stored form of a sender's record gives back what was put in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shaper.core.evidence import learn, weigh
from shaper.core.model import Model
from shaper.core.record import Exemption, Plan, Record, Run
from shaper.core.state import State

times = st.floats(0, 4e9, allow_nan=False)
texts = st.text(max_size=30)


@given(
    sender=texts,
    state=st.sampled_from(State),
    since=times,
    calm=times,
    exemption=st.none() | st.builds(Exemption, times, texts, texts),
    plans=st.lists(
        st.builds(
            Plan, times, times, st.integers(0, 10**6), texts, texts, st.integers(0, 9)
        ),
        max_size=3,
    ),
    run=st.builds(Run, times, st.integers(1, 999), st.integers(0, 999), times),
    confirmed=st.booleans(),
    recipients=st.lists(st.integers(0, 2**64 - 1), max_size=20),
)
def test_round_trip(
    sender, state, since, calm, exemption, plans, run, confirmed, recipients
):
    record = Record.new(sender, since)
    record.state, record.since, record.calm_since = state, since, calm
    record.exemption, record.plans, record.run = exemption, tuple(plans), run
    record.confirmed = confirmed
    weigh(record.profile, Model.default(), recipients, since)
    learn(record.profile, Model.default(), recipients, since)
    again = Record.decode(record.encode())
    assert again.encode() == record.encode()
    assert again == record


@given(st.binary(max_size=300))
def test_garbage_raises_value_error_and_nothing_else(raw):
    try:
        record = Record.decode(raw)
    except ValueError:
        return
    pytest.fail(f"garbage became {record!r}")


@given(st.integers(0, 5000), st.binary(min_size=1, max_size=4))
def test_a_damaged_record_never_raises_anything_else(position, noise):
    record = Record.new("login:alice@example.org", 1.7e9)
    record.plans = (Plan(1.0, 2.0, 3, "root", "why"),)
    raw = bytearray(record.encode())
    raw[position % len(raw) : position % len(raw) + len(noise)] = noise
    try:
        Record.decode(bytes(raw))
    except ValueError:
        return


def test_standing_survives_without_the_profile():
    record = Record.new("login:alice", 5.0)
    record.state, record.case = State.BLOCKED, "c1"
    record.exemption = Exemption(9.0, "root", "reason")
    other = Record.new("login:alice", 6.0)
    other.apply_standing(record.standing_json())
    assert other.standing_json() == record.standing_json()


def test_a_bad_standing_changes_nothing():
    record = Record.new("login:alice", 5.0)
    before = record.encode()
    for bad in ({}, {"state": "angry", "since": 1}, {"state": "slowed", "since": "x"}):
        with pytest.raises((KeyError, ValueError)):
            record.apply_standing(bad)
        assert record.encode() == before
