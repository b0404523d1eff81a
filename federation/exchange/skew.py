"""Whether our clock agrees with those of the peers.

Each answer of a peer tells its time. The median of the differences over the peers
says how wrong we are: a single peer with a wrong clock moves nothing where there
are three. With one peer nobody can tell whose clock it is; both then stop, which
loses nothing, since events wait where they are.

PROTOCOL.md 9.2. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median_high, median_low
from typing import Final

__all__ = ["STOP", "WARN", "Skew"]

WARN: Final = 120
STOP: Final = 3600
"""Seconds from which nothing is taken and nothing expires: a clock that is a day
ahead would let everything die and write events that nobody takes."""

_MEMORY = 86_400.0


@dataclass(slots=True)
class Skew:
    """Differences to the peers' clocks; positive: theirs are ahead of ours.

    ``at`` of each is monotonic time, which no wrong clock moves.
    """

    seen: dict[bytes, tuple[int, float]] = field(default_factory=dict)

    def note(self, peer: bytes, difference: int, at: float) -> None:
        """Remember what a peer's last answer said."""
        self.seen[peer] = (difference, at)

    def offset(self, at: float) -> int:
        """Return the median difference in seconds, 0 while no peer has answered."""
        fresh = [diff for diff, when in self.seen.values() if when > at - _MEMORY]
        if not fresh:
            return 0
        # Of an even number the half that agrees with us: with two peers, one that
        # is wrong must not stop us as long as the other is right.
        return min(median_low(fresh), median_high(fresh), key=abs)

    def stopped(self, at: float) -> str:
        """Return why nothing is to be taken, or ""."""
        offset = self.offset(at)
        if abs(offset) <= STOP:
            return ""
        side = "behind" if offset > 0 else "ahead of"
        return f"this host's clock is {abs(offset)} s {side} its peers' clocks"
