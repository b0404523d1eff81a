"""This instance's part of every open case, kept in memory and copied to Redis.

A held message changes a case; a thousand of them in a second change it a
thousand times, so the copy is written by ``flush`` once a second at most. After a
loss of Redis the cases are rebuilt from the journal (state and story) and from
the spool (samples and counts).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from shaper.core.case import Case, Step, merge
from shaper.core.evidence import OutcomeKind
from shaper.core.ports import StateUnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shaper.core.judgement import Transition
    from shaper.core.message import HeldMessage, Submission
    from shaper.core.record import Record, Run
    from shaper.core.state import State
    from shaper.engine.context import Context

__all__ = ["Casebook"]

log = logging.getLogger(__name__)


class Casebook:
    """Cases by id."""

    def __init__(self, context: Context) -> None:
        """Start empty."""
        self._context = context
        self._cases: dict[str, Case] = {}
        self._dirty: set[str] = set()
        self._closed: set[str] = set()  # their mail may still be draining

    def all(self) -> list[Case]:
        """Return the parts in memory: open cases, and those closed just now."""
        return list(self._cases.values())

    def transition(
        self,
        case_id: str,
        sender: str,
        run: Run,
        transition: Transition,
        by: str = "",
        reason: str = "",
    ) -> Case:
        """Write a change of state into the case, opening it when it is new."""
        case = self._cases.get(case_id)
        if case is None:
            case = Case.open(
                case_id, sender, run, transition.at, self._context.instance
            )
            self._cases[case_id] = case
        case.moved(transition, by, reason)
        self._dirty.add(case_id)
        return case

    def note(self, case_id: str, step: Step) -> None:
        """Add a line to a case, if this instance knows it."""
        case = self._cases.get(case_id)
        if case is not None:
            case.note(step)
            self._dirty.add(case_id)

    def saw(self, case_id: str, submission: Submission) -> None:
        """Count a held message; another instance may have opened the case."""
        if not case_id:
            return
        case = self._cases.get(case_id)
        if case is None:
            if case_id in self._closed:
                return
            case = Case(
                case_id, submission.sender, submission.received, self._context.instance
            )
            self._cases[case_id] = case
        case.saw(submission)
        self._dirty.add(case_id)

    def left(self, message: HeldMessage, recipients: int) -> None:
        """Count recipients of a held message that were delivered."""
        case = self._cases.get(message.case)
        if case is not None and recipients:
            case.left(recipients)
            self._dirty.add(message.case)

    def heard(
        self, case_id: str, counts: Mapping[OutcomeKind, int], sent: float
    ) -> None:
        """Count bounces and complaints about mail of the run that led to a case."""
        case = self._cases.get(case_id)
        if case is None or sent < case.onset:
            return
        bounces = counts.get(OutcomeKind.HARD_BOUNCE, 0)
        complaints = counts.get(OutcomeKind.COMPLAINT, 0)
        if bounces or complaints:
            case.bounces += bounces
            case.complaints += complaints
            self._dirty.add(case_id)

    def mark_told(self, case_id: str, what: str) -> None:
        """Note that people were told of a step."""
        case = self._cases.get(case_id)
        if case is not None and what not in case.told:
            case.told.append(what)
            self._dirty.add(case_id)

    async def flush(self) -> None:
        """Copy what changed to Redis; closed cases then leave the memory.

        Nobody's end goes untold: a closed case stays until its notice is stored. A
        failure is kept for the next call.
        """
        for case_id in list(self._dirty):
            case = self._cases.get(case_id)
            if case is None:
                self._dirty.discard(case_id)
                continue
            self._dirty.discard(case_id)
            try:
                await self._context.ledger.put_case(
                    f"{case_id}/{self._context.instance}", case.sender, case.encode()
                )
            except StateUnavailableError:
                self._dirty.add(case_id)
                return
            if case.closed and not case.untold and case_id not in self._dirty:
                self._closed.add(case_id)
                del self._cases[case_id]

    async def load(self) -> None:
        """Take this instance's open cases back from Redis.

        Raises StateUnavailableError.
        """
        for raw in await self._context.ledger.cases():
            case = _decoded(raw)
            if case is None or case.part != self._context.instance:
                continue
            if case.closed:
                self._closed.add(case.id)
            else:
                self._cases.setdefault(case.id, case)

    def rebuild(self, sender: str, case_id: str, state: State, since: float) -> None:
        """Make sure an open case exists that the journal speaks of.

        Not one that is known as closed: the journal may be of yesterday.
        """
        if case_id and case_id not in self._cases and case_id not in self._closed:
            case = Case(
                case_id, sender, since, self._context.instance, onset=since, state=state
            )
            case.note(Step(since, "restored", state.value))
            self._cases[case_id] = case
            self._dirty.add(case_id)

    async def read(self) -> list[Case]:
        """Return every case, the parts of all instances merged, oldest first.

        With Redis away these are the parts of this instance.
        """
        parts: dict[str, dict[str, Case]] = {}
        try:
            for raw in await self._context.ledger.cases():
                case = _decoded(raw)
                if case is not None:
                    parts.setdefault(case.id, {})[case.part] = case
        except StateUnavailableError:
            log.warning("Redis is away: only this instance's cases are shown")
        for case in self._cases.values():
            parts.setdefault(case.id, {})[self._context.instance] = case
        merged = [merge(own.values()) for own in parts.values()]
        return sorted(merged, key=lambda case: case.opened)

    def touch_all(self) -> None:
        """Have every case copied to Redis again."""
        self._dirty.update(self._cases)

    def follow(self, case_id: str, record: Record) -> None:
        """Close this part of a case that another instance has closed.

        How it ended is told by that instance's part. Where that was lost in a crash,
        nobody has judged it as far as is known.
        """
        case = self._cases.get(case_id)
        if case is not None and record.case != case_id:
            case.state, case.closed = record.state, max(record.since, case.opened)
            case.outcome = case.outcome or "faded"
            self._dirty.add(case_id)

    def forget(self, sender: str) -> None:
        """Drop a sender's cases from memory."""
        for case_id in [i for i, c in self._cases.items() if c.sender == sender]:
            del self._cases[case_id]
            self._dirty.discard(case_id)


def _decoded(raw: bytes) -> Case | None:
    try:
        return Case.decode(raw)
    except ValueError as error:
        log.error("a case in Redis is damaged: %s", error)
        return None
