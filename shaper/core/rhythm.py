"""When a sender writes: hours of the day and days of the week, in 31 bytes.

Owns the counts and how odd a moment is for a sender. What is unusual at three
in the morning is usual on Tuesday at ten, and limits that know it can be
tighter by night without one more false alarm by day. An hour counts once a day
however many messages it saw, and only when the day is over, so that a thief
cannot make its own night usual. The zone is UTC: only the
sender's own regularity counts, and neighbouring hours are blended so that
summer time or a late evening is no surprise.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["BINS", "FLAT", "hour_bit", "note_day", "oddness"]

_HOURS = 24
_DAYS = 7
BINS = _HOURS + _DAYS  # hours first, then days since the epoch modulo 7
FLAT = (1.0 / _HOURS,) * _HOURS + (1.0 / _DAYS,) * _DAYS
_PRIOR = 10.0  # hours' worth of the host's rhythm in a sender's own
_ODDEST = 4.0  # nats; nobody's night is worth more


def oddness(counts: Sequence[int], host: Sequence[float], now: float) -> float:
    """Return how odd it is to write now, in nats: 0 at usual hours, 4 at most."""
    hours = int(now // 3600)
    h = hours % _HOURS
    d = _HOURS + hours // _HOURS % _DAYS
    before = h - 1 if h else _HOURS - 1
    after = h + 1 if h < _HOURS - 1 else 0
    own = 0.5 * counts[h] + 0.25 * (counts[before] + counts[after])
    prior = 0.5 * host[h] + 0.25 * (host[before] + host[after])
    by_hour = (own + _PRIOR * prior) / (sum(counts[:_HOURS]) + _PRIOR)
    by_day = (counts[d] + _PRIOR * host[d]) / (sum(counts[_HOURS:]) + _PRIOR)
    share = _HOURS * by_hour * _DAYS * by_day
    if share >= 1.0:
        return 0.0
    return _ODDEST if share <= 0.0 else min(_ODDEST, -math.log(share))


def hour_bit(now: float) -> int:
    """Return the hour of the day as one bit of 24, to gather a day's hours."""
    return 1 << int(now // 3600) % _HOURS


def note_day(counts: bytearray, day: int, hours: int) -> None:
    """Count a day (since the epoch) and its hours; old counts fade by halves."""
    if max(counts) == 0xFF:  # noqa: PLR2004 - the largest byte
        counts[:] = bytes(n >> 1 for n in counts)
    counts[_HOURS + day % _DAYS] += 1
    for hour in range(_HOURS):
        counts[hour] += hours >> hour & 1
