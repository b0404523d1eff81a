"""What is known about senders in general: priors, scales and limit factors.

Owns the constants that a host's calibration replaces (``calibration.py``) and
their JSON form. A Model never changes; a refit makes a new one. ``default()``
is what ships: fitted on two public traces of internal mail, as
``docs/detection.md`` tells, and it says so in ``source``.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any

from shaper.core.rhythm import BINS, FLAT

__all__ = ["AGES", "BUCKETS", "Bucket", "Model", "age_class"]


@dataclass(frozen=True, slots=True)
class Bucket:
    """A leaky bucket: its name for people, time constant in seconds and unit."""

    name: str
    tau: float
    unit: str


_HOUR = 3600.0
_DAY = 24 * _HOUR
BUCKETS = (
    Bucket("unfamiliar mail 1 min", 60.0, "nats"),
    Bucket("unfamiliar mail 10 min", 600.0, "nats"),
    Bucket("unfamiliar mail 1 h", _HOUR, "nats"),
    Bucket("unfamiliar mail 6 h", 6 * _HOUR, "nats"),
    Bucket("volume 1 h", _HOUR, "nats"),
    Bucket("volume 6 h", 6 * _HOUR, "nats"),
    Bucket("messages 2 h", 2 * _HOUR, "messages"),
    Bucket("recipients 10 min", 600.0, "nats"),
    Bucket("repeated lists 10 min", 600.0, "nats"),
    Bucket("new recipients 1 day", _DAY, "recipients"),
    Bucket("new recipients 7 days", 7 * _DAY, "recipients"),
)

# A sender's age in active days decides which prior it is shrunk to: everybody
# is new to a first-day sender, so its novelty says little.
AGES = (1, 4, 16)  # upper ends; beyond the last one the sender is settled


def age_class(days: int) -> int:
    """Return the index of the age class of a sender with so many active days."""
    if days >= AGES[2]:
        return 3
    return 0 if days < AGES[0] else 1 if days < AGES[1] else 2


Row = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Model:
    """Population priors and limit factors; rows are age classes.

    ``tiers``: how likely a message's least familiar recipient is of each tier.
    ``peaks``: mean power of the daily peak of each bucket.
    ``offsets``: added to the learned peak, in the bucket's unit.
    ``factors``: multiply that sum to give the slow limit; by age class, as shipped.
    ``scales``: by age class, multiply all of them by what this host's own history
    taught.
    ``rhythm``: shares of the host's mail by hour of the day and day of the week.
    ``hard_bounces``: prior share of recipients that bounce.
    ``watch``, ``block``: the other two limits as multiples of the slow limit.
    ``sender_days``: clean active sender-days of the host behind it.
    """

    tiers: tuple[Row, ...]
    peaks: tuple[Row, ...]
    offsets: Row
    factors: tuple[Row, ...]
    scales: Row
    rhythm: Row
    hard_bounces: float
    watch: float
    block: float
    sender_days: int
    source: str

    @classmethod
    def default(cls) -> Model:
        """Return the shipped constants."""
        return _SHIPPED

    def to_json(self) -> str:
        """Return a form for storage; ``from_json`` gives an equal model back."""
        return json.dumps(asdict(self), separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Model:
        """Rebuild a stored model. Raises ValueError when it is not one."""
        try:
            data: dict[str, Any] = json.loads(text)
            model = cls(
                tiers=_rows(data["tiers"], 4),
                peaks=_rows(data["peaks"], len(BUCKETS)),
                offsets=_row(data["offsets"], len(BUCKETS)),
                factors=_rows(data["factors"], len(BUCKETS)),
                scales=_row(data["scales"], len(AGES) + 1),
                rhythm=_row(data["rhythm"], BINS),
                hard_bounces=_number(data["hard_bounces"]),
                watch=_number(data["watch"]),
                block=_number(data["block"]),
                sender_days=int(_number(data["sender_days"])),
                source=str(data["source"]),
            )
        except (KeyError, TypeError, OverflowError) as error:
            msg = f"a stored detector model lacks or garbles {error}"
            raise ValueError(msg) from error
        if not 0 < model.watch < 1 < model.block or not 0 < model.hard_bounces < 1:
            msg = "a stored detector model has limits out of order"
            raise ValueError(msg)
        if (
            min(*model.scales, *map(min, model.factors)) <= 0
            or min(map(min, model.tiers)) <= 0
        ):
            msg = "a stored detector model has a factor or prior that is not positive"
            raise ValueError(msg)
        return model


def _number(value: object) -> float:
    number = float(value)  # type: ignore[arg-type]
    if not math.isfinite(number) or number < 0:
        msg = f"a stored detector model has {number} where a size belongs"
        raise ValueError(msg)
    return number


def _row(values: object, length: int) -> Row:
    row = tuple(_number(v) for v in values)  # type: ignore[attr-defined]
    if len(row) != length:
        msg = f"a stored detector model has {len(row)} values in place of {length}"
        raise ValueError(msg)
    return row


def _rows(values: object, length: int) -> tuple[Row, ...]:
    rows = tuple(_row(v, length) for v in values)  # type: ignore[attr-defined]
    if len(rows) != len(AGES) + 1:
        msg = f"a stored detector model has {len(rows)} ages, not {len(AGES) + 1}"
        raise ValueError(msg)
    return rows


_SHIPPED = Model(
    tiers=(
        (0.20, 0.10, 0.05, 0.65),
        (0.25, 0.30, 0.05, 0.40),
        (0.35, 0.40, 0.05, 0.20),
        (0.40, 0.46, 0.05, 0.09),
    ),
    peaks=(
        (9.01, 10.9, 14.8, 19.4, 138, 313, 94.1, 184, 0.5, 3.4, 3.51),
        (7.62, 8.53, 11, 16.9, 32.8, 72.8, 21.4, 55.6, 0.5, 2.11, 4.87),
        (5.69, 6.53, 7.78, 10.1, 32.5, 68.6, 111, 49.7, 0.5, 1.22, 4.81),
        (6.75, 7.67, 9.35, 13.4, 54.8, 149, 79.2, 73.7, 0.5, 0.709, 4.45),
    ),
    offsets=(2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 4.0, 50.0, 11.0, 10.0, 20.0),
    factors=(
        (5.29, 6.49, 5.81, 9.09, 38.1, 25.6, 16, 1.8, 2.5, 5.55, 2.55),
        (4.61, 8.77, 11.7, 12.9, 15, 18, 14, 2.2, 2.5, 7.28, 2.93),
        (3.24, 6.17, 13.3, 15, 12.9, 16.4, 8, 1.8, 2.5, 6.45, 3.05),
        (3.37, 4.84, 7.52, 9.74, 12, 14.1, 8.5, 2, 2.5, 10.8, 2.18),
    ),
    scales=(1.0,) * 4,
    rhythm=FLAT,
    hard_bounces=0.01,
    watch=0.4,
    block=2.5,
    sender_days=0,
    source="shipped",
)
