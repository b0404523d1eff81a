"""Every outcome comes here: replies, log lines, bounces, complaints.

``take`` is the one entry for what is told later and by others. It finds the
message, lets each outcome of a recipient count once over all instances, takes it
as evidence about the sender, and tells suppression, receivers and watcher.
``replied`` is the same for what the next hop answers at once; the evidence is then
taken immediately and the others hear it within a second, since no message may wait
for them.

What is evidence: dead addresses and complaints against the sender, deliveries for
it. A temporary failure says nothing about a sender, even when the message came
back. Neither does a refused message or host: the sender's own mail may be fine and
our host's reputation bad, and the receivers' part speaks of that.

An outcome that finds nobody changes nothing. It is looked up once more a little
later: the log may be faster than the other instance that handed the message over.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

from shaper.core.evidence import OutcomeKind, record_outcome
from shaper.core.outcome import Kind, Meaning, Outcome
from shaper.core.ports import StateUnavailableError
from shaper.core.reply import Phase
from shaper.engine.sentmail import Claim, SentMail

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from shaper.core.message import Submission
    from shaper.core.record import Record
    from shaper.core.reply import Reply
    from shaper.engine.casebook import Casebook
    from shaper.engine.context import Context
    from shaper.engine.gate import Watcher
    from shaper.engine.senders import Senders

__all__ = ["NOBODY", "REPEATED", "TAKEN", "UNMATCHED", "Outcomes"]

log = logging.getLogger(__name__)

TAKEN = "taken"
REPEATED = "repeated"
UNMATCHED = "unmatched"
NOBODY = "nobody"
DROPPED = "dropped"

# News that comes later than this teaches the sender's ratio and raises no alarm:
# a log read again after days must not slow somebody for what is long over.
_STALE = 6 * 3600.0
_AGAIN = 3.0  # seconds; another instance writes what it sent within one or two
_MOST_PARKED = 1000
_MOST_OWED = 10_000  # senders
_MOST_NEWS = 20_000

_EVIDENCE = {
    Meaning.DEAD_ADDRESS: OutcomeKind.HARD_BOUNCE,
    Meaning.COMPLAINT: OutcomeKind.COMPLAINT,
    Meaning.DELIVERED: OutcomeKind.DELIVERED,
}
_FINAL = frozenset(_EVIDENCE)
_MAILS = frozenset({Kind.DSN, Kind.ARF})
_LATE = frozenset({Phase.DATA, Phase.END})
_WHICH = "one reply to a message for several does not say who is not there"


class Hearer(Protocol):
    """What wants to hear of outcomes beside the evidence."""

    async def note(self, outcome: Outcome, sender: str) -> None:
        """Hear what became of a recipient of this sender."""


class Outcomes:
    """Takes outcomes of all sources.

    ``suppression``, ``receivers`` and ``federation`` are set where there are such
    parts. ``counts``
    says how many outcomes ended in which of the four words, and how many were
    ``dropped`` because too many waited.
    """

    def __init__(
        self, context: Context, senders: Senders, casebook: Casebook, watcher: Watcher
    ) -> None:
        """Start with nothing waiting."""
        self._context = context
        self._senders = senders
        self._casebook = casebook
        self._watcher = watcher
        self.sent = SentMail(context)
        self.suppression: Hearer | None = None
        self.receivers: Hearer | None = None
        self.federation: Hearer | None = None
        self.counts: Counter[str] = Counter()
        self._parked: deque[tuple[float, Outcome]] = deque(maxlen=_MOST_PARKED)
        self._owed: dict[str, Counter[OutcomeKind]] = {}
        self._news: deque[tuple[Outcome, str]] = deque(maxlen=_MOST_NEWS)

    async def take(self, outcome: Outcome) -> str:
        """Take an outcome that a log, a bounce or a complaint told.

        Returns ``taken``; ``repeated`` when it was known; ``unmatched`` when no
        message of ours is meant (it may still be found a few seconds later);
        ``nobody`` when it names no message at all.

        Raises StateUnavailableError for a mail whose message only Redis could tell:
        whoever brought it keeps it better than our memory.
        """
        result = await self._take(outcome)
        if not result and outcome.kind in _MAILS:
            raise StateUnavailableError("Redis must tell what this mail is about")
        if result in {UNMATCHED, ""}:
            now = self._context.clock()
            if not result or outcome.time is None or outcome.time > now - _STALE:
                self.counts[DROPPED] += len(self._parked) == _MOST_PARKED
                self._parked.append((now, outcome))
                return UNMATCHED
        self._done(outcome, result)
        return result

    def _done(self, outcome: Outcome, result: str) -> None:
        self.counts[result] += 1
        if result in {UNMATCHED, NOBODY}:
            self._watcher.outcome(outcome, "")

    async def _take(self, outcome: Outcome) -> str:
        """Take an outcome; "" when only Redis could tell, which is away."""
        if not (outcome.trace_id or outcome.queue_id or outcome.message_id):
            return NOBODY
        try:
            match = await self.sent.find(outcome)
        except StateUnavailableError:
            return ""
        if match is None:
            return UNMATCHED
        final = outcome.permanent or outcome.meaning in _FINAL
        claim = Claim(news=True)
        if final:
            claim = await self.sent.claim(match, outcome.meaning)
        if not claim.news:
            return REPEATED
        sender = match.sent.sender
        kind: OutcomeKind | None = _EVIDENCE.get(outcome.meaning)
        now = self._context.clock()
        fresh = outcome.time is None or now - outcome.time <= _STALE
        if kind is OutcomeKind.DELIVERED:
            # Without a log that tells of them, the next hop's 250 was counted.
            if self._context.deliveries_from_log:
                self._soon(sender, Counter({kind: 1}), fresh=fresh)
        elif kind is not None:
            counts: Counter[OutcomeKind] = Counter({kind: 1})
            record = await self._learn(sender, counts, fresh=fresh)
            self._casebook.heard(record.case, counts, match.sent.time)
        # Whoever got the same message knows its ids and the others' addresses: his
        # forged bounce must not condemn one whose server has taken the message.
        doubtful = claim.delivered and outcome.kind is Kind.DSN
        await self._tell(outcome, sender, named=match.named and not doubtful)
        return TAKEN

    async def replied(
        self,
        submission: Submission,
        replies: Mapping[str, Reply],
        *,
        durable: bool = False,
    ) -> None:
        """Take the next hop's last word on recipients, by their address.

        What no server said (``synthetic``) is nobody's outcome. With ``durable``
        the evidence is stored on return, else within a second.
        """
        sender = submission.sender
        counts: Counter[OutcomeKind] = Counter()
        shared = sum(reply.phase in _LATE for reply in replies.values()) > 1
        for address, reply in replies.items():
            if reply.synthetic:
                continue
            if reply.positive:
                if self._context.deliveries_from_log:
                    continue
                outcome = Outcome(Kind.REPLY, Meaning.DELIVERED, address)
            else:
                outcome = self._context.outcome_of(reply, address)
                if shared and reply.phase in _LATE and outcome.meaning in _FINAL:
                    outcome = replace(
                        outcome, meaning=Meaning.UNKNOWN, reason=_WHICH, permanent=False
                    )
            if kind := _EVIDENCE.get(outcome.meaning):
                counts[kind] += 1
            self.counts[DROPPED] += len(self._news) == _MOST_NEWS
            self._news.append((outcome, sender))
        if not sender or not counts:
            return
        if durable:
            record = await self._learn(sender, counts)
        else:
            self._soon(sender, counts)
            cached = self._senders.cached(sender)
            if cached is None:
                return
            record = cached
        self._casebook.heard(record.case, counts, submission.received)

    async def flush(self) -> None:
        """Write and tell what may be late; look for what was not found before."""
        try:
            await self.sent.flush()
        except StateUnavailableError as error:
            log.debug("messages that left are not written yet: %s", error)
        owed, self._owed = self._owed, {}
        for sender, counts in owed.items():
            await self._learn(sender, counts)
        while self._news:
            outcome, sender = self._news.popleft()
            await self._tell(outcome, sender, named=True)
        now = self._context.clock()
        for _ in range(len(self._parked)):
            since, outcome = self._parked.popleft()
            if now - since < _AGAIN:
                self._parked.append((since, outcome))
                continue
            result = await self._take(outcome)
            if not result:
                self._parked.append((since, outcome))
                return  # Redis is away for the others too
            self._done(outcome, result)

    async def forget(self, senders: Collection[str]) -> int:
        """Forget what these senders sent; return how many messages it was."""
        for sender in senders:
            self._owed.pop(sender, None)
        return await self.sent.forget(senders)

    async def _tell(self, outcome: Outcome, sender: str, *, named: bool) -> None:
        """Tell the other parts.

        Only an address that the sender itself wrote to is suppressed or freed: a
        bounce of the address behind a forwarder condemns neither.
        """
        self._watcher.outcome(outcome, sender)
        parts = [self.receivers]
        if named:
            parts += [self.suppression, self.federation]
        for part in parts:
            if part is None:
                continue
            try:
                await part.note(outcome, sender)
            except StateUnavailableError as error:
                log.warning("an outcome of %r is not stored: %s", sender, error)

    def _soon(
        self, sender: str, counts: Counter[OutcomeKind], *, fresh: bool = True
    ) -> None:
        """Take evidence that may be lost with the last second before a crash."""
        if self._senders.cached(sender) is not None:
            self._senders.touch(sender, partial(self._record, counts, fresh=fresh))
        elif sender in self._owed or len(self._owed) < _MOST_OWED:
            self._owed.setdefault(sender, Counter()).update(counts)

    async def _learn(
        self, sender: str, counts: Counter[OutcomeKind], *, fresh: bool = True
    ) -> Record:
        apply = partial(self._record, counts, fresh=fresh)
        record, _ = await self._senders.change(sender, apply, journal_first=False)
        return record

    def _record(
        self, counts: Mapping[OutcomeKind, int], record: Record, *, fresh: bool
    ) -> None:
        now, model = self._context.clock(), self._context.model
        for kind in _EVIDENCE.values():
            if count := counts.get(kind, 0):
                record_outcome(record.profile, model, kind, count, now, fresh=fresh)
