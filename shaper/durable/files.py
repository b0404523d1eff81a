"""Blocking file operations that survive a power cut, and one owner per directory.

All of it is called in threads. Names are relative to directories that only this
daemon's user may enter.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from shaper.core.ports import ShaperError, SpoolFullError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = [
    "DirectoryInUseError",
    "disk_errors",
    "lock",
    "private_directory",
    "sync_directory",
    "write_all",
]


class DirectoryInUseError(ShaperError):
    """Another process owns the directory."""


@contextmanager
def disk_errors(what: str) -> Iterator[None]:
    """Turn the disk's refusal to write into SpoolFullError."""
    try:
        yield
    except OSError as error:
        raise SpoolFullError(f"{what}: {error}") from error


def write_all(fd: int, data: bytes, offset: int) -> int:
    """Write all octets at an offset; return the offset behind them."""
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        offset += written
        view = view[written:]
    return offset


def sync_directory(path: Path) -> None:
    """Make renames and new names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def private_directory(path: Path) -> None:
    """Make a directory with mode 0700, or take the others' rights away."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.stat().st_mode & 0o077:
        path.chmod(0o700)


def lock(directory: Path) -> int:
    """Own a directory as long as the returned descriptor, or a copy, is open.

    Raises DirectoryInUseError naming the owner's process id.
    """
    path = directory / "lock"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        owner = os.pread(fd, 20, 0).decode("ascii", "replace").strip()
        os.close(fd)
        raise DirectoryInUseError(
            f"{directory} is in use by process {owner or 'unknown'}; "
            "give each instance a directory of its own"
        ) from error
    with suppress(OSError):  # a full disk must not keep the daemon from starting
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd
