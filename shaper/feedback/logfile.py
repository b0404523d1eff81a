"""One log file being read to its end and beyond: octets in, whole lines out.

Knows a file by its first octets, since its name and its inode change when it is
rotated and compressed. Finds where the rest of a rotated file went: ``mail.log.1``,
``.2.gz``, ``.3.xz`` and dated names beside it. What is read when is decided in
``shaper.feedback.follow``.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import lzma
import os
import stat
import zlib
from contextlib import suppress
from dataclasses import dataclass
from gzip import GzipFile
from io import FileIO
from lzma import LZMAFile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["MAX_LINE", "Mark", "Source", "open_source", "siblings"]

MAX_LINE = 65_536  # octets; the rest of a longer line is skipped
_HEAD = 1024  # octets by which a file is known
_BLOCK = 64 * 1024
_MOST_SIBLINGS = 1000
# A damaged or cut archive: what zlib, gzip and lzma raise while reading.
_DAMAGE = (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError)


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a file was read. ``digest`` is of its first ``known`` octets.

    ``written`` is when the file was last written, in nanoseconds, as far as seen.
    """

    inode: int
    offset: int
    known: int
    digest: str
    written: int

    def names(self, head: bytes) -> bool:
        """Whether a file that begins so is the one marked."""
        return 0 < self.known <= len(head) and self.digest == _digest(
            head[: self.known]
        )


def _digest(head: bytes) -> str:
    return hashlib.blake2b(head, digest_size=16).hexdigest()


class Source:
    """An open log. ``offset`` is behind the last line that was given out."""

    def __init__(
        self, raw: FileIO, file: FileIO | GzipFile | LZMAFile, *, packed: bool
    ) -> None:
        """Begin at the first octet; see ``open_source``."""
        self._raw = raw
        self._file = file
        status = os.fstat(raw.fileno())
        self.inode = status.st_ino
        self.written = status.st_mtime_ns
        self.packed = packed
        self.offset = 0
        self.head = b""
        self._rest = b""
        self._overlong = False
        self.damaged = False

    def look(self) -> os.stat_result:
        """Return what the kernel says of the open file, and learn its beginning."""
        status = os.fstat(self._raw.fileno())
        if not self.packed:
            self.written = status.st_mtime_ns
            if len(self.head) < _HEAD:
                head = os.pread(self._raw.fileno(), _HEAD, 0)
                if head.startswith(self.head):
                    self.head = head
        return status

    def peek(self) -> None:
        """Learn the beginning of an archive; reading goes on at its first octet."""
        self.head = self._read(_HEAD)
        if not self.damaged:
            self._file.seek(0)

    @property
    def position(self) -> int:
        """Octets taken from the file, an unfinished line included."""
        return self.offset + len(self._rest)

    @property
    def behind(self) -> int:
        """Octets of the file that are not given out yet; 0 of an archive."""
        if self.packed or self._raw.closed:
            return 0
        return max(0, os.fstat(self._raw.fileno()).st_size - self.offset)

    def restarted(self) -> bool:
        """Whether the file was cut and written anew since it was read."""
        if self.packed:
            return False
        if os.fstat(self._raw.fileno()).st_size < self.position:
            return True
        return os.pread(self._raw.fileno(), len(self.head), 0) != self.head

    def rewind(self) -> None:
        """Read on from the first octet of what was written anew."""
        self._file.seek(0)
        self.offset, self.head, self._rest, self._overlong = 0, b"", b"", False

    def skip_to(self, offset: int) -> bool:
        """Go on behind so many octets; false when there are not as many."""
        if not self.packed:
            self._file.seek(offset)
        else:
            left = offset
            while left:
                block = self._read(min(left, _BLOCK))
                if not block:
                    return False
                left -= len(block)
        self.offset = offset
        return True

    def lines(self) -> list[str]:
        """Return the whole lines of the next block, [] at the end for now."""
        while block := self._read(_BLOCK):
            if not self._rest:
                # The hole that copytruncate leaves before a writer that goes on
                # where it was.
                hole = len(block) - len(block.lstrip(b"\0"))
                self.offset += hole
                block = block[hole:]
            *whole, self._rest = (self._rest + block).split(b"\n")
            given = []
            for line in whole:
                self.offset += len(line) + 1
                if self._overlong:
                    self._overlong = False  # the tail of a line given out before
                else:
                    given.append(_text(line))
            if len(self._rest) > MAX_LINE:
                if not self._overlong:
                    given.append(_text(self._rest))
                self.offset += len(self._rest)
                self._rest, self._overlong = b"", True
            if given:
                return given
        return []

    def last(self) -> list[str]:
        """Return the unfinished line of a file to which nothing is added any more."""
        rest, self._rest = self._rest, b""
        self.offset += len(rest)
        return [_text(rest)] if rest and not self._overlong else []

    def mark(self) -> Mark:
        """Return how far the lines given out reach."""
        head = self.head
        return Mark(self.inode, self.offset, len(head), _digest(head), self.written)

    def _read(self, size: int) -> bytes:
        try:
            return self._file.read(size)
        except _DAMAGE:
            self.damaged = True
            return b""

    def past(self, most: int) -> list[str]:
        """Return the whole lines in the last ``most`` octets before the offset."""
        if self.packed:
            return []
        begin = max(0, self.offset - most)
        data = os.pread(self._raw.fileno(), self.offset - begin, begin)
        lines = data.split(b"\n")[bool(begin) : -1]
        return [_text(line) for line in lines]

    def to_end(self) -> None:
        """Go on behind the last whole line that is there now."""
        size = os.fstat(self._raw.fileno()).st_size
        begin = max(0, size - MAX_LINE)
        data = os.pread(self._raw.fileno(), size - begin, begin)
        cut = data.rfind(b"\n") + 1
        self.skip_to(begin + cut if cut else size)

    def close(self) -> None:
        """Let the file go."""
        self._file.close()
        self._raw.close()


