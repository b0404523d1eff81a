"""The records of senders: one writer at a time, Redis as the shared truth.

``change`` is the only way to alter a record durably. It applies a function to
the record and stores the result by compare and set; when another instance was
faster the function runs again on what that instance stored, so it must do
nothing but change the record it is given. With a record in the cache this is one
round trip.

Redis may be away, slow or emptied. Then the records in memory go on, and every
sender that is not plainly normal is also known from the audit journal
(``known``), so a block, a slowed state, an exemption or a plan is never forgotten.
A Redis that came back older than the journal (a power cut, a replica that lagged)
is believed about habits, not about states.

The journal is written after Redis, because only then a change is known to stand;
a line that a full disk refused stays owed and is written by ``flush``.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from shaper import journal
from shaper.core.ports import SpoolFullError, StateUnavailableError
from shaper.core.record import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from shaper.engine.context import Context

__all__ = ["Senders"]

log = logging.getLogger(__name__)

T = TypeVar("T")

# Each entry is about 3 KiB decoded: 2,000 cost 6 MiB and cover the senders that
# a host has active within minutes; the others cost one more round trip.
_CACHED = 2000
# Instances collide on one sender only while both take its mail in the same
# millisecond; five rounds of bad luck in a row means Redis is misbehaving.
_ROUNDS = 5
# Changes by ``touch`` that are learned again after a collision. While Redis is
# away they would grow without end; older ones are then lost in a collision.
_LATE = 200


@dataclass(slots=True)
class _Entry:
    version: int
    record: Record
    dirty: bool = False
    # What was learned since the record was stored: to be learned again when
    # another instance's record takes the place of this one.
    late: list[Callable[[Record], object]] = field(default_factory=list)
    # What the journal's line is still to say, None when none is owed.
    owed: dict[str, Any] | None = None


class Senders:
    """Records by sender name, with their locks and what is known from the journal."""

    def __init__(self, context: Context) -> None:
        """Start empty; ``restore`` brings back what the journal knows."""
        self._context = context
        self._cache: OrderedDict[str, _Entry] = OrderedDict()
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}
        self.known: dict[str, dict[str, Any]] = {}
        # The journal's last line about each sender it ever named, normal or not.
        self._last: dict[str, dict[str, Any]] = {}
        self.unavailable_since = 0.0

    def restore(self, lines: Iterable[dict[str, Any]]) -> None:
        """Rebuild ``known`` from the journal's ``sender`` lines, oldest first."""
        for line in lines:
            sender = str(line["sender"])
            probe = Record.new(sender, 0.0)
            try:
                probe.apply_standing(line)
            except (KeyError, TypeError, ValueError) as error:
                log.error("audit line about %r is unusable: %s", sender, error)
                continue
            self._journaled(probe)

    async def synchronise(self) -> None:
        """Make Redis and ``known`` agree, in both directions.

        Senders that only the journal knows are stored again; senders that only
        Redis knows (another instance's, or a crash before the journal) are noted.
        """
        names = set(self.known)
        for state in ("slowed", "blocked"):
            names.update(await self._context.ledger.senders(state))
        for name in names:
            await self.change(name, lambda _: None, journal_first=False)

    def names(self, state: str) -> list[str]:
        """Return the known senders in a state."""
        known = list(self.known.items())  # the metrics ask from another thread
        return [name for name, line in known if line["state"] == state]

    def cached(self, sender: str) -> Record | None:
        """Return the record if it is in memory; for reading and for ``touch``."""
        entry = self._cache.get(sender)
        return entry.record if entry else None

    async def look(self, sender: str) -> Record:
        """Return a record to read only: the one in memory, else the stored one."""
        record = self.cached(sender)
        if record is None:
            record, _ = await self.read(sender)
        return record

    def version(self, sender: str) -> int:
        """Return the stored version of a record in memory, -1 without one."""
        entry = self._cache.get(sender)
        return entry.version if entry else -1

    async def read(self, sender: str) -> tuple[Record, bool]:
        """Return a copy of the record and whether the sender was ever seen."""
        try:
            version, raw = await self._context.ledger.load(sender)
        except StateUnavailableError:
            entry = self._cache.get(sender)
            if entry:
                return Record.decode(entry.record.encode()), True
            return self._fresh(sender), sender in self.known
        return self._parsed(sender, raw), version > 0 or sender in self.known

    async def change(
        self,
        sender: str,
        apply: Callable[[Record], T],
        *,
        journal_first: bool = True,
        **why: Any,  # noqa: ANN401
    ) -> tuple[Record, T]:
        """Apply a change and store it; ``why`` goes into the journal's line.

        With ``journal_first`` this returns only once a change of state is in the
        journal, and raises SpoolFullError otherwise; the change stands and its
        line is owed. Without, ask ``assure`` before relying on it.
        """
        async with self._locked(sender):
            entry = await self._entry(sender)
            for _ in range(_ROUNDS):
                before = _essence(_standing(entry.record))
                result = apply(entry.record)
                if _essence(_standing(entry.record)) != before:
                    entry.record.count_change(self._context.clock())
                if await self._store(sender, entry):
                    break
            else:
                log.error("record of %r is changed by others too fast", sender)
            try:
                await self._observe(entry, why)
            except SpoolFullError as error:
                if journal_first:
                    raise
                log.error("state of %r is not in the journal yet: %s", sender, error)
            return entry.record, result

    async def assure(self, sender: str) -> None:
        """Return once nothing of a sender is owed to the journal.

        Raises SpoolFullError.
        """
        async with self._locked(sender):
            entry = self._cache.get(sender)
            if entry and entry.owed is not None:
                await self._observe(entry, {})

    def touch(self, sender: str, apply: Callable[[Record], None]) -> None:
        """Apply a change that may be lost (learning); stored by ``flush``."""
        entry = self._cache.get(sender)
        if entry:
            apply(entry.record)
            entry.late.append(apply)
            del entry.late[:-_LATE]
            entry.dirty = True

    async def flush(self) -> None:
        """Store the records that ``touch`` changed, write lines that are owed.

        Raises SpoolFullError, after the records are stored.
        """
        for sender in [name for name, entry in self._cache.items() if entry.dirty]:
            async with self._locked(sender):
                entry = self._cache.get(sender)
                for _ in range(_ROUNDS):
                    if not (entry and entry.dirty) or await self._store(sender, entry):
                        break
        for sender in [n for n, e in self._cache.items() if e.owed is not None]:
            await self.assure(sender)

    async def reinstate(self, sender: str, standing: dict[str, Any]) -> None:
        """Store a standing for a sender of whom nothing else is known any more."""
        await self.change(sender, lambda record: record.apply_standing(standing))

    def forget(self, sender: str) -> None:
        """Drop a sender from memory; the caller removes it from the stores."""
        self._cache.pop(sender, None)
        self.known.pop(sender, None)
        self._last.pop(sender, None)

    async def _entry(self, sender: str) -> _Entry:
        entry = self._cache.get(sender)
        if entry is None:
            try:
                version, raw = await self._context.ledger.load(sender)
                self._reachable()
            except StateUnavailableError as error:
                self._unreachable(error)
                entry = _Entry(0, self._fresh(sender), dirty=True)
            else:
                entry = _Entry(version, self._parsed(sender, raw))
            self._cache[sender] = entry
            self._evict()
        self._cache.move_to_end(sender)
        return entry

    async def _store(self, sender: str, entry: _Entry) -> bool:
        """Store the entry; False when it was replaced by a newer record.

        Unreachable Redis counts as stored: the record stays in memory, marked
        dirty, and the journal has what must not be lost.
        """
        entry.dirty = False
        late = len(entry.late)
        state = entry.record.state.value
        raw = entry.record.encode()
        save = self._context.ledger.save
        try:
            done, version, current = await save(sender, entry.version, raw, state)
            if not done and not current:
                # Redis has lost what it knew of this sender: ours is the newest.
                done, version, current = await save(sender, version, raw, state)
            self._reachable()
        except StateUnavailableError as error:
            entry.dirty = True
            self._unreachable(error)
            return True
        entry.version = version
        if done:
            del entry.late[:late]
            return True
        entry.record = self._parsed(sender, current)
        for learned in entry.late:
            learned(entry.record)
        entry.dirty = bool(entry.late)
        return False

    def _parsed(self, sender: str, raw: bytes) -> Record:
        """Return a stored record; a damaged or missing one is rebuilt."""
        if raw:
            try:
                record = Record.decode(raw)
                if record.sender != sender:
                    raise ValueError(f"it is the record of {record.sender!r}")  # noqa: TRY301
            except ValueError as error:
                log.error("record of %r in Redis is damaged: %s", sender, error)
            else:
                line = self._last.get(sender)
                if line and line.get("serial", 0) > record.serial:
                    log.warning("Redis is behind the journal about %r", sender)
                    record.apply_standing(line)
                return record
        return self._fresh(sender)

    def _fresh(self, sender: str) -> Record:
        """Return a record without history, with what the journal knows of it."""
        record = Record.new(sender, self._context.clock())
        if line := self._last.get(sender):
            record.apply_standing(line)
        return record

    async def _observe(self, entry: _Entry, why: dict[str, Any]) -> None:
        """Journal a record whose standing is not what was known of it.

        Raises SpoolFullError; the line is owed then.
        """
        record = entry.record
        if _essence(_standing(record)) == _essence(self.known.get(record.sender)):
            entry.owed = None
            return
        entry.owed = (entry.owed or {}) | why
        await self._context.audit.append(
            "sender", **record.standing_json(), **entry.owed
        )
        entry.owed = None
        self._journaled(record)

    def _journaled(self, record: Record) -> None:
        line = record.standing_json()
        self._last[record.sender] = line
        if record.noteworthy:
            self.known[record.sender] = line
        else:
            self.known.pop(record.sender, None)

    def _evict(self) -> None:
        while len(self._cache) > _CACHED:
            for name, entry in self._cache.items():
                busy = entry.dirty or entry.owed is not None
                if not busy and name not in self._locks:
                    del self._cache[name]
                    break
            else:
                return

    def _locked(self, sender: str) -> _SenderLock:
        return _SenderLock(self._locks, sender)

    def _unreachable(self, error: StateUnavailableError) -> None:
        if not self.unavailable_since:
            self.unavailable_since = self._context.clock()
            journal.redis_lost(str(error))

    def _reachable(self) -> None:
        if self.unavailable_since:
            journal.redis_back(self._context.clock() - self.unavailable_since)
            self.unavailable_since = 0.0


