"""The evidence against a sender: how far from its own normal, in nats, and why.

Each part has a value and a limit of this sender; the part nearest to its limit
decides. Parts see the same messages on different time scales, so they are not
added up. ``total`` is the main part's share of its limit times -ln(budget):
9.2 nats is what an innocent sender reaches on one active day in 10,000. A client
network that is new for the sender adds at most 2.3 nats and a third of what the
others say, so that it speeds an alarm and never is one.

Pure: the profile is changed, ``now`` is given, equal inputs give equal
evidence, so a line of the audit journal can be judged again.
"""

from __future__ import annotations

import json
import math
from enum import IntEnum, StrEnum
from operator import truediv
from typing import TYPE_CHECKING, Any, NamedTuple

from shaper.core.learning import acquit, convict, ease, familiarity, learn
from shaper.core.model import BUCKETS
from shaper.core.surprise import add_bounces, add_message, elapse, limits

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from shaper.core.model import Model
    from shaper.core.profile import Profile

__all__ = [
    "BUDGET",
    "Evidence",
    "Level",
    "OutcomeKind",
    "Part",
    "acquit",
    "convict",
    "ease",
    "familiarity",
    "learn",
    "measured",
    "record_outcome",
    "sentence",
    "standing",
    "weigh",
]

BUDGET = 1e-4  # false slow alarms per active sender-day that the limits aim at
_SLOW = -math.log(BUDGET)
_BOUNCES = "bounces"
_NETWORK = "client network"
_NAMES = (*(b.name for b in BUCKETS), _BOUNCES, _NETWORK)
_UNITS = (*(b.unit for b in BUCKETS), "nats", "nats")
_BOUNCE_LIMIT = 9.0  # nats, the alarm of the CUSUM (Page 1954)
_BOUNCE_PRIOR = 40.0  # recipients' worth of the population in a sender's ratio
_BOUNCE_MEMORY = 500.0  # recipients' worth of outcomes remembered
_RUN_OVER = 0.05  # share of the limit under which a run of sending is over


class Level(IntEnum):
    """What the evidence calls for."""

    NONE = 0
    WATCH = 1
    SLOW = 2
    BLOCK = 3


class OutcomeKind(StrEnum):
    """What became of a recipient."""

    DELIVERED = "delivered"
    SOFT = "soft"
    HARD_BOUNCE = "hard_bounce"
    COMPLAINT = "complaint"
    SUPPRESSED_ATTEMPT = "suppressed_attempt"
    BAD_SENDER = "bad_sender"
    FOREIGN_ATTEMPT = "foreign_attempt"  # at what only other hosts call dead


# How many hard bounces an outcome weighs as. A soft failure says nothing about
# the sender; a complaint is rarer than a bounce and never an accident. An envelope
# sender that does not exist is mostly a form or a script that nobody set up well:
# with the longest good history one is 0.26 nats of 9, and three a day for ever
# (engine/sendercheck.py gives no more) stay under 6, since they fade in a week.
_WEIGHT = {
    OutcomeKind.HARD_BOUNCE: 1.0,
    OutcomeKind.SUPPRESSED_ATTEMPT: 1.0,
    OutcomeKind.COMPLAINT: 1.5,
    OutcomeKind.BAD_SENDER: 0.05,
    OutcomeKind.FOREIGN_ATTEMPT: 0.3,
}

# Neither came back, so neither is in the sender's usual ratio.
_NO_BOUNCE = frozenset({OutcomeKind.BAD_SENDER, OutcomeKind.FOREIGN_ATTEMPT})


class Part(NamedTuple):
    """One measure: its value and this sender's slow limit, both in ``note``'s unit."""

    name: str
    value: float
    limit: float
    note: str


Measures = tuple[tuple[str, ...], tuple[float, ...], tuple[float, ...], tuple[str, ...]]


def measured(parts: Iterable[Part]) -> Measures:
    """Return parts as ``Evidence`` keeps them."""
    columns = tuple(zip(*parts, strict=True)) or ((), (), (), ())
    names, values, limits, units = columns
    return names, values, limits, units


class Evidence(NamedTuple):
    """What is known against a sender at one moment.

    ``limits`` are watch, slow and block in the unit of ``total``; reaching one
    is that level. ``main`` names the part nearest to its limit. ``measures`` are the
    parts' names, values, limits and units, put together (``parts``) when somebody
    asks: hardly a message is looked at so closely.
    """

    total: float
    limits: tuple[float, float, float]
    level: Level
    measures: Measures
    main: str

    @property
    def parts(self) -> tuple[Part, ...]:
        """Return every measure."""
        return tuple(map(Part._make, zip(*self.measures, strict=True)))

    def to_json(self) -> dict[str, Any]:
        """Return plain data for the audit journal."""
        return {
            "total": self.total,
            "limits": list(self.limits),
            "level": self.level.name.lower(),
            "parts": [list(part) for part in self.parts],
            "main": self.main,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any] | str) -> Evidence:
        """Rebuild what ``to_json`` gave. Raises ValueError on anything else."""
        try:
            found = json.loads(data) if isinstance(data, str) else data
            watch, slow, block = map(float, found["limits"])
            return cls(
                total=float(found["total"]),
                limits=(watch, slow, block),
                level=Level[found["level"].upper()],
                measures=measured(
                    Part(str(n), float(v), float(limit), str(note))
                    for n, v, limit, note in found["parts"]
                ),
                main=str(found["main"]),
            )
        except (KeyError, TypeError, AttributeError) as error:
            msg = f"this is no evidence record: {error}"
            raise ValueError(msg) from error


