"""The engine as the SMTP ingress meets it: decide, hold, and learn what passed.

A passing message costs one round trip to Redis, before DATA is sent on: the
evidence is stored first, so that no crash makes a thief's count forgotten. What
is learned from an accepted message is written later, together with other
changes; losing a second of learning harms nobody.
"""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from shaper import journal
from shaper.core.evidence import learn
from shaper.core.judgement import Judgement, fingerprint, judge
from shaper.core.message import Action, Decision, HeldMessage, RecipientFate
from shaper.core.networks import network_hash
from shaper.core.ports import SpoolFullError, StateUnavailableError
from shaper.core.proof import proof
from shaper.core.reply import Phase, Reply, queue_id
from shaper.core.state import State
from shaper.engine.company import Company
from shaper.engine.weighed import Weighed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from shaper.core.judgement import Transition
    from shaper.core.message import Submission
    from shaper.core.outcome import Outcome
    from shaper.core.ports import SpoolWriter
    from shaper.core.record import Record, Run
    from shaper.engine.casebook import Casebook
    from shaper.engine.context import Context
    from shaper.engine.heldmail import HeldMail
    from shaper.engine.outcomes import Outcomes
    from shaper.engine.senders import Senders
    from shaper.engine.trickle import Trickle

__all__ = ["DISK_FULL", "Gatekeeper", "Watcher"]

log = logging.getLogger(__name__)

_UNAVAILABLE = Reply(
    451, ("4.3.0 The state of senders is not available, try again later",), Phase.END
)
DISK_FULL = Reply(
    452, ("4.3.1 No room to hold the message, try again later",), Phase.END
)


class Watcher:
    """What wants to hear of decisions: metrics, journal, notices. All optional."""

    def judged(self, submission: Submission, judgement: Judgement) -> None:
        """Hear that a message was judged."""

    def decided(
        self, submission: Submission, decision: Decision, seconds: float
    ) -> None:
        """Hear what was decided, and how long that took."""

    def moved(self, sender: str, case_id: str, transition: Transition) -> None:
        """Hear that a sender changed its state."""

    def answered(self, submission: Submission, end: Reply) -> None:
        """Hear the next hop's answer for a passing message."""

    def held(self, message: HeldMessage) -> None:
        """Hear that a message became durable in the spool."""

    def finished(self, message: HeldMessage) -> None:
        """Hear that a held message waits for nothing any more."""

    def outcome(self, outcome: Outcome, sender: str) -> None:
        """Hear what became of a recipient; ``sender`` is "" for mail not ours."""

    def suppressed(self, sender: str) -> None:
        """Hear that a recipient was refused because it is suppressed."""

    def foreign(self, action: str) -> None:
        """Hear what was done with a recipient that trusted hosts call dead.

        ``action`` is ``refused``, ``probe`` or ``spared`` (observing).
        """

    def notified(self, channel: str, *, sent: bool) -> None:
        """Hear what became of a notice; ``channel`` is ``mail`` or ``webhook``."""


