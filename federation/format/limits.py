"""Every number of the protocol in one place; times are seconds, sizes are octets.

The numbers are defaults that a host may change and that it states in its
well-known document: none is assumed of a peer. What bounds the space of values
itself (key names, string alphabet, 2^53-1) is format and not here.

PROTOCOL.md 11. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DAY", "HOUR", "Limits"]

HOUR = 3600
DAY = 86400


def _per_day() -> Mapping[str, int]:
    return MappingProxyType(
        {"seen": 1_000, "known": 5_000, "trusted": 20_000, "sole": 20_000}
    )


def _retention() -> Mapping[str, int]:
    return MappingProxyType({"h": 180 * DAY, "s": 30 * DAY})


@dataclass(frozen=True, slots=True)
class Limits:
    """What this host takes, keeps and answers."""

    batch_lines: int = 1000
    batch_bytes: int = 1 << 20
    response_time: int = 60

    # Events of one organisation, by the level its operator has here. A bucket
    # holds `burst` of a day and refills in a day. Events older than a day are
    # what a new or long absent node copies: their bucket holds `history` days,
    # otherwise a first copy would take as long as it took to write.
    per_day: Mapping[str, int] = field(default_factory=_per_day)
    burst: float = 0.1
    history: int = 20
    control_per_day: int = 200

    introductions: int = 20  # that count, of one organisation in 30 days
    introduction_period: int = 30 * DAY
    node_keys: int = 16  # granted and not revoked
    incarnations: int = 3  # of one key and stream that still hold events
    control_incarnations: int = 16  # these never expire
    logs: int = 500  # of one organisation that hold events: a vector names them all
    proofs: int = 4  # of forks of one organisation that are told in 30 days
    proofs_period: int = 30 * DAY

    future: int = 600  # a clock may be this much ahead
    parked_lines: int = 1000  # of one organisation
    parked_time: int = DAY

    # Stream `c` is kept whole: few events, and identity is computed from them.
    retention: Mapping[str, int] = field(default_factory=_retention)
    request_age: int = 60
    nonce_memory: int = 300
    sessions: int = 4  # of one peer
    poll: int = 55