class _SenderLock:
    """A lock that exists only while somebody wants it."""

    def __init__(self, locks: dict[str, tuple[asyncio.Lock, int]], name: str) -> None:
        self._locks = locks
        self._name = name

    async def __aenter__(self) -> None:
        lock, users = self._locks.get(self._name) or (asyncio.Lock(), 0)
        self._locks[self._name] = (lock, users + 1)
        try:
            await lock.acquire()
        except BaseException:
            self._leave(lock)
            raise

    async def __aexit__(self, *_: object) -> None:
        lock, _users = self._locks[self._name]
        lock.release()
        self._leave(lock)

    def _leave(self, lock: asyncio.Lock) -> None:
        users = self._locks[self._name][1] - 1
        if users:
            self._locks[self._name] = (lock, users)
        else:
            del self._locks[self._name]


def _standing(record: Record) -> dict[str, Any] | None:
    return record.standing_json() if record.noteworthy else None


def _essence(line: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return what of a standing must survive a loss of Redis.

    The calm clock restarts harmlessly and a plan's count of used messages would
    cost a synchronous write for each message of a newsletter.
    """
    if line is None:
        return None
    essence = {
        key: value for key, value in line.items() if key not in {"calm_since", "serial"}
    }
    if plans := essence.get("plans"):
        essence["plans"] = [plan[:5] for plan in plans]
    return essence
