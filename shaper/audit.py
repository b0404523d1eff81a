"""The audit journal: an append-only record of what must never be forgotten.

One sealed JSON line (``shaper.durable.lines``) per event, fsync'd before
``append`` returns; callers that come together share one fsync. With the spool it
is enough to rebuild every block, slowed state, exemption, plan and order when
Redis is empty. Files are named by the first sequence number in them and a new one
begins at a size, so retention rewrites only files that nobody writes to.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar

from shaper.core.ports import SpoolFullError
from shaper.durable.batch import Batcher
from shaper.durable.files import (
    disk_errors,
    lock,
    private_directory,
    sync_directory,
    write_all,
)
from shaper.durable.lines import seal, unseal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["AuditJournal", "Damage"]

log = logging.getLogger(__name__)

T = TypeVar("T")

_FILE = re.compile(r"audit-(\d{12})\.jsonl")
_FILE_OCTETS = 16 * 1024**2
_BATCH = 1000
_OWN = frozenset({"seq", "at", "event", "crc"})


class Damage(NamedTuple):
    """Octets of a file that are no intact record."""

    file: str
    start: int
    end: int


class _Pending(NamedTuple):
    at: float
    event: str
    fields: dict[str, Any]


class AuditJournal:
    """Implements the engine's port ``Audit``. Make it with ``open``."""

    def __init__(
        self, directory: Path, clock: Callable[[], float], file_octets: int
    ) -> None:
        """Only ``open`` calls this."""
        self._directory = directory
        self._clock = clock
        self._file_octets = file_octets
        self._lock_fd = lock(directory)
        # One thread: appends and rewrites are in order by that.
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="audit")
        self._batcher: Batcher[_Pending, int] = Batcher(self._work, _BATCH)
        self._fd = -1
        self._end = 0  # of the current file; what stands behind was never told
        self._next = 1
        self._closed = False
        self.damage: list[Damage] = []

    @classmethod
    async def open(
        cls,
        directory: Path,
        clock: Callable[[], float] = time.time,
        *,
        file_octets: int = _FILE_OCTETS,
    ) -> Self:
        """Own the directory and find the end of the journal.

        Raises DirectoryInUseError, or OSError when it cannot be used at all.
        """
        await asyncio.to_thread(private_directory, directory)
        journal = cls(directory, clock, file_octets)
        try:
            await asyncio.to_thread(journal._recover)
        except BaseException:
            await journal.close()
            raise
        return journal

    async def close(self) -> None:
        """Finish what was begun and give the directory up. Idempotent."""
        if self._closed:
            return
        await self._batcher.idle()
        self._closed = True
        self._pool.shutdown()
        if self._fd >= 0:
            os.close(self._fd)
        os.close(self._lock_fd)

    async def append(self, event: str, **fields: Any) -> None:  # noqa: ANN401
        """Write one record; it survives a power cut once this returns.

        Raises SpoolFullError; TypeError for a field that is no JSON value,
        ValueError for NaN and for a field named ``seq``, ``at`` or ``crc``.
        """
        if taken := _OWN & fields.keys():
            raise ValueError(f"the journal itself writes {sorted(taken)}")
        seal({"event": event, **fields})  # a bad value must not spoil a whole batch
        await self._batcher.submit(_Pending(self._clock(), event, fields))

    def replay(self) -> Iterator[dict[str, Any]]:
        """Yield every intact record, oldest first; blocking, for the start.

        ``damage`` then lists what could not be read.
        """
        damage: list[Damage] = []
        for path in self._files():
            try:
                data = path.read_bytes()
            except FileNotFoundError:  # pruned meanwhile
                continue
            found = unseal(data)
            for start, end in found.damage:
                damage.append(Damage(path.name, start, end))
            if found.end < len(data):
                damage.append(Damage(path.name, found.end, len(data)))
            yield from found.records
        self.damage = damage
        for one in damage:
            log.error("audit journal %s: octets %d to %d are damaged", *one)

    async def prune(self, before: float, keep: Callable[[dict[str, Any]], bool]) -> int:
        """Drop records older than a time unless ``keep`` wants them; count them.

        ``keep`` is called in a thread. Damaged stretches of a file that is
        rewritten are dropped. Raises SpoolFullError; nothing is lost then.
        """
        return await self._in_thread(
            self._rewrite, lambda record: record["at"] >= before or keep(record)
        )

    async def forget(self, address: str) -> int:
        """Drop every record that names an address anywhere; count them.

        The caller appends anew what must hold on, such as the block of a sender
        that is known by this address. Raises SpoolFullError.
        """
        # Orders are JSON inside a string: there the escaped form stands.
        forms = "|".join(map(re.escape, {address, json.dumps(address)[1:-1]}))
        named = re.compile(rf"(?<![\w.+%-])(?:{forms})(?![\w-]|\.\w)", re.IGNORECASE)
        return await self._in_thread(
            self._rewrite, lambda record: not _mentions(record, named)
        )

    # -- in the thread

    def _files(self) -> list[Path]:
        return sorted(p for p in self._directory.iterdir() if _FILE.fullmatch(p.name))

    def _recover(self) -> None:
        for leftover in self._directory.glob("*.new"):
            leftover.unlink()
        files = self._files()
        if not files:
            self._begin_file()
            return
        data = files[-1].read_bytes()
        # A file in use is never begun again, even when no record is readable.
        self._next = int(files[-1].name[6:18]) + bool(data)
        found = unseal(data)
        for record in found.records:
            self._next = max(self._next, int(record.get("seq", 0)) + 1)
        self._fd = os.open(files[-1], os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        self._end = found.end
        if found.end < len(data):
            log.warning(
                "audit journal %s: cut off an unfinished line of %d octets",
                files[-1].name,
                len(data) - found.end,
            )
        if not found.ended:
            with disk_errors("audit journal"):
                self._end = write_all(self._fd, b"\n", found.end)

    def _begin_file(self) -> None:
        """Go on in a new file. Raises SpoolFullError; the old one stays then."""
        path = self._directory / f"audit-{self._next:012d}.jsonl"
        with disk_errors("audit journal"):
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            fd = os.open(path, flags, 0o600)
            try:
                sync_directory(self._directory)
            except OSError:
                os.close(fd)
                raise
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._end = fd, os.fstat(fd).st_size

    def _write(self, batch: list[_Pending]) -> list[int]:
        """Append lines with one fsync. Raises SpoolFullError, writing none."""
        if self._end >= self._file_octets:
            self._begin_file()
        lines = []
        for seq, one in enumerate(batch, self._next):
            head = {"seq": seq, "at": one.at, "event": one.event}
            lines.append(seal(head | one.fields))
        with disk_errors("audit journal"):
            # What a failed write left, or a crash before the start.
            if os.fstat(self._fd).st_size > self._end:
                os.ftruncate(self._fd, self._end)
            end = write_all(self._fd, b"".join(lines), self._end)
            os.fdatasync(self._fd)
        first, self._next = self._next, self._next + len(batch)
        self._end = end
        return list(range(first, self._next))

    def _rewrite(self, wanted: Callable[[dict[str, Any]], bool]) -> int:
        if self._end:
            self._begin_file()
        return sum(self._rewrite_one(path, wanted) for path in self._files()[:-1])

    def _rewrite_one(self, path: Path, wanted: Callable[[dict[str, Any]], bool]) -> int:
        found = unseal(path.read_bytes())
        records = found.records
        kept = [record for record in records if wanted(record)]
        if len(kept) == len(records):
            return 0
        for start, end in found.damage:
            log.warning(
                "audit journal %s: dropped damaged octets %d to %d",
                path.name, start, end,
            )  # fmt: skip
        with disk_errors("audit journal"):
            if kept:
                new = path.with_name(f"{path.name}.new")
                try:
                    _write_new(new, b"".join(map(seal, kept)))
                    new.rename(path)
                except OSError:
                    new.unlink(missing_ok=True)
                    raise
            else:
                path.unlink()
            sync_directory(self._directory)
        return len(records) - len(kept)

    # -- plumbing

    async def _work(self, batch: list[_Pending]) -> list[int | Exception]:
        try:
            return list(await self._in_thread(self._write, batch))
        except (SpoolFullError, ValueError, TypeError) as error:
            return [error] * len(batch)

    def _in_thread(
        self, work: Callable[..., T], *arguments: object
    ) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)


def _write_new(path: Path, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        write_all(fd, data, 0)
        os.fsync(fd)
    finally:
        os.close(fd)


def _mentions(value: object, named: re.Pattern[str]) -> bool:
    """Whether a text anywhere in a JSON value names it."""
    if isinstance(value, str):
        return named.search(value) is not None
    if isinstance(value, dict):
        return any(_mentions(part, named) for pair in value.items() for part in pair)
    if isinstance(value, list):
        return any(_mentions(part, named) for part in value)
    return False
