"""What two nodes must exchange: version vectors compared, as pure functions.

A log whose heads are equal is equal, so one entry for each log says everything.
The side that asks learns the other's entries, or those that changed since the
last answer, and then pulls what the other has more and pushes what it has more
itself. Equal numbers with different ids, or a longer log that does not continue
ours, are looked at event by event until the lowest difference is found: a fork.

PROTOCOL.md 9.4 and 9.7. Pure: session.py asks and answers with this.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple

from federation.format.errors import Refused
from federation.format.event import LATEST, STREAMS, Stub
from federation.format.profile import LARGEST, Value, b64, unb64
from federation.log.chain import Entry, LogKey

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

__all__ = [
    "HEAD_ID",
    "Difference",
    "Place",
    "Want",
    "compare",
    "digest",
    "read_push",
    "read_vector",
    "read_wants",
    "refusals",
    "where",
    "write_vector",
    "write_wants",
]

HEAD_ID: Final = 16
"""Bytes of a head's id in a vector: 8 would let two heads collide with 2^32 work."""

_TAIL = re.compile(
    rb'"inc":(\d{1,12}),"k":"[a-z.]+","key":"([\w-]{43})","n":"[\w-]{22}",'
    rb'"net":"[a-z0-9-]+","org":"[\w-]{43}","prev":"[\w-]*","seq":(\d{1,16}),'
    rb'"st":"([chs])","ts":\d+,"v":1\}\n\Z'
)


class Want(NamedTuple):
    """A range of a log, both ends included."""

    log: LogKey
    first: int
    last: int


class Place(NamedTuple):
    """Where a line belongs."""

    log: LogKey
    seq: int


@dataclass(slots=True)
class Difference:
    """What to do so that both sides have the same.

    ``pull`` and ``push`` are in the order to send: control first, since it says
    who may write the rest. ``below``: beginnings that the other side still has,
    to be taken backwards. ``odd``: equal heads with different ids.
    """

    pull: list[Want] = field(default_factory=list)
    push: list[Want] = field(default_factory=list)
    below: list[Want] = field(default_factory=list)
    odd: list[LogKey] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.pull or self.push or self.below or self.odd)


def digest(vector: Iterable[Entry]) -> bytes:
    """Return the hash that is equal where two vectors are.

    Floors are not part of it: nodes let events expire at different moments.
    """
    lines = sorted(
        f"{b64(one.key)} {one.st} {one.inc} {one.head} {b64(one.head_id[:HEAD_ID])}\n"
        for one in vector
        if one.head > one.floor
    )
    return sha256(("SM2TP-FED/1 vector\n" + "".join(lines)).encode("ascii")).digest()


def compare(
    ours: Mapping[LogKey, Entry],
    theirs: Mapping[LogKey, Entry],
    shelf: Collection[LogKey] = (),
) -> Difference:
    """Return what to pull and push. Logs on the ``shelf`` are left alone."""
    found = Difference()
    for log, their in theirs.items():
        if log not in shelf and ours.get(log) != their:
            _one(found, log, ours.get(log), their)
    for log, our in ours.items():
        known = theirs[log].head if log in theirs else 0
        if log not in shelf and our.head > known:
            first = max(known, our.floor) + 1
            found.push.append(Want(log, first, our.head))
    for several in (found.pull, found.push):
        several.sort(key=_order)
    return found


def _one(found: Difference, log: LogKey, our: Entry | None, their: Entry) -> None:
    if their.head <= their.floor:
        return  # all of it expired there
    if our is None or their.head > our.head:
        have = 0 if our is None else our.head
        found.pull.append(Want(log, max(have, their.floor) + 1, their.head))
    elif their.head == our.head and their.head_id[:HEAD_ID] != our.head_id[:HEAD_ID]:
        found.odd.append(log)
    if our is not None and their.floor < our.floor and their.head >= our.floor:
        found.below.append(Want(log, their.floor + 1, our.floor))


def _order(want: Want) -> tuple[bool, bytes, str, int]:
    return want.log.st != "c", want.log.key, want.log.st, want.log.inc


def where(line: bytes) -> Place | None:
    """Return where a line says that it belongs, None if it says nothing readable.

    Only to tell lines of one answer apart, before any check: the fields of an
    event end in a fixed order, because the profile sorts them.
    """
    if line.startswith(b"- "):
        try:
            stub = Stub.parse(line)
        except Refused:
            return None
        return Place(LogKey(stub.key, stub.st, stub.inc), stub.seq)
    tail = _TAIL.search(line, max(0, len(line) - 400))
    if tail is None:
        return None
    try:
        key = unb64(tail[2].decode("ascii"), 32)
    except Refused:
        return None
    return Place(LogKey(key, tail[4].decode("ascii"), int(tail[1])), int(tail[3]))


def write_vector(vector: Iterable[Entry]) -> list[Value]:
    """Return a vector as a value of the JSON profile."""
    return [
        [b64(one.key), one.st, one.inc, one.floor, one.head, b64(one.head_id[:HEAD_ID])]
        for one in vector
    ]


def read_vector(value: Value) -> list[Entry]:
    """Return the entries of a received vector. Refused("bad-form")."""
    entries = []
    for one in _array(value):
        match one:
            case [key, str(st), int(inc), int(floor), int(head), ident]:
                pass
            case _:
                raise Refused("bad-form", "a vector's entry has not its six fields")
        if st not in STREAMS or inc > LATEST or floor > head or head > LARGEST:
            raise Refused("bad-form", "a vector's entry is out of range")
        if True in (inc is True, floor is True, head is True):
            raise Refused("bad-form", "true is no number")
        entries.append(
            Entry(unb64(key, 32), st, inc, floor, head, unb64(ident, HEAD_ID))
        )
    return entries


def write_wants(wants: Iterable[Want]) -> list[Value]:
    """Return wants as a value of the JSON profile."""
    return [
        [b64(one.log.key), one.log.st, one.log.inc, one.first, one.last]
        for one in wants
    ]


def read_wants(value: Value, most: int) -> list[Want]:
    """Return the ranges that a peer asks for. Refused("bad-form")."""
    items = _array(value)
    if len(items) > most:
        raise Refused("bad-form", f"more than {most} ranges")
    wants = []
    for one in items:
        match one:
            case [key, str(st), int(inc), int(first), int(last)]:
                pass
            case _:
                raise Refused("bad-form", "a range has not its five fields")
        if st not in STREAMS or inc > LATEST or not 1 <= first <= last <= LARGEST:
            raise Refused("bad-form", "a range is out of range")
        wants.append(Want(LogKey(unb64(key, 32), st, inc), first, last))
    return wants


def refusals(value: Value) -> set[bytes]:
    """Return organisations that somebody does not want. Refused("bad-form")."""
    return {unb64(one, 32) for one in _array(value)}


def read_push(value: Mapping[str, Value], lines: int) -> dict[int, str]:
    """Return the codes of the lines that a peer did not take, by their number."""
    codes: dict[int, str] = {}
    for one in _array(value.get("err", [])):
        match one:
            case [int(number), str(code)] if 0 <= number < lines:
                codes[number] = code
            case _:
                raise Refused("bad-form", "the answer to a push")
    return codes


def _array(value: Value) -> Sequence[Value]:
    if not isinstance(value, list):
        raise Refused("bad-form", "an array is missing")
    return value
