"""Lets held mail out: when, which message next, how many at a time.

Every lane (a slowed or recovered sender, an operator's order, the shaper's own
notices) has one due time; a heap holds them, so ten thousand quiet lanes cost
nothing. A lane gives at most one message per turn, which makes senders equal
however much each has waiting. ``step`` does what is due at a time it is told and
returns when to come again; ``run`` calls it by the clock.

Blocked senders have no due time at all: only a release wakes their mail.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import logging
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

from shaper.core.evidence import familiarity, standing
from shaper.core.message import RecipientFate
from shaper.core.pace import drain_pause, next_release_after
from shaper.core.ports import ShaperError, StateUnavailableError
from shaper.core.state import State
from shaper.engine.heldmail import Lane

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

    from shaper.core.message import HeldMessage
    from shaper.core.record import Record
    from shaper.core.reply import Reply
    from shaper.engine.context import Context
    from shaper.engine.heldmail import HeldMail
    from shaper.engine.senders import Senders

    After = Callable[[], Awaitable[None]] | None

__all__ = ["Trickle"]

log = logging.getLogger(__name__)

T = TypeVar("T")

# After an own failure (disk full, a bug) a lane rests this long, in seconds.
_REST = 60.0
_AT_ONCE = 100  # messages that are ended together: two requests to the queue helper
# Nothing is due for so long that the clock is looked at again, in seconds: a
# clock that stepped must not leave mail lying.
_LONGEST_SLEEP = 30.0


class WayOut(Protocol):
    """How held mail leaves: ``Delivery``, or ``Release`` for what the MTA keeps."""

    async def attempt(self, message: HeldMessage) -> None:
        """Try every waiting recipient once. Raises ShaperError."""

    async def settle(
        self,
        message: HeldMessage,
        fates: Mapping[int, RecipientFate],
        replies: Mapping[int, Reply],
    ) -> bool:
        """Write down what became of recipients; False when it is damaged."""

    def owing(self) -> list[str]:
        """Return the messages with fates that the disk has not taken yet."""

    def forget_owed(self, message_id: str) -> None:
        """Forget the fates of a message that is gone."""


class Trickle:
    """The schedule of held mail of this instance."""

    def __init__(
        self, context: Context, held: HeldMail, senders: Senders, delivery: WayOut
    ) -> None:
        """Start without a schedule; ``start`` makes it from the held mail."""
        self._context = context
        self._held = held
        self._senders = senders
        self._delivery = delivery
        self._heap: list[tuple[float, Lane]] = []
        self._due: dict[Lane, float] = {}
        self._drained: dict[str, int] = {}
        self._rates: dict[str, float] = {}
        self._busy: dict[str, asyncio.Future[None]] = {}
        self._woken = asyncio.Event()

    def set_rate(self, order: str, per_minute: float) -> None:
        """Pace an operator's order; 0 means as fast as it goes."""
        self._rates[order] = per_minute

    def wake(self, lane: Lane, at: float) -> None:
        """Have a lane looked at at this time, or earlier if it already is."""
        if lane not in self._due or at < self._due[lane]:
            self._schedule(lane, at)

    def arrived(self, message: HeldMessage, record: Record | None, now: float) -> None:
        """Schedule the lane of a message that was just held or freed."""
        lane = self._held.lane_of(message)
        slowed = record is not None and record.state is State.SLOWED
        first = self._context.pace.interval if lane.kind == "state" and slowed else 0.0
        if lane not in self._due:
            self._schedule(lane, now + first)

    def hurry(self, sender: str, now: float) -> None:
        """Look again at a sender whose state has changed."""
        self._drained.pop(sender, None)
        lane = Lane("state", sender)
        if self._held.waiting(sender):
            self._schedule(lane, now)

    def start(self, now: float) -> None:
        """Schedule everything that the spool holds."""
        for lane in self._held.lanes():
            self._schedule(lane, now)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop`` is set; attempts under way are then waited for."""
        last = self._context.clock()
        while not stop.is_set():
            now = self._context.clock()
            if now < last - 1:
                self.start(now)  # due times were made by a clock that went back
            last = now
            self._woken.clear()
            due = await self.step(now)
            pause = min(max(due - self._context.clock(), 0.0), _LONGEST_SLEEP)
            waits = {
                asyncio.ensure_future(self._woken.wait()),
                asyncio.ensure_future(stop.wait()),
            }
            await asyncio.wait(
                waits, timeout=pause, return_when=asyncio.FIRST_COMPLETED
            )
            for wait in waits:
                wait.cancel()
        await self.settle()

    async def settle(self) -> None:
        """Wait for the attempts under way."""
        while self._busy:
            await asyncio.wait(set(self._busy.values()))

    async def step(self, now: float) -> float:
        """Begin what is due; return the time of the next lane that will be."""
        while self._heap and self._heap[0][0] <= now:
            if len(self._busy) >= self._context.pace.concurrency:
                return now + _LONGEST_SLEEP  # an attempt that ends wakes us
            due, lane = heapq.heappop(self._heap)
            if self._due.get(lane) != due:
                continue  # was scheduled anew since
            del self._due[lane]
            again = await self._turn(lane, now)
            if again is not None:
                self._schedule(lane, again)
        return self._heap[0][0] if self._heap else now + _LONGEST_SLEEP

    async def _turn(self, lane: Lane, now: float) -> float | None:
        """Begin at most one message of a lane; return its next due time."""
        first = next(self._ready(lane, now), None)
        if first is None:
            if not self._held.holds(lane):
                self._rates.pop(lane.name, None)
            idle = (m for m in self._held.in_lane(lane) if m.id not in self._busy)
            return min((m.not_before for m in idle), default=None)
        if lane.kind != "state":
            rate = self._rates.get(lane.name, 0.0)
            self._begin(first, lane)
            return now + (60.0 / rate if rate > 0 else 0.0)
        if not first.waiting:
            self._begin(first, lane)  # only its end is still to be written
            return now
        record, _ = await self._senders.read(lane.name)
        if record.state is State.BLOCKED:
            return None
        if record.state is State.NORMAL:
            self._begin(first, lane)
            count = self._drained[lane.name] = self._drained.get(lane.name, 0) + 1
            pace = self._context.pace
            return now + drain_pause(pace.interval, pace.growth, count)
        return await self._trickle(lane, record, now)

    def _ready(self, lane: Lane, now: float) -> Iterator[HeldMessage]:
        return (
            message
            for message in self._held.in_lane(lane)
            if message.id not in self._busy
            and (self._ripe(message, now) or not message.waiting)
        )

    def _ripe(self, message: HeldMessage, now: float) -> bool:
        # Further ahead than any pause: written by a clock that has stepped back.
        longest = self._context.pace.backoff.longest
        return not now < message.not_before <= now + longest

    async def _trickle(self, lane: Lane, record: Record, now: float) -> float | None:
        """Let one message of a slowed sender out, the most familiar first."""
        profile = record.profile
        # max keeps the first of equals: the order of arrival.
        best = max(
            self._ready(lane, now),
            key=lambda m: familiarity(profile, self._hashes(m), now),
            default=None,
        )
        if best is None:
            return None
        evidence = standing(profile, self._context.model, now)
        share = evidence.total / max(evidence.limits[1], 1e-9)
        served = record.released + len(best.waiting) - 1
        pace = self._context.pace
        pause = next_release_after(served, share, pace.interval, pace.longest_interval)
        try:
            wait = await self._context.ledger.take_slot(lane.name, now, pause)
        except StateUnavailableError:
            wait = 0.0  # the schedule of this instance keeps the pace
        if wait > 0:
            return now + min(wait, pause)  # more than a pause: the clock stepped back
        serve = partial(_served, len(best.waiting))
        change = self._senders.change(lane.name, serve, journal_first=False)
        record, _ = await change
        if record.state is not State.SLOWED:
            return now  # it was blocked or released meanwhile
        self._begin(best, lane, partial(self._give_back, best, now + pause))
        return now + pause

    async def _give_back(self, message: HeldMessage, slot: float) -> None:
        """Take back the pace's step of a message that the MTA still has to let go.

        Its queue helper was mute, or it is not on hold (yet): nothing has left, and
        the sender's other mail is not to wait longer for it.
        """
        left, sender = self._held.get(message.id), message.submission.sender
        if left is None or not left.by_mta or not left.waiting:
            return
        serve = partial(_served, -len(left.waiting))
        await self._senders.change(sender, serve, journal_first=False)
        with contextlib.suppress(StateUnavailableError):
            # Taken at its own time and for no time, it is free for the next one.
            await self._context.ledger.take_slot(sender, slot, 0.0)
        self.wake(Lane("state", sender), self._context.clock())

    def _hashes(self, message: HeldMessage) -> list[int]:
        recipients = message.submission.envelope.recipients
        return self._context.hashes(recipient.address for recipient in recipients)

    def _schedule(self, lane: Lane, at: float) -> None:
        self._due[lane] = at
        heapq.heappush(self._heap, (at, lane))
        self._woken.set()

    def _begin(self, message: HeldMessage, lane: Lane, after: After = None) -> None:
        """Attempt a message behind the caller's back, then await ``after``."""
        current = self._held.get(message.id)
        if current is None or message.id in self._busy:
            return  # dropped, or taken by an order, while we looked at the sender
        task = asyncio.get_running_loop().create_task(
            self._attempt(current, lane, after)
        )
        self._busy[message.id] = task

    async def _attempt(self, message: HeldMessage, lane: Lane, after: After) -> None:
        rest = _REST
        try:
            rest = await self._tried(message)
            if after is not None:
                await after()
        finally:
            del self._busy[message.id]
            now = self._context.clock()
            left = self._held.get(message.id)
            for one in {lane, self._held.lane_of(left)} if left else {lane}:
                if self._held.holds(one) and (rest or one not in self._due):
                    self._schedule(one, now + rest)
            self._woken.set()

    async def _tried(self, message: HeldMessage) -> float:
        """Attempt a message; return for how long its lane is to rest."""
        try:
            await self._delivery.attempt(message)
        except ShaperError as error:
            log.error("held message %s must wait: %s", message.id, error)
        except Exception:  # one of the three catch-alls: an attempt
            log.exception("attempt for held message %s failed", message.id)
        else:
            return 0.0
        return _REST

    async def end(self, message_id: str, fate: RecipientFate) -> HeldMessage | None:
        """Give all waiting recipients of a message a final fate, without sending.

        Waits for an attempt under way, whose deliveries then stand. Returns the
        message as it was, or None when nothing of it waited any more or its file
        is damaged.
        """
        while message_id in self._busy:
            await asyncio.wait({self._busy[message_id]})
        message = self._held.get(message_id)
        if message is None:
            return None
        if not message.waiting:
            self.wake(self._held.lane_of(message), self._context.clock())
            return None
        fates = dict.fromkeys(message.waiting, fate)
        return message if await self._settle(message, fates) else None

    async def end_all(
        self, message_ids: Sequence[str], fate: RecipientFate
    ) -> list[HeldMessage]:
        """Do the same for many; returns those that waited.

        Some at once, which share what they cost: fsyncs, requests to the queue helper.
        """
        ended: list[HeldMessage] = []
        for begin in range(0, len(message_ids), _AT_ONCE):
            some = message_ids[begin : begin + _AT_ONCE]
            works = [self.end(one, fate) for one in some]
            for result in await asyncio.gather(*works, return_exceptions=True):
                if isinstance(result, BaseException):
                    raise result
                if result is not None:
                    ended.append(result)
        return ended

    async def write_owed(self) -> None:
        """Write down answers that a full disk refused. Raises SpoolFullError."""
        for message_id in self._delivery.owing():
            message = self._held.get(message_id)
            if message is None:
                self._delivery.forget_owed(message_id)
            elif message_id not in self._busy:
                await self._settle(message, {})

    async def _settle(
        self, message: HeldMessage, fates: dict[int, RecipientFate]
    ) -> bool:
        return await self._claimed(message, self._delivery.settle(message, fates, {}))

    async def alone(
        self, message_id: str, work: Callable[[HeldMessage], Awaitable[None]]
    ) -> None:
        """Do something with a waiting message while nobody else does."""
        while message_id in self._busy:
            await asyncio.wait({self._busy[message_id]})
        message = self._held.get(message_id)
        if message is not None and message.waiting:
            await self._claimed(message, work(message))

    async def _claimed(self, message: HeldMessage, work: Awaitable[T]) -> T:
        claim = asyncio.get_running_loop().create_future()
        self._busy[message.id] = claim
        try:
            return await work
        finally:
            del self._busy[message.id]
            claim.set_result(None)
            left = self._held.get(message.id)
            if left is not None and not left.waiting:
                # Its end is written, and could not be carried out yet.
                self.wake(self._held.lane_of(left), self._context.clock() + _REST)

    async def expire(self, now: float) -> list[HeldMessage]:
        """Give mail that was held for the longest time back to its sender."""
        limit = now - self._context.pace.longest_hold
        old = [m.id for m in self._held.all() if m.submission.received <= limit]
        return await self.end_all(old, RecipientFate.EXPIRED)


def _served(recipients: int, record: Record) -> None:
    record.released = max(record.released + recipients, 0)
