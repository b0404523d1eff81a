"""The held mail of this instance, indexed the way the trickle asks for it.

The spool is the truth; this index is rebuilt from it at start. A message is in
exactly one *lane*: that of its sender's state, that of the operator's order
that freed it, or that of the shaper's own notices. A copy of the index goes to
Redis so that the CLI on any host sees it; losing that copy loses nothing.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, NamedTuple

from shaper.core.ports import StateUnavailableError
from shaper.engine.overview import copied

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from shaper.core.message import HeldMessage
    from shaper.engine.context import Context

__all__ = ["HeldMail", "Lane"]

log = logging.getLogger(__name__)

_REMEMBERED = 10_000  # messages that left; about 200 octets each


class Lane(NamedTuple):
    """A queue with a pace of its own. ``kind``: ``state``, ``order``, ``notice``.

    The last one also has the messages that are at their end.
    """

    kind: str
    name: str


class HeldMail:
    """Held messages by id, by lane and by sender."""

    def __init__(self, context: Context) -> None:
        """Start empty; call ``put`` for each message of the spool."""
        self._context = context
        self._by_id: dict[str, HeldMessage] = {}
        self._lanes: dict[Lane, dict[str, None]] = {}
        self._per_sender: dict[str, dict[str, None]] = {}
        self._marked: dict[str, str] = {}  # fingerprint -> id
        self._mark_of: dict[str, str] = {}  # id -> fingerprint
        self._gone: dict[str, str] = {}  # of messages that left not long ago
        self._copying: set[asyncio.Task[None]] = set()
        self.bytes = 0

    @staticmethod
    def lane_of(message: HeldMessage) -> Lane:
        """Return the lane that a message waits in."""
        if message.notice or not message.waiting:
            # What only needs its end told waits for no pace and no release.
            return Lane("notice", "")
        if message.order:
            return Lane("order", message.order)
        return Lane("state", message.submission.sender)

    def put(self, message: HeldMessage, mark: str = "") -> Lane:
        """Add a message or replace it by its newer self."""
        old = self._by_id.get(message.id)
        lane = self.lane_of(message)
        if old is None:
            self.bytes += message.size
        elif self.lane_of(old) != lane:
            self._leave(self.lane_of(old), message.id)
        self._by_id[message.id] = message
        self._lanes.setdefault(lane, {})[message.id] = None
        if not message.notice:
            sender = message.submission.sender
            self._per_sender.setdefault(sender, {})[message.id] = None
        if mark:
            self._marked[mark] = message.id
            self._mark_of[message.id] = mark
        return lane

    def drop(self, message_id: str, *, done: bool = False) -> None:
        """Take a message out; ``done`` when all its recipients had their end."""
        message = self._by_id.pop(message_id, None)
        if message is None:
            return
        self.bytes -= message.size
        self._leave(self.lane_of(message), message_id)
        own = self._per_sender.get(message.submission.sender)
        if own is not None:
            own.pop(message_id, None)
            if not own:
                del self._per_sender[message.submission.sender]
        mark = self._mark_of.pop(message_id, "")
        self._marked.pop(mark, None)
        if done and mark:
            self._gone[mark] = message_id
            if len(self._gone) > _REMEMBERED:
                del self._gone[next(iter(self._gone))]

    def _leave(self, lane: Lane, message_id: str) -> None:
        ids = self._lanes.get(lane)
        if ids is not None:
            ids.pop(message_id, None)
            if not ids:
                del self._lanes[lane]

    def get(self, message_id: str) -> HeldMessage | None:
        """Return a message, or None."""
        return self._by_id.get(message_id)

    def marked(self, mark: str) -> str:
        """Return the id of the message with this fingerprint, or "".

        Also of one that has left: a client that missed our 250 comes back after
        minutes, and by then an operator or the trickle may have let it go.
        """
        return self._marked.get(mark, "") or self._gone.get(mark, "")

    def __len__(self) -> int:
        """Count all held messages, notices included."""
        return len(self._by_id)

    def all(self) -> Iterable[HeldMessage]:
        """Return every message, in order of arrival here."""
        return self._by_id.values()

    def lanes(self) -> list[Lane]:
        """Return the lanes that hold mail."""
        return list(self._lanes)

    def in_lane(self, lane: Lane) -> Iterator[HeldMessage]:
        """Yield the messages of a lane in order of arrival; no await in between."""
        return (self._by_id[i] for i in self._lanes.get(lane, ()))

    def holds(self, lane: Lane) -> bool:
        """Whether a lane holds mail."""
        return lane in self._lanes

    def waiting(self, sender: str) -> int:
        """Count the messages of a sender that no order has freed."""
        return len(self._lanes.get(Lane("state", sender), ()))

    def of_sender(self, sender: str) -> list[HeldMessage]:
        """Return all messages of a sender, freed or not."""
        return [self._by_id[i] for i in self._per_sender.get(sender, ())]

    async def publish(self, message: HeldMessage) -> None:
        """Copy a message's facts to Redis; a failure is left to ``republish``."""
        if message.notice:
            return  # not mail that anybody waits for
        try:
            await self._context.ledger.put_held(
                self._context.instance, message.id, copied(message)
            )
        except StateUnavailableError as error:
            log.debug("held mail not indexed in Redis: %s", error)

    def publish_soon(self, message: HeldMessage) -> None:
        """Copy it to Redis behind the caller's back, who cannot wait."""
        task = asyncio.get_running_loop().create_task(self._publish_late(message))
        self._copying.add(task)
        task.add_done_callback(self._copying.discard)

    async def _publish_late(self, message: HeldMessage) -> None:
        await self.publish(message)
        if message.id not in self._by_id:  # it left meanwhile
            await self.unpublish(message.id)

    async def settle(self) -> None:
        """Wait for the copies that were begun and not waited for."""
        while self._copying:
            await asyncio.wait(self._copying)

    async def unpublish(self, message_id: str) -> None:
        """Take a message out of the copy in Redis."""
        try:
            await self._context.ledger.drop_held(self._context.instance, message_id)
        except StateUnavailableError as error:
            log.debug("held mail not unindexed in Redis: %s", error)

    async def republish(self) -> None:
        """Make the copy in Redis equal to this index. Raises StateUnavailableError."""
        copies = await self._context.ledger.held()
        stored = copies.pop(self._context.instance, {})
        for message_id in set(stored) - set(self._by_id):
            await self._context.ledger.drop_held(self._context.instance, message_id)
        for former, theirs in copies.items():  # this instance had another name
            for message_id in set(theirs) & set(self._by_id):
                await self._context.ledger.drop_held(former, message_id)
        for message in list(self._by_id.values()):
            if message.id not in stored:
                await self.publish(message)
