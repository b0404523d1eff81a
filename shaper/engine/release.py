"""Lets held mail out of the MTA's own queue, or ends it there (placement ``policy``).

Does for mail that the MTA keeps on hold what ``shaper.engine.delivery`` does for
mail in the spool, and hands everything else to it: notices, and what the spool
holds since the host ran as a hop.

Exactly once, whatever crashes: a message is released only after it was seen on hold
and the attempt was noted durably. One with an attempt that is not on hold any more
was released then, and only this is written down. What an operator threw away or
gave back is written down first and done then; the record goes when it is done, and
doing it again changes nothing. Mail that somebody else put on hold has no record
and is never asked for.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from shaper.core.message import RecipientFate
from shaper.core.ports import SpoolCorruptError
from shaper.core.reply import Phase, Reply
from shaper.policy.queue import QueueState, QueueTroubleError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from shaper.core.message import HeldMessage
    from shaper.engine.context import Context
    from shaper.engine.delivery import Delivery, Replies
    from shaper.engine.heldmail import HeldMail

__all__ = ["MailQueue", "Release", "ReleaseRules"]

log = logging.getLogger(__name__)

# Seconds until a message that is not on hold yet, or that the helper did not release,
# is tried again. Short: no foreign server waits behind it.
_AGAIN = 10.0


class MailQueue(Protocol):
    """The MTA's queue, behind the privileged helper.

    Every method may raise QueueTroubleError; nothing is known then, and asking
    again does no harm. The changing ones return HELD when they did it, else where
    the message was found, unchanged.
    """

    async def states(self, queue_ids: Iterable[str]) -> Mapping[str, QueueState]:
        """Tell where each message is."""

    async def release(self, queue_id: str) -> QueueState:
        """Let it go on."""

    async def requeue(self, queue_id: str) -> QueueState:
        """Let it go on with a new life time."""

    async def drop(self, queue_id: str) -> QueueState:
        """Delete it."""

    async def give_back(self, queue_id: str) -> QueueState:
        """Have the MTA return it to its sender."""


class ReleaseRules:
    """``grace``: seconds after our HOLD in which the MTA may still be at work.

    ``requeue_after``: seconds on hold after which a message gets a new life time.
    """

    def __init__(self, grace: float = 600.0, requeue_after: float = 86400.0) -> None:
        """See the class."""
        self.grace = grace
        self.requeue_after = requeue_after


class Release:
    """The held mail's way out; has what ``Trickle`` asks of ``Delivery``."""

    def __init__(
        self,
        context: Context,
        held: HeldMail,
        delivery: Delivery,
        queue: MailQueue,
    ) -> None:
        """``delivery`` takes what is not in the MTA's queue."""
        self.rules = ReleaseRules()
        self.queue = queue
        self._context = context
        self._spool = context.spool
        self._held = held
        self._delivery = delivery
        # Released, and the disk could not take it.
        self._owed: dict[str, Mapping[int, RecipientFate]] = {}
        self.on_hold: set[str] = set()  # ids of messages that were seen there
        self.on_finished: Callable[[HeldMessage], None] = lambda _message: None
        self.on_replies: Replies | None = None

    async def attempt(self, message: HeldMessage) -> None:
        """Release a message, or write down what became of it.

        Raises QueueTroubleError and SpoolFullError; it is tried again then.
        """
        if not message.by_mta:
            await self._delivery.attempt(message)
            return
        if message.id in self._owed or not message.waiting:
            ended = await self._written(message, {}, {})
            if ended is not None:
                await self._finish(ended)
            return
        if not message.attempts and not await self._seen(message):
            return
        now = self._context.clock()
        soon = now + _AGAIN
        try:
            message = await self._spool.note_attempt(message.id, not_before=soon)
        except (KeyError, SpoolCorruptError) as error:
            # The spool reports it. The MTA keeps the message on hold.
            log.error("held message %s cannot be released: %s", message.id, error)
            self._held.drop(message.id)
            return
        self._held.put(message)
        age = now - message.submission.received
        anew = age > self.rules.requeue_after
        ident = message.submission.client.ident
        await (self.queue.requeue(ident) if anew else self.queue.release(ident))
        await self.released(message)

    async def _seen(self, message: HeldMessage) -> bool:
        """Whether it is on hold; ends one that is not, once the MTA had its time."""
        place = await self._place(message)
        if place is QueueState.HELD:
            self.on_hold.add(message.id)
            return True
        if self.may_arrive(message):
            soon = self._context.clock() + _AGAIN
            self._held.put(replace(message, not_before=soon))
        else:
            await self.missed(message, place)
        return False

    def may_arrive(self, message: HeldMessage) -> bool:
        """Whether one that is not on hold may yet be: a milter looks at it, say.

        Not one that was there before. A clock that stepped back makes us wait longer,
        never forget.
        """
        if message.attempts or message.id in self.on_hold:
            return False
        return self._context.clock() - message.submission.received < self.rules.grace

    async def _place(self, message: HeldMessage) -> QueueState:
        ident = message.submission.client.ident
        return (await self.queue.states([ident]))[ident]

    async def released(self, message: HeldMessage) -> None:
        """Write down that the MTA has all recipients of a message on their way."""
        taken = f"2.0.0 Ok: queued as {message.submission.client.ident}"
        replies = dict.fromkeys(message.waiting, Reply(250, (taken,), Phase.END))
        self._owed[message.id] = dict.fromkeys(replies, RecipientFate.DELIVERED)
        await self.settle(message, {}, replies)
        if self.on_replies is not None:
            await self.on_replies(message, replies)

    async def missed(self, message: HeldMessage, place: QueueState) -> None:
        """End a message that is not on hold, and was never released by us.

        The MTA refused it after our answer or did not hear it in time, its client
        went away, or a person took it out of the queue or let it go on by hand.
        """
        gone = place is QueueState.ABSENT
        fate = RecipientFate.GONE if gone else RecipientFate.DELIVERED
        if message.id in self.on_hold:
            what = "was on hold in the MTA and is not: removed or let go by hand"
        elif gone:
            what = "is not on hold in the MTA: refused, removed or let go by hand, or "
            what += "passed since our answer came too late"
        else:
            what = "is not on hold in the MTA: let go by hand, or passed since our "
            what += "answer came too late"
        ident = ascii(message.submission.client.ident)
        log.warning("held message %s (%s) %s", message.id, ident, what)
        await self.settle(message, dict.fromkeys(message.waiting, fate), {})

    async def settle(
        self,
        message: HeldMessage,
        fates: Mapping[int, RecipientFate],
        replies: Mapping[int, Reply],
    ) -> bool:
        """Write down what becomes of recipients, do it, forget the message.

        False when the record is damaged. Raises SpoolFullError.
        """
        if not message.by_mta:
            return await self._delivery.settle(message, fates, replies)
        ended = await self._written(message, fates, replies)
        if ended is None:
            return False
        try:
            await self._finish(ended)
        except QueueTroubleError as error:
            # It stands; the message is at its end and comes again as such.
            log.error("the end of held message %s must wait: %s", message.id, error)
        return True

    async def _written(
        self,
        message: HeldMessage,
        fates: Mapping[int, RecipientFate],
        replies: Mapping[int, Reply],
    ) -> HeldMessage | None:
        """Write down these fates and what is owed; None when it is damaged."""
        fates = {**fates, **self._owed.get(message.id, {})}
        if fates:
            try:
                message = await self._spool.note_fates(
                    message.id, fates, replies, not_before=message.not_before
                )
            except (KeyError, SpoolCorruptError) as error:
                log.error("record of held message %s is damaged: %s", message.id, error)
                self._owed.pop(message.id, None)
                self._held.drop(message.id)
                return None
        self._owed.pop(message.id, None)
        self._held.put(message)
        return message

    async def _finish(self, message: HeldMessage) -> None:
        """Do in the queue what was decided; then let the record go."""
        fates, ident = set(message.fates.values()), message.submission.client.ident
        place = QueueState.HELD
        if RecipientFate.DROPPED in fates:
            place = await self.queue.drop(ident)
        elif fates & {RecipientFate.BOUNCED, RecipientFate.EXPIRED}:
            # The bounce is the MTA's, in its words: it has the message, not we.
            place = await self.queue.give_back(ident)
        if place is not QueueState.HELD and self.may_arrive(message):
            # Without its record it would stay on hold for ever.
            raise QueueTroubleError(f"{ident} is not on hold, and may yet be")
        await self._spool.remove(message.id)
        self._held.drop(message.id, done=True)
        await self._held.unpublish(message.id)
        self.on_finished(message)

    def owing(self) -> list[str]:
        """Return the messages whose end the disk has not taken yet."""
        return [*self._owed, *self._delivery.owing()]

    def forget_owed(self, message_id: str) -> None:
        """Forget what is owed about a message that is gone."""
        self._owed.pop(message_id, None)
        self._delivery.forget_owed(message_id)
