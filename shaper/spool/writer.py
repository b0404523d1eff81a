"""A message on its way into the spool.

Small messages stay in memory until ``commit`` and are written at once by a
thread; of a large one no more than a few chunks are in memory, the rest goes to
the temporary file as it comes. Nothing has its final name before it is whole and
fsync'd.
"""

from __future__ import annotations

import asyncio
import os
import threading
import zlib
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from shaper.core.ports import SpoolFullError
from shaper.durable.files import disk_errors, write_all
from shaper.spool.files import CHUNK, Directory
from shaper.spool.format import HEADER, Header, meta_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from shaper.core.message import HeldMessage

__all__ = ["Owner", "Writer"]

# Octets of one message that may wait for the disk before `drain` waits.
_AHEAD = 4 * CHUNK


class Owner(Protocol):
    """What a writer asks of the spool it writes into."""

    directory: Directory

    def reserve(self, octets: int, *, notice: bool) -> None:
        """Count octets that a message is going to take. Raises SpoolFullError."""

    def release(self, octets: int) -> None:
        """Take a reservation back."""

    def in_thread(self, work: Callable[[], None]) -> asyncio.Future[None]:
        """Run blocking work."""

    async def publish(self, writer: Writer) -> HeldMessage:
        """Have ``writer.finish`` run and its name made durable."""


class Writer:
    """Implements the port ``SpoolWriter``."""

    def __init__(self, owner: Owner, message: HeldMessage, temporary: str) -> None:
        """``temporary`` names the file until it is whole."""
        self.message = message
        self.reserved = 0
        self._owner = owner
        self._temporary = temporary
        self._meta = meta_line(message)
        self._buffer: list[bytes] = []
        self._buffered = 0
        self._open = True
        self._failure: SpoolFullError | None = None
        # Shared with the thread that writes; the lock keeps the file's end from
        # being closed under it.
        self._blocks: deque[bytes] = deque()
        self._lock = threading.Lock()
        self._job: asyncio.Future[None] | None = None
        self._fd = -1
        self._size = 0
        self._crc = 0
        self._reserve(HEADER + len(self._meta))

    def write(self, chunk: bytes) -> None:
        """Take content; a failure is kept for ``commit``."""
        if not self._open or self._failure is not None:
            return
        try:
            self._reserve(len(chunk))
        except SpoolFullError as error:
            self._failure = error
            self._buffer.clear()
            return
        self._buffer.append(bytes(chunk))
        self._buffered += len(chunk)
        if self._buffered >= CHUNK:
            self._blocks.append(b"".join(self._buffer))
            self._buffer.clear()
            self._buffered = 0
            self._push()

    async def drain(self) -> None:
        """Wait while the disk is far behind (back-pressure for large messages)."""
        while self._job is not None and len(self._blocks) * CHUNK >= _AHEAD:
            await asyncio.wait([self._job])

    async def commit(self) -> HeldMessage:
        """Make the message durable. Raises SpoolFullError."""
        while self._job is not None:
            await asyncio.wait([self._job])
        if self._failure is not None:
            self.abort()
            raise self._failure
        if not self._open:
            raise ValueError(f"message {self.message.id} was aborted or committed")
        self._open = False
        return await self._owner.publish(self)

    def abort(self) -> None:
        """Remove the partial file."""
        if not self._open:
            return
        self._open = False
        self._buffer.clear()
        self._blocks.clear()
        self._owner.release(self.reserved)
        if self._fd >= 0 or self._job is not None:
            self._owner.in_thread(self._discard)

    def finish(self) -> Header:
        """Write what is left and give the file its name; called in a thread.

        Raises SpoolFullError, with the file gone.
        """
        rest = b"".join(self._buffer)
        size = self._size + len(rest)
        crc = zlib.crc32(rest, self._crc)
        header = Header(len(self._meta), size, zlib.crc32(self._meta), crc)
        if not self.message.by_mta:
            self.message = replace(self.message, size=size)
        try:
            if self._fd < 0:
                self._fd = self._owner.directory.create(self._temporary)
                rest = header.pack() + self._meta + rest
                with disk_errors("spool"):
                    write_all(self._fd, rest, 0)
            else:
                with disk_errors("spool"):
                    write_all(self._fd, rest, header.content_at + self._size)
                    write_all(self._fd, header.pack(), 0)
            self._owner.directory.publish(self._fd, self._temporary, self.message.id)
        except SpoolFullError:
            self._discard()
            raise
        os.close(self._fd)
        self._buffer.clear()
        return header

    def _reserve(self, octets: int) -> None:
        self._owner.reserve(octets, notice=self.message.notice)
        self.reserved += octets

    def _push(self) -> None:
        if self._job is None:
            self._job = self._owner.in_thread(self._write_blocks)
            self._job.add_done_callback(self._pushed)

    def _pushed(self, _job: asyncio.Future[None]) -> None:
        self._job = None
        if self._blocks and self._open:
            self._push()

    def _write_blocks(self) -> None:
        with self._lock:
            try:
                if self._fd < 0:
                    self._fd = self._owner.directory.create(self._temporary)
                    with disk_errors("spool"):
                        # The header's place stays empty: no valid file yet.
                        write_all(self._fd, self._meta, HEADER)
                while self._blocks:
                    block = self._blocks[0]
                    with disk_errors("spool"):
                        at = HEADER + len(self._meta) + self._size
                        write_all(self._fd, block, at)
                    self._crc = zlib.crc32(block, self._crc)
                    self._size += len(block)
                    self._blocks.popleft()
            except SpoolFullError as error:
                self._failure = error
                self._blocks.clear()
            except IndexError:
                return  # aborted meanwhile; `_discard` follows

    def _discard(self) -> None:
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1
            self._owner.directory.discard(self._temporary)
