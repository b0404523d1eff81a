"""Messages of one sender that come together are judged and stored together.

A record has one writer at a time, so twenty connections with mail of the same
sender would stand in line for twenty round trips. Here those that find the
record busy form a group: when its turn comes, their changes are applied in order
of arrival and stored once, before any of these messages goes on.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from shaper.core.record import Record
    from shaper.engine.senders import Senders

__all__ = ["Company"]

T = TypeVar("T")


class _Group:
    """Changes that wait for their turn, and the task that applies and stores them."""

    def __init__(self) -> None:
        self.changes: list[Callable[[Record], Any]] = []
        self.task: asyncio.Task[tuple[Record, list[Any]]] | None = None


class Company:
    """``Senders.change`` for changes that may share a write."""

    def __init__(self, senders: Senders) -> None:
        """Start with nobody waiting."""
        self._senders = senders
        self._busy: dict[str, int] = {}  # writes under way or waiting, by sender
        self._waiting: dict[str, _Group] = {}

    async def change(
        self, sender: str, apply: Callable[[Record], T]
    ) -> tuple[Record, T]:
        """Apply a change and store it, without waiting for a full journal.

        See ``Senders.change``. An exception is that of every change in the group.
        """
        if sender not in self._busy:
            return await self._store(sender, apply)
        group = self._waiting.get(sender)
        if group is None:
            group = self._waiting[sender] = _Group()
        position = len(group.changes)
        group.changes.append(apply)
        if group.task is None:
            group.task = asyncio.create_task(self._take_turn(sender, group))
        # A caller that is cancelled must not take the others with it.
        record, results = await asyncio.shield(group.task)
        return record, results[position]

    async def _take_turn(self, sender: str, group: _Group) -> tuple[Record, list[Any]]:
        def apply(record: Record) -> list[Any]:
            self._close(sender, group)
            return [change(record) for change in group.changes]

        try:
            return await self._store(sender, apply)
        finally:
            self._close(sender, group)

    def _close(self, sender: str, group: _Group) -> None:
        """Let whoever comes from now on form the next group."""
        if self._waiting.get(sender) is group:
            del self._waiting[sender]

    async def _store(
        self, sender: str, apply: Callable[[Record], T]
    ) -> tuple[Record, T]:
        self._busy[sender] = self._busy.get(sender, 0) + 1
        try:
            return await self._senders.change(sender, apply, journal_first=False)
        finally:
            users = self._busy.pop(sender) - 1
            if users:
                self._busy[sender] = users
