"""Signed events in bulk: a hundred organisations that report dead recipients.

Made from a template, because the program's own writer reads back what it writes and
would cost more than what is measured. The lines are as real ones: 100 logs of stream
h, one event each in turn, spread over 150 days, every recipient named by two of them.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from federation.format.limits import DAY
from federation.format.profile import b64
from federation.format.signing import EVENT, Signer, event_id

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["NET", "NOW", "ORGS", "batches", "orgs", "tag"]

NET = "bench"
NOW = 1_800_000_000
ORGS = 100
_SPAN = 150 * DAY


def orgs() -> list[Signer]:
    """Return the organisations' signers."""
    return [
        Signer(sha256(f"bench {number}".encode()).digest()) for number in range(ORGS)
    ]


def tag(number: int) -> bytes:
    """Return the tag of the ``number``-th recipient; event n is about n // 2."""
    return sha256(number.to_bytes(8)).digest()[:16]


def batches(count: int, size: int = 1000) -> Iterator[list[bytes]]:
    """Yield ``count`` lines in batches, in an order that every log accepts."""
    signers = orgs()
    heads = [(0, "")] * ORGS
    lines: list[bytes] = []
    for number in range(count):
        which = number % ORGS
        signer = signers[which]
        seq, prev = heads[which]
        ts = NOW - _SPAN + number * _SPAN // count
        key = b64(signer.public)
        nonce = b64(sha256(b"n%d" % number).digest()[:16])
        raw = (
            f'{{"b":{{"cnt":1,"code":"5.1.1","last":{ts - ts % 3600},"pk":"uwBm6_w3",'
            f'"r":"{b64(tag(number // 2))}","smtp":550,"via":"smtp"}},'
            f'"inc":{NOW - _SPAN},"k":"rcpt.hard","key":"{key}","n":"{nonce}",'
            f'"net":"{NET}","org":"{key}","prev":"{prev}","seq":{seq + 1},"st":"h",'
            f'"ts":{ts},"v":1}}'
        ).encode()
        heads[which] = seq + 1, b64(event_id(raw))
        lines.append(b"%s %s\n" % (b64(signer.sign(EVENT, raw)).encode(), raw))
        if len(lines) == size:
            yield lines
            lines = []
    if lines:
        yield lines