class Gatekeeper:
    """Implements ``shaper.core.ports.Gate``."""

    def __init__(
        self,
        context: Context,
        senders: Senders,
        held: HeldMail,
        casebook: Casebook,
        trickle: Trickle,
        outcomes: Outcomes,
        *,
        case_id: Callable[[], str],
        watcher: Watcher,
    ) -> None:
        """``case_id`` makes an id for a case that may have to be opened."""
        self._context = context
        self._senders = senders
        self._company = Company(senders)
        self._held = held
        self._casebook = casebook
        self._trickle = trickle
        self._outcomes = outcomes
        self.new_case_id = case_id
        self._watcher = watcher
        self._logins: dict[str, str] = {}
        self._weighed = Weighed()

    def remember_login(self, queue_id: str, login: str) -> None:
        """Keep a login in memory too: the hop usually asks within milliseconds."""
        self._logins.pop(queue_id, None)  # a queue id used again moves to the end
        self._logins[queue_id] = login
        if len(self._logins) > _LOGINS:
            del self._logins[next(iter(self._logins))]

    async def login_of(self, queue_id: str) -> str | None:
        """Return the login that the policy service saw with this queue id."""
        login = self._logins.get(queue_id)
        if login is not None:
            return login
        try:
            return await self._context.ledger.get_login(queue_id)
        except StateUnavailableError:
            return None  # fail open to the envelope sender (mta-facts)

    async def blocks(self, sender: str) -> bool:
        """Whether nothing of a sender may leave until a person releases it."""
        if not sender or not self._context.enforce:
            return False
        return (await self._senders.look(sender)).state is State.BLOCKED

    async def decide(self, submission: Submission) -> Decision:
        """Judge a message whose header is known and whose body is not."""
        begun = time.perf_counter()
        decision = await self._decide(submission)
        self._watcher.decided(submission, decision, time.perf_counter() - begun)
        return decision

    async def _decide(self, submission: Submission) -> Decision:
        sender = submission.sender
        if not sender:
            return Decision(Action.PASS)  # RFC 5321 4.5.5: nobody's evidence
        if submission.client.ident and (twin := self._held.marked(_mark(submission))):
            # The MTA did not see our 250 and offers the message again.
            text = f"2.0.0 Held already as {twin}"
            return Decision(Action.ANSWER, Reply(250, (text,), Phase.END))
        hashes = self._hashes(submission)
        fresh = self._weighed.fresh(submission, hashes)
        network = self._network(submission)
        apply = partial(self._judge, fresh, self._held.waiting(sender), network)
        _, (judgement, case, run, kept) = await self._company.change(sender, apply)
        self._weighed.note(submission, hashes, self._context.clock())
        if self._senders.unavailable_since and self._context.defer_when_unavailable:
            return Decision(Action.ANSWER, _UNAVAILABLE)
        for transition in judgement.transitions:
            self.moved(sender, case, run, transition)
        self._watcher.judged(submission, judgement)
        if kept:
            await self._keep_proof(sender, case, kept)
        if judgement.action is Action.HOLD and self._context.enforce:
            try:
                # Taken over only from a sender whose state survives us.
                await self._senders.assure(sender)
            except SpoolFullError as error:
                journal.spool_full(submission.id, str(error))
                return Decision(Action.ANSWER, DISK_FULL)
            return Decision(Action.HOLD, case=case)
        if judgement.action is Action.HOLD:
            # Observing: the case shows what would have been held.
            self._casebook.saw(case, submission)
        return Decision(Action.PASS)

    def _hashes(self, submission: Submission) -> list[int]:
        recipients = submission.envelope.recipients
        return self._context.hashes(recipient.address for recipient in recipients)

    def _network(self, submission: Submission) -> int:
        """Return the client's network where a person logged in, else 0."""
        if not submission.sender.startswith("login:"):
            return 0
        return network_hash(self._context.contact_key, submission.client.address)

    def _judge(
        self, hashes: list[int], waiting: int, network: int, record: Record
    ) -> tuple[Judgement, str, Run, dict[str, Any]]:
        model, now = self._context.model, self._context.clock()
        judgement = judge(
            record, model, self._context.rules, hashes, waiting, now, network
        )
        if judgement.transitions and not record.case:
            record.case = self.new_case_id()
        kept: dict[str, Any] = {}
        if before := judgement.before:
            kept = proof(before, model, hashes, network, now, judgement.evidence)
        return judgement, record.case, record.run, kept

    async def _keep_proof(self, sender: str, case: str, kept: dict[str, Any]) -> None:
        """Write down what the alarm rested on; see ``mailshaper audit --verify``."""
        try:
            audit = self._context.audit
            await audit.append("evidence", sender=sender, case=case, proof=kept)
        except SpoolFullError as error:
            # The alarm stands without it.
            log.error("what the alarm of %r rests on is not kept: %s", sender, error)

    def moved(
        self,
        sender: str,
        case_id: str,
        run: Run,
        transition: Transition,
        by: str = "",
        reason: str = "",
    ) -> None:
        """Write a change of state into the case, tell the others, look at the mail."""
        self._casebook.transition(case_id, sender, run, transition, by, reason)
        self._watcher.moved(sender, case_id, transition)
        self._trickle.hurry(sender, self._context.clock())

    def hold(self, submission: Submission, decision: Decision) -> SpoolWriter:
        """Open a spool file for a message. Raises SpoolFullError."""
        message = HeldMessage(submission, size=0, case=decision.case)
        return self._context.spool.begin(message)

    async def held(self, message: HeldMessage) -> None:
        """Take a message over that is durable in the spool."""
        self.take_over(message)
        await self._held.publish(message)

    def take_over(self, message: HeldMessage) -> None:
        """Take it over without waiting; the copy in Redis is the caller's to make."""
        self.index(message)
        self._weighed.accepted(message.submission)
        self._casebook.saw(message.case, message.submission)
        record = self._senders.cached(message.submission.sender)
        self._trickle.arrived(message, record, self._context.clock())
        self._watcher.held(message)

    def index(self, message: HeldMessage) -> None:
        """Put a message of the spool into its lane."""
        self._held.put(message, _mark(message.submission))

    async def passed(
        self, submission: Submission, refused: Mapping[str, Reply], end: Reply
    ) -> None:
        """Learn from what the next hop answered; only accepted mail teaches."""
        if await self.taken(submission, refused, end):
            self.learn(submission)

    async def taken(
        self, submission: Submission, refused: Mapping[str, Reply], end: Reply
    ) -> bool:
        """Note what the next hop answered; whether the message may teach."""
        self._watcher.answered(submission, end)
        accepted = [r.address for r in submission.envelope.recipients]
        replies = dict(refused) | dict.fromkeys(accepted, end)
        await self._outcomes.replied(submission, replies)
        if not end.positive or not submission.sender:
            return False
        self._weighed.accepted(submission)
        self._outcomes.sent.note(submission, accepted, queue_id(end.text))
        return True

    def renamed(self, queue_id: str, anew: str) -> None:
        """Hear that the MTA gave a message that it has another queue id."""
        self._outcomes.sent.rename(queue_id, anew)

    def learn(self, submission: Submission) -> None:
        """Take a message that was accepted as usual for its sender."""
        hashes, now = self._hashes(submission), self._context.clock()

        def apply(record: Record) -> None:
            # Mail of a sender that is not normal passes by an allowance or in
            # observation; it must not become its normal.
            if record.state is State.NORMAL:
                learn(record.profile, self._context.model, hashes, now)

        self._senders.touch(submission.sender, apply)

    async def refused(
        self, submission: Submission, refused: Mapping[str, Reply]
    ) -> None:
        """Take refusals of recipients after which no message passed."""
        await self._outcomes.replied(submission, refused)

    async def trickled(
        self, message: HeldMessage, replies: Mapping[int, Reply]
    ) -> None:
        """Take what became of held mail as evidence: the trickle is also a test."""
        if message.notice:
            return
        submission = message.submission
        addresses = [r.address for r in submission.envelope.recipients]
        taken = [r for r in replies.values() if r.positive]
        if taken:
            delivered = RecipientFate.DELIVERED
            accepted = [
                address
                for at, address in enumerate(addresses)
                if message.fates.get(at) is delivered
                or (at in replies and replies[at].positive)
            ]
            self._outcomes.sent.note(submission, accepted, queue_id(taken[0].text))
        said = {addresses[at]: reply for at, reply in replies.items()}
        await self._outcomes.replied(submission, said, durable=True)


# Logins kept in memory: about 100 octets each.
_LOGINS = 10_000


def _mark(submission: Submission) -> str:
    """Return the fingerprint by which a held message is known again."""
    recipients = sorted(r.address for r in submission.envelope.recipients)
    return fingerprint(
        submission.client.ident,
        submission.message_id,
        submission.envelope.sender,
        "\0".join(recipients),
    )
