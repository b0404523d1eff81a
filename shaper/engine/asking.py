"""Placement ``policy``: the MTA asks, the engine judges, the MTA keeps the mail.

At RCPT the recipients of a message are collected, since Postfix names them only
there (SMTPD_POLICY_README: ``recipient`` is empty at END-OF-MESSAGE when there are
several), and suppressed ones are refused. When the MTA has the whole message it is
judged as in the hop. HOLD is answered only after our record of the message is
durable; ``shaper.engine.release`` lets it go later.

Fail open: a message whose recipients or queue id are not known passes unjudged.
"""

from __future__ import annotations

import logging
import re
from collections import OrderedDict
from typing import TYPE_CHECKING

from shaper import journal
from shaper.core.asked import HOLD, PASS, Answer, Question, Stage
from shaper.core.envelope import Envelope, Recipient
from shaper.core.header import HeaderFacts
from shaper.core.identity import identify
from shaper.core.message import Action, HeldMessage, Submission
from shaper.core.ports import SpoolFullError
from shaper.core.reply import Phase, Reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from shaper.core.message import Decision
    from shaper.core.ports import Recipients
    from shaper.engine.context import Context
    from shaper.engine.gate import Gatekeeper
    from shaper.engine.heldmail import HeldMail

__all__ = ["Asking"]

log = logging.getLogger(__name__)

# Recipients remembered from RCPT until the message comes: about 200 octets each.
_MOST_COLLECTED = 100_000
# Of Postfix and Exim, short and long; it becomes part of a file's name.
_QUEUE_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
_DISK_FULL = Reply(
    452, ("4.3.1 No room to hold the message, try again later",), Phase.END
)


class Asking:
    """Answers the questions of the MTA about its mail."""

    def __init__(
        self,
        context: Context,
        gate: Gatekeeper,
        held: HeldMail,
        recipients: Recipients,
        new_id: Callable[[str], str],
    ) -> None:
        """``new_id`` makes a name from a queue id that no other process makes."""
        self._context = context
        self._gate = gate
        self._held = held
        self._recipients = recipients
        self._new_id = new_id
        # By instance, the oldest first; the values keep the order of RCPT.
        self._collected: OrderedDict[str, dict[str, None]] = OrderedDict()
        self._count = 0

    async def answer(self, question: Question) -> Answer:
        """Say what the MTA is to do."""
        if question.stage is Stage.RCPT:
            return await self._recipient(question)
        answer = await self._message(question)
        # Not before: the MTA asks again when our answer took too long.
        self._count -= len(self._collected.pop(question.instance, ()))
        return answer

    async def _recipient(self, question: Question) -> Answer:
        for address in question.recipients:
            client, sender = question.client, question.sender
            refusal = await self._recipients.check(client, sender, address)
            if refusal is not None:
                return Answer(reply=refusal)
            self._collect(question.instance, address)
        return PASS

    def _collect(self, instance: str, address: str) -> None:
        if not instance:
            return
        known = self._collected.setdefault(instance, {})
        self._count += address not in known
        known[address] = None
        while self._count > _MOST_COLLECTED and len(self._collected) > 1:
            _, oldest = self._collected.popitem(last=False)
            self._count -= len(oldest)

    async def _message(self, question: Question) -> Answer:
        submission = self._submission(question)
        if submission is None:
            return PASS
        decision = await self._gate.decide(submission)
        if decision.action is Action.HOLD:
            return await self._hold(question, submission, decision)
        if decision.action is Action.ANSWER and decision.reply is not None:
            return self._repeated(question, decision.reply)
        taken = f"2.0.0 Ok: queued as {question.client.ident}"
        await self._gate.passed(submission, {}, Reply(250, (taken,), Phase.END))
        return PASS

    def _submission(self, question: Question) -> Submission | None:
        client = question.client
        known = self._collected.get(question.instance, {})
        recipients = tuple(dict.fromkeys([*known, *question.recipients]))
        named = _QUEUE_ID.fullmatch(client.ident)
        if not recipients or not named:
            log.warning(
                "message %s passes unjudged: the MTA tells no %s",
                ascii(client.ident or question.instance),
                "recipients at RCPT" if named else "queue id",
            )
            return None
        if question.count > len(recipients):
            # After a restart of ours in the middle of a message, say.
            log.info(
                "of message %s, %d of %d recipients are known",
                ascii(client.ident),
                len(recipients),
                question.count,
            )
        envelope = Envelope(question.sender, tuple(map(Recipient, recipients)))
        sender = identify(
            envelope,
            client,
            HeaderFacts(userid=question.userid if question.userid.isdigit() else ""),
            policy_login=client.login,
            login_header="",
            trust_auth=False,
        )
        now = self._context.clock()
        return Submission(self._new_id(client.ident), sender, envelope, client, now)

    async def _hold(
        self, question: Question, submission: Submission, decision: Decision
    ) -> Answer:
        message = HeldMessage(
            submission, question.size, case=decision.case, by_mta=True
        )
        try:
            writer = self._context.spool.begin(message)
            try:
                message = await writer.commit()
            except BaseException:
                writer.abort()
                raise
        except SpoolFullError as error:
            # Without a record nobody would ever release it.
            journal.spool_full(submission.id, str(error))
            return Answer(reply=_DISK_FULL)
        await self._gate.held(message)
        return HOLD

    def _repeated(self, question: Question, reply: Reply) -> Answer:
        """Answer about a message that is held already, or cannot be judged now."""
        if not reply.positive:
            return Answer(reply=reply)
        # Short queue ids are used again: a message of that name that has left, or
        # is leaving, is another one, and nobody would release this one.
        ident = question.client.ident
        waits = any(
            message.submission.client.ident == ident and not message.attempts
            for message in self._held.all()
        )
        return HOLD if waits else PASS
