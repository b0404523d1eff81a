"""One case that would have been: what is held, what trickles out, how it ends.

The states and the pace are the daemon's own (``judge``, ``review``, ``pace``); this
is the mail that waits, and the one thing that the past cannot tell: what an
operator would have said about a blocked sender. It is assumed that somebody looks
``VERDICT`` seconds after the block and sees what the log tells: of mail of which a
tenth went to dead addresses, that it was a theft (nothing of it is learned), of
other mail, that it was innocent.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from shaper.core.envelope import domain_of
from shaper.core.evidence import (
    acquit,
    convict,
    familiarity,
    learn,
    sentence,
    standing,
)
from shaper.core.judgement import move, review
from shaper.core.pace import FIRST_PAUSE, next_release_after
from shaper.core.state import Event, State

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from shaper.core.judgement import Rules, Transition
    from shaper.core.model import Model
    from shaper.core.record import Record, Run

    class Setting(Protocol):
        """What the replay knows: the model changes with each refit."""

        model: Model
        rules: Rules


__all__ = ["THEFT_SHARE", "VERDICT", "Imagined", "Step"]

VERDICT = 24 * 3600.0
THEFT_SHARE = 0.1
_REVIEW = 60.0  # the daemon looks every 10 s; a minute tells the same story
_LEAST_HEARD = 20  # outcomes, for a share to mean something
_ADDRESSES = 20_000  # held recipients whose outcomes are followed
_DOMAINS = 200


class Step(NamedTuple):
    """A change of state, and why."""

    time: float
    event: str
    state: str
    why: str


class _Held(NamedTuple):
    time: float
    recipients: tuple[int, ...]
    addresses: tuple[str, ...]


class Imagined:
    """One sender from its alarm until it is normal again."""

    def __init__(
        self, record: Record, setting: Setting, alarm: Transition, run: Run
    ) -> None:
        """``run`` is what had left when the alarm came."""
        self.record = record
        self._setting = setting
        self.sender = record.sender
        self.began = self._now = alarm.at
        self.onset = run.since if run.messages else alarm.at
        self.reached = (run.messages, run.recipients)
        self.evidence = alarm.evidence
        self.steps: list[Step] = []
        self.waiting: list[_Held] = []
        self.held_messages = self.held_recipients = 0
        self.released_messages = self.released_recipients = 0  # by the trickle
        self.returned_messages = self.returned_recipients = 0  # as it ended well
        self.spared_recipients = 0  # held for a person's verdict
        self.dead = self.delivered = 0  # of those that were held
        self.blocked_at = 0.0
        self.ended = 0.0
        self.verdict = ""  # "innocent" or "theft", assumed
        self.curve: list[tuple[float, float]] = []
        self.volume: dict[int, int] = {}
        self.domains: Counter[str] = Counter()
        self._due = alarm.at + FIRST_PAUSE
        self._followed: Counter[str] = Counter()

    @property
    def over(self) -> bool:
        """Whether the sender is normal again."""
        return bool(self.ended)

    @property
    def why(self) -> str:
        """The main evidence of the alarm, as the daemon says it."""
        return sentence(self.evidence)

    @property
    def ending(self) -> str:
        """How it would have ended: faded, blocked (until a person looks) or open."""
        if self.blocked_at:
            return "blocked"
        return "faded" if self.ended else "open"

    def moved(self, transition: Transition) -> None:
        """Note a change of state."""
        self.steps.append(
            Step(
                transition.at,
                transition.event.value,
                transition.new.value,
                sentence(transition.evidence),
            )
        )
        if transition.new is State.BLOCKED and not self.blocked_at:
            self.blocked_at = transition.at

    def hold(
        self,
        now: float,
        hashes: tuple[int, ...],
        addresses: Sequence[str],
        _subject: str = "",
    ) -> None:
        """Take a message that the judgement holds."""
        self.held_messages += 1
        self.held_recipients += len(hashes)
        for address in addresses:
            if len(self._followed) < _ADDRESSES:
                self._followed[address] += 1
            domain = domain_of(address)
            if domain in self.domains or len(self.domains) < _DOMAINS:
                self.domains[domain] += 1
        if self.record.state is State.BLOCKED:
            self.spared_recipients += len(hashes)
        else:
            self.waiting.append(_Held(now, hashes, tuple(addresses)))

    def fate(self, recipient: str, *, dead: bool) -> bool:
        """Count what became of a held recipient; false when it was not held."""
        if not self._followed.get(recipient):
            return False
        self._followed[recipient] -= 1
        if dead:
            self.dead += 1
        else:
            self.delivered += 1
        return True

    def advance(self, until: float) -> None:
        """Let time pass: reviews, the trickle, at last a person's verdict."""
        while self.record.state is State.SLOWED and self._now < until:
            self._now = min(until, self._now + _REVIEW)
            self._review()
        if self.record.state is State.BLOCKED:
            self._stop_trickle()
            if until >= self.blocked_at + VERDICT:
                self._judged(self.blocked_at + VERDICT)

    def _stop_trickle(self) -> None:
        for held in self.waiting:
            self.spared_recipients += len(held.recipients)
        self.waiting = []

    def _review(self) -> None:
        model, rules = self._setting.model, self._setting.rules
        done = review(self.record, model, rules, len(self.waiting), self._now)
        if done is not None:
            self.moved(done)
        if self.record.state is State.NORMAL:
            self.ended = self._now
            self.returned_messages = len(self.waiting)
            for held in self.waiting:
                self.returned_recipients += len(held.recipients)
            self.waiting = []
        elif self.record.state is State.SLOWED and self._due <= self._now:
            self._trickle()

    def _trickle(self) -> None:
        if not self.waiting:
            return
        profile, now = self.record.profile, self._now
        evidence = standing(profile, self._setting.model, now)
        best = max(self.waiting, key=lambda m: familiarity(profile, m.recipients, now))
        self.waiting.remove(best)
        self.released_messages += 1
        self.released_recipients += len(best.recipients)
        served = self.record.released + len(best.recipients) - 1
        self.record.released += len(best.recipients)
        share = evidence.total / evidence.limits[1]
        self._due = now + next_release_after(served, share)

    def _judged(self, now: float) -> None:
        heard = self.dead + self.delivered
        theft = heard >= _LEAST_HEARD and self.dead >= THEFT_SHARE * heard
        self.verdict = "theft" if theft else "innocent"
        profile, model = self.record.profile, self._setting.model
        (convict if theft else acquit)(profile, model, now)
        self.moved(
            move(self.record, Event.RELEASED, now, standing(profile, model, now))
        )
        learn(profile, model, (), now)
        self.ended = now
