"""Which next hop takes a recipient's mail, when it is not the configured one.

A route is a domain (``orange.fr``; ``.orange.fr`` is the domain and all below it),
a group of receivers (``orange``), or an envelope sender (``from:ada@asso.example``,
``from:asso.example`` for its whole domain), and the next hop: ``host:port``, a
socket's path, or the name of a relay of the configuration. The closest wins: the
domain itself, then the longest dotted one, the group, the sender, its domain. Pure
values.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from shaper.core.plain import loads
from shaper.core.receivers import GROUPS, OTHER, group

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Route", "RouteTable", "pattern"]

_FROM = "from:"
_DOMAIN = re.compile(r"\.?([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?\.)+[a-z0-9-]{2,63}")


@dataclass(frozen=True, slots=True)
class Route:
    """One entry; ``at`` in epoch seconds."""

    pattern: str
    hop: str
    tls: str = "none"
    by: str = ""
    reason: str = ""
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class RouteTable:
    """All routes; each change makes a table with the next version."""

    version: int = 0
    routes: Mapping[str, Route] = field(default_factory=dict)

    def find(self, address: str, sender: str = "") -> Route | None:
        """Return the route of a recipient, None when it goes the common way.

        ``sender`` is the envelope sender.
        """
        routes = self.routes
        if not routes:
            return None
        domain = _ascii(address.rpartition("@")[2])
        if found := routes.get(domain):
            return found
        rest = f".{domain}"
        while rest:
            if found := routes.get(rest):
                return found
            _, dot, below = rest[1:].partition(".")
            rest = dot + below
        if found := routes.get(group(domain)):
            return found
        return self._of_sender(sender) if sender else None

    def _of_sender(self, sender: str) -> Route | None:
        local, at, domain = sender.rpartition("@")
        domain = _ascii(domain)
        found = self.routes.get(f"{_FROM}{local.lower()}{at}{domain}")
        return found or self.routes.get(f"{_FROM}{domain}")

    def put(self, route: Route) -> RouteTable:
        """Return the table with a route more, or another one for its pattern."""
        return RouteTable(self.version + 1, {**self.routes, route.pattern: route})

    def without(self, name: str) -> RouteTable:
        """Return the table without a route."""
        kept = {key: route for key, route in self.routes.items() if key != name}
        return RouteTable(self.version + 1, kept)

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        routes = [asdict(self.routes[name]) for name in sorted(self.routes)]
        return {"version": self.version, "routes": routes}

    @classmethod
    def from_json(cls, data: Any) -> RouteTable:  # noqa: ANN401
        """Read what ``to_json`` gave. Raises ValueError for anything else."""
        try:
            routes = [Route(**one) for one in data["routes"]]
            return cls(int(data["version"]), {one.pattern: one for one in routes})
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"no table of routes: {error}") from error

    @classmethod
    def decode(cls, raw: bytes) -> RouteTable:
        """Read the stored form; what is damaged is an empty table of version 0."""
        try:
            return cls.from_json(loads(raw))
        except (ValueError, RecursionError):
            return cls()


def pattern(text: str) -> str:
    """Return a domain, group or sender as routes are named. Raises ValueError."""
    if text.lower().startswith(_FROM):
        local, at, domain = text[len(_FROM) :].rpartition("@")
        name, local = _ascii(domain), local.strip().lower()
        if (
            name.startswith(".")
            or not _DOMAIN.fullmatch(name)
            or bool(at) != bool(local)
        ):
            raise ValueError(f"{text[:100]!r} names no sender: from:ada@example.org")
        return f"{_FROM}{local}{at}{name}"
    name = _ascii(text)
    if name in GROUPS and name != OTHER:
        return name
    if not _DOMAIN.fullmatch(name):
        raise ValueError(
            f"{text[:100]!r} is neither a domain, nor a receiver group, nor from:SENDER"
        )
    return name


def _ascii(domain: str) -> str:
    """Return a domain in small letters, internationalised ones as A-labels."""
    domain = domain.strip().rstrip(".").lower()
    if domain.isascii():
        return domain
    dot = "." if domain.startswith(".") else ""
    try:
        return dot + domain.removeprefix(".").encode("idna").decode("ascii")
    except UnicodeError:
        return domain
