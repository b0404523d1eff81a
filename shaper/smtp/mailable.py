"""Whether the DNS says that a domain can receive mail.

It can when one of its MX hosts has an address, or, without any MX, the domain itself
has one (RFC 5321 5.1). A null MX says that it cannot (RFC 7505 3). Only what the DNS
denies counts as no: a server that fails or is silent leaves it unknown.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import dns.asyncresolver
    import dns.name

__all__ = ["Mailable"]

_LIFETIME = 3.0  # seconds for one question, its repetitions included
_MOST = 5  # MX hosts that are looked up
_NAME = re.compile(r"[^\s.\[\]:]+(\.[^\s.\[\]:]+)*\.?")


class Mailable:
    """Asks the resolvers of this host, or ``resolver``."""

    def __init__(self, resolver: dns.asyncresolver.Resolver | None = None) -> None:
        """``/etc/resolv.conf`` is read at the first question."""
        self._resolver = resolver

    async def __call__(self, domain: str) -> bool | None:
        """Return whether mail can be received, None when that cannot be known."""
        # Off by default, and it takes 50 ms and some megabytes.
        import dns.asyncresolver  # noqa: PLC0415
        import dns.exception  # noqa: PLC0415
        import dns.name  # noqa: PLC0415

        if not _NAME.fullmatch(domain):
            return None  # an address literal, say
        try:
            if self._resolver is None:
                self._resolver = dns.asyncresolver.Resolver()
            name = dns.name.from_text(domain)
            return await self._judge(self._resolver, name)
        except (dns.exception.DNSException, OSError, UnicodeError):
            return None

    async def _judge(
        self, resolver: dns.asyncresolver.Resolver, name: dns.name.Name
    ) -> bool | None:
        import dns.name  # noqa: PLC0415
        import dns.resolver  # noqa: PLC0415

        try:
            answer = await resolver.resolve(
                name, "MX", lifetime=_LIFETIME, search=False
            )
        except dns.resolver.NXDOMAIN:
            return False
        except dns.resolver.NoAnswer:
            return await _reachable(resolver, name)
        found = sorted((one.preference, one.exchange) for one in answer)
        if [host for _, host in found] == [dns.name.root]:
            return False  # RFC 7505 3
        doubt = len(found) > _MOST
        for _, host in found[:_MOST]:
            reachable = await _reachable(resolver, host)
            if reachable:
                return True
            doubt |= reachable is None
        return None if doubt else False


async def _reachable(
    resolver: dns.asyncresolver.Resolver, name: dns.name.Name
) -> bool | None:
    """Return whether a host has an address; None when only one kind was denied."""
    import dns.exception  # noqa: PLC0415
    import dns.resolver  # noqa: PLC0415

    doubt = False
    for kind in ("A", "AAAA"):
        try:
            await resolver.resolve(name, kind, lifetime=_LIFETIME, search=False)
        except dns.resolver.NXDOMAIN:
            return False
        except dns.resolver.NoAnswer:
            continue
        except dns.exception.DNSException:
            doubt = True
        else:
            return True
    return None if doubt else False
