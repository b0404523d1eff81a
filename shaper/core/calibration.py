"""Refit the population's priors and limits from a host's own senders.

Runs in the background over every stored profile; a message never waits for it.
Everything is shrunk to the shipped constants by the amount of history, so a
young host keeps limits that are right for strangers, and one heavy sender
cannot move them alone.

The limits follow a posterior of rare events: the shipped tail says how often a
day passes a multiple y of the limit, worth ``_TAIL_DAYS`` sender-days; the host
adds its own days and the senders that went past y. The scale is the least y at
which the expected rate is within the budget.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from shaper.core.evidence import BUDGET
from shaper.core.model import AGES, BUCKETS
from shaper.core.rhythm import BINS, FLAT
from shaper.core.surprise import mean_powers

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from shaper.core.model import Model
    from shaper.core.profile import Profile

    Floats = NDArray[np.float64]

__all__ = ["calibrate"]

_SHIPPED_RATE = 3e-5  # what the shipped factors were fitted to, per sender-day
_TAIL = 5.0  # a day passes y times the limit y**-5 times as often
_TAIL_DAYS = 12_000.0
# History may widen the shipped limits, not narrow them: few hosts have the tens
# of thousands of sender-days that would be needed to know that they may be.
_LEAST, _MOST = 1.0, 10.0
_POPULATION = 100.0  # settled senders' worth of the shipped priors
_RHYTHM = 200.0  # hours' worth of a flat week
_BOUNCES = 2000.0  # outcomes' worth of the shipped bounce ratio
_SETTLED = len(AGES)
_WIDTH = 1 + 4 + 4 + BINS + 2 + len(BUCKETS)


def calibrate(profiles: Iterable[Profile], shipped: Model) -> Model:
    """Return the model for a host with these senders.

    ``shipped`` is where it shrinks to; always pass the shipped model, not the
    last refit, or the same history would count again and again.
    """
    table = np.fromiter((_row(p) for p in profiles), dtype=(np.float64, _WIDTH))
    if not len(table):
        return shipped
    days = table[:, 0]
    highs, tiers = table[:, 1:5], table[:, 5:9]
    end = 9 + BINS
    hours = table[:, 9:end].sum(axis=0)
    good, bad, powers = table[:, end], table[:, end + 1], table[:, end + 2 :]
    settled = days >= AGES[-1]
    per_class = np.diff([np.minimum(days, top).sum() for top in (0, *AGES, np.inf)])
    outcomes = float(good.sum() + bad.sum())
    return replace(
        shipped,
        tiers=(*shipped.tiers[:-1], _tiers(tiers[settled], shipped)),
        peaks=(
            *shipped.peaks[:-1],
            _peaks(powers[settled], shipped),
        ),
        scales=tuple(
            _scale(highs[:, age], float(n)) for age, n in enumerate(per_class)
        ),
        rhythm=_rhythm(hours),
        hard_bounces=(float(bad.sum()) + _BOUNCES * shipped.hard_bounces)
        / (outcomes + _BOUNCES),
        sender_days=int(days.sum()),
        source="shipped constants and this host's own history",
    )


def _row(p: Profile) -> tuple[float, ...]:
    return (
        p.days,
        *p.highs,
        *p.tiers,
        *p.hours,
        p.good,
        p.bad,
        *mean_powers(p),
    )


def _scale(highs: Floats, days: float) -> float:
    """Return the least multiple of the shipped limit that keeps the budget."""
    allowed = BUDGET * (_TAIL_DAYS + days)
    shipped = _SHIPPED_RATE * _TAIL_DAYS
    top = np.sort(highs[highs > _LEAST])[::-1]
    best = _MOST
    # With the n highest senders passed over, the scale is at least the next
    # one's high; more of them are affordable only with more history.
    for n in range(min(len(top), int(allowed)) + 1):
        room = allowed - n
        if room <= 0:
            break
        below = float(top[n]) if n < len(top) else 0.0
        best = min(best, max(below, (shipped / room) ** (1 / _TAIL)))
    return float(min(_MOST, max(_LEAST, best)))


def _tiers(tiers: Floats, shipped: Model) -> tuple[float, ...]:
    counts = tiers.sum(axis=1, keepdims=True)
    shares = (tiers / np.maximum(counts, 1.0))[counts[:, 0] > 0]
    prior = np.array(shipped.tiers[_SETTLED])
    mixed = shares.sum(axis=0) + _POPULATION * prior
    return tuple(float(x) for x in mixed / mixed.sum())


def _peaks(powers: Floats, shipped: Model) -> tuple[float, ...]:
    prior = np.array(shipped.peaks[_SETTLED])
    if not len(powers):
        return tuple(float(x) for x in prior)
    # A few enormous senders are not the population.
    own = np.minimum(powers, np.quantile(powers, 0.95, axis=0))
    mixed = (own.sum(axis=0) + _POPULATION * prior) / (len(own) + _POPULATION)
    # Widen, never narrow: the factors were fitted with the shipped ones.
    return tuple(float(x) for x in np.maximum(mixed, prior))


def _rhythm(hours: Floats) -> tuple[float, ...]:
    flat = np.array(FLAT)
    mixed = hours + _RHYTHM * flat
    mixed[:24] /= mixed[:24].sum()
    mixed[24:] /= mixed[24:].sum()
    return tuple(
        float(x) if math.isfinite(x) else f for x, f in zip(mixed, FLAT, strict=True)
    )
