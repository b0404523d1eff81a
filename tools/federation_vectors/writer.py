"""Writes logs as an origin does, honest or not, for vectors and tests.

The nonce is a hash of what is written, so that the same code writes the same
bytes; a real origin takes it from a random source.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

from federation.format.event import Event, Stub, write
from federation.format.profile import b64
from federation.format.signing import ROTATE, Signer
from tools.federation_vectors.case import NET, T0

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Writer", "consent", "hard", "seeded", "soft", "text"]


def seeded(number: int) -> Signer:
    """Return the signer of a number."""
    return Signer(sha256(f"sm2tp test seed {number}".encode()).digest())


def text(event: Event | Stub) -> str:
    """Return a line as vectors spell it: without its LF."""
    return event.line.decode("ascii").removesuffix("\n")


def hard(tag: int) -> tuple[str, dict[str, Any]]:
    """Return kind and body of a hard claim about the ``tag``-th recipient."""
    return "rcpt.hard", {
        "pk": b64(b"pepper"),
        "r": b64(tag.to_bytes(16)),
        "code": "5.1.1",
        "smtp": 550,
        "cnt": 1,
        "last": T0 - T0 % 3600,
        "via": "smtp",
    }


def soft(tag: int) -> tuple[str, dict[str, Any]]:
    """Return kind and body of a soft claim about the ``tag``-th recipient."""
    _, body = hard(tag)
    return "rcpt.soft", body | {"code": "4.2.2", "smtp": 452}


def consent(org: bytes, newroot: Signer) -> dict[str, Any]:
    """Return the body of a rotation to a new root, with its consent."""
    return {
        "newroot": b64(newroot.public),
        "sig2": b64(newroot.sign(ROTATE, org + newroot.public)),
    }


class Writer:
    """One log. ``events`` is what was written, the last one is the head."""

    def __init__(
        self,
        signer: Signer,
        st: str,
        *,
        org: bytes | None = None,
        inc: int = T0,
        events: Sequence[Event] = (),
        net: str = NET,
    ) -> None:
        self.signer = signer
        self.st = st
        self.org = signer.public if org is None else org
        self.inc = inc
        self.net = net
        self.events = list(events)

    def add(
        self,
        said: tuple[str, dict[str, Any]],
        ts: int | None = None,
        **other: Any,  # noqa: ANN401 - fields of several types
    ) -> Event:
        """Write the next event; ``other`` replaces fields of its header."""
        head = self.events[-1] if self.events else None
        seq = 1 if head is None else head.seq + 1
        k, b = said
        salt = f"{self.inc} {seq} {ts} {k} {sorted(b.items())} {other}".encode()
        fields: dict[str, Any] = {
            "net": self.net,
            "org": self.org,
            "st": self.st,
            "inc": self.inc,
            "seq": seq,
            "prev": b"" if head is None else head.id,
            "ts": (self.inc if head is None else head.ts) + 1 if ts is None else ts,
            "k": k,
            "n": sha256(self.signer.public + salt).digest()[:16],
            "b": b,
        }
        event = write(self.signer, **(fields | other))
        self.events.append(event)
        return event

    def branch(self, after: int) -> Writer:
        """Return a second log that shares the first ``after`` events."""
        return Writer(
            self.signer,
            self.st,
            org=self.org,
            inc=self.inc,
            events=self.events[:after],
            net=self.net,
        )

    def entry(self, head: int | None = None, floor: int = 0) -> list[Any]:
        """Return the log's entry of a vector, spelled."""
        last = self.events[(len(self.events) if head is None else head) - 1]
        key = b64(self.signer.public)
        return [key, self.st, self.inc, floor, last.seq, b64(last.id)]
