"""JSON lines that can tell whether they are whole.

A sealed line is an ordinary JSON object whose last member is the CRC-32 of the
object without it, so that ``jq`` reads the file as it is::

    {"seq":7,"event":"told","case":"c1","crc":"5a0c91f3"}

``unseal`` is pure and total: any octets give the records that are intact, and
where the damage is. Records are found by their seals, not by the line ends, so a
damaged line end costs no neighbour.
"""

from __future__ import annotations

import json
import re
import zlib
from typing import Any, NamedTuple

__all__ = ["Unsealed", "seal", "unseal"]

_SEAL = re.compile(rb',"crc":"([0-9a-f]{8})"\}')


class Unsealed(NamedTuple):
    """Records with their position, damaged stretches, and the good end.

    ``end`` is the offset behind the last intact record or complete line; what
    follows is the torn rest of a write that a crash interrupted. ``ended`` tells
    whether a line feed stands before ``end``.
    """

    records: list[dict[str, Any]]
    damage: list[tuple[int, int]]  # start, end
    end: int
    ended: bool


def seal(record: dict[str, Any]) -> bytes:
    """Return the record as one line. Raises ValueError for NaN or a ``crc``."""
    if "crc" in record or not record:
        raise ValueError("a sealed line needs members, and none named crc")
    body = json.dumps(record, separators=(",", ":"), allow_nan=False).encode()
    return b'%b,"crc":"%08x"}\n' % (body[:-1], zlib.crc32(body))


def unseal(data: bytes) -> Unsealed:
    """Return every intact record of a file's content, in order."""
    records: list[dict[str, Any]] = []
    damage: list[tuple[int, int]] = []
    start = end = 0
    while start < len(data):
        newline = data.find(b"\n", start)
        stop = len(data) if newline < 0 else newline
        behind = _line(data, start, stop, records, damage)
        if newline >= 0:
            if behind < stop:
                damage.append((behind, stop))
            end = start = newline + 1
        else:
            if behind > start:
                end = behind
            start = len(data)
    return Unsealed(records, damage, end, ended=not end or data.endswith(b"\n", 0, end))


def _line(
    data: bytes,
    start: int,
    stop: int,
    records: list[dict[str, Any]],
    damage: list[tuple[int, int]],
) -> int:
    """Collect the records between two offsets; return the offset behind them."""
    at = start
    for match in _SEAL.finditer(data, start, stop):
        record = _record(data[at : match.start()] + b"}", match[1])
        if record is None and at > start:
            # The octet between was the line feed before it was damaged.
            record = _record(data[at + 1 : match.start()] + b"}", match[1])
            if record is not None:
                damage.append((at, at + 1))
        if record is not None:
            records.append(record)
            at = match.end()
    return at


def _record(body: bytes, crc: bytes) -> dict[str, Any] | None:
    if zlib.crc32(body) != int(crc, 16):
        return None
    try:
        record = json.loads(body)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None
