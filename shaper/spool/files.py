"""What the spool does to its directory; blocking, called in threads.

Writes either succeed as a whole or leave what was there before. What cannot be
read is moved to ``corrupt/``, never deleted, and can be examined again later.
"""

from __future__ import annotations

import errno
import os
import stat
import zlib
from typing import TYPE_CHECKING, NamedTuple

from shaper.core.ports import SpoolCorruptError, SpoolFullError
from shaper.durable.files import (
    disk_errors,
    private_directory,
    sync_directory,
    write_all,
)
from shaper.durable.lines import seal, unseal
from shaper.spool.format import HEADER, Header, apply, parse_meta, valid_name

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from shaper.core.message import HeldMessage

__all__ = ["CHUNK", "Directory", "Found", "Tail"]

CHUNK = 256 * 1024
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_APPEND = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
# What says nothing of the file itself.
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}
# Most messages' metadata; one read takes it with the header.
_FIRST = 4096


_DAMAGED = "the content is damaged"


class Tail(NamedTuple):
    """Where the next log line goes, and whether a line feed is missing there."""

    end: int
    ended: bool = True


class Found(NamedTuple):
    """A readable spool file. ``damage`` says what of its log is lost, or ""."""

    message: HeldMessage
    tail: Tail
    damage: str


class Directory:
    """``tmp/``, ``held/`` and ``corrupt/`` below one directory."""

    def __init__(self, root: Path) -> None:
        """Make the directories, readable by this user only."""
        self.root = root
        self.tmp = root / "tmp"
        self.held = root / "held"
        self.corrupt = root / "corrupt"
        for path in (root, self.tmp, self.held, self.corrupt):
            private_directory(path)
        # Names relative to open directories: a burst looks up no long paths.
        self._tmp_fd, self._held_fd, self._corrupt_fd = (
            os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            for path in (self.tmp, self.held, self.corrupt)
        )

    def close(self) -> None:
        """Close the directories."""
        for fd in (self._tmp_fd, self._held_fd, self._corrupt_fd):
            os.close(fd)

    def names(self) -> list[str]:
        """Return what lies in ``held/``, in no order."""
        return [path.name for path in self.held.iterdir()]

    def names_aside(self) -> list[str]:
        """Return what lies in ``corrupt/``, in no order."""
        return [path.name for path in self.corrupt.iterdir()]

    def clear_tmp(self) -> int:
        """Remove what was never acknowledged; return how many files."""
        left = list(self.tmp.iterdir())
        for path in left:
            path.unlink()
        return len(left)

    def create(self, temporary: str) -> int:
        """Open a new temporary file, mode 0600. Raises SpoolFullError."""
        with disk_errors("spool"):
            return os.open(temporary, _NEW, 0o600, dir_fd=self._tmp_fd)

    def publish(self, fd: int, temporary: str, name: str) -> None:
        """Fsync a complete file and give it its name. Raises SpoolFullError."""
        with disk_errors("spool"):
            os.fsync(fd)
            os.rename(
                temporary, name, src_dir_fd=self._tmp_fd, dst_dir_fd=self._held_fd
            )

    def sync(self) -> None:
        """Make the names in ``held/`` durable. Raises SpoolFullError."""
        with disk_errors("spool"):
            os.fsync(self._held_fd)

    def discard(self, temporary: str) -> None:
        """Remove a temporary file if it is there."""
        (self.tmp / temporary).unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        """Remove a held file if it is there.

        Not fsync'd: a message that comes back after a power cut has its fates
        in its log, so finishing it again does no harm.
        """
        (self.held / name).unlink(missing_ok=True)

    def set_aside(self, name: str) -> str:
        """Move a held file to ``corrupt/``; return its name there."""
        target, count = name, 0
        while os.path.lexists(self.corrupt / target):
            count += 1
            target = f"{name}.{count}"
        (self.held / name).rename(self.corrupt / target)
        sync_directory(self.corrupt)
        sync_directory(self.held)
        return target

    def scan_one(self, name: str) -> Found:
        """Read metadata and log of a held file. Raises SpoolCorruptError."""
        if not valid_name(name):
            raise SpoolCorruptError("the name is not a message id")
        fd = _open(self._held_fd, name)
        try:
            header, message, size = _head(fd)
            if message.id != name:
                raise SpoolCorruptError(f"the file holds message {message.id!r}")
            log = _read(fd, size - header.log_at, header.log_at)
        finally:
            os.close(fd)
        found = unseal(log)
        try:
            message = apply(message, found.records)
        except ValueError as error:
            raise SpoolCorruptError(str(error)) from error
        lost = [f"octets {a} to {b} of the log are damaged" for a, b in found.damage]
        if found.end < len(log):
            lost.append(f"an unfinished log line of {len(log) - found.end} octets")
        tail = Tail(header.log_at + found.end, found.ended)
        return Found(message, tail, ", ".join(lost))

    def diagnose(self, name: str) -> str:
        """Say what is wrong with a file in ``corrupt/``."""
        try:
            fd = _open(self._corrupt_fd, name)
            try:
                header, message, _ = _head(fd)
                _check_content(fd, header)
            finally:
                os.close(fd)
        except SpoolCorruptError as error:
            return str(error)
        if message.id != name:
            return f"the file holds message {message.id!r}"
        return "header, metadata and content are whole, a log line is not understood"

    def content(self, name: str) -> tuple[bytes | None, Header]:
        """Prove the content whole; return it when it is a single chunk.

        Raises SpoolCorruptError.
        """
        fd = _open(self._held_fd, name)
        try:
            header, _, _ = _head(fd)
            if header.content > CHUNK:
                _check_content(fd, header)
                return None, header
            content = _read(fd, header.content, header.content_at)
        finally:
            os.close(fd)
        if zlib.crc32(content) != header.content_crc:
            raise SpoolCorruptError(_DAMAGED)
        return content, header

    def chunk(self, name: str, at: int, end: int) -> bytes:
        """Return octets of a held file. Raises SpoolCorruptError.

        It is opened for each chunk, so that no reader who goes away leaves a
        descriptor behind.
        """
        fd = _open(self._held_fd, name)
        try:
            wanted = min(CHUNK, end - at)
            chunk = _read(fd, wanted, at)
        finally:
            os.close(fd)
        if len(chunk) < wanted:
            raise SpoolCorruptError("the file became shorter")
        return chunk

    def history(self, name: str) -> list[dict[str, Any]]:
        """Return the intact records of a held file's log."""
        fd = _open(self._held_fd, name)
        try:
            header, _, size = _head(fd)
            return unseal(_read(fd, size - header.log_at, header.log_at)).records
        finally:
            os.close(fd)

    def append(self, name: str, tail: Tail, record: dict[str, Any]) -> Tail:
        """Add a durable log line; a torn rest behind ``tail`` is cut off first.

        Raises SpoolFullError (the log stays as it was), SpoolCorruptError when the
        file is gone or shorter than it was.
        """
        line = seal(record)
        if not tail.ended:
            line = b"\n" + line
        fd = _open(self._held_fd, name, _APPEND)
        try:
            size = os.fstat(fd).st_size
            if size < tail.end:
                raise SpoolCorruptError("the file became shorter")
            with disk_errors("spool"):
                if size > tail.end:
                    os.ftruncate(fd, tail.end)
                end = write_all(fd, line, tail.end)
                os.fdatasync(fd)
        finally:
            os.close(fd)
        return Tail(end)


