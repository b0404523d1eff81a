"""Whether an MTA's way to write a socket means one of our addresses. Pure."""

from __future__ import annotations

from shaper.addresses import is_loopback, meet, split_address

__all__ = ["same"]


def same(target: str, address: str, base: str = "") -> bool:
    """Whether ``target`` leads to where ``address`` of our configuration listens.

    ``target`` is ``inet:HOST:PORT``, ``inet:PORT``, ``unix:PATH`` or a bare path
    (Exim); a relative path is one below ``base``, Postfix' queue directory.
    """
    kind, colon, place = target.partition(":")
    if kind != "inet" or not colon:
        path = place if colon else target
        return (path if path.startswith("/") else f"{base}/{path}") == address
    if address.startswith("/"):
        return False
    text = place if ":" in place else f"localhost:{place}"
    try:
        hosts = {split_address(one)[0] for one in (text, address)}
        near = "localhost" in hosts and all(map(is_loopback, hosts))
        return meet(text, address) or (
            near and split_address(text)[1] == split_address(address)[1]
        )
    except ValueError:  # the name of a port: not known to be the same
        return False
