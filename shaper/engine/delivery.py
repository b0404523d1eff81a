"""One attempt to send a held message on, and what follows from it.

Order of writes, so that a crash at any point loses nothing and repeats at most
the delivery whose outcome could not be written (RFC 1047): the attempt is noted
before the next hop is called, the fate of each recipient after it answered (before
another next hop is called, where routes part the recipients),
the notification (DSN) is in the spool before the message leaves it. A message
none of whose recipients waits is *finished*; finishing is idempotent and is done
again at start.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from shaper.core.dsn import failure_report, may_tell
from shaper.core.envelope import Client
from shaper.core.message import HeldMessage, RecipientFate, Submission
from shaper.core.ports import SpoolCorruptError
from shaper.core.reply import Reply

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from shaper.core.envelope import Envelope
    from shaper.engine.context import Context
    from shaper.engine.heldmail import HeldMail

__all__ = ["Delivery", "Send"]

log = logging.getLogger(__name__)

_HEADER_END = b"\r\n\r\n"
_MOST_HEADER = 256 * 1024


class Send(Protocol):
    """Send one message over the next hop's pool (``shaper.smtp``)."""

    async def __call__(
        self,
        envelope: Envelope,
        client: Client,
        chunks: AsyncIterator[bytes],
        recipients: Sequence[int],
    ) -> tuple[Mapping[int, Reply], Reply]:
        """Return the replies per recipient position and the final one."""


class Replies(Protocol):
    """Hear what the next hop said about a held message."""

    async def __call__(
        self, message: HeldMessage, replies: Mapping[int, Reply]
    ) -> None:
        """``replies`` are by recipient position."""


