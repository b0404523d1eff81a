"""Claims and trust tables for tests of the federation's decisions, and whole hosts.

A `Host` has a real file with everything that decides; other hosts `say` things to
it, as signed lines through its own checks.
"""

import itertools
import json
from pathlib import Path
from typing import Any, Self

from federation.format.event import Event
from federation.format.limits import Limits
from federation.format.profile import b64
from federation.format.signing import Signer
from federation.format.tags import Pepper
from federation.log.admission import Admission
from federation.log.claim import Claim
from federation.log.own import OwnLog
from federation.log.store import Store
from federation.trust.decision import Rules, Verdict
from federation.trust.emitter import Share
from federation.trust.evidence import Evidence
from federation.trust.intake import Intake, Taken
from federation.trust.judge import Judge
from federation.trust.levels import Level, Standing, Trust

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


def claim(
    who: str,
    kind: str = "rcpt.hard",
    *,
    age: int = 0,
    id_: bytes = b"",
    recv: int | None = None,
    **body: Any,
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


PEPPER = Pepper(b"p" * 32)
OLDER = Pepper(b"o" * 32)


class Host:
    """A node without a network. Time stands still unless a test says otherwise."""

    def __init__(
        self,
        name: str = "us",
        path: Path | str = ":memory:",
        share: Share | None = None,
        rules: Rules | None = None,
    ) -> None:
        """``jitter`` is what each random wait is; ``canaries`` are addresses."""
        self.name = name
        self.limits = Limits()
        self.signer = Signer(name.encode().ljust(32, b"."))
        self.org = self.signer.public
        self.peppers = [PEPPER]
        self.canaries: list[str] = []
        self.jitter = 0
        self.store = Store(path, "test", self.limits)
        self.own = OwnLog(
            self.store,
            org=self.org,
            node=self.signer,
            root=self.signer,
            limits=self.limits,
        )
        self.admission = Admission(self.store, "test", self.limits)
        self.evidence = Evidence(self.store)
        self.judge = Judge(
            self.store,
            self.evidence,
            self.org,
            rules or Rules(),
            lambda: [PEPPER.recipient(one) for one in self.canaries],
        )
        self.intake = Intake(
            self.store,
            self.own,
            self.evidence,
            self.judge,
            lambda: self.peppers,
            share or Share(),
            lambda most: min(most, self.jitter),
        )

    def __enter__(self) -> Self:
        """Close the file at the end."""
        return self

    def __exit__(self, *_: object) -> None:
        self.store.close()

    def believe(self, other: "Host", level: str, group: str = "", at: int = 0) -> None:
        """Set a level, as the operator does."""
        self.store.set_trust(other.org, level, group=group, now=at)

    def hear(self, *events: Event, now: int = NOW) -> list[str]:
        """Take lines as from a peer; return the codes."""
        return self.admission.take(
            [event.line for event in events], peer="peer", now=now
        )

    def says(self, kind: str, address: str, at: int = NOW, **more: Any) -> Event:
        """Write an event about an address into the own log, whatever the truth."""
        last = at - at % HOUR
        body: dict[str, Any] = {"pk": b64(PEPPER.id), "r": tag(address)}
        if kind in {"rcpt.hard", "rcpt.soft"}:
            soft = kind == "rcpt.soft"
            body |= {"code": "4.2.2" if soft else "5.1.1", "cnt": 1, "via": "smtp"}
            body |= {"smtp": 452 if soft else 550}
        if kind in {"rcpt.hard", "rcpt.soft", "rcpt.ok"}:
            body |= {"last": last}
        if kind == "rcpt.complaint":
            body |= {"src": "arf", "cls": "bulk"}
        if kind == "send.blocked":
            body = {"pk": b64(PEPPER.id), "s": b64(PEPPER.sender(address))}
            body |= {"why": "compromised", "until": last + 9 * DAY}
        return self.own.append(kind, body | more, at)

    def fact(self, kind: str, *, now: int = NOW, **more: Any) -> Taken:
        """Take one fact."""
        return self.intake.take([fact(kind, **more)], now)

    def verdict(self, address: str, now: int = NOW) -> Verdict:
        """Return what follows for an address."""
        one = PEPPER.recipient(address)
        return self.judge.verdicts([one], now)[one]

    def own_events(self, *kinds: str) -> list[Claim]:
        """Return what this host published and that counts."""
        found = [one for one in self.store.counting() if one.k in kinds]
        return [one for one in found if one.org == self.org]


def tag(address: str) -> str:
    """Return the recipient tag of an address, as it is written."""
    return b64(PEPPER.recipient(address))


def fact(kind: str, **more: Any) -> bytes:
    """Return a fact as the shaper writes it."""
    fields: dict[str, Any] = {"v": 1, "kind": kind}
    if kind in {"bounce", "soft"}:
        fields |= {"code": "5.1.1" if kind == "bounce" else "4.2.2", "via": "smtp"}
        fields |= {"smtp": 550 if kind == "bounce" else 452}
    if kind not in {"released", "receiver", "day"}:
        fields |= {"at": NOW}
    return json.dumps(fields | more).encode()