def _text(line: bytes) -> str:
    # copytruncate leaves NUL octets where a writer goes on behind the cut.
    text = line[:MAX_LINE].decode("utf-8", "replace")
    return text.replace("\0", "").rstrip("\r")


def open_source(path: Path) -> Source:
    """Open a log, plain, gzip or xz. Raises OSError."""
    # Not blocking: somebody may have put a FIFO there.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    raw = FileIO(descriptor, "rb")
    try:
        source = _source(raw, path)
    except BaseException:
        raw.close()
        raise
    return source


def _source(raw: FileIO, path: Path) -> Source:
    if not stat.S_ISREG(os.fstat(raw.fileno()).st_mode):
        raise OSError(errno.EINVAL, "is no regular file", str(path))
    magic = os.pread(raw.fileno(), 6, 0)
    if magic[:2] == b"\x1f\x8b":  # RFC 1952 2.3.1
        source = Source(raw, GzipFile(fileobj=raw), packed=True)
        source.peek()
    elif magic == b"\xfd7zXZ\x00":
        source = Source(raw, LZMAFile(raw), packed=True)  # noqa: SIM115
        source.peek()
    else:
        source = Source(raw, raw, packed=False)
        source.look()
    return source


def siblings(path: Path) -> list[Path]:
    """Return the rotated files beside a log, the one written last first.

    Of a plain file and its archive, which exist both for a moment, the plain one
    comes first.
    """
    found: list[tuple[int, int, str, Path]] = []
    # mail.log.1, mail.log-20261125.gz, and mail-20261125.log (logrotate's extension).
    stem, dot, suffix = path.name.rpartition(".")
    with os.scandir(path.parent) as entries:
        for entry in entries:
            name = entry.name
            numbered = name.startswith((f"{path.name}.", f"{path.name}-"))
            dated = dot and name.startswith(f"{stem}-") and f".{suffix}" in name
            if not (numbered or dated):
                continue
            with suppress(OSError):
                status = entry.stat()
                archive = name.endswith((".gz", ".xz"))
                found.append((-status.st_mtime_ns, archive, name, path.parent / name))
    return [path for *_, path in sorted(found)[:_MOST_SIBLINGS]]
