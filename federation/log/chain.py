"""Whether an event continues its log: the state of the log in, a verdict out.

A log is (key, stream, incarnation). Its events are numbered from 1, each names
the one before it, times never decrease. Because of this expiry is always a
truncation of the beginning (``floor``), and two logs with equal head are equal.

A log may have an ``end``: the sequence number after which nothing counts, because
of a fork or because its key was revoked. Events behind the end may be held (they
count again should the end move back); head and vector never show them.

PROTOCOL.md 7.1. Pure: no storage, no signature.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from federation.format.event import Event
    from federation.format.limits import Limits

__all__ = ["END", "Entry", "Log", "LogKey", "Step", "judge", "late", "live", "room"]

END = 2**53  # above every sequence number


class LogKey(NamedTuple):
    """Which log."""

    key: bytes
    st: str
    inc: int


class Entry(NamedTuple):
    """A log as a vector states it: holds ``floor`` + 1 to ``head``."""

    key: bytes
    st: str
    inc: int
    floor: int
    head: int
    head_id: bytes


@dataclass(slots=True)
class Log:
    """What is known of a log. ``floor_id`` is the id of event ``floor``."""

    which: LogKey
    org: bytes
    floor: int = 0
    floor_id: bytes = b""
    head: int = 0
    head_id: bytes = b""
    head_ts: int = 0
    end: int = END
    rowid: int = 0

    @property
    def ended(self) -> bool:
        """Whether a fork or a revocation has put an end to it."""
        return self.end < END


class Step(StrEnum):
    """What an event is to its log."""

    NEXT = "next"
    START = "start"  # of a log that is not known here
    BELOW = "below"  # the event just under the floor: gives back what was missing
    HELD = "held"  # a number that is held: the same event, a stub, or a fork
    GONE = "gone"  # under the floor
    ENDED = "ended"
    BAD = "bad"


def judge(log: Log | None, event: Event, limits: Limits, now: int) -> Step:
    """Tell what an event is to a log, in the order of PROTOCOL.md 7.1."""
    if log is None:
        return _start(event, limits, now)
    if event.seq > log.end:
        return Step.ENDED
    if event.seq <= log.floor:
        below = event.seq == log.floor and event.id == log.floor_id
        return Step.BELOW if below and event.org == log.org else Step.GONE
    if event.seq <= log.head:
        return Step.HELD
    follows = (
        event.seq == log.head + 1
        and event.prev == log.head_id
        and event.org == log.org
        and event.ts >= log.head_ts
    )
    return Step.NEXT if follows else Step.BAD


def _start(event: Event, limits: Limits, now: int) -> Step:
    if event.seq == 1:
        return Step.BAD if event.prev else Step.START
    # The beginning may be missing only where it may have expired: a log that was
    # opened within the retention has lost nothing, so somebody holds it back.
    kept = limits.retention.get(event.st)
    expired = kept is not None and event.inc <= now - kept
    return Step.START if expired and event.prev else Step.BAD


def late(event: Event, limits: Limits, now: int) -> bool:
    """Return whether an event is older than its stream is kept."""
    kept = limits.retention.get(event.st)
    return kept is not None and event.ts < now - kept


def live(logs: Iterable[Log], key: bytes, st: str) -> int:
    """Count the incarnations of a key and stream that hold events and go on."""
    return sum(
        one.which[:2] == (key, st) and one.head > one.floor and not one.ended
        for one in logs
    )


def room(count: int, st: str, limits: Limits) -> bool:
    """Return whether one more incarnation may be opened beside ``count`` live ones."""
    return count < (limits.control_incarnations if st == "c" else limits.incarnations)
