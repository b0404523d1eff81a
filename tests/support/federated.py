"""Claims and trust tables for tests of the federation's decisions."""

import itertools
from typing import Any

from federation.claim import Claim
from federation.trust import Level, Standing, Trust

NOW = 1_800_000_000
DAY = 86400
HOUR = 3600
_serial = itertools.count(1)


def org(name: str) -> bytes:
    """Return a 32-byte key that stands for an organisation."""
    return name.encode().ljust(32, b".")


def trust(shares: dict[str, int] | None = None, **levels: str) -> Trust:
    """Return a table: ``trust(a="trusted", b="known/group")``."""
    table = {}
    for name, said in levels.items():
        level, _, group = said.partition("/")
        table[org(name)] = Standing(Level(level), group)
    return Trust(table, {org(name): share for name, share in (shares or {}).items()})


def claim(  # noqa: PLR0913 - a claim has that many parts
    who: str,
    kind: str = "rcpt.hard",
    *,
    age: int = 0,
    id_: bytes = b"",
    recv: int | None = None,
    **body: Any,  # noqa: ANN401
) -> Claim:
    """Return an event of ``who``, ``age`` seconds old at NOW."""
    at = NOW - age
    if kind in {"rcpt.hard", "rcpt.soft"}:
        body = {"via": "smtp", "cnt": 1, **body}
    if kind.startswith("rcpt.") and kind != "rcpt.complaint":
        body = {"last": at, **body}
    stream = "s" if kind in {"rcpt.soft", "rcpt.ok", "stat.score"} else "h"
    serial = next(_serial)
    ident = id_ or serial.to_bytes(32)
    received = at if recv is None else recv
    key = org(who)
    return Claim(key, key, stream, 0, serial, ident, kind, body, at, received)
