"""Addresses of sockets as the configuration writes them.

``host:port``, ``[v6]:port``, or the path of a unix socket, which begins with "/".
Nothing is resolved: two names of one host are not known to be the same.
"""

from __future__ import annotations

import ipaddress

__all__ = ["address", "is_loopback", "meet", "network", "split_address"]

_PORTS = 65536
_ANY = frozenset({"0.0.0.0", "::"})  # noqa: S104 - recognised, not bound


def split_address(text: str) -> tuple[str, int]:
    """Split ``host:port`` or ``[v6]:port``. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or not 0 <= int(port) < _PORTS or not host:
        raise ValueError("write host:port, such as 127.0.0.1:10025")
    return host.removeprefix("[").removesuffix("]"), int(port)


def address(text: str) -> str:
    """Return an address of either kind as it is. Raises ValueError."""
    if not text.startswith("/"):
        split_address(text)
    return text


def network(text: str) -> str:
    """Return a network as it is. Raises ValueError, also for everybody."""
    if ipaddress.ip_network(text, strict=False).prefixlen == 0:
        raise ValueError("this is everybody: name the networks of your MTAs")
    return text


def meet(one: str, other: str) -> bool:
    """Whether two addresses are, or may be, the same socket of this host."""
    if one.startswith("/") or other.startswith("/"):
        return one == other
    (host, port), (host2, port2) = split_address(one), split_address(other)
    if port != port2 or not port:  # port 0: the kernel finds a free one
        return False
    if host == host2 or {host, host2} <= _ANY:
        return True
    return bool({host, host2} & _ANY) and is_loopback(host if host2 in _ANY else host2)


def is_loopback(host: str) -> bool:
    """Whether a host is this one, by its loopback interface."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