def weigh(
    profile: Profile,
    model: Model,
    recipients: Sequence[int],
    now: float,
    network: int = 0,
) -> Evidence:
    """Add the cost of a message about to be sent; return the evidence with it.

    ``network`` is the client's (``network_hash``), 0 where it is not known.
    """
    elapse(profile, model, now)
    profile.networks.note(network)
    bounds = limits(profile, model)
    if recipients:
        contacts = profile.contacts
        # The slowest bucket is asked first: it is nearly always the one that says no.
        if profile.levels[-1] < _RUN_OVER * bounds[-1] and all(
            b < _RUN_OVER * x for b, x in zip(profile.levels, bounds, strict=True)
        ):
            contacts.mark = len(contacts)
        add_message(profile, model, contacts.tiers(recipients))
    evidence = _judge(profile, model, bounds)
    _note_peaks(profile)
    return evidence


def standing(profile: Profile, model: Model, now: float) -> Evidence:
    """Return the evidence as it stands now, adding nothing."""
    elapse(profile, model, now)
    return _judge(profile, model, limits(profile, model))


def record_outcome(
    profile: Profile,
    model: Model,
    kind: OutcomeKind,
    count: int,
    now: float,
    *,
    fresh: bool = True,
) -> Evidence:
    """Take in what became of ``count`` recipients; return the evidence with it.

    Old news (not ``fresh``) teaches the sender's usual ratio and alarms nobody.
    """
    elapse(profile, model, now)
    bounds = limits(profile, model)
    if count > 0 and kind is not OutcomeKind.SOFT:
        seen = profile.good + profile.bad
        normal = (profile.bad + _BOUNCE_PRIOR * model.hard_bounces) / (
            seen + _BOUNCE_PRIOR
        )
        normal = min(normal, 0.5)
        stolen = min(0.9, max(0.12, 4.0 * normal))
        if kind is OutcomeKind.DELIVERED:
            step = math.log((1.0 - stolen) / (1.0 - normal))
            if fresh:
                profile.cusum = max(0.0, profile.cusum + count * step)
            profile.good += count
        else:
            weight = _WEIGHT[kind] * count
            if fresh:
                profile.cusum += weight * math.log(stolen / normal)
                add_bounces(profile, -0.5 * weight * math.log(normal))
            # What bounces during an alarm is evidence, not this sender's normal.
            if not profile.flagged and kind not in _NO_BOUNCE:
                profile.bad += count  # of recipients
        keep = min(1.0, _BOUNCE_MEMORY / (profile.good + profile.bad + 1.0))
        profile.good *= keep
        profile.bad *= keep
    evidence = _judge(profile, model, bounds)
    if count > 0 and profile.peaks[0] > 0:
        _note_peaks(profile)
    return evidence


def sentence(evidence: Evidence) -> str:
    """Return one English sentence that says why, with numbers."""
    part = next((p for p in evidence.parts if p.name == evidence.main), None)
    if part is None or part.value <= 0:
        return "Nothing unusual."
    network = next((p for p in evidence.parts if p.name == _NETWORK), None)
    return (
        f"{part.name.capitalize()}: {part.value:.1f} {part.note}, "
        f"{part.value / part.limit:.0%} of the {part.limit:.1f} at which "
        f"this sender is slowed."
    ) + (
        f" A client network that it never used adds {network.value:.1f} of the "
        f"{network.limit:.1f} nats."
        if network is not None and network.value > 0
        else ""
    )


def _judge(profile: Profile, model: Model, bounds: list[float]) -> Evidence:
    values = (*profile.levels, profile.cusum, 0.0)
    ends = (*bounds, _BOUNCE_LIMIT, _SLOW)
    shares = list(map(truediv, values, ends))
    share = highest = max(shares)
    if profile.networks.fresh:
        extra = min(profile.networks.surprise(), _SLOW * highest / 3.0)
        values = (*profile.levels, profile.cusum, extra)
        share += extra / _SLOW
    level = Level.NONE
    if share >= model.watch:
        level = Level.WATCH
        if share >= 1.0:
            level = Level.BLOCK if share >= model.block else Level.SLOW
            profile.flagged = True
    return Evidence(
        _SLOW * share,
        (_SLOW * model.watch, _SLOW, _SLOW * model.block),
        level,
        (_NAMES, values, ends, _UNITS),
        _NAMES[shares.index(highest)],
    )


def _note_peaks(profile: Profile) -> None:
    if profile.flagged:
        profile.held = _highest(profile.held, profile.levels)
    else:
        profile.peaks = _highest(profile.peaks, profile.levels)


def _highest(peaks: list[float], levels: list[float]) -> list[float]:
    # Twice as quick as mapping max.
    return [v if v > p else p for p, v in zip(peaks, levels, strict=True)]  # noqa: FURB136
