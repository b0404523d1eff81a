"""A node without a network: store, admission and own log, and how two exchange.

``Node(1)`` and ``Node(2)`` know each other only after ``admit``. ``exchange`` does
what a session does in the end: each offers the other all that it shows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from federation.format.limits import Limits
from federation.format.profile import b64
from federation.log.admission import Admission
from federation.log.chain import LogKey
from federation.log.own import OwnLog
from federation.log.store import Store
from tools.federation_vectors.case import NET, T0
from tools.federation_vectors.writer import Writer, hard, seeded

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from federation.format.event import Event
    from federation.format.signing import Signer
    from federation.log.chain import Entry

__all__ = ["NOW", "Node", "exchange", "facts"]

NOW = T0 + 1000


class Node:
    """One organisation's host. Its root grants its node key when it is made.

    ``empty``: it gets that from elsewhere, as a second machine does.
    """

    def __init__(
        self,
        number: int,
        path: Path | str = ":memory:",
        *,
        limits: Limits | None = None,
        empty: bool = False,
    ) -> None:
        self.limits = limits or Limits()
        self.root: Signer = seeded(1000 + number)
        self.key: Signer = seeded(2000 + number)
        self.org = self.root.public
        self.store = Store(path, NET, self.limits)
        self.admission = Admission(self.store, NET, self.limits)
        self.own = OwnLog(
            self.store, org=self.org, node=self.key, root=self.root, limits=self.limits
        )
        if not empty and not self.store.vector(org=self.org):
            self.own.append("ctl.org", {"name": f"Node {number}"}, NOW)
            self.own.append(
                "ctl.grant", {"key": b64(self.key.public), "label": "one"}, NOW
            )

    def admit(self, *others: Node | bytes, level: str = "trusted") -> Node:
        """Put organisations into the trust table."""
        for other in others:
            org = other if isinstance(other, bytes) else other.org
            self.store.set_trust(org, level, now=NOW)
        return self

    def take(self, events: Iterable[Event], now: int = NOW) -> list[str]:
        """Offer events."""
        lines = [event.line for event in events]
        return self.admission.take(lines, peer="test", now=now)

    def lines(self) -> list[bytes]:
        """Return all that others are shown, control first, in order of the logs."""
        found = []
        for entry in sorted(self.store.vector(), key=lambda one: one.st):
            found += self.store.lines(
                LogKey(*entry[:3]), 1, entry.head, most=10_000, size=1 << 30
            )
        return found

    def shown(self) -> list[Entry]:
        """Return the vector without floors."""
        return [entry._replace(floor=0) for entry in self.store.vector()]

    def counting(self) -> set[bytes]:
        """Return the ids of the events that count."""
        return {claim.id for claim in self.store.counting()}


def facts(signer: Signer, tags: Iterable[int], org: bytes) -> list[Event]:
    """Return a log of hard claims."""
    log = Writer(signer, "h", org=org)
    for tag in tags:
        log.add(hard(tag))
    return log.events


def exchange(one: Node, other: Node, now: int = NOW, *, proofs: bool = True) -> None:
    """Let both offer each other everything until nothing is new, at most 9 times."""
    for _ in range(9):
        before = one.store.counter(), other.store.counter()
        for giver, taker in ((one, other), (other, one)):
            taker.admission.take(giver.lines(), peer="test", now=now)
            if proofs:
                taker.own.publish_proofs(now)
        if before == (one.store.counter(), other.store.counter()):
            return
    raise AssertionError("no end of exchanging")