class Delivery:
    """Takes held messages out of the spool, one recipient's fate after another."""

    def __init__(self, context: Context, held: HeldMail, send: Send) -> None:
        """``send`` takes one message to the next hop."""
        self._context = context
        self._spool = context.spool
        self._held = held
        self._send = send
        # What the next hop said and the disk could not take: sending again
        # because of that would deliver twice.
        self._owed: dict[
            str, tuple[Mapping[int, RecipientFate], Mapping[int, Reply]]
        ] = {}
        self.on_finished: Callable[[HeldMessage], None] = lambda _message: None
        self.on_notice: Callable[[HeldMessage], None] = lambda _message: None
        self.on_replies: Replies | None = None
        # Parts recipients by their next hops: one transaction each.
        self.split: Callable[[Envelope, Sequence[int]], Sequence[Sequence[int]]] = (
            lambda _envelope, positions: [positions]
        )

    async def attempt(self, message: HeldMessage) -> None:
        """Try every waiting recipient once."""
        now = self._context.clock()
        if message.id in self._owed:
            await self.settle(message, {}, {})
            return
        positions = message.waiting
        if not positions:
            await self.finish(message, await self._said(message.id))
            return
        pause = self._context.pace.backoff.after(message.attempts + 1)
        try:
            message = await self._spool.note_attempt(message.id, not_before=now + pause)
        except (KeyError, SpoolCorruptError) as error:
            # The spool has set the file aside and reports it; nothing can be sent.
            log.error("held message %s cannot be sent: %s", message.id, error)
            self._held.drop(message.id)
            return
        self._held.put(message)
        submission = message.submission
        for part in self.split(submission.envelope, positions):
            # What became of the part before is written; the message may have ended.
            now_held = self._held.get(message.id)
            if now_held is None:
                return
            left = [position for position in part if position in now_held.waiting]
            if left and not await self._attempt_part(now_held, left):
                return

    async def _attempt_part(
        self, message: HeldMessage, positions: Sequence[int]
    ) -> bool:
        """Send to recipients of one next hop; False when nothing more can be sent."""
        submission = message.submission
        try:
            replies, end = await self._send(
                submission.envelope,
                submission.client,
                self._spool.read(message.id),
                positions,
            )
        except SpoolCorruptError as error:
            # The spool has set the file aside and reports it; nothing can be sent.
            log.error("held message %s is damaged: %s", message.id, error)
            self._held.drop(message.id)
            return False
        verdicts: dict[int, Reply] = {}
        fates: dict[int, RecipientFate] = {}
        for position in positions:
            reply = replies.get(position, end)
            verdict = end if reply.positive else reply
            verdicts[position] = verdict
            if verdict.positive:
                fates[position] = RecipientFate.DELIVERED
            elif verdict.permanent:
                fates[position] = RecipientFate.REFUSED
        if fates:
            self._owed[message.id] = (fates, verdicts)
        intact = await self.settle(message, fates, verdicts)
        if self.on_replies is not None:
            await self.on_replies(message, verdicts)
        return intact

    async def settle(
        self,
        message: HeldMessage,
        fates: Mapping[int, RecipientFate],
        replies: Mapping[int, Reply],
    ) -> bool:
        """Write down what became of recipients; finish when none waits.

        What the next hop said before and could not be written goes first. False
        when the message is damaged; the spool has set it aside then. Raises
        SpoolFullError.
        """
        said, answers = self._owed.get(message.id, ({}, {}))
        fates, replies = {**fates, **said}, {**replies, **answers}
        if not fates and not replies:
            return True
        try:
            message = await self._spool.note_fates(
                message.id, fates, replies, not_before=message.not_before
            )
        except (KeyError, SpoolCorruptError) as error:
            log.error("held message %s is damaged: %s", message.id, error)
            self._owed.pop(message.id, None)
            self._held.drop(message.id)
            return False
        self._owed.pop(message.id, None)
        self._held.put(message)
        if message.waiting:
            await self._tell(message, fates, replies)
            await self._held.publish(message)
        else:
            await self.finish(message, replies)
        return True

    def owing(self) -> list[str]:
        """Return the messages with answers that the disk has not taken yet."""
        return list(self._owed)

    def forget_owed(self, message_id: str) -> None:
        """Forget the answers about a message that is gone."""
        self._owed.pop(message_id, None)

    async def finish(self, message: HeldMessage, replies: Mapping[int, Reply]) -> None:
        """Tell the sender of failures and let the message leave the spool."""
        try:
            await self._tell(message, message.fates, replies)
        except (KeyError, SpoolCorruptError) as error:
            log.error("held message %s vanished at its end: %s", message.id, error)
        await self._spool.remove(message.id)
        self._held.drop(message.id, done=True)
        await self._held.unpublish(message.id)
        self.on_finished(message)

    async def _tell(
        self,
        message: HeldMessage,
        fates: Mapping[int, RecipientFate],
        replies: Mapping[int, Reply],
    ) -> None:
        """Put the notification about failed recipients into the spool.

        Its id follows from the message and the recipients, so a repetition after
        a crash replaces it instead of adding another.
        """
        fresh = {
            position: fate
            for position, fate in fates.items()
            if position not in message.told and may_tell(message, position, fate)
        }
        if not fresh or message.notice:
            return
        report = failure_report(
            message,
            fresh,
            replies,
            await self._header(message.id),
            self._context.hostname,
            datetime.fromtimestamp(self._context.clock(), UTC),
            self._context.language,
        )
        if report is not None:
            await self.post(
                f"{message.id}.dsn{min(fresh)}",
                report.envelope,
                report.content,
                "Undelivered mail returned to sender",
            )
        self._held.put(await self._spool.note_told(message.id, tuple(fresh)))

    async def _said(self, message_id: str) -> dict[int, Reply]:
        """Return the latest reply about each recipient, from the message's log."""
        try:
            records = await self._spool.history(message_id)
        except (KeyError, SpoolCorruptError):
            return {}
        return {
            int(position): Reply.from_json(reply)
            for record in records
            for position, reply in record.get("replies", {}).items()
        }

    async def post(
        self, message_id: str, envelope: Envelope, content: bytes, subject: str
    ) -> None:
        """Put mail of our own into the spool, and so on its way.

        One that waits under this id already stays as it is: a crash came between
        the spool and what was to be written next. Raises SpoolFullError.
        """
        if self._spool.get(message_id) is not None:
            return
        submission = Submission(
            id=message_id,
            sender="",
            envelope=envelope,
            client=Client(),
            received=self._context.clock(),
            subject=subject,
        )
        writer = self._spool.begin(HeldMessage(submission, size=0, notice=True))
        try:
            writer.write(content)
            message = await writer.commit()
        except BaseException:
            writer.abort()
            raise
        self._held.put(message)
        self.on_notice(message)

    async def _header(self, message_id: str) -> bytes:
        """Return the header block of a held message, bounded."""
        block = b""
        try:
            async for chunk in self._spool.read(message_id):
                block += chunk
                end = block.find(_HEADER_END)
                if end >= 0:
                    return block[: end + 2]
                if len(block) > _MOST_HEADER:
                    break
        except (SpoolCorruptError, KeyError) as error:
            log.error("header of %s cannot be read: %s", message_id, error)
            return b""
        return block[:_MOST_HEADER]
