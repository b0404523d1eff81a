"""What others do: a fixed limit, a leaky bucket, a z-score per sender.

Owns the three detectors that the drill measures beside ours. Each counts
recipients and says of a message whether it is over the limit; ``strictness``
multiplies the thresholds, for comparison at equal false alarms.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Protocol

__all__ = ["RIVALS", "Bucket", "Limit", "Rival", "ZScore"]

_HOUR = 3600.0
_DAY = 86400.0
_PER_HOUR = 100
_PER_DAY = 500
_DEPTH = 60
_DEVIATIONS = 6


class Rival(Protocol):
    """The state of one sender under a rival's rule."""

    def over(self, now: float, recipients: int) -> bool:
        """Count a message; return whether it is over the limit."""

    def copy(self) -> Rival:
        """Return an independent copy, for planting an attack in it."""


class Limit:
    """100 recipients an hour and 500 a day, sliding windows."""

    __slots__ = ("day", "hour", "in_day", "in_hour", "scale")

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale
        self.hour: deque[tuple[float, int]] = deque()
        self.day: deque[tuple[float, int]] = deque()
        self.in_hour = 0
        self.in_day = 0

    def over(self, now: float, recipients: int) -> bool:
        """Count the message unless it is refused."""
        hour, day = self.hour, self.day
        while hour and hour[0][0] <= now - _HOUR:
            self.in_hour -= hour.popleft()[1]
        while day and day[0][0] <= now - _DAY:
            self.in_day -= day.popleft()[1]
        if (
            self.in_hour + recipients > _PER_HOUR * self.scale
            or self.in_day + recipients > _PER_DAY * self.scale
        ):
            return True
        hour.append((now, recipients))
        day.append((now, recipients))
        self.in_hour += recipients
        self.in_day += recipients
        return False

    def copy(self) -> Limit:
        """Return an independent copy."""
        other = Limit(self.scale)
        other.hour, other.day = self.hour.copy(), self.day.copy()
        other.in_hour, other.in_day = self.in_hour, self.in_day
        return other


class Bucket:
    """A leaky bucket that holds 60 recipients and leaks one a minute.

    With 20 it would slow ninety times the innocent senders (docs/detection.md).
    """

    __slots__ = ("level", "scale", "seen")

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale
        self.level = 0.0
        self.seen = 0.0

    def over(self, now: float, recipients: int) -> bool:
        """Pour the message in unless the bucket would run over."""
        self.level = max(0.0, self.level - (now - self.seen) / 60.0)
        self.seen = now
        if self.level + recipients > _DEPTH * self.scale:
            return True
        self.level += recipients
        return False

    def copy(self) -> Bucket:
        """Return an independent copy."""
        other = Bucket(self.scale)
        other.level, other.seen = self.level, self.seen
        return other


class ZScore:
    """Recipients of this clock hour against the sender's own active hours.

    Over when six standard deviations above the mean; the deviation is at least
    three, and ten hours' worth of a mean of 2 and deviation of 4 go before the
    sender's own.
    """

    __slots__ = ("count", "hour", "now_in_hour", "scale", "squares", "total")

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale
        self.hour = -1
        self.now_in_hour = 0
        self.count = 10.0
        self.total = 20.0
        self.squares = 200.0

    def over(self, now: float, recipients: int) -> bool:
        """Count the message; an hour that ended is learned."""
        hour = int(now // _HOUR)
        if hour != self.hour:
            if self.now_in_hour:
                self.count += 1
                self.total += self.now_in_hour
                self.squares += self.now_in_hour**2
            self.hour = hour
            self.now_in_hour = 0
        mean = self.total / self.count
        deviation = math.sqrt(max(self.squares / self.count - mean * mean, 9.0))
        if self.now_in_hour + recipients > mean + _DEVIATIONS * self.scale * deviation:
            return True
        self.now_in_hour += recipients
        return False

    def copy(self) -> ZScore:
        """Return an independent copy."""
        other = ZScore(self.scale)
        for name in self.__slots__:
            setattr(other, name, getattr(self, name))
        return other


RIVALS: dict[str, type[Limit | Bucket | ZScore]] = {
    "limit": Limit,
    "bucket": Bucket,
    "zscore": ZScore,
}
