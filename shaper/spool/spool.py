"""The spool as the engine sees it: an index in memory over files on disk.

All methods belong to one event loop; the disk is touched in a small pool of
threads. New messages that arrive together share one fsync of the directory. The
index is rebuilt from the files at start and holds no more than the metadata.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, TypeVar

from shaper.core.ports import SpoolCorruptError, SpoolFullError
from shaper.durable.batch import Batcher
from shaper.durable.files import lock
from shaper.spool.files import CHUNK, Directory, Found, Tail
from shaper.spool.format import Header, apply, valid_name
from shaper.spool.writer import Writer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from shaper.core.message import HeldMessage, RecipientFate
    from shaper.core.reply import Reply

__all__ = ["FileSpool", "Limits"]

log = logging.getLogger(__name__)

T = TypeVar("T")

# fsyncs under way at once: the file system commits them together, so a burst
# needs about as many commits as it has messages per thread (bench/spool).
_THREADS = 16
# Messages that share one directory fsync; bounds the wait of the first of them.
_BATCH = 512


@dataclass(frozen=True, slots=True)
class Limits:
    """When the spool takes no more. Octets include metadata.

    ``free`` octets of the disk are left to others. Notices of the shaper itself
    are taken beyond the limits: without them full spools could not empty.
    """

    messages: int = 100_000
    octets: int = 10 * 1024**3
    free: int = 256 * 1024**2


@dataclass(slots=True, eq=False)
class _Entry:
    message: HeldMessage
    tail: Tail
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class FileSpool:
    """Implements the port ``Spool``. Make it with ``open``."""

    def __init__(
        self, directory: Directory, limits: Limits, clock: Callable[[], float]
    ) -> None:
        """Only ``open`` calls this."""
        self.directory = directory
        self.limits = limits  # may be replaced at a reload
        self._clock = clock
        self._lock_fd = lock(directory.root)
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="spool")
        self._closed = False
        self._entries: dict[str, _Entry] = {}
        self._corrupt: dict[str, str] = {}
        self._damaged: dict[str, str] = {}
        self._octets = 0
        self._writers = 0
        self._serial = 0
        self._tasks: set[asyncio.Future[Any]] = set()
        self._batcher: Batcher[Writer, HeldMessage] = Batcher(
            self._commit, _BATCH, self._orphaned
        )

    @classmethod
    async def open(
        cls,
        path: Path,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.time,
    ) -> Self:
        """Own the directory and read what it holds.

        Raises DirectoryInUseError, or OSError when it cannot be used at all.
        """
        directory = await asyncio.to_thread(Directory, path)
        spool = cls(directory, limits or Limits(), clock)
        try:
            await asyncio.to_thread(spool._scan)
        except BaseException:
            await spool.close()
            raise
        return spool

    async def close(self) -> None:
        """Finish what was begun and give the directory up. Idempotent."""
        if self._closed:
            return
        await self._batcher.idle()
        while self._tasks:
            await asyncio.wait(self._tasks)
        self._closed = True
        self._pool.shutdown()
        self.directory.close()
        os.close(self._lock_fd)

    # -- the index

    def __len__(self) -> int:
        """Count the held messages."""
        return len(self._entries)

    @property
    def octets(self) -> int:
        """Size of the held files, with what is being written."""
        return self._octets

    def get(self, message_id: str) -> HeldMessage | None:
        """Return a held message, or None."""
        entry = self._entries.get(message_id)
        return entry.message if entry else None

    def all(self) -> Sequence[HeldMessage]:
        """Return every held message in order of arrival."""
        return [entry.message for entry in self._entries.values()]

    def corrupt(self) -> list[tuple[str, str]]:
        """Return the files in ``corrupt/`` with what is wrong with each."""
        return sorted(self._corrupt.items())

    def damaged(self) -> list[tuple[str, str]]:
        """Return the held messages whose log lost lines, and which."""
        return sorted(self._damaged.items())

    # -- new messages

    def begin(self, message: HeldMessage) -> Writer:
        """Open a new message. Raises SpoolFullError, ValueError for a bad id."""
        if not valid_name(message.id):
            raise ValueError(f"{message.id!r} cannot name a spool file")
        if not message.notice:
            self._check_limits()
        self._serial += 1
        writer = Writer(self, message, f"{message.id}.{self._serial}")
        self._writers += 1
        return writer

    def reserve(self, octets: int, *, notice: bool) -> None:
        """Count octets that a message is going to take. Raises SpoolFullError."""
        most = self.limits.octets
        if not notice and self._octets + octets > most:
            raise SpoolFullError(f"the spool's limit of {most} octets is reached")
        self._octets += octets

    def release(self, octets: int) -> None:
        """Take a writer's reservation back."""
        self._octets -= octets
        self._writers -= 1

    def in_thread(self, work: Callable[[], None]) -> asyncio.Future[None]:
        """Run a writer's blocking work; ``close`` waits for it."""
        if self._closed:
            work()
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            done.set_result(None)
            return done
        return self._keep(self._run(work))

    async def publish(self, writer: Writer) -> HeldMessage:
        """Make a finished message durable, together with others."""
        return await self._batcher.submit(writer)

    def free(self) -> int:
        """Return the octets free on the disk, for us."""
        disk = os.statvfs(self.directory.root)
        return disk.f_bavail * disk.f_frsize

    def full(self) -> str:
        """Return why no new message would be taken, "" while there is room."""
        limits = self.limits
        if len(self._entries) + self._writers >= limits.messages:
            return f"the spool's limit of {limits.messages} messages is reached"
        if self._octets >= limits.octets:
            return f"the spool's limit of {limits.octets} octets is reached"
        if self.free() < limits.free:
            return f"less than {limits.free} octets are free on the spool's disk"
        return ""

    def _check_limits(self) -> None:
        if full := self.full():
            raise SpoolFullError(full)

    async def _commit(self, writers: list[Writer]) -> list[HeldMessage | Exception]:
        done: dict[Writer, Header | SpoolFullError] = {}
        shares = [writers[i::_THREADS] for i in range(min(_THREADS, len(writers)))]
        if len(shares) == 1:  # a lone message costs one hop to a thread
            await self._run(self._finish_last, shares[0], done)
        else:
            for part in await asyncio.gather(
                *(self._run(_finish, share) for share in shares)
            ):
                done.update(part)
            await self._run(self._finish_last, [], done)
        return [self._committed(writer, done[writer]) for writer in writers]

    def _committed(
        self, writer: Writer, result: Header | SpoolFullError
    ) -> HeldMessage | Exception:
        if isinstance(result, SpoolFullError):
            self.release(writer.reserved)
            return result
        self._writers -= 1
        message = writer.message
        if previous := self._entries.pop(message.id, None):
            self._octets -= previous.tail.end
        self._entries[message.id] = _Entry(message, Tail(result.log_at))
        return message

    def _orphaned(self, writer: Writer) -> None:
        """Take a message back that nobody was told of: its client sends it again."""
        self._keep(asyncio.ensure_future(self.remove(writer.message.id)))

    # -- held messages

    async def read(self, message_id: str) -> AsyncIterator[bytes]:
        """Yield the content, proved whole before its first octet.

        Raises KeyError, and SpoolCorruptError once the file has been set aside.
        """
        entry = self._entries[message_id]
        try:
            content, header = await self._run(self.directory.content, message_id)
            if content is not None:
                yield content
                return
            for at in range(header.content_at, header.log_at, CHUNK):
                yield await self._run(
                    self.directory.chunk, message_id, at, header.log_at
                )
        except SpoolCorruptError as error:
            raise await self._lose(message_id, entry, error) from error

    async def history(self, message_id: str) -> list[dict[str, Any]]:
        """Return the log of a held message: attempts, replies, orders.

        Raises KeyError, and SpoolCorruptError once the file has been set aside.
        """
        entry = self._entries[message_id]
        try:
            return await self._run(self.directory.history, message_id)
        except SpoolCorruptError as error:
            raise await self._lose(message_id, entry, error) from error

    async def note_attempt(self, message_id: str, *, not_before: float) -> HeldMessage:
        """Record durably, before dialling, that a further attempt begins.

        This and the other notes raise KeyError for a message that is not held,
        SpoolFullError, and SpoolCorruptError.
        """
        return await self._note(
            message_id,
            "attempt",
            lambda m: {"attempts": m.attempts + 1, "not_before": not_before},
        )

    async def note_fates(
        self,
        message_id: str,
        fates: Mapping[int, RecipientFate],
        replies: Mapping[int, Reply],
        *,
        not_before: float = 0.0,
    ) -> HeldMessage:
        """Record durably what became of recipients, with the replies they got."""
        changes = {
            "fates": {str(p): fate.value for p, fate in fates.items()},
            "replies": {str(p): reply.to_json() for p, reply in replies.items()},
            "not_before": not_before,
        }
        return await self._note(message_id, "fates", lambda _: changes)

    async def note_told(self, message_id: str, positions: Sequence[int]) -> HeldMessage:
        """Record durably that the sender was told of these failures."""
        told = {"told": sorted(positions)}
        return await self._note(message_id, "told", lambda _: told)

    async def note_order(self, message_id: str, order: str) -> HeldMessage:
        """Record durably that an operator's order freed the message."""
        return await self._note(message_id, "order", lambda _: {"order": order})

    async def remove(self, message_id: str) -> None:
        """Forget a message. Idempotent. Raises SpoolFullError if the disk refuses."""
        entry = self._entries.get(message_id)
        if entry is not None:
            await asyncio.shield(self._keep(self._remove(message_id, entry)))

    async def _remove(self, message_id: str, entry: _Entry) -> None:
        async with entry.lock:
            if self._entries.get(message_id) is not entry:
                return
            try:
                await self._run(self.directory.remove, message_id)
            except OSError as error:
                raise SpoolFullError(f"spool: {error}") from error
            self._drop(message_id, entry)

    async def _note(
        self,
        message_id: str,
        event: str,
        changes: Callable[[HeldMessage], dict[str, Any]],
    ) -> HeldMessage:
        # Shielded: a line that is on its way to the disk must reach the index.
        append = self._append(message_id, self._entries[message_id], event, changes)
        return await asyncio.shield(self._keep(append))

    async def _append(
        self,
        message_id: str,
        entry: _Entry,
        event: str,
        changes: Callable[[HeldMessage], dict[str, Any]],
    ) -> HeldMessage:
        async with entry.lock:
            if self._entries.get(message_id) is not entry:
                raise KeyError(message_id)
            record = {"at": self._clock(), "event": event, **changes(entry.message)}
            changed = apply(entry.message, [record])
            try:
                tail = await self._run(
                    self.directory.append, message_id, entry.tail, record
                )
            except SpoolCorruptError as error:
                raise await self._lose(message_id, entry, error) from error
            self._octets += tail.end - entry.tail.end
            entry.tail, entry.message = tail, changed
            return changed

    async def _lose(
        self, message_id: str, entry: _Entry, error: SpoolCorruptError
    ) -> SpoolCorruptError:
        """Set a damaged message aside; return the error to raise."""
        if self._entries.get(message_id) is not entry:
            return SpoolCorruptError(f"{message_id} was removed while being read")
        self._drop(message_id, entry)
        await self._run(self._set_aside, message_id, str(error))
        return SpoolCorruptError(f"held message {message_id}: {error}")

    def _drop(self, message_id: str, entry: _Entry) -> None:
        del self._entries[message_id]
        self._damaged.pop(message_id, None)
        self._octets -= entry.tail.end

    # -- in threads

    def _finish_last(
        self, writers: list[Writer], done: dict[Writer, Header | SpoolFullError]
    ) -> None:
        """Finish a share and make all names durable; failures go into ``done``."""
        done.update(_finish(writers))
        written = [w for w, result in done.items() if isinstance(result, Header)]
        if not written:
            return
        try:
            self.directory.sync()
        except SpoolFullError as error:
            for writer in written:
                done[writer] = error
                with suppress(OSError):
                    self.directory.remove(writer.message.id)

    def _scan(self) -> None:
        if left := self.directory.clear_tmp():
            log.info("removed %d unfinished messages, never acknowledged", left)
        found: list[Found] = []
        for name in self.directory.names():
            try:
                one = self.directory.scan_one(name)
            except SpoolCorruptError as error:
                self._set_aside(name, str(error))
                continue
            found.append(one)
            if one.damage:
                self._damaged[name] = one.damage
                log.warning("held message %r: %s", name, one.damage)
        found.sort(key=lambda f: (f.message.submission.received, f.message.id))
        for one in found:
            self._entries[one.message.id] = _Entry(one.message, one.tail)
            self._octets += one.tail.end
        for name in self.directory.names_aside():
            if name not in self._corrupt:
                self._corrupt[name] = self.directory.diagnose(name)

    def _set_aside(self, name: str, reason: str) -> None:
        log.error("spool file %r is damaged: %s; moved to corrupt/", name, reason)
        try:
            self._corrupt[self.directory.set_aside(name)] = reason
        except OSError as error:
            log.error("spool file %r cannot be moved to corrupt/: %s", name, error)
            self._corrupt[f"../held/{name}"] = reason

    # -- plumbing

    def _run(self, work: Callable[..., T], *arguments: object) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)

    def _keep(self, work: Awaitable[T]) -> asyncio.Future[T]:
        """Remember work until it is done."""
        future = asyncio.ensure_future(work)
        self._tasks.add(future)
        future.add_done_callback(self._tasks.discard)
        return future


def _finish(writers: list[Writer]) -> dict[Writer, Header | SpoolFullError]:
    results: dict[Writer, Header | SpoolFullError] = {}
    for writer in writers:
        try:
            results[writer] = writer.finish()
        except SpoolFullError as error:
            results[writer] = error
    return results
