"""What the engine does by itself as time passes, in small regular rounds.

Each round is a plain coroutine that may be called at any time and does only what
is due, so tests call it with a clock of theirs. ``run`` calls the rounds by the
clock; a round that fails is logged and comes again.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from shaper import journal
from shaper.core.case import Step
from shaper.core.judgement import review
from shaper.core.ports import ShaperError, StateUnavailableError
from shaper.core.state import State

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from shaper.core.judgement import Transition
    from shaper.core.record import Record, Run
    from shaper.engine.assembly import Engine

__all__ = ["Upkeep"]

log = logging.getLogger(__name__)

INDEXED = (State.SLOWED.value, State.BLOCKED.value)
_LOOK_AGAIN = 60.0  # seconds, with up to some 1,000 senders slowed
_ROUNDS = 30  # of review in which all have had their turn in any case: 5 minutes
_AT_ONCE = 200  # senders without news that one round looks at in any case


class Upkeep:
    """The engine's regular rounds."""

    def __init__(self, engine: Engine, epoch: str) -> None:
        """``epoch`` is a random token by which a loss of Redis is noticed."""
        self._engine = engine
        self._context = engine.context
        self._epoch = epoch
        self._lost = True
        # Version and time at which each slowed sender was last looked at.
        self._reviewed: dict[str, tuple[int, float]] = {}

    async def store(self) -> None:
        """Tell of cases, write what may be late, carry out what others ordered.

        One that fails keeps none of the others from being done: dropping spam by
        an order is what empties a full disk. Raises the first failure at the end.
        """
        await _each(self._tell, self._engine.orders.resume)

    async def _tell(self) -> None:
        engine = self._engine
        await _each(
            engine.trickle.write_owed,
            engine.notices.tell,
            engine.outcomes.flush,
            engine.receivers.tell,
            engine.host.tell,
            engine.foreign.tell,
            engine.federating.flush,
            engine.senders.flush,
            engine.casebook.flush,
        )

    async def resynchronise(self) -> None:
        """Notice that Redis lost its contents, and put back what we know."""
        try:
            self._lost |= await self._context.ledger.claim_epoch(self._epoch)
            if not self._lost:
                return
            log.info("bringing Redis up to what journal and spool know")
            await self._engine.senders.synchronise()
            self._engine.rebuild_cases()
            await self._close_cases()
            self._engine.casebook.touch_all()
            self._engine.outcomes.sent.rewrite()
            await self._engine.held.republish()
            self._lost = False
        except StateUnavailableError as error:
            log.debug("Redis is away: %s", error)

    async def _close_cases(self) -> None:
        """Close what others closed while this instance, or its journal, was away."""
        for case in self._engine.casebook.all():
            record, seen = await self._engine.senders.read(case.sender)
            if seen and not case.closed:
                self._engine.casebook.follow(case.id, record)

    async def follow(self) -> None:
        """Notice what other instances changed about senders known here."""
        try:
            stored = {
                name: state
                for state in INDEXED
                for name in await self._context.ledger.senders(state)
            }
        except StateUnavailableError as error:
            log.debug("Redis is away: %s", error)
            return
        for sender, line in list(self._engine.senders.known.items()):
            if stored.get(sender, State.NORMAL.value) == line["state"]:
                continue
            record, _ = await self._engine.senders.change(
                sender, lambda _: None, journal_first=False
            )
            if record.state.value != line["state"]:
                self._engine.casebook.follow(str(line.get("case", "")), record)
                self._engine.trickle.hurry(sender, self._context.clock())

    async def review(self) -> None:
        """Let time pass for the slowed senders.

        One whose record changed here is looked at in each round, any other after
        ``_LOOK_AGAIN`` seconds as its turn comes: without news its evidence only
        fades.
        """
        senders, now = self._engine.senders, self._context.clock()
        slowed = senders.names(State.SLOWED.value)
        # After a restart all are due at once: they take turns from then on.
        quiet = max(_AT_ONCE, len(slowed) // _ROUNDS + 1)
        reviewed: dict[str, tuple[int, float]] = {}
        for sender in slowed:
            seen, at = self._reviewed.get(sender, (-1, -_LOOK_AGAIN))
            version = senders.version(sender)
            if version in {seen, -1}:
                if quiet <= 0 or 0 <= now - at < _LOOK_AGAIN:
                    reviewed[sender] = seen, at
                    continue
                quiet -= 1
            await self._look(sender)
            reviewed[sender] = senders.version(sender), now
        self._reviewed = reviewed

    async def _look(self, sender: str) -> None:
        now = self._context.clock()
        waiting = self._engine.held.waiting(sender)
        record, _ = await self._engine.senders.read(sender)
        before = (record.state, record.calm_since)
        probe = review(record, self._context.model, self._context.rules, waiting, now)
        if probe is None and before == (record.state, record.calm_since):
            return
        apply = partial(self._review, waiting, now)
        record, (transition, case_id, run) = await self._engine.senders.change(
            sender, apply, journal_first=False
        )
        if transition is not None:
            self._engine.gate.moved(sender, case_id, run, transition)

    def _review(
        self, waiting: int, now: float, record: Record
    ) -> tuple[Transition | None, str, Run]:
        case_id, run = record.case, record.run
        transition = review(
            record, self._context.model, self._context.rules, waiting, now
        )
        if record.state is State.NORMAL:
            record.case = ""
        return transition, case_id, run

    async def expire(self) -> None:
        """Give mail back that was held too long."""
        now = self._context.clock()
        for message in await self._engine.trickle.expire(now):
            reason = f"message {message.id} reached its longest hold"
            step = Step(now, "expired", State.BLOCKED.value, reason=reason)
            self._engine.casebook.note(message.case, step)
            journal.message_expired(message.id, message.submission.sender)

    async def prune(self) -> None:
        """Drop journal lines that are old and no longer say what is.

        What is, is the last line of every sender that is not plainly normal, an
        order not carried out, and what was told of an open case.
        """
        audit = self._context.audit
        open_cases = {case.id for case in self._engine.casebook.all()}
        known = self._engine.senders.known
        last = await asyncio.to_thread(
            lambda: {
                line["sender"]: line["seq"]
                for line in audit.replay()
                if line["event"] == "sender"
            }
        )
        pending = self._engine.orders.pending_ids()
        refusing = {one.id for one in self._engine.receivers.open()}
        owed = set(self._engine.outbox.owed())
        routes = self._engine.routes.table.version

        def keep(line: dict[str, Any]) -> bool:
            if line["event"] == "sender":
                sender = line["sender"]
                return sender in known and last.get(sender, 0) <= line["seq"]
            if line["event"] == "receiver":
                return line["id"] in refusing
            if line["event"] == "route":
                return bool(line["table"]["version"] == routes)
            if line["event"] == "told":
                return line["case"] in open_cases
            if line["event"] == "hook":
                return line["id"] in owed
            return line["event"] == "order" and line.get("order_id") in pending

        dropped = await audit.prune(
            self._context.clock() - self._context.retention, keep
        )
        if dropped:
            log.info("%d journal lines older than the retention dropped", dropped)

    async def run(self, stop: asyncio.Event) -> None:
        """Do all rounds at their pace until ``stop`` is set; store once more."""
        rounds: list[tuple[float, Callable[[], Awaitable[None]]]] = [
            (1.0, self._tell),
            # By itself: an order may wait for an attempt whose next hop is mute.
            (1.0, self._engine.orders.resume),
            (1.0, self._engine.asking.learn),
            (2.0, self._engine.suppression.refresh),
            (2.0, self._engine.routes.refresh),
            (10.0, self._engine.foreign.refresh),
            (5.0, self._engine.friends.refresh),
            (5.0, self.resynchronise),
            (10.0, self.review),
            (60.0, self._engine.observing.review),
            (30.0, self.follow),
            (30.0, self._engine.digest.round),
            (1.0, self._engine.sender_check.round),
            (60.0, self.expire),
            (6 * 3600.0, self.prune),
        ]
        if self._engine.reconcile is not None:
            rounds.append((30.0, self._engine.reconcile.round))
        await asyncio.gather(*(self._repeat(p, work, stop) for p, work in rounds))
        await self._attempt(self.store)

    async def _repeat(
        self, pause: float, work: Callable[[], Awaitable[None]], stop: asyncio.Event
    ) -> None:
        while not stop.is_set():
            await self._attempt(work)
            try:
                async with asyncio.timeout(pause):
                    await stop.wait()
            except TimeoutError:
                continue

    async def _attempt(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except StateUnavailableError as error:
            log.debug("upkeep waits for Redis: %s", error)  # told once elsewhere
        except ShaperError as error:
            log.error("upkeep was interrupted: %s", error)
        except Exception:  # as for an attempt: one bad round must not end the others
            log.exception("a round of upkeep failed")


async def _each(*rounds: Callable[[], Awaitable[None]]) -> None:
    """Do all of them; raise the first failure at the end."""
    failures: list[ShaperError] = []
    for work in rounds:
        try:
            await work()
        except ShaperError as error:
            failures.append(error)
    if failures:
        raise failures[0]
