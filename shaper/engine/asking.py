"""Placement ``policy``: the MTA asks, the engine judges, the MTA keeps the mail.

At RCPT the recipients of a message are collected, since Postfix names them only
there (SMTPD_POLICY_README: ``recipient`` is empty at END-OF-MESSAGE when there are
several), and suppressed ones are refused. When the MTA has the whole message it is
judged as in the hop. HOLD is answered only after our record of the message is
durable; ``shaper.engine.release`` lets it go later.

The MTA may still refuse a message that we let pass: a milter, or a check of the
header. So it teaches only a few seconds later, unless the log says that it was.

Fail open: a message whose recipients or queue id are not known passes unjudged.
"""

from __future__ import annotations

import logging
import re
import secrets
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
from shaper.engine.gate import DISK_FULL

if TYPE_CHECKING:
    from shaper.core.message import Decision
    from shaper.core.ports import Recipients
    from shaper.engine.context import Context
    from shaper.engine.gate import Gatekeeper
    from shaper.engine.heldmail import HeldMail

__all__ = ["Asking"]

log = logging.getLogger(__name__)

# Recipients remembered from RCPT until the message comes: about 200 octets each.
_MOST_COLLECTED = 100_000
_MOST_PASSED = 10_000  # messages, about 1 KiB each
_REFUSED_WITHIN = 5.0  # seconds until the followed log has told it
_REFUSED = re.compile(
    r"/(?:cleanup|smtpd)\[\d+\]: ([A-Za-z0-9]{5,40}): (?:milter-)?(?:reject|discard): "
    r"|^\S+ \S+ (?:\S+ )?([A-Za-z0-9]{6}-[A-Za-z0-9]{6,11}-[A-Za-z0-9]{2,4}) "
    r".{0,2000}? rejected after DATA"
)
# pickup(8) of Postfix, about mail that was requeued (postsuper -r).
_REQUEUED = re.compile(
    r"/pickup\[\d+\]: ([A-Za-z0-9]{5,40}): uid=\d+ from=<.*>"
    r" orig_id=([A-Za-z0-9]{5,40})$"
)
# Of Postfix and Exim, short and long; it becomes part of a file's name.
_BLOCKED = Reply(
    451, ("4.7.0 This account's mail waits for its administrator",), Phase.END
)
_QUEUE_ID = re.compile(r"[A-Za-z0-9-]{1,64}")


class Asking:
    """Answers the questions of the MTA about its mail."""

    def __init__(
        self,
        context: Context,
        gate: Gatekeeper,
        held: HeldMail,
        recipients: Recipients,
    ) -> None:
        """``recipients`` are refused at RCPT as it says."""
        self._context = context
        self._gate = gate
        self._held = held
        self._recipients = recipients
        # By instance, the oldest first; the values keep the order of RCPT.
        self._collected: OrderedDict[str, dict[str, None]] = OrderedDict()
        self._count = 0
        # By queue id: passed at a time, and the MTA has not said no since.
        self._passed: OrderedDict[str, tuple[float, Submission]] = OrderedDict()

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
            return await self._unjudged(question)
        decision = await self._gate.decide(submission)
        if decision.action is Action.HOLD:
            return await self._hold(question, submission, decision)
        if decision.action is Action.ANSWER and decision.reply is not None:
            return self._repeated(question, decision.reply)
        ident = question.client.ident
        taken = Reply(250, (f"2.0.0 Ok: queued as {ident}",), Phase.END)
        if await self._gate.taken(submission, {}, taken):
            self._passed[ident] = self._context.clock(), submission
            if len(self._passed) > _MOST_PASSED:
                self._teach()
        return PASS

    async def line(self, text: str) -> None:
        """Take a line of the MTA's log: a message was refused, or has a new name."""
        if " orig_id=" in text and (anew := _REQUEUED.search(text.rstrip())):
            self._gate.renamed(anew[2], anew[1])
        if "reject" not in text and "discard" not in text:
            return
        found = _REFUSED.search(text)
        if found and self._passed.pop(found[1] or found[2], None):
            log.debug("the MTA refused %s after all", found[1] or found[2])

    async def learn(self) -> None:
        """Let messages teach that passed some seconds ago."""
        now = self._context.clock()
        while self._passed:
            at, _ = next(iter(self._passed.values()))
            if 0 <= now - at < _REFUSED_WITHIN:
                return
            self._teach()

    def _teach(self) -> None:
        _, (_, submission) = self._passed.popitem(last=False)
        self._gate.learn(submission)

    def _submission(self, question: Question) -> Submission | None:
        client = question.client
        known = self._collected.get(question.instance, {})
        recipients = tuple(dict.fromkeys([*known, *question.recipients]))
        named = _QUEUE_ID.fullmatch(client.ident)
        if not recipients or not named:
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
        now, sender = self._context.clock(), _sender(question, envelope)
        return Submission(_name(client.ident), sender, envelope, client, now)

    async def _unjudged(self, question: Question) -> Answer:
        """Answer about a message of which the MTA told too little to hold it.

        It passes, but not out of a stolen account.
        """
        ident = question.client.ident
        blocked = await self._gate.blocks(
            _sender(question, Envelope(question.sender, ()))
        )
        log.warning(
            "message %s %s: the MTA tells no %s",
            ascii(ident or question.instance),
            "of a blocked sender is refused for now" if blocked else "passes unjudged",
            "recipients at RCPT" if _QUEUE_ID.fullmatch(ident) else "queue id",
        )
        return Answer(reply=_BLOCKED) if blocked else PASS

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
            return Answer(reply=DISK_FULL)
        # No await between the durable record and the answer: one that came too late
        # would leave a record of a message that the MTA let pass.
        self._gate.take_over(message)
        self._held.publish_soon(message)
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


def _sender(question: Question, envelope: Envelope) -> str:
    return identify(
        envelope,
        question.client,
        HeaderFacts(userid=question.userid),
        policy_login=question.client.login,
        login_header="",
        trust_auth=False,
    )


def _name(queue_id: str) -> str:
    """Return a name that shows the queue id; a short one may be used again."""
    return f"{queue_id}-{secrets.token_hex(3)}"
