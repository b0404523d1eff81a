"""How fast the mail of a slowed sender leaves the trickle, and which first.

Pure arithmetic for the engine's trickle and for the drill, so that what the
drill measures is what the daemon does. While the evidence stays, each release
doubles the pause before the next: a thief who sends slowly would otherwise get
nearly everything out at one a minute. Mail to familiar correspondents goes
first, so that the owner's own conversation is what flows.
"""

from __future__ import annotations

__all__ = [
    "FIRST_PAUSE",
    "LONGEST_PAUSE",
    "drain_pause",
    "next_release_after",
]

FIRST_PAUSE = 60.0
LONGEST_PAUSE = 3600.0
_FADED = 0.5  # share of the slow limit: the low mark of the state machine


def next_release_after(
    released: int,
    share: float,
    first: float = FIRST_PAUSE,
    longest: float = LONGEST_PAUSE,
) -> float:
    """Return the pause in seconds before the next message may leave.

    ``released`` counts the recipients that the trickle served since the alarm,
    ``share`` is the evidence as a share of the slow limit. One a minute (``first``)
    to begin, twice as long after each release, at most an hour (``longest``);
    back to a minute when the evidence has faded.
    """
    if share < _FADED:
        return first
    # The exponent is capped before the power: a count from storage may be huge.
    return float(min(first * 2.0 ** min(max(released, 0), 16), longest))


def drain_pause(first: float, growth: float, drained: int) -> float:
    """Return the pause in seconds after message number ``drained`` (1-based).

    A sender that returned to normal has its held mail sent at a growing pace:
    each pause is shorter by ``growth``, down to a twentieth of a second.
    """
    return float(max(first / growth ** min(drained, 64), 0.05))
