"""An alarm on the host as a whole: many senders deviate on the same day.

A thief with many accounts can keep each of them under its limit. On an innocent
day hardly any sender comes past 60 % of its limit (1 in 400 to 1 in 1,000
sender-days in the traces); that many do at once is evidence by itself. It tells
people and slows nobody: one cause, such as a Monday after a failure, moves many
innocent senders together.
"""

from __future__ import annotations

import math
from typing import NamedTuple

__all__ = ["DEVIATES", "HostDay", "HostEvidence", "host_evidence"]

DEVIATES = 0.6  # share of the slow limit past which a sender counts
_USUAL = 0.01  # share of active senders that may, well above the traces
_LIMIT = 9.2  # nats; 1,336 host-days of two traces reached 4.6


class HostEvidence(NamedTuple):
    """How improbable it is that so many of the active senders deviate, in nats."""

    total: float
    limit: float
    deviating: int
    active: int

    @property
    def alarm(self) -> bool:
        """Whether people should look."""
        return self.total >= self.limit

    def sentence(self) -> str:
        """Return one English sentence with the numbers."""
        return (
            f"{self.deviating} of {self.active} senders that wrote today passed "
            f"{DEVIATES:.0%} of their limits; {_USUAL:.0%} would not be unusual."
        )


class HostDay(NamedTuple):
    """A local day of alarm: its ISO date, the evidence, the most deviating senders.

    ``senders`` have their highest share of their own slow limits.
    """

    day: str
    evidence: HostEvidence
    senders: tuple[tuple[str, float], ...]


def host_evidence(deviating: int, active: int) -> HostEvidence:
    """Judge a day so far.

    ``active`` senders wrote today, ``deviating`` of them passed ``DEVIATES``.
    Chernoff's bound on the binomial tail: never more evidence than there is.
    """
    active = max(active, 0)
    deviating = min(max(deviating, 0), active)
    total = 0.0
    if active and deviating > _USUAL * active:
        share = deviating / active
        total = share * math.log(share / _USUAL)
        if share < 1.0:
            total += (1.0 - share) * math.log((1.0 - share) / (1.0 - _USUAL))
        total *= active
    return HostEvidence(total, _LIMIT, deviating, active)