def _open(directory: int, name: str, how: int = _READ) -> int:
    try:
        fd = os.open(name, how, dir_fd=directory)
    except OSError as error:
        if error.errno in _EXHAUSTED:
            raise SpoolFullError(f"spool: {error}") from error
        if error.errno == errno.ELOOP:
            raise SpoolCorruptError("a symbolic link is no message") from None
        raise SpoolCorruptError(f"it cannot be opened: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise SpoolCorruptError("not a regular file")
    return fd


def _read(fd: int, count: int, offset: int) -> bytes:
    """Read up to ``count`` octets; fewer only at the end of the file."""
    parts = []
    while count > 0:
        try:
            part = os.pread(fd, count, offset)
        except OSError as error:  # a bad sector
            raise SpoolCorruptError(f"it cannot be read: {error.strerror}") from error
        if not part:
            break
        parts.append(part)
        count -= len(part)
        offset += len(part)
    return b"".join(parts)


def _head(fd: int) -> tuple[Header, HeldMessage, int]:
    """Return header, message without its log, and the file's size."""
    size = os.fstat(fd).st_size
    start = _read(fd, _FIRST, 0)
    try:
        header = Header.unpack(start[:HEADER])
        meta = start[HEADER : header.content_at]
        if len(meta) < header.meta <= size:
            meta = _read(fd, header.meta, HEADER)
        message = parse_meta(meta, header)
    except ValueError as error:
        raise SpoolCorruptError(str(error)) from error
    if size < header.log_at:
        missing = header.log_at - size
        raise SpoolCorruptError(f"{missing} octets of the content are missing")
    return header, message, size


def _check_content(fd: int, header: Header) -> None:
    crc = 0
    for at in range(header.content_at, header.log_at, CHUNK):
        crc = zlib.crc32(_read(fd, min(CHUNK, header.log_at - at), at), crc)
    if crc != header.content_crc:
        raise SpoolCorruptError(_DAMAGED)
