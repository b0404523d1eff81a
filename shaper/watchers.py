"""Who hears of what the engine does: several watchers as one, and the log.

A watcher must not fail and must not wait; it is called on the path of mail.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shaper import journal
from shaper.core.message import RecipientFate
from shaper.core.outcome import Meaning
from shaper.core.state import State
from shaper.engine.gate import Watcher

if TYPE_CHECKING:
    from shaper.core.judgement import Judgement, Transition
    from shaper.core.message import Decision, HeldMessage, Submission
    from shaper.core.outcome import Outcome
    from shaper.core.reply import Reply

__all__ = ["Journaling", "Watchers"]

_MOVED = {
    State.NORMAL: journal.sender_normal,
    State.SLOWED: journal.sender_slowed,
    State.BLOCKED: journal.sender_blocked,
}


class Watchers(Watcher):
    """Tells each of several watchers, in order."""

    def __init__(self, *watchers: Watcher) -> None:
        """Keep them."""
        self._all = watchers

    def judged(self, submission: Submission, judgement: Judgement) -> None:
        """Pass it on."""
        for one in self._all:
            one.judged(submission, judgement)

    def decided(
        self, submission: Submission, decision: Decision, seconds: float
    ) -> None:
        """Pass it on."""
        for one in self._all:
            one.decided(submission, decision, seconds)

    def moved(self, sender: str, case_id: str, transition: Transition) -> None:
        """Pass it on."""
        for one in self._all:
            one.moved(sender, case_id, transition)

    def answered(self, submission: Submission, end: Reply) -> None:
        """Pass it on."""
        for one in self._all:
            one.answered(submission, end)

    def held(self, message: HeldMessage) -> None:
        """Pass it on."""
        for one in self._all:
            one.held(message)

    def finished(self, message: HeldMessage) -> None:
        """Pass it on."""
        for one in self._all:
            one.finished(message)

    def outcome(self, outcome: Outcome, sender: str) -> None:
        """Pass it on."""
        for one in self._all:
            one.outcome(outcome, sender)

    def suppressed(self, sender: str) -> None:
        """Pass it on."""
        for one in self._all:
            one.suppressed(sender)

    def foreign(self, action: str) -> None:
        """Pass it on."""
        for one in self._all:
            one.foreign(action)

    def notified(self, channel: str, *, sent: bool) -> None:
        """Pass it on."""
        for one in self._all:
            one.notified(channel, sent=sent)


class Journaling(Watcher):
    """Writes the engine's business events into the log."""

    def moved(self, sender: str, case_id: str, transition: Transition) -> None:
        """A sender changed its state."""
        evidence = transition.evidence
        _MOVED[transition.new](
            sender,
            case_id,
            transition.event.value,
            evidence.total,
            evidence.main,
        )

    def held(self, message: HeldMessage) -> None:
        """A message became durable in the spool."""
        submission = message.submission
        journal.message_held(
            message.id,
            submission.sender,
            message.case,
            len(submission.envelope.recipients),
        )

    def finished(self, message: HeldMessage) -> None:
        """A held message waits for nothing any more."""
        if message.notice:
            return
        fates = list(message.fates.values())
        sender = message.submission.sender
        if delivered := fates.count(RecipientFate.DELIVERED):
            way = "order" if message.order else "trickle"
            journal.message_released(message.id, sender, delivered, way)
        else:
            journal.message_ended(message.id, sender, ",".join(sorted({*fates})))

    def outcome(self, outcome: Outcome, sender: str) -> None:
        """A recipient is dead, or complained; the rest is for the metrics."""
        domain = outcome.recipient.rpartition("@")[2]
        if outcome.meaning is Meaning.DEAD_ADDRESS:
            journal.outcome_dead(sender, outcome.status, domain)
        elif outcome.meaning is Meaning.COMPLAINT:
            journal.outcome_complaint(sender, domain)

    def suppressed(self, sender: str) -> None:
        """Mail to a suppressed recipient was refused."""
        journal.recipient_suppressed(sender)
