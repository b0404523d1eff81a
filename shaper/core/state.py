"""The states of a sender and every way from one to another.

Everything that touches transitions is in this file. The table is data: the
diagram in ``docs/flow.md`` is drawn from it and a test compares the two. An
event that the table does not list for a state raises and changes nothing.

Only an operator leads out of ``blocked``: no timer, no restart and no loss of
Redis may lift it (product.md, States of a sender). ``lapsed`` is for what the
machine alone said while nothing was held (``engine/observing.py``).
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["TRANSITIONS", "Event", "IllegalTransitionError", "State", "next_state"]


class State(StrEnum):
    """How the mail of a sender is treated."""

    NORMAL = "normal"
    SLOWED = "slowed"
    BLOCKED = "blocked"


class Event(StrEnum):
    """What may move a sender from one state to another."""

    ALARM = "alarm"  # evidence over the slow limit
    SEVERE = "severe"  # evidence over the block limit
    PERSISTED = "persisted"  # slowed too long, anomaly still present
    CROWDED = "crowded"  # too many messages wait
    CALM = "calm"  # evidence under the low mark for the dwell time
    RELEASED = "released"  # an operator found it innocent
    CONFIRMED = "confirmed"  # an operator blocked it
    LAPSED = "lapsed"  # it arose while nothing was held: a remark, no verdict


_TABLE = {
    State.NORMAL: {
        Event.ALARM: State.SLOWED,
        Event.CONFIRMED: State.BLOCKED,
    },
    State.SLOWED: {
        Event.SEVERE: State.BLOCKED,
        Event.PERSISTED: State.BLOCKED,
        Event.CROWDED: State.BLOCKED,
        Event.CONFIRMED: State.BLOCKED,
        Event.CALM: State.NORMAL,
        Event.RELEASED: State.NORMAL,
        Event.LAPSED: State.NORMAL,
    },
    State.BLOCKED: {
        Event.CONFIRMED: State.BLOCKED,  # it is a theft: nothing of it is learned
        Event.RELEASED: State.NORMAL,
        Event.LAPSED: State.NORMAL,
    },
}

TRANSITIONS: Mapping[State, Mapping[Event, State]] = MappingProxyType(
    {state: MappingProxyType(row) for state, row in _TABLE.items()}
)


class IllegalTransitionError(ValueError):
    """An event that means nothing in this state."""


def next_state(state: State, event: Event) -> State:
    """Return where ``event`` leads. Raises IllegalTransitionError."""
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        msg = f"a sender that is {state} cannot meet {event}"
        raise IllegalTransitionError(msg) from None
