"""What happens to a sender's mail between an alarm and its end, in the drill.

Owns the small simulation around the state machine: the same judgements,
reviews and release pace as in the daemon, stepped through a replay's time. An
operator looks at a blocked innocent after ``OPERATOR`` and acquits it; a thief
stays blocked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from shaper.core.evidence import acquit, familiarity, learn, standing
from shaper.core.judgement import Rules, judge, move, review
from shaper.core.pace import FIRST_PAUSE, next_release_after
from shaper.core.record import Record
from shaper.core.state import Event, State

if TYPE_CHECKING:
    from shaper.core.model import Model
    from shaper.core.profile import Profile

__all__ = ["OPERATOR", "RULES", "Custody", "Held", "Released"]

OPERATOR = 4 * 3600.0
RULES = Rules()
_REVIEW = 60.0  # the daemon reviews every 10 s; a minute tells the same story


class Held(NamedTuple):
    """A message in custody. ``thief`` marks the drill's own attack."""

    time: float
    recipients: tuple[int, ...]
    thief: bool


class Released(NamedTuple):
    """A message that left custody, and when."""

    held: Held
    time: float


class Custody:
    """One sender from its alarm until it is normal again, or blocked."""

    def __init__(
        self, profile: Profile, model: Model, first: Held, eased: float = 0.0
    ) -> None:
        """Begin with the message that raised the alarm, already weighed.

        ``eased`` is when evidence of this sender was last let go.
        """
        self._model = model
        self.began = self._now = first.time
        self._due = first.time + FIRST_PAUSE
        self.record = Record("drill", profile, since=first.time, eased=eased)
        evidence = standing(profile, model, first.time)
        move(self.record, Event.ALARM, first.time, evidence)
        self.record.caught = len(first.recipients)
        self.waiting = [first]
        self.released: list[Released] = []
        self.blocked_at = 0.0

    @property
    def _slowed(self) -> bool:
        return self.record.state is State.SLOWED

    @property
    def over(self) -> bool:
        """Whether the sender is normal again."""
        return self.record.state is State.NORMAL

    def hold(self, mail: Held) -> None:
        """Take a further message; call ``advance`` to its time first."""
        judge(
            self.record,
            self._model,
            RULES,
            mail.recipients,
            len(self.waiting),
            mail.time,
        )
        self.waiting.append(mail)
        self._note_block(mail.time)

    def advance(self, until: float, *, operator: bool) -> None:
        """Let time pass: reviews, releases, and at last the operator's verdict."""
        while self._slowed and self._now < until:
            self._now = min(until, self._now + _REVIEW)
            self._review()
        if operator and self._blocked and until >= self.blocked_at + OPERATOR:
            self._now = self.blocked_at + OPERATOR
            acquit(self.record.profile, self._model, self._now)
            evidence = standing(self.record.profile, self._model, self._now)
            move(self.record, Event.RELEASED, self._now, evidence)
            for mail in self.waiting:
                learn(self.record.profile, self._model, mail.recipients, self._now)
            self._let_out(self._now)

    def _review(self) -> None:
        review(self.record, self._model, RULES, len(self.waiting), self._now)
        self._note_block(self._now)
        if self.over:
            self._let_out(self._now)
        elif self._slowed and self._due <= self._now:
            self._trickle()

    def _trickle(self) -> None:
        profile = self.record.profile
        evidence = standing(profile, self._model, self._now)
        if not self.waiting:
            return
        best = max(
            self.waiting, key=lambda m: familiarity(profile, m.recipients, self._now)
        )
        share = evidence.total / evidence.limits[1]
        served = self.record.released + len(best.recipients) - 1
        self.waiting.remove(best)
        self.released.append(Released(best, self._now))
        self.record.released += len(best.recipients)
        self._due = self._now + next_release_after(served, share)

    def _let_out(self, now: float) -> None:
        self.released.extend(Released(mail, now) for mail in self.waiting)
        self.waiting = []

    @property
    def _blocked(self) -> bool:
        return self.record.state is State.BLOCKED

    def _note_block(self, now: float) -> None:
        if self._blocked and not self.blocked_at:
            self.blocked_at = now
