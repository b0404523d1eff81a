"""Nodes that exchange without a network: real store, codec, session and service.

A ``Member`` is an organisation with one machine and its store (in memory unless a
path is given); ``converse`` runs one session between two of them and counts what
would be on the wire. Keys come from the name, so every run is the same. The
simulation drives the same generator step by step, over a fake clock.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from federation.exchange.client import COMPRESS_FROM
from federation.exchange.replica import Replica
from federation.exchange.service import Service
from federation.exchange.session import Memory, Report, session
from federation.format.limits import Limits
from federation.format.profile import b64
from federation.format.signing import Signer
from federation.log.admission import Admission
from federation.log.own import OwnLog
from federation.log.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from federation.exchange.session import Answer, Dialogue
    from federation.format.event import Event
    from federation.format.profile import Value

__all__ = ["NET", "NOW", "Member", "Wire", "acquaint", "advance", "converse", "hard"]

NET = "test"
NOW = 1_790_000_000


def seed(name: str) -> bytes:
    """Return the seed of a key called ``name``."""
    return sha256(name.encode()).digest()


def hard(number: int) -> dict[str, Value]:
    """Return the body of a ``rcpt.hard`` about the address ``number``."""
    return {
        "pk": b64(bytes(6)),
        "r": b64(sha256(b"%d" % number).digest()[:16]),
        "code": "5.1.1",
        "smtp": 550,
        "cnt": 1,
        "last": NOW // 3600 * 3600,
        "via": "smtp",
    }


class Member:
    """One organisation with one machine."""

    def __init__(
        self,
        name: str,
        path: Path | str = ":memory:",
        limits: Limits | None = None,
        now: int = NOW,
    ) -> None:
        self.name = name
        self.root = Signer(seed(f"root {name}"))
        self.signer = Signer(seed(f"node {name}"))
        self.org = self.root.public
        self.limits = limits or Limits()
        self.store = Store(path, NET, self.limits)
        self.admission = Admission(self.store, NET, self.limits)
        self.own = OwnLog(
            self.store,
            org=self.org,
            node=self.signer,
            root=self.root,
            limits=self.limits,
        )
        self.replica = Replica(self.store, self.admission)
        self.service = Service(self.replica)
        self.memory: dict[bytes, Memory] = {}
        if not self.store.logs_of(self.org):
            label: Value = name
            body = {"key": b64(self.signer.public), "label": label}
            self.own.append("ctl.grant", body, now)

    def __repr__(self) -> str:
        return f"Member({self.name})"

    def say(self, count: int = 1, first: int = 0, now: int = NOW) -> list[Event]:
        """Publish ``count`` hard bounces."""
        with self.store.writing(durable=True):
            return [
                self.own.append("rcpt.hard", hard(first + one), now)
                for one in range(count)
            ]

    def knows(self) -> int:
        """Return how many events are stored."""
        found = self.store.row("SELECT count(*) FROM ev")
        return int(found[0]) if found else 0

    def start(self, peer: Member, now: int = NOW) -> Dialogue:
        """Return a session with a peer, not yet begun."""
        memory = self.memory.setdefault(peer.org, Memory())
        return session(self.replica, peer.org, memory, lambda: now)


def acquaint(*members: Member, level: str = "trusted", now: int = NOW) -> None:
    """Put each into the trust table of all others."""
    for one in members:
        for other in members:
            if one is not other:
                one.store.set_trust(other.org, level, now=now)


@dataclass(slots=True)
class Wire:
    """What a session would have cost: requests, octets of bodies as sent."""

    requests: int = 0
    sent: int = 0
    received: int = 0

    @property
    def both(self) -> int:
        """Octets in both directions."""
        return self.sent + self.received


def packed(body: bytes) -> int:
    """Return the length of a body on the wire."""
    return len(body) if len(body) < COMPRESS_FROM else len(zlib.compress(body, 6, 31))


def advance(
    dialogue: Dialogue, asker: Member, peer: Member, answer: Answer | None, now: int
) -> Answer | Report:
    """Do one step of a session: hand an answer in, return the next, or the report."""
    try:
        ask = next(dialogue) if answer is None else dialogue.send(answer)
    except StopIteration as end:
        report: Report = end.value
        return report
    return peer.service.answer(ask.path, ask.body, peer=asker.org, now=now)


def converse(
    asker: Member, peer: Member, now: int = NOW, wire: Wire | None = None
) -> Report:
    """Run one session between two members to its end."""
    dialogue = asker.start(peer, now)
    answer: Answer | None = None
    while True:
        try:
            ask = next(dialogue) if answer is None else dialogue.send(answer)
        except StopIteration as end:
            report: Report = end.value
            return report
        answer = peer.service.answer(ask.path, ask.body, peer=asker.org, now=now)
        if wire is not None:
            wire.requests += 1
            wire.sent += packed(ask.body)
            wire.received += packed(answer.body)
