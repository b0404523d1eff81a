"""What is learned about one sender, and its stored form.

Owns the state only; ``evidence`` and ``learning`` change it. The whole is read
from Redis and written back for every message, so it is a fixed block of numbers
followed by the contact memory, three bytes per correspondent, and the client
networks. Version 1, without networks and with a bucket less, is still read.

Stored bytes are not trusted: anything but what ``encode`` wrote, including
numbers that are not finite, is a ValueError and never a profile.
"""

from __future__ import annotations

import math
import struct

from shaper.core.contacts import CAPACITY, Contacts
from shaper.core.model import BUCKETS
from shaper.core.networks import FRESH, KNOWN, Networks
from shaper.core.rhythm import BINS

__all__ = ["Profile"]

_N = len(BUCKETS)
_VERSION, _BEFORE = 2, 1
_ADDED = 8  # the bucket that version 1 did not have
_KIND_BYTES = 12
# version, kind, flagged; day, active days, hours, mark, epoch and number of contacts
_HEAD = struct.Struct(f"<B{_KIND_BYTES}s?qIIIqI")
# Times and levels in full; what is learned once a day in single precision.
_BODY = struct.Struct(f"<{6 + _N}d{13 + 3 * _N}f{BINS}s")
_BODY_BEFORE = struct.Struct(f"<{5 + _N}d{10 + 3 * _N}f{BINS}s")
# Numbers of known and fresh networks, whether today had any, days and changes.
_NETWORKS = struct.Struct("<BB?ff")
_HUGE = 1e30


