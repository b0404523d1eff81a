"""The detector's arithmetic: what a message costs, what a sender's limits are.

Owns the leaky buckets and the formulas of docs/detection.md; ``evidence``
turns their state into a judgement and ``learning`` into a changed profile.
Nothing a sender does pays cost back, only time does: evidence that known
recipients could lower would let a thief hide behind them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from shaper.core.model import BUCKETS, age_class
from shaper.core.rhythm import note_day, oddness

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shaper.core.model import Model
    from shaper.core.profile import Profile

__all__ = [
    "LONGEST_GAP",
    "add_bounces",
    "add_message",
    "close_day",
    "elapse",
    "lift",
    "limits",
    "mean_powers",
]

_N = len(BUCKETS)
_RATES = tuple(-1.0 / b.tau for b in BUCKETS)
_VOLUME = 4  # the first buckets take messages to unfamiliar recipients, these two any
_COUNTS = 6  # those from here on count
_BASE = 0.5  # nats of any message, however familiar its recipients
_MORE = 0.6  # how the number of recipients of one message counts: its logarithm
_ODD = 1.3  # weight of an odd hour
_RAREST = 0.01  # no single tier is believed rarer than this
_TIER_PRIOR = 40.0  # messages' worth of the population in a sender's own counts
# Days' worth of the population in a sender's peaks, and how a day fades. The
# buckets of new recipients remember four times longer, or a slow ramp would lift
# its own limit as it goes.
_QUICK_PRIOR, _QUICK_FADE = 6.0, 59.0 / 60.0
_LONG_PRIOR, _LONG_FADE = 30.0, 239.0 / 240.0
_LONG = 9  # the first bucket with long memory
_PRIORS = (_QUICK_PRIOR,) * _LONG + (_LONG_PRIOR,) * (_N - _LONG)
_FADES = (_QUICK_FADE,) * _LONG + (_LONG_FADE,) * (_N - _LONG)
# Powers of the mean over daily peaks: the third lies between usual and highest;
# new recipients get a lower one, or a ramp would lift its own limit.
_POWERS = (3.0,) * _LONG + (1.5,) * (_N - _LONG)
_ROOTS = tuple(1.0 / p for p in _POWERS)
_LEAST_STRANGER = 1.5  # nats of a never-seen recipient, in the recipient bucket
_DAILY_LESSON = 10.0  # messages' worth of tier counts that one day can teach
_TIER_MEMORY = 400.0  # messages' worth of tier counts kept
_BACKWARD = 86400.0  # a clock this far behind was wrong before, not now
_BOUNCES_FADE = 7 * 86400.0  # seconds; a few dead addresses a month are normal
LONGEST_GAP = 1e10  # seconds; no clock jumps so far
_FULL = 1e9  # no bucket holds more, so that no sum leaves the float range


def elapse(profile: Profile, model: Model, now: float) -> None:
    """Let time pass up to ``now``: buckets leak, contacts age, the day may end.

    Calling it again changes nothing. A clock that steps back leaks nothing;
    small steps are other instances' clocks, a large one is a correction.
    """
    dt = now - profile.seen
    if not 0 < dt < LONGEST_GAP:
        if -LONGEST_GAP < dt < -_BACKWARD:
            profile.seen = now
            profile.day = min(profile.day, int(now // 86400))
        return
    profile.seen = now
    exp = math.exp
    profile.cusum *= exp(-dt / _BOUNCES_FADE)
    profile.levels = [
        b and b * exp(dt * r) for b, r in zip(profile.levels, _RATES, strict=True)
    ]
    profile.contacts.elapse(now)
    day = int(now // 86400)
    if day > profile.day and not profile.flagged:
        close_day(profile, model, day)


def limits(profile: Profile, model: Model) -> list[float]:
    """Return the slow limit of each bucket for this sender."""
    age = age_class(profile.days)
    scale = model.scales[age]
    quick = _QUICK_PRIOR + profile.weight
    weights = (quick,) * _LONG + (_LONG_PRIOR + profile.long_weight,) * (_N - _LONG)
    return [
        scale * f * (o + ((n * p + q) / w) ** root)
        for f, o, n, p, q, w, root in zip(
            model.factors[age],
            model.offsets,
            _PRIORS,
            model.peaks[age],
            profile.powers,
            weights,
            _ROOTS,
            strict=True,
        )
    ]


def mean_powers(profile: Profile) -> list[float]:
    """Return the mean power of this sender's own daily peaks, by bucket."""
    weights = (profile.weight,) * _LONG + (profile.long_weight,) * (_N - _LONG)
    return [q / max(w, 1.0) for q, w in zip(profile.powers, weights, strict=True)]


