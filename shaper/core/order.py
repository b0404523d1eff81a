"""An operator's order about held mail: what to free, drop, return or keep.

An order names its messages by a filter and a cut-off time, never by a list, and
applying it twice changes nothing: a message that an order freed belongs to that
order, a dropped one is gone. So an order interrupted by a crash is applied again
in full, by every instance to its own spool.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum

from shaper.core.filter import parse
from shaper.core.plain import loads

__all__ = ["Order", "OrderAction"]


class OrderAction(StrEnum):
    """What an order does with the messages it names.

    HOLD is a part of blocking a sender: what earlier orders freed waits again.
    """

    RELEASE = "release"
    DROP = "drop"
    BOUNCE = "bounce"
    HOLD = "hold"


@dataclass(frozen=True, slots=True)
class Order:
    """``sender`` "" means any, ``filter`` "" all; ``rate`` messages a minute, 0 all.

    ``id`` is made by the client that asks, so that asking twice is one order.
    ``at`` is the Unix time up to which messages must have arrived.
    """

    id: str
    at: float
    action: OrderAction
    by: str
    reason: str
    sender: str = ""
    filter: str = ""
    rate: float = 0.0

    def encode(self) -> bytes:
        """Return the stored form."""
        data = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return json.dumps(data, separators=(",", ":"), allow_nan=False).encode()

    @classmethod
    def decode(cls, raw: bytes) -> Order:
        """Rebuild from the stored form. Raises ValueError on anything else."""
        try:
            data = loads(raw)
            order = cls(
                id=str(data["id"]),
                at=float(data["at"]),
                action=OrderAction(data["action"]),
                by=str(data["by"]),
                reason=str(data["reason"]),
                sender=str(data["sender"]),
                filter=str(data["filter"]),
                rate=float(data["rate"]),
            )
        except (KeyError, TypeError, OverflowError) as error:
            msg = f"an order is not what was stored: {error}"
            raise ValueError(msg) from error
        if order.filter:
            parse(order.filter)  # FilterError: ValueError
        return order
