"""Mail that has left already: judged, recorded, and never held.

``observe`` takes what the placement ``watch`` reads from a log. Only recent messages
raise alarms; older ones, such as a backlog that is read after a restart, teach, and
what was unusual in them leaves its evidence to judge what follows.

Also what observation leaves behind. A state that the machine gave while nothing was
held is a remark, not a verdict: there it fades also from ``blocked`` when the sender
is calm, and it lapses when holding is switched on, so that nobody's mail is held for
what was never looked at. An operator's block stays.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from shaper.core.evidence import Level, learn, standing, weigh
from shaper.core.judgement import Judgement, Transition, judge, move
from shaper.core.message import Action, Decision
from shaper.core.state import Event, State
from shaper.engine.weighed import Weighed

if TYPE_CHECKING:
    from shaper.core.message import Submission
    from shaper.core.record import Record, Run
    from shaper.engine.casebook import Casebook
    from shaper.engine.context import Context
    from shaper.engine.gate import Gatekeeper, Watcher
    from shaper.engine.outcomes import Outcomes
    from shaper.engine.senders import Senders

__all__ = ["RECENT", "Observing"]

log = logging.getLogger(__name__)

# An alarm about mail that left longer ago comes too late to be one.
RECENT = 3600.0
_WHY = "it arose while nothing was held"


class Observing:
    """Observation's part of the engine."""

    def __init__(
        self,
        context: Context,
        senders: Senders,
        casebook: Casebook,
        gate: Gatekeeper,
        outcomes: Outcomes,
        watcher: Watcher,
    ) -> None:
        """Start with nothing observed."""
        self._context = context
        self._senders = senders
        self._casebook = casebook
        self._gate = gate
        self._outcomes = outcomes
        self._watcher = watcher
        self._weighed = Weighed()

    async def observe(self, submission: Submission, queue_id: str) -> None:
        """Judge a message at the time at which it was sent.

        ``queue_id`` is the one under which the log tells what becomes of it.
        """
        now, sender = self._context.clock(), submission.sender
        addresses = [r.address for r in submission.envelope.recipients]
        hashes = self._context.hashes(addresses)
        fresh = self._weighed.fresh(submission, hashes)
        if not sender or not fresh:
            return
        self._weighed.note(submission, hashes, now)
        at = min(submission.received, now)
        self._outcomes.sent.note(submission, addresses, queue_id)
        if now - at > RECENT:
            await self._senders.change(
                sender, partial(self._learn, fresh, at), journal_first=False
            )
            return
        apply = partial(self._judge, fresh, at)
        _, (judgement, case, run) = await self._senders.change(
            sender, apply, journal_first=False
        )
        for transition in judgement.transitions:
            self._gate.moved(sender, case, run, transition)
        self._watcher.judged(submission, judgement)
        self._watcher.decided(submission, Decision(Action.PASS), 0.0)
        if judgement.action is Action.HOLD:
            self._casebook.saw(case, submission)

    def _judge(
        self, hashes: list[int], at: float, record: Record
    ) -> tuple[Judgement, str, Run]:
        model = self._context.model
        run = record.run
        judgement = judge(record, model, self._context.rules, hashes, 0, at)
        if judgement.transitions and not record.case:
            record.case = self._gate.new_case_id()
        if record.state is State.NORMAL:
            learn(record.profile, model, hashes, at)
            run = record.run
        return judgement, record.case, run

    def _learn(self, hashes: list[int], at: float, record: Record) -> None:
        """Take old mail in: what is usual teaches, what is not leaves its evidence."""
        model = self._context.model
        evidence = weigh(record.profile, model, hashes, at)
        if evidence.level < Level.SLOW and record.state is State.NORMAL:
            learn(record.profile, model, hashes, at)

    async def review(self) -> None:
        """Let blocks fade that hold nothing, as slowed states do."""
        if self._context.enforce:
            return
        for sender in self._senders.names(State.BLOCKED.value):
            record, _ = await self._senders.read(sender)
            before = record.state, record.calm_since
            self._calm(record)
            if before == (record.state, record.calm_since):
                continue
            _, (case, transition) = await self._senders.change(
                sender, self._calm, journal_first=False
            )
            if transition is not None:
                self._gate.moved(sender, case, record.run, transition)

    def _calm(self, record: Record) -> tuple[str, Transition | None]:
        case, now, rules = record.case, self._context.clock(), self._context.rules
        if record.state is not State.BLOCKED or record.confirmed:
            return case, None
        evidence = standing(record.profile, self._context.model, now)
        if evidence.total >= rules.low_mark * evidence.limits[1]:
            record.calm_since = 0.0
            return case, None
        if not record.calm_since or record.calm_since > now:
            record.calm_since = now
        if now - record.calm_since < rules.dwell:
            return case, None
        record.case = ""
        return case, move(record, Event.LAPSED, now, evidence)

    async def ended(self, since: float) -> list[str]:
        """Return to normal whom the machine slowed or blocked since then.

        For the moment at which holding is switched on. Returns the senders.
        """
        lapsed = []
        for state in (State.SLOWED, State.BLOCKED):
            for sender in self._senders.names(state.value):
                _, (case, run, transition) = await self._senders.change(
                    sender,
                    partial(self._lapse, since),
                    journal_first=False,
                    reason=_WHY,
                )
                if transition is not None:
                    self._gate.moved(sender, case, run, transition, reason=_WHY)
                    lapsed.append(sender)
        for sender in lapsed:
            log.warning("%r is normal again: its state arose in observation", sender)
        return lapsed

    def _lapse(
        self, since: float, record: Record
    ) -> tuple[str, Run, Transition | None]:
        case, run = record.case, record.run
        ours = record.state is State.NORMAL or record.confirmed
        if ours or record.since < since:
            return case, run, None
        now = self._context.clock()
        evidence = standing(record.profile, self._context.model, now)
        record.case = ""
        return case, run, move(record, Event.LAPSED, now, evidence)
