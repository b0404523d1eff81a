"""What is remembered of a message that left, to find its sender again.

A bounce or a complaint comes minutes to days later and names the message by our
trace id, by the next hop's queue id or by its Message-ID. Remembered are the
sender, the time, and four octets of a keyed hash for each recipient: enough to
tell whether a report names somebody to whom this message went, and not enough to
know whom. Pure; storing is the duty of ``shaper.ledger.sent``.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

__all__ = ["KEY", "MARK", "NOBODY", "Sent", "mark_of", "message_key"]

KEY = 8
"""Octets of the digest that stands for an id."""
MARK = 4
"""Octets of the digest that stands for a recipient."""
NOBODY = b"\0" * MARK
"""The mark of a report that hides its recipient."""

_HEAD = struct.Struct(">IH")
_MOST = 3000  # recipients of one message that are remembered


def message_key(secret: bytes, kind: str, text: str) -> bytes:
    """Return the digest of an id; ``kind`` keeps ids of different makers apart."""
    raw = text.encode("utf-8", "surrogateescape")
    person = kind.encode()
    return hashlib.blake2b(raw, digest_size=KEY, key=secret, person=person).digest()


def mark_of(address_hash: int) -> bytes:
    """Return the mark of a recipient from its keyed hash (``contact_hash``)."""
    return (address_hash & 0xFFFFFFFF).to_bytes(MARK, "big")


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that the next hop took; ``time`` (Unix) is when it reached us."""

    key: bytes
    sender: str
    time: float
    marks: tuple[bytes, ...]

    def encode(self) -> bytes:
        """Return the stored form, without the key."""
        marks = self.marks[:_MOST]
        head = _HEAD.pack(max(0, int(self.time)) & 0xFFFFFFFF, len(marks))
        return head + b"".join(marks) + self.sender.encode("utf-8", "surrogateescape")

    @classmethod
    def decode(cls, key: bytes, raw: bytes) -> Sent:
        """Rebuild from the stored form. Raises ValueError on anything else."""
        if len(raw) <= _HEAD.size:
            raise ValueError("a sent message is shorter than its head")
        time, count = _HEAD.unpack_from(raw)
        end = _HEAD.size + MARK * count
        if len(raw) <= end:
            raise ValueError("a sent message has no sender")
        marks = tuple(raw[at : at + MARK] for at in range(_HEAD.size, end, MARK))
        sender = raw[end:].decode("utf-8", "surrogateescape")
        return cls(key, sender, float(time), marks)
