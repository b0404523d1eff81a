"""Who sent what in the past: messages out of old Postfix and Exim logs.

One ``Sent`` per message, however often it passed the MTA (a content filter or
the shaper's own hop makes copies under new queue ids). The sender is the login
where there is one, else the local user, else the envelope sender; bounces (null
sender) and verification probes are nobody's mail. Files are plain, gzip or xz,
in any order. Messages come in the order in which they were finished, not sent;
memory is bounded by the open messages.
"""

from __future__ import annotations

import gzip
import lzma
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import IO, TYPE_CHECKING, NamedTuple, TypeVar

from shaper.feedback.exim_log import EximLog, EximMessage
from shaper.feedback.logtime import LogClock
from shaper.feedback.postfix_line import Delivery, Removed, split_prefix
from shaper.feedback.postfix_log import DAEMONS, Message, PostfixLog
from shaper.feedback.table import shipped_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["HistoryReader", "Sent", "open_log", "read_history", "read_lines"]

MAX_LINE = 65_536  # characters; the rest of a longer line is skipped
_MAX_IDS = 200_000  # message ids and re-injected queue ids remembered
_BLOCK = 256 * 1024  # characters
_PEEK_LINES = 200
_LOOPBACK = ("[127.", "[::1]", "localhost")
_PROBES = frozenset({"deliverable", "undeliverable", "undeliverable-but-not-cached"})
# A damaged or cut archive: what zlib, gzip and lzma raise while reading.
_DAMAGE = (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError)


class Sent(NamedTuple):
    """A message that somebody sent; ``time`` in epoch seconds."""

    sender: str
    recipients: tuple[str, ...]
    time: float
    client: str | None
    message_id: str | None


def open_log(path: Path) -> IO[str]:
    """Open a log as text, by its first octets: gzip, xz or plain. Raises OSError."""
    with path.open("rb") as file:
        magic = file.read(6)
    if magic[:2] == b"\x1f\x8b":  # RFC 1952 2.3.1
        return gzip.open(path, "rt", encoding="utf-8", errors="replace")
    if magic == b"\xfd7zXZ\x00":
        return lzma.open(path, "rt", encoding="utf-8", errors="replace")
    return path.open(encoding="utf-8", errors="replace")


def read_lines(file: IO[str]) -> Iterator[str]:
    """Yield lines without their ends, cut at ``MAX_LINE`` characters.

    NUL octets, which copytruncate leaves behind, are dropped. Reading by the block
    is three times as fast as by the line, and no line can fill the memory.
    """
    rest = ""
    overlong = False
    while block := file.read(_BLOCK):
        if "\0" in block:
            block = block.replace("\0", "")
        lines = (rest + block).split("\n")
        rest = lines.pop()
        if overlong and lines:
            lines = lines[1:]  # the tail of a line that was already yielded
            overlong = False
        for line in lines:
            yield line[:MAX_LINE]
        if len(rest) > MAX_LINE:
            if not overlong:
                yield rest[:MAX_LINE]
            rest, overlong = "", True
    if rest and not overlong:
        yield rest


@dataclass(slots=True)
class HistoryReader:
    """Reads logs into messages and counts what it did.

    ``year`` is the year of the first line of a log that tells none; by default it
    follows from when each file was written. ``zone`` is the zone of such times.
    """

    year: int | None = None
    zone: tzinfo | None = None
    limit: int = 200_000
    lines: int = 0
    corrupt: int = 0  # lines without a readable time, or cut within a known form
    other: int = 0  # lines of other programs, and those that tell nothing
    messages: int = 0
    copies: int = 0  # re-injected copies of a message already counted
    nobody: int = 0  # null sender, probes, and those whose sender is not told
    damaged: int = 0  # archives that end too early
    forgotten: int = 0  # open messages dropped at ``limit``

    def read(self, paths: Sequence[Path]) -> Iterator[Sent]:
        """Yield the messages of all files. Raises OSError for an unreadable file."""
        joiner = _Joiner(self)
        for path in self._ordered(paths):
            joiner.start(self._clock(path))
            with open_log(path) as file:
                try:
                    for line in read_lines(file):
                        if (sent := joiner.feed(line)) is not None:
                            yield sent
                except _DAMAGE:
                    self.damaged += 1
        yield from joiner.finish()

    def _clock(self, path: Path) -> LogClock:
        latest = datetime.fromtimestamp(path.stat().st_mtime, tz=UTC)
        return LogClock(latest=latest, year=self.year, zone=self.zone)

    def _ordered(self, paths: Sequence[Path]) -> list[Path]:
        """Oldest first, by the first time that each file tells."""
        if len(paths) < 2:  # noqa: PLR2004
            return list(paths)
        return sorted(paths, key=lambda path: (self._first_time(path), str(path)))

    def _first_time(self, path: Path) -> float:
        clock = self._clock(path)
        with open_log(path) as file:
            try:
                for number, line in enumerate(read_lines(file)):
                    if (time := clock.read(line)) is not None:
                        return time
                    if number > _PEEK_LINES:
                        break
            except _DAMAGE:
                pass
        return float("inf")


