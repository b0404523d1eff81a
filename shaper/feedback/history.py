"""Who sent what in the past: messages out of old Postfix and Exim logs.

One ``Sent`` per message, however often it passed the MTA; ``joiner`` joins
the lines. Files are plain, gzip, xz or bzip2, in any order. Messages come when each
recipient was tried once, so nearly, but not quite, in the order in which they were
sent; memory is bounded by the open messages.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from io import BufferedReader, TextIOWrapper
from typing import IO, TYPE_CHECKING, Any

from shaper.feedback.joiner import Counts, Fate, Joiner, Sent
from shaper.feedback.logtime import LogClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

__all__ = ["Fate", "HistoryReader", "Sent", "open_text", "read_history", "read_lines"]

MAX_LINE = 65_536  # characters; the rest of a longer line is skipped
_BLOCK = 256 * 1024  # characters
_PEEK_LINES = 200
_TELL = 10_000  # lines
# A damaged or cut archive: what zlib, gzip and lzma raise while reading.
_DAMAGE = (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError)


def open_text(raw: BufferedReader) -> IO[str]:
    """Read octets as a log, by the first of them: gzip, xz, bzip2 or plain.

    Closing it does not always close ``raw``.
    """
    magic = raw.peek(6)
    unpacked: Any = raw
    if magic[:2] == b"\x1f\x8b":  # RFC 1952 2.3.1
        unpacked = gzip.GzipFile(fileobj=raw)
    elif magic[:6] == b"\xfd7zXZ\x00":
        unpacked = lzma.LZMAFile(raw)  # noqa: SIM115 - its user closes it
    elif magic[:3] == b"BZh":
        unpacked = bz2.BZ2File(raw)
    return TextIOWrapper(unpacked, encoding="utf-8", errors="replace")


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
class HistoryReader(Counts):
    """Reads logs into messages and counts what it did.

    ``year`` is the year of the first line of a log that tells none; by default it
    follows from when each file was written. ``zone`` is the zone of such times.
    """

    year: int | None = None
    zone: tzinfo | None = None

    def read(
        self,
        paths: Sequence[Path],
        on_fate: Callable[[Fate], None] | None = None,
        on_read: Callable[[Path, int], None] | None = None,
    ) -> Iterator[Sent]:
        """Yield the messages of all files. Raises OSError for an unreadable file.

        ``on_fate`` hears of recipients, ``on_read`` of the file and how many of
        its octets were read; both while the iterator is used.
        """
        joiner = Joiner(self, on_fate)
        for path in self._ordered(paths):
            joiner.start(self._clock(path))
            with path.open("rb") as raw, open_text(raw) as file:
                try:
                    for number, line in enumerate(read_lines(file)):
                        if (sent := joiner.feed(line)) is not None:
                            yield sent
                        if on_read is not None and not number % _TELL:
                            on_read(path, raw.tell())
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
        with path.open("rb") as raw, open_text(raw) as file:
            try:
                for number, line in enumerate(read_lines(file)):
                    if (time := clock.read(line)) is not None:
                        return time
                    if number > _PEEK_LINES:
                        break
            except _DAMAGE:
                pass
        return float("inf")


def read_history(
    paths: Sequence[Path], *, year: int | None = None, zone: tzinfo | None = None
) -> Iterator[Sent]:
    """Yield the messages of old logs. Use ``HistoryReader`` to see the counters."""
    yield from HistoryReader(year=year, zone=zone).read(paths)
