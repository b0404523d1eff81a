"""Whether sharing helps: bounces that each origin spared us, or could have.

Counted are recipients that we did not write to because of others, by the origins
whose claims stood then, and how those claims fared where our own mail tried the
address anyway. That is told of organisations without weight too: an address where
they were right is a bounce that would have been spared, had their word sufficed.

Pure: everything is computed from stored claims and our own evidence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from federation.trust.decision import LIFE, claimed_at
from federation.trust.levels import Level

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from federation.log.claim import Claim
    from federation.trust.audit import Sign
    from federation.trust.levels import Trust

__all__ = ["Benefit", "Met", "benefit"]

_ENOUGH = 20


class Met(NamedTuple):
    """A tag that our mail met: claims, what we saw, when we stopped recipients."""

    claims: Sequence[Claim]
    signs: Sequence[Sign]
    stops: Sequence[int]


@dataclass(frozen=True, slots=True)
class Benefit:
    """Of one origin. ``stopped`` and ``alone`` count mail, the others addresses.

    ``alone``: it was the only one that claimed. ``right`` and ``wrong``: our own
    mail bounced there after its claim, or was taken.
    """

    stopped: int = 0
    alone: int = 0
    right: int = 0
    wrong: int = 0

    @property
    def spared(self) -> int | None:
        """Bounces spared, by the share of its claims that proved right.

        None says "n/a": our mail met too few of its addresses to tell.
        """
        met = self.right + self.wrong
        return self.stopped * self.right // met if met >= _ENOUGH else None


def benefit(met: Iterable[Met], trust: Trust) -> dict[bytes, Benefit]:
    """Return what each origin's hard claims did for us."""
    sums: dict[bytes, list[int]] = {}
    for one in met:
        hard: dict[bytes, list[Claim]] = {}
        for claim in one.claims:
            own = trust.standing(claim.org).level is Level.SELF
            if claim.k == "rcpt.hard" and not own:
                hard.setdefault(claim.org, []).append(claim)
        for stop in one.stops:
            told = [
                org
                for org, claims in hard.items()
                if trust.weight(org) and any(_stood(claim, stop) for claim in claims)
            ]
            for org in told:
                row = sums.setdefault(org, [0] * 4)
                row[0] += 1
                row[1] += len(told) == 1
        for org, claims in hard.items():
            _judge(sums.setdefault(org, [0] * 4), claims, one.signs)
    return {org: Benefit(*row) for org, row in sums.items()}


def _judge(row: list[int], claims: list[Claim], signs: Sequence[Sign]) -> None:
    """Count what our own mail met after an origin's claims about one address."""
    after = {
        sign.alive for sign in signs if any(_stood(claim, sign.at) for claim in claims)
    }
    # Where it met both, the address was dead at some time after the claim.
    row[2] += False in after
    row[3] += after == {True}


def _stood(claim: Claim, at: int) -> bool:
    """Whether a claim was here and lived at a time."""
    return claim.recv <= at and at - claimed_at(claim) <= LIFE[claim.k]