class _Joiner:
    """Turns lines into messages; one for all files of a reader."""

    def __init__(self, reader: HistoryReader) -> None:
        self._reader = reader
        table = shipped_table()
        self._postfix = PostfixLog(table, limit=reader.limit)
        self._exim = EximLog(table, limit=reader.limit)
        self._ids: dict[str, str] = {}  # message id -> queue id that had it first
        self._copies: dict[str, None] = {}  # queue ids given at re-injection

    def start(self, clock: LogClock) -> None:
        self._clock = clock
        self._postfix.clock = clock
        self._exim.clock = clock

    def feed(self, line: str) -> Sent | None:
        self._reader.lines += 1
        split = split_prefix(line)
        if split[1] in DAEMONS:
            return self._feed_postfix(line, split)
        skipped = self._exim.skipped
        outcome = self._exim.feed(line)
        if self._exim.completed is not None:
            return self._finished_exim(self._exim.completed)
        if outcome is None and self._exim.skipped > skipped:
            if self._clock.read(line) is None:
                self._reader.corrupt += 1
            else:
                self._reader.other += 1
        return None

    def _feed_postfix(self, line: str, split: tuple[str, str, str]) -> Sent | None:
        event, message = self._postfix.read(line, split)
        if event is None:
            known = line.rstrip().endswith((".", ")", "]", "removed"))
            if self._clock.read(line) is None or (not known and ": to=<" in line):
                self._reader.corrupt += 1
            else:
                self._reader.other += 1
            return None
        if isinstance(event, Delivery):
            if message is not None and event.status not in _PROBES:
                message.recipients[event.original or event.recipient] = None
            if event.next_queue_id and any(part in event.relay for part in _LOOPBACK):
                _remember(self._copies, event.next_queue_id, None)
            return None
        if isinstance(event, Removed):
            return self._finished_postfix(message) if message else None
        if message is not None and message.message_id:
            self._first(message.message_id, message.queue_id)
        return None

    def _first(self, message_id: str, queue_id: str) -> str:
        return self._ids.get(message_id) or _remember(self._ids, message_id, queue_id)

    def _finished_postfix(self, message: Message) -> Sent | None:
        copy = message.queue_id in self._copies
        self._copies.pop(message.queue_id, None)  # the id may be used again
        return self._sent(message, message.sender, copy=copy)

    def _finished_exim(self, message: EximMessage) -> Sent | None:
        return self._sent(message, message.sender, copy=False)

    def _sent(
        self, message: Message | EximMessage, sender: str | None, *, copy: bool
    ) -> Sent | None:
        identity = message.identity
        if sender == "" or not identity or not message.recipients:
            self._reader.nobody += 1
            return None
        if (sender or "").startswith("double-bounce@"):
            self._reader.nobody += 1
            return None
        if message.message_id:
            first = self._first(message.message_id, message.queue_id)
            near = any(part in message.client for part in _LOOPBACK)
            copy = copy or (first != message.queue_id and near)
        if copy:
            self._reader.copies += 1
            return None
        if message.time is None:
            self._reader.corrupt += 1
            return None
        self._reader.messages += 1
        return Sent(
            identity,
            tuple(message.recipients),
            message.time,
            message.client or None,
            message.message_id or None,
        )

    def finish(self) -> Iterator[Sent]:
        """Yield what was still in a queue when the logs ended."""
        for message in self._postfix.messages.values():
            if (sent := self._finished_postfix(message)) is not None:
                yield sent
        for late in self._exim.messages.values():
            if (sent := self._finished_exim(late)) is not None:
                yield sent
        self._postfix.messages.clear()
        self._exim.messages.clear()
        self._reader.forgotten = self._postfix.forgotten + self._exim.forgotten


_V = TypeVar("_V")


def _remember(memory: dict[str, _V], key: str, value: _V) -> _V:
    if len(memory) >= _MAX_IDS:
        memory.pop(next(iter(memory)))
    memory[key] = value
    return value


def read_history(
    paths: Sequence[Path], *, year: int | None = None, zone: tzinfo | None = None
) -> Iterator[Sent]:
    """Yield the messages of old logs. Use ``HistoryReader`` to see the counters."""
    yield from HistoryReader(year=year, zone=zone).read(paths)
