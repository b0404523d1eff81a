"""What our own mail says about those we believe.

Four checks, all pure functions of what is stored. An organisation that calls an
address dead that we know to live has no weight at all (canary). One whose claims
our own deliveries contradict too often has half of its weight, then none. Too many
recipients stopped only by what others say switch all of it off for hours (breaker).
A probe now and then lets one message through (``decision.probe_number``).

What the operator has seen and forgiven counts no more: setting an organisation's
level again starts its record anew.

PROTOCOL.md 10.5. None of it leaves this host.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from federation.format.limits import DAY
from federation.trust.decision import claimed_at
from federation.trust.levels import FULL, Level

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from federation.log.claim import Claim
    from federation.trust.levels import Trust

__all__ = [
    "BREAK_FOR",
    "HOUR",
    "Record",
    "Sign",
    "canaries_hit",
    "exceeds",
    "open_until",
    "records",
    "shares",
]

HOUR = 3600
BREAK_FOR = 6 * HOUR

_WINDOW = 7 * DAY  # in which our own mail contradicts or confirms a claim
_ENOUGH = 20  # claims met by our own mail before a ratio says anything
_HALVES_AT = 2  # percent
_ENDS_AT = 10
_STOPS_ALWAYS = 10  # an hour, however little we send
_STOPS_PERCENT = 2
_HOURS = 24


class Sign(NamedTuple):
    """Something our own mail met under a tag: a delivery, or a hard bounce."""

    alive: bool
    at: int


@dataclass(frozen=True, slots=True)
class Record:
    """How an organisation's hard claims fared against our own mail.

    ``met`` are the addresses it claimed that our mail tried within a week after;
    ``contradicted`` those that took the mail.
    """

    met: int = 0
    contradicted: int = 0

    @property
    def share(self) -> int:
        """What is left of its weight, in thousandths."""
        if self.met < _ENOUGH:
            return FULL
        if exceeds(self.contradicted, self.met, _ENDS_AT):
            return 0
        if exceeds(self.contradicted, self.met, _HALVES_AT):
            return FULL // 2
        return FULL


def exceeds(part: int, whole: int, percent: int) -> bool:
    """Whether the lower Wilson bound (95 %) of a ratio is above a percentage.

    The bound is above p exactly where k - np > z sqrt(np(1-p)): in integers, so it
    is the same everywhere. z squared is 3.8416.
    """
    above = 100 * part - percent * whole
    return above > 0 and above**2 * 10_000 > 38_416 * whole * percent * (100 - percent)


def canaries_hit(claims: Iterable[Claim], trust: Trust) -> set[bytes]:
    """Return who calls one of our living addresses dead; ``claims`` are of their tags.

    A claim that came before the operator last set the level is forgiven. So is one
    that its origin took back: a mistake that is corrected is what we want.
    """
    return {claim.org for claim in claims if _counts(claim, trust)}


def records(
    met: Iterable[tuple[Sequence[Claim], Sequence[Sign]]], trust: Trust
) -> dict[bytes, Record]:
    """Return each organisation's record from the tags that our own mail met.

    Of each tag: its claims, and what our mail met there. A tag counts once for an
    organisation, however often that claimed it; where our mail met both, the claim
    was right at some time and does not count as contradicted.
    """
    found: dict[bytes, Record] = {}
    for claims, signs in met:
        seen: dict[bytes, set[bool]] = {}
        for claim in claims:
            if _counts(claim, trust):
                # The hour is what ``last`` is rounded by.
                after, until = claimed_at(claim) + HOUR, claimed_at(claim) + _WINDOW
                signs_met = {sign.alive for sign in signs if after <= sign.at <= until}
                seen.setdefault(claim.org, set()).update(signs_met)
        for org, alive in seen.items():
            if alive:
                old = found.get(org, Record())
                wrong = alive == {True}
                found[org] = Record(old.met + 1, old.contradicted + wrong)
    return found


def _counts(claim: Claim, trust: Trust) -> bool:
    standing = trust.standing(claim.org)
    return (
        claim.k == "rcpt.hard"
        and standing.level is not Level.SELF
        and claim.recv >= standing.since
    )


def shares(
    hit: Iterable[bytes], records_of: Mapping[bytes, Record]
) -> dict[bytes, int]:
    """Return what the audit leaves of each weight, where it is not all."""
    found = {org: one.share for org, one in records_of.items() if one.share < FULL}
    return found | dict.fromkeys(hit, 0)


def open_until(stops: Iterable[int], sent_a_day: int, since: int = 0) -> int:
    """Return until when the breaker is open, 0 where it never tripped.

    ``stops`` are the times of recipients stopped only by what others say, of the
    last hours; those before ``since`` are forgiven by the operator. They may be two
    percent of an hour's mail, taken as a 24th of a day's.
    """
    allowed = max(_STOPS_ALWAYS, _STOPS_PERCENT * sent_a_day // (100 * _HOURS))
    times = sorted(at for at in stops if at >= since)
    # Each run of one more than is allowed, from its first to its last.
    tripped = [
        last
        for first, last in zip(times, times[allowed:], strict=False)
        if last - first < HOUR
    ]
    return max(tripped, default=-BREAK_FOR) + BREAK_FOR