def lift(profile: Profile, peaks: Sequence[float], bounds: Sequence[float]) -> None:
    """Raise limits to peaks that passed them, as if every remembered day had them.

    The lift fades like any other day.
    """
    for i, (peak, bound) in enumerate(zip(peaks, bounds, strict=True)):
        if peak > bound:
            weight = profile.long_weight if i >= _LONG else profile.weight
            lesson = peak ** _POWERS[i] * (_PRIORS[i] + weight)
            profile.powers[i] = max(profile.powers[i], lesson)


def add_message(
    profile: Profile, model: Model, spread: tuple[int, int, int, int]
) -> None:
    """Add the cost of a message, sent at ``seen``, with recipients of these tiers."""
    known, lately, once, never = spread
    prior = model.tiers[age_class(profile.days)]
    own = profile.tiers
    log = math.log
    whole = sum(own) + _TIER_PRIOR
    tail = own[3] + _TIER_PRIOR * prior[3]
    cost3 = -log(max(_RAREST, tail / whole))
    tail += own[2] + _TIER_PRIOR * prior[2]
    cost2 = -log(max(_RAREST, tail / whole))
    tail += own[1] + _TIER_PRIOR * prior[1]
    cost1 = max(0.0, -log(max(_RAREST, tail / whole)))
    # The least familiar tier decides; the logarithm makes one message to a new
    # list one surprise.
    if never:
        cost = cost3 + _MORE * log(never)
    elif once:
        cost = cost2 + _MORE * log(once)
    elif lately:
        cost = cost1 + _MORE * log(lately)
    else:
        cost = _MORE * log(max(known, 1))
    cost += _BASE + _ODD * oddness(profile.hours, model.rhythm, profile.seen)
    levels = profile.levels
    if never or once:
        # Written out for speed, since every message comes here.
        levels[0] += cost
        levels[1] += cost
        levels[2] += cost
        levels[3] += cost
    levels[_VOLUME] += cost
    levels[_VOLUME + 1] += cost
    # Counted plainly: what is worth little in surprise still adds up in two hours.
    levels[6] += 1.0 + 0.5 * log(1.0 + known + lately + once + never)
    strangers = never * max(cost3, _LEAST_STRANGER)
    # One message to many strangers is an announcement; a second one right after it
    # is a mailing. Only what the recipient bucket already holds counts again.
    levels[8] = min(levels[8] + min(strangers, levels[7]), _FULL)
    reach = strangers + once * cost2 + lately * cost1
    levels[7] = min(levels[7] + reach, _FULL)
    levels[9] = min(levels[9] + never, _FULL)
    levels[10] = min(levels[10] + never, _FULL)


def add_bounces(profile: Profile, cost: float) -> None:
    """Add the cost of bad outcomes to the buckets that count messages."""
    for i in range(_COUNTS):
        profile.levels[i] = min(profile.levels[i] + cost, _FULL)


def close_day(profile: Profile, model: Model, day: int) -> None:
    """Learn the day that ended and begin ``day``. A day without mail teaches nothing.

    Peaks above the limit are learned as the limit: what grows, grows slowly. What
    was held counts for the calibration of limits only, as the false alarm it was.
    """
    ended, profile.day = profile.day, day
    peaks = profile.peaks
    if not any(peaks) and not any(profile.held):
        return
    bounds = limits(profile, model)
    age = age_class(profile.days)
    ratio = max(
        max(p, h) / b for p, h, b in zip(peaks, profile.held, bounds, strict=True)
    )
    profile.highs[age] = max(profile.highs[age], ratio * model.scales[age])
    profile.powers = [
        q * fade + min(p, b) ** power
        for q, fade, p, b, power in zip(
            profile.powers, _FADES, peaks, bounds, _POWERS, strict=True
        )
    ]
    profile.weight = profile.weight * _QUICK_FADE + 1.0
    profile.long_weight = profile.long_weight * _LONG_FADE + 1.0
    profile.days = min(profile.days + 1, 0xFFFFFFFF)
    count = sum(profile.today)
    if count > 0:
        note_day(profile.hours, ended, profile.today_hours)
        profile.networks.close_day()
        profile.today_hours = 0
        share = min(1.0, _DAILY_LESSON / count)
        tiers = [
            t + share * n for t, n in zip(profile.tiers, profile.today, strict=True)
        ]
        keep = min(1.0, _TIER_MEMORY / sum(tiers))
        profile.tiers = [t * keep for t in tiers]
        profile.today = [0.0] * 4
    profile.peaks = [0.0] * _N
    profile.held = [0.0] * _N
