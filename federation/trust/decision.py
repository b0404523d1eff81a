"""What follows for a recipient from everything that is claimed about it.

A pure function of the set of effective claims, the trust table, this host's own
evidence and the time: in whatever order events arrived, and however often, the
answer is the same. Integers only, so that every implementation agrees.

Own evidence goes first. Otherwise evidence adds up over groups of organisations,
each counted once; it decays. One group that is only trusted reaches caution and no
further: to suppress takes a quorum of groups, or an organisation that the operator
trusts alone. Only hard claims suppress: a full mailbox is alive, and a complaint
proves that somebody reads.

PROTOCOL.md 10, with the arithmetic; vectors/decide.jsonl.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from federation.format.limits import DAY
from federation.trust.levels import MILLI, Level

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from federation.log.claim import Claim
    from federation.trust.levels import Trust

__all__ = [
    "HALVES",
    "LIFE",
    "Outcome",
    "Own",
    "Part",
    "Rules",
    "Verdict",
    "claimed_at",
    "decayed",
    "decide",
    "lives",
    "probe_number",
]


# 65536 * 2^(-i/64), rounded: a half-life in 64 steps.
_STEPS = 64
_BITS = 16
HALVES = tuple(round(2 ** (_BITS - i / _STEPS)) for i in range(_STEPS))

# How long a claim counts at all, in seconds.
LIFE: Mapping[str, int] = {
    "rcpt.hard": 180 * DAY,
    "rcpt.complaint": 180 * DAY,
    "rcpt.soft": 30 * DAY,
    "rcpt.ok": 30 * DAY,
}

# Thousandths of a weight, and half-life. A DSN comes later by mail and is easier
# to forge than an answer in the session.
_HARD = {"smtp": (1000, 90 * DAY), "dsn": (700, 90 * DAY)}
_COMPLAINT = (800, 90 * DAY)
_SOFT_ONCE = (100, 3 * DAY)
_SOFT_LASTING = (500, 10 * DAY)
_LASTING_COUNT = 5
_LASTING_SPAN = 5 * DAY
_MOST_PROBES = 16


class Outcome(StrEnum):
    """What a host does with mail to the recipient."""

    ALLOW = "allow"
    CAUTION = "caution"  # hold bulk mail, let personal mail try
    SUPPRESS = "suppress"


@dataclass(frozen=True, slots=True)
class Rules:
    """Thresholds, evidence in thousandths. ``remote`` False: the breaker is open.

    To withstand k colluding groups the quorum is k + 1.
    """

    caution: int = 70_000
    suppress: int = 150_000
    quorum: int = 2
    remote: bool = True


@dataclass(frozen=True, slots=True)
class Own:
    """What this host knows itself: newest hard bounce and newest sign of life.

    Unix seconds, 0 for never. A sign of life is a delivery or an override.
    """

    hard: int = 0
    ok: int = 0


@dataclass(frozen=True, slots=True)
class Part:
    """What one organisation's claims weigh, in thousandths, and since when."""

    org: bytes
    group: str
    k: str
    value: int
    at: int
    since: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome, the rule that decided (D1..D5), and why.

    ``e`` is the evidence in thousandths of weight. ``by`` are the organisations
    whose claims count, ``since`` the oldest of them, Unix seconds, 0 without any.
    """

    outcome: Outcome
    rule: str
    e: int = 0
    by: tuple[bytes, ...] = ()
    since: int = 0
    own: bool = False
    parts: tuple[Part, ...] = field(default=(), compare=False)


def claimed_at(claim: Claim) -> int:
    """Return the time a claim speaks of: it cannot be newer than its event.

    ``last`` keeps a claim that is published again as old as it is.
    """
    last = claim.body.get("last")
    return min(claim.ts, last) if isinstance(last, int) else claim.ts


def lives(claim: Claim, now: int) -> bool:
    """Whether a claim about a recipient is within its life."""
    return now - claimed_at(claim) <= LIFE.get(claim.k, -1)


def decayed(value: int, age: int, half: int) -> int:
    """Return what is left of a value after ``age`` seconds, rounded down."""
    whole, rest = divmod(max(0, age), half)
    return (value * HALVES[rest * _STEPS // half]) >> (_BITS + whole)


def decide(
    claims: Iterable[Claim], own: Own, trust: Trust, now: int, rules: Rules
) -> Verdict:
    """Return what follows for one recipient tag. Claims of our own have no weight."""
    groups = _groups(claims, trust, now) if rules.remote else []
    parts = tuple(part for group in groups for part in group.parts)
    e = _sum(groups, lambda group: group.any)
    base = Verdict(
        Outcome.ALLOW,
        "D5",
        e,
        tuple(sorted({part.org for part in parts})),
        min((part.since for part in parts), default=0),
        parts=parts,
    )
    if own.hard > own.ok and now - own.hard <= LIFE["rcpt.hard"]:
        return replace(base, outcome=Outcome.SUPPRESS, rule="D2", own=True)
    newest = max((group.newest for group in groups), default=0)
    if own.ok and own.ok >= own.hard and own.ok > newest:
        return replace(base, rule="D1", own=True)
    if _suppresses(groups, trust, rules):
        return replace(base, outcome=Outcome.SUPPRESS, rule="D3")
    if e >= rules.caution:
        return replace(base, outcome=Outcome.CAUTION, rule="D4")
    return base


def _suppresses(groups: list[_Group], trust: Trust, rules: Rules) -> bool:
    """D3: a quorum says dead, or somebody who is trusted alone."""
    if _sum(groups, lambda group: group.dead) < rules.suppress:
        return False
    if sum(1 for group in groups if group.dead) >= rules.quorum:
        return True
    return any(
        part.k == "rcpt.hard" and part.value >= rules.suppress
        for group in groups
        for part in group.parts
        if trust.standing(part.org).level is Level.SOLE
    )


@dataclass(slots=True)
class _Group:
    """What counts once. ``dead`` is hard evidence only; ``oks``: (weight, time)."""

    dead: int = 0
    any: int = 0
    newest: int = 0
    oks: list[tuple[int, int]] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)


def _groups(claims: Iterable[Claim], trust: Trust, now: int) -> list[_Group]:
    """Sort claims that have weight and live by group, in order of the names."""
    by_group: dict[str, dict[bytes, dict[bytes, Claim]]] = {}
    for claim in claims:
        if trust.weight(claim.org) and lives(claim, now):
            orgs = by_group.setdefault(trust.group(claim.org), {})
            orgs.setdefault(claim.org, {})[claim.id] = claim
    return [_group(name, by_group[name], trust, now) for name in sorted(by_group)]


def _group(
    name: str, orgs: Mapping[bytes, Mapping[bytes, Claim]], trust: Trust, now: int
) -> _Group:
    group = _Group()
    for org in sorted(orgs):
        group.oks += [
            (trust.weight(org), claimed_at(claim))
            for claim in orgs[org].values()
            if claim.k == "rcpt.ok"
        ]
    alive = max((at for _, at in group.oks), default=0)
    for org in sorted(orgs):
        # A group that delivered since takes its older claims back.
        standing = [
            claim
            for claim in orgs[org].values()
            if claim.k != "rcpt.ok" and claimed_at(claim) >= alive
        ]
        for part in _parts(org, name, standing, trust.weight(org), now):
            group.parts.append(part)
            group.any = max(group.any, part.value)
            group.newest = max(group.newest, part.at)
            if part.k == "rcpt.hard":
                group.dead = max(group.dead, part.value)
    return group


def _parts(
    org: bytes, group: str, claims: list[Claim], weight: int, now: int
) -> list[Part]:
    """Return one part for each kind that an organisation claims."""
    found: list[Part] = []
    for kind in ("rcpt.hard", "rcpt.soft", "rcpt.complaint"):
        same = [claim for claim in claims if claim.k == kind]
        if same:
            times = [claimed_at(claim) for claim in same]
            value = max(
                decayed(weight * factor // MILLI, now - at, half)
                for at, factor, half in _worth(kind, same)
            )
            if value:
                found.append(Part(org, group, kind, value, max(times), min(times)))
    return found


def _worth(kind: str, claims: list[Claim]) -> list[tuple[int, int, int]]:
    """Return time, thousandths and half-life of what one organisation claims."""
    times = [claimed_at(claim) for claim in claims]
    if kind == "rcpt.hard":
        # An unknown way has the lower worth; the event's form refuses it before.
        return [
            (at, *_HARD.get(str(claim.body.get("via")), _HARD["dsn"]))
            for at, claim in zip(times, claims, strict=True)
        ]
    if kind == "rcpt.complaint":
        return [(max(times), *_COMPLAINT)]
    number = sum(claim.body.get("cnt", 1) for claim in claims)
    lasting = number >= _LASTING_COUNT and max(times) - min(times) >= _LASTING_SPAN
    return [(max(times), *(_SOFT_LASTING if lasting else _SOFT_ONCE))]


def _sum(groups: list[_Group], value: Callable[[_Group], int]) -> int:
    """Add up evidence and take away what newer deliveries of others relieve.

    A delivery relieves by the weight of who tells of it, and only of claims that
    are older; which of several deliveries of a group came first does not matter.
    """
    total = sum(value(group) for group in groups)
    relief = 0
    for group in groups:
        relief += max(
            (
                min(weight, sum(value(g) for g in groups if g.newest < at))
                for weight, at in group.oks
            ),
            default=0,
        )
    return max(0, total - relief)


def probe_number(since: int, now: int) -> int:
    """Return which probe of a suppressed address is due, 0 before the first.

    The first comes 14 days after the oldest claim, then after 28, 56 ... more. One
    message may pass for each number; a delivery releases the address.
    """
    number, wait, at = 0, 14 * DAY, since
    while number < _MOST_PROBES and now >= at + wait:
        number, at, wait = number + 1, at + wait, wait * 2
    return number