class Profile:
    """The detector's memory of one sender. Times are Unix seconds.

    ``levels`` are the buckets as of ``seen``; ``peaks`` their highest of ``day``;
    ``powers`` the faded sum of powers of earlier days' peaks, ``weight`` and (for
    the slower buckets) ``long_weight`` the sums of those days' weights; ``highs``
    by age class the highest share of its limit that a clean day reached, which
    calibration reads. ``tiers`` counts messages by least familiar recipient,
    ``today`` those of ``day``; ``hours`` counts days by hour and weekday,
    ``today_hours`` has this day's hours as bits. ``flagged`` says that the slow
    limit was passed and nobody has judged it; ``held`` are the highest levels
    since, which teach only if it was innocent.
    """

    __slots__ = (
        "bad",
        "contacts",
        "created",
        "cusum",
        "day",
        "days",
        "flagged",
        "good",
        "held",
        "highs",
        "hours",
        "kind",
        "levels",
        "long_weight",
        "networks",
        "peaks",
        "powers",
        "seen",
        "tiers",
        "today",
        "today_hours",
        "weight",
    )

    def __init__(self, created: float, kind: str) -> None:
        self.kind = kind
        self.created = created
        self.seen = created
        self.day = int(created // 86400)
        self.days = 0
        self.flagged = False
        self.weight = 0.0
        self.long_weight = 0.0
        self.good = 0.0
        self.bad = 0.0
        self.cusum = 0.0
        self.tiers = [0.0] * 4
        self.today = [0.0] * 4
        self.today_hours = 0
        self.levels = [0.0] * _N
        self.peaks = [0.0] * _N
        self.powers = [0.0] * _N
        self.highs = [0.0] * 4
        self.hours = bytearray(BINS)
        self.held = [0.0] * _N
        self.contacts = Contacts(epoch=int(created // 21600))
        self.networks = Networks()

    @classmethod
    def new(cls, now: float, kind: str) -> Profile:
        """Return the profile of a sender that was never seen before.

        ``kind`` says what names it ("login", "uid" ...), cut to 12 bytes.
        """
        cut = kind.encode()[:_KIND_BYTES].decode("utf-8", "ignore").rstrip("\0")
        return cls(now if math.isfinite(now) else 0.0, cut)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Profile):
            return NotImplemented
        return self.encode() == other.encode()

    __hash__ = None  # type: ignore[assignment]

    def encode(self) -> bytes:
        """Return the stored form."""
        contacts = self.contacts
        head = _HEAD.pack(
            _VERSION,
            self.kind.encode(),
            self.flagged,
            self.day,
            self.days,
            self.today_hours,
            contacts.mark,
            contacts.epoch,
            len(contacts.ages),
        )
        body = _BODY.pack(
            self.created,
            self.seen,
            self.weight,
            self.good,
            self.bad,
            self.cusum,
            *self.levels,
            *self.tiers,
            *self.today,
            *self.highs,
            self.long_weight,
            *self.peaks,
            *self.powers,
            *self.held,
            bytes(self.hours),
        )
        nets = self.networks
        used = _NETWORKS.pack(
            len(nets.known) // 2,
            len(nets.fresh) // 2,
            nets.today,
            nets.days,
            nets.changes,
        )
        return b"".join(
            (head, body, contacts.marks, contacts.ages, used, nets.known, nets.fresh)
        )

    @classmethod
    def decode(cls, raw: bytes) -> Profile:
        """Rebuild a profile. Raises ValueError on anything ``encode`` did not write."""
        try:
            version, kind, flagged, day, days, today, mark, epoch, count = (
                _HEAD.unpack_from(raw)
            )
            layout = _BODY_BEFORE if version == _BEFORE else _BODY
            *numbers, hours = layout.unpack_from(raw, _HEAD.size)
            start = _HEAD.size + layout.size
            end = start + 3 * count
            networks = Networks()
            if version != _BEFORE:
                networks, end = _networks(raw, end)
        except struct.error as error:
            msg = f"a stored profile is cut short: {len(raw)} bytes"
            raise ValueError(msg) from error
        if version not in {_VERSION, _BEFORE} or count > CAPACITY or len(raw) != end:
            msg = f"a stored profile has version {version} and {count} contacts"
            raise ValueError(msg)
        if version == _BEFORE:
            numbers = _with_new_bucket(numbers)
        # One sum finds every NaN and infinity; only the times may be negative.
        if not math.isfinite(sum(numbers)) or min(numbers[2:]) < 0:
            msg = "a stored profile has a number that is not finite or negative"
            raise ValueError(msg)
        if max(numbers) > _HUGE or min(numbers) < -_HUGE:
            msg = "a stored profile has a number beyond all bounds"
            raise ValueError(msg)
        self = cls.__new__(cls)
        self.kind = kind.rstrip(b"\0").decode()  # UnicodeDecodeError: ValueError
        self.flagged = flagged
        self.day = day
        self.days = days
        self.today_hours = today
        (self.created, self.seen, self.weight, self.good, self.bad, self.cusum) = (
            numbers[:6]
        )
        i = 6 + _N
        self.levels = numbers[6:i]
        self.tiers = numbers[i : i + 4]
        self.today = numbers[i + 4 : i + 8]
        self.highs = numbers[i + 8 : i + 12]
        self.long_weight = numbers[i + 12]
        i += 13
        self.peaks = numbers[i : i + _N]
        self.powers = numbers[i + _N : i + 2 * _N]
        self.held = numbers[i + 2 * _N :]
        self.hours = bytearray(hours)
        middle, end = start + 2 * count, start + 3 * count
        self.contacts = Contacts(
            raw[start:middle], raw[middle:end], epoch, min(mark, count)
        )
        self.networks = networks
        return self


def _networks(raw: bytes, start: int) -> tuple[Networks, int]:
    """Return the client networks stored there, and where they end."""
    found = Networks()
    known, fresh, found.today, found.days, found.changes = _NETWORKS.unpack_from(
        raw, start
    )
    if known > KNOWN or fresh > FRESH or not 0 <= found.changes <= found.days < _HUGE:
        msg = f"a stored profile has {known} and {fresh} networks"
        raise ValueError(msg)
    start += _NETWORKS.size
    middle, end = start + 2 * known, start + 2 * (known + fresh)
    found.known, found.fresh = raw[start:middle], raw[middle:end]
    return found, end


def _with_new_bucket(numbers: list[float]) -> list[float]:
    """Return version 1's numbers with an empty bucket more in each of four rows."""
    fixed, rest, old = 6, 13, _N - 1
    starts = [fixed, *(fixed + old * k + rest for k in (1, 2, 3))]
    for start in reversed(starts):
        numbers.insert(start + _ADDED, 0.0)
    return numbers
