"""Every way between states is listed, and no other exists."""

import pytest

from shaper.core.state import (
    TRANSITIONS,
    Event,
    IllegalTransitionError,
    State,
    next_state,
)


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", Event)
def test_an_event_leads_where_the_table_says_or_raises(state, event):
    if event in TRANSITIONS[state]:
        assert next_state(state, event) is TRANSITIONS[state][event]
    else:
        with pytest.raises(IllegalTransitionError, match=str(state)):
            next_state(state, event)


def test_only_an_operator_leads_out_of_blocked():
    out = {e for e, new in TRANSITIONS[State.BLOCKED].items() if new != State.BLOCKED}
    # What arose in observation was never a block (tests/integration/test_observing).
    assert out == {Event.RELEASED, Event.LAPSED}


def test_nobody_is_blocked_by_evidence_without_being_slowed_first():
    automatic = {Event.SEVERE, Event.PERSISTED, Event.CROWDED}
    assert not automatic & set(TRANSITIONS[State.NORMAL])


def test_the_table_cannot_be_changed():
    with pytest.raises(TypeError):
        TRANSITIONS[State.BLOCKED][Event.CALM] = State.NORMAL
