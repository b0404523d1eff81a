"""What all connections of the ingress share: settings, trust, EHLO, the gate."""

from __future__ import annotations

import ipaddress
import itertools
import secrets
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from aiosmtpd.smtp import SMTP

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from shaper.core.ports import Gate, Guests, Recipients
    from shaper.smtp.forward import NextHop
    from shaper.smtp.routing import Hops
    from shaper.smtp.session import Session
    from shaper.smtp.settings import IngressSettings

__all__ = ["Shared", "ids"]

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# EHLO keywords that say what the next hop can do; announced when it does.
_FORWARDED = ("8BITMIME", "SMTPUTF8", "DSN")


def ids() -> Callable[[], str]:
    """Return a maker of message ids that no other process makes.

    Time, a random part for this process, and a number: they sort by birth.
    """
    process = secrets.token_hex(4)
    numbers = itertools.count()

    def new_id() -> str:
        return f"{int(time.time()):08x}{process}{next(numbers):x}"

    return new_id


class Shared:
    """One per ingress; ``sessions`` are the open connections."""

    def __init__(  # noqa: PLR0913
        self,
        settings: IngressSettings,
        gate: Gate,
        hop: NextHop,
        *,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float] = time.time,
        new_id: Callable[[], str] | None = None,
        recipients: Recipients | None = None,
        hops: Hops | None = None,
        guests: Guests | None = None,
    ) -> None:
        self.gate = gate
        self.recipients = recipients
        self.guests = guests
        self.hop = hop
        self._hops = hops
        self.loop = loop
        self.clock = clock
        self.new_id = new_id or ids()
        self.sessions: set[Session] = set()
        self.closing = False
        self.apply(settings)

    def apply(self, settings: IngressSettings) -> None:
        """Use other settings from now on. Raises ValueError for a bad network."""
        allow = _networks(settings.allow)
        self._xclient = _networks(settings.xclient_from)
        # Per instance, not per class: two ingresses have different networks.
        self.allowed = lru_cache(maxsize=1024)(lambda peer: _within(peer, allow))
        self.settings = settings
        self.template = _template(settings, self.loop)
        self._keywords: dict[tuple[object, ...], bytes] = {}

    def hop_of(self, address: str, sender: str) -> NextHop:
        """Return the next hop of a recipient, or of an envelope sender's mail."""
        return self.hop if self._hops is None else self._hops.of(address, sender)

    @property
    def size_limit(self) -> int:
        """Octets of a message: our own limit or the next hop's."""
        own = self.settings.max_message
        return min(own, self.hop.size_limit or own)

    def may_xclient(self, peer: str) -> bool:
        """Whether this client may replace the facts of its connection."""
        return bool(peer and self._xclient) and _within(peer, self._xclient)

    def keywords(self, *of_session: str) -> bytes:
        """Return the whole EHLO reply, with the session's own keywords.

        Of what concerns the message only what the next hop is known to offer;
        everything, while it has not been asked yet.
        """
        offered = self.hop.extensions
        key = (offered, self.size_limit, of_session)
        reply = self._keywords.get(key)
        if reply is None:
            lines = [
                self.settings.hostname,
                "PIPELINING",
                f"SIZE {self.size_limit}",
                "ENHANCEDSTATUSCODES",
                *(word for word in _FORWARDED if offered is None or word in offered),
                *of_session,
            ]
            reply = b"".join(
                f"250{' ' if line is lines[-1] else '-'}{line}\r\n".encode()
                for line in lines
            )
            if len(self._keywords) > 64:  # noqa: PLR2004 - a next hop that varies
                self._keywords.clear()
            self._keywords[key] = reply
        return reply


def _networks(texts: tuple[str, ...]) -> list[_Network]:
    return [ipaddress.ip_network(text, strict=False) for text in texts]


def _within(peer: str, networks: list[_Network]) -> bool:
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return any(address in network for network in networks)


def _template(
    settings: IngressSettings, loop: asyncio.AbstractEventLoop
) -> dict[str, Any]:
    """Return the attributes that aiosmtpd's constructor sets, for copying."""
    blank = SMTP(
        None,
        hostname=settings.hostname,
        tls_context=settings.tls,
        timeout=settings.idle_timeout,
        enable_SMTPUTF8=True,
        loop=loop,
    )
    return dict(vars(blank))
