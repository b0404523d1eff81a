"""Which client networks a sender's mail comes from, in at most 34 bytes.

Owns the memory (keyed hashes of the last twelve networks that a normal day used,
and of today's new ones) and what a new network is worth: a bounded number of
nats that speeds an alarm. A hotel, a new provider or a phone is no theft, so it
is never evidence by itself, and little for who often changes networks. Like the
hours, a network is learned when the day is over and was no alarm.
"""

from __future__ import annotations

import hashlib
import math
from ipaddress import IPv4Address, IPv6Address, ip_address

__all__ = ["FRESH", "KNOWN", "MOST", "Networks", "network_hash"]

MOST = 2.3  # nats; a quarter of what slows a sender
KNOWN = 12
FRESH = 4
_SETTLED = 3.0  # days with a network before a new one can surprise
_MEMORY = 60.0  # days' worth remembered of how often a new one comes
_V4_HOST, _V6_HOST = 8, 80  # bits: /24 of a provider's pool, /48 of a site


def network_hash(key: bytes, address: str) -> int:
    """Return the keyed hash of an address's /24 or /48, from 1 to 65535.

    0 for what is no address of a client out there: loopback, none, a path.
    """
    try:
        ip: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    except ValueError:
        return 0
    mapped = ip.ipv4_mapped if isinstance(ip, IPv6Address) else None
    ip = mapped or ip  # RFC 4291 2.5.5.2
    if ip.is_loopback or ip.is_unspecified:
        return 0
    host = _V4_HOST if isinstance(ip, IPv4Address) else _V6_HOST
    raw = f"{ip.version} {int(ip) >> host}".encode()
    digest = hashlib.blake2b(raw, key=key[:64], digest_size=2).digest()
    return int.from_bytes(digest, "little") or 1


class Networks:
    """Two bytes a network, the longest unused first.

    ``known`` were used on normal days, ``fresh`` for the first time since then;
    ``days`` and ``changes`` count days with a network and those with a new one.
    """

    __slots__ = ("changes", "days", "fresh", "known", "today")

    def __init__(self) -> None:
        self.known = b""
        self.fresh = b""
        self.today = False
        self.days = 0.0
        self.changes = 0.0

    def note(self, network: int) -> None:
        """Note that a message came from this network; 0 is none."""
        if not network:
            return
        self.today = True
        mark = (network & 0xFFFF).to_bytes(2, "little")
        at = _find(self.known, mark)
        if at >= 0:
            self.known = self.known[:at] + self.known[at + 2 :] + mark
        elif _find(self.fresh, mark) < 0 and len(self.fresh) < 2 * FRESH:
            self.fresh += mark

    def surprise(self) -> float:
        """Return what today's new network is worth in nats: 0 without one."""
        if not self.fresh or self.days < _SETTLED:
            return 0.0
        return min(MOST, -math.log((self.changes + 1.0) / (self.days + 4.0)))

    def close_day(self) -> None:
        """Learn the networks of a normal day that is over."""
        if not self.today:
            return
        keep = min(1.0, _MEMORY / (self.days + 1.0))
        self.days = (self.days + 1.0) * keep
        self.changes = (self.changes + bool(self.fresh)) * keep
        self.known = (self.known + self.fresh)[-2 * KNOWN :]
        self.forget_day()

    def forget_day(self) -> None:
        """Unlearn what came since the last day that was closed."""
        self.fresh = b""
        self.today = False


def _find(marks: bytes, mark: bytes) -> int:
    at = marks.find(mark)
    while at % 2 and at > 0:
        at = marks.find(mark, at + 1)
    return at
