"""The decision about one message, and the review of a sender as time passes.

Pure: the record of a sender goes in and is changed, what happened comes out as
values. The message that raises the alarm is itself held, because the state is
changed before the action is chosen. A message is weighed once however often
the MTA retries it, and a message that an operator allowed beforehand (an
exemption, a planned burst) is not weighed at all.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shaper.core.evidence import Evidence, Level, ease, standing, weigh
from shaper.core.message import Action
from shaper.core.record import Run
from shaper.core.state import Event, State, next_state

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shaper.core.model import Model
    from shaper.core.record import Record

__all__ = [
    "Judgement",
    "Rules",
    "Transition",
    "fingerprint",
    "judge",
    "move",
    "review",
]

# A run of sending is over after a pause of so many seconds, if the evidence has
# drained to this part of the slow limit; what left before did not escape.
_RUN_OVER = 0.05
_RUN_PAUSE = 600.0
_EASED = 0.9  # evidence that is let go falls to this part of the low mark
_CLEAN = 3.0  # nats of the bounce statistic: one dead address at most, lately


@dataclass(frozen=True, slots=True)
class Rules:
    """When states change by themselves. Times in seconds.

    ``low_mark`` is the share of the slow limit under which a sender is calm,
    ``dwell`` how long it must stay so, ``block_after`` how long a sender may stay
    slowed with the anomaly present, ``block_at`` how many held messages block.

    Evidence of the slow buckets takes days to fade. It is let go after ``quiet``
    seconds in which nothing added to it, if no more than ``most_eased`` messages
    wait and twice as many recipients were tried since the alarm, and not again for
    ``ease_again``: a theft that goes on is never quiet, and one that pauses gains
    that much a week.
    """

    low_mark: float = 0.5
    dwell: float = 600.0
    block_after: float = 4 * 3600.0
    block_at: int = 200
    quiet: float = 3600.0
    most_eased: int = 10
    ease_again: float = 7 * 86400.0


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of state that happened, with the evidence it rests on."""

    event: Event
    old: State
    new: State
    at: float
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is done with a message, and what changed on the way.

    ``weighed`` is false for retries and allowances; ``allowance`` names what let
    the message pass unweighed ("exemption", "plan" or ""). ``before`` is the stored
    form of the profile before a message that raised the alarm, for ``proof``.
    """

    action: Action
    transitions: tuple[Transition, ...]
    evidence: Evidence
    weighed: bool
    allowance: str = ""
    before: bytes = b""


def fingerprint(ident: str, message_id: str, sender: str, recipients: str) -> str:
    """Return what makes a held message the same one when it is offered again."""
    text = f"{ident}\0{message_id}\0{sender}\0{recipients}"
    raw = text.encode("utf-8", "surrogateescape")
    return hashlib.blake2b(raw, digest_size=8).hexdigest()


def move(record: Record, event: Event, now: float, evidence: Evidence) -> Transition:
    """Change the state of a sender. Raises IllegalTransitionError, changing nothing."""
    old = record.state
    record.state = next_state(old, event)
    record.since = now
    record.calm_since = 0.0
    record.released = record.caught = 0
    record.stirred = 0.0
    record.confirmed = event is Event.CONFIRMED
    if record.state is State.NORMAL:
        record.run = Run()
    return Transition(event, old, record.state, now, evidence)


def judge(
    record: Record,
    model: Model,
    rules: Rules,
    recipients: Sequence[int],
    waiting: int,
    now: float,
    network: int = 0,
) -> Judgement:
    """Decide about a message of this sender and update its record.

    ``recipients`` are keyed hashes of those that were not weighed under this
    message before: none of them means a retry of the MTA. ``waiting`` is how many
    messages of the sender are held already, ``network`` the client's (0: unknown).
    The same arguments always give the same judgement.
    """
    if allowance := _allowance(record, now, again=not recipients):
        evidence = standing(record.profile, model, now)
        return Judgement(Action.PASS, (), evidence, weighed=False, allowance=allowance)
    if not recipients:
        evidence = standing(record.profile, model, now)
        return Judgement(_action(record), (), evidence, weighed=False)
    if record.state is State.NORMAL:
        return _normal(record, model, recipients, now, network)
    return _held(record, model, rules, recipients, waiting, now, network)


def _normal(
    record: Record, model: Model, recipients: Sequence[int], now: float, network: int
) -> Judgement:
    if now - record.run.last > _RUN_PAUSE:
        idle = standing(record.profile, model, now)
        if idle.total < _RUN_OVER * idle.limits[1]:
            record.run = Run()
    before = record.profile.encode()
    evidence = weigh(record.profile, model, recipients, now, network)
    if evidence.level < Level.SLOW:
        record.run = record.run.and_one(len(recipients), now)
        return Judgement(Action.PASS, (), evidence, weighed=True)
    alarm = move(record, Event.ALARM, now, evidence)
    record.caught = len(recipients)
    severe = _worse(record, evidence, now)
    return Judgement(
        Action.HOLD, (alarm, *severe), evidence, weighed=True, before=before
    )


def _held(
    record: Record,
    model: Model,
    rules: Rules,
    recipients: Sequence[int],
    waiting: int,
    now: float,
    network: int,
) -> Judgement:
    had = standing(record.profile, model, now)
    evidence = weigh(record.profile, model, recipients, now, network)
    if evidence.total > had.total:
        record.stirred = now
    record.caught += len(recipients)
    moves = _worse(record, evidence, now)
    if record.state is State.SLOWED and waiting + 1 >= rules.block_at:
        moves = (move(record, Event.CROWDED, now, evidence),)
    return Judgement(Action.HOLD, moves, evidence, weighed=True)


def _worse(record: Record, evidence: Evidence, now: float) -> tuple[Transition, ...]:
    if record.state is State.SLOWED and evidence.level >= Level.BLOCK:
        return (move(record, Event.SEVERE, now, evidence),)
    return ()


def review(
    record: Record, model: Model, rules: Rules, waiting: int, now: float
) -> Transition | None:
    """Judge a slowed sender as time passes and its held mail fares, or bounces.

    ``waiting`` is how many of its messages are held. Returns the change of state,
    or None.
    """
    if record.state is not State.SLOWED:
        return None
    evidence = standing(record.profile, model, now)
    if evidence.total >= rules.low_mark * evidence.limits[1]:
        record.calm_since = 0.0
        return _persists(record, model, rules, waiting, evidence, now)
    # A clock that stepped back must not make the calm look longer or shorter than it
    # was: it starts anew.
    if not record.calm_since or record.calm_since > now:
        record.calm_since = now
    if now - record.calm_since >= rules.dwell:
        return move(record, Event.CALM, now, evidence)
    return None


def _persists(
    record: Record,
    model: Model,
    rules: Rules,
    waiting: int,
    evidence: Evidence,
    now: float,
) -> Transition | None:
    """Decide about a slowed sender whose evidence stays."""
    if evidence.level >= Level.BLOCK:
        return move(record, Event.SEVERE, now, evidence)
    if _spent(record, rules, waiting, now):
        record.eased = now
        ease(record.profile, model, _EASED * rules.low_mark)
        return move(record, Event.CALM, now, standing(record.profile, model, now))
    # A sender whose mail has all left and who sends no more is left to it; one with
    # mail waiting needs a person, for calm would let that mail out.
    if waiting and now - record.since >= rules.block_after:
        return move(record, Event.PERSISTED, now, evidence)
    return None


def _spent(record: Record, rules: Rules, waiting: int, now: float) -> bool:
    """Whether an alarm brought nothing more, cleanly, and may be let go."""
    last = max(record.since, record.stirred)
    return (
        now - last >= rules.quiet
        and waiting <= rules.most_eased
        and record.caught <= 2 * rules.most_eased
        and record.profile.cusum < _CLEAN
        and not 0 <= now - record.eased < rules.ease_again
    )


def _allowance(record: Record, now: float, *, again: bool) -> str:
    """Use what an operator allows this sender now; name it, "" without any."""
    exempt = record.exemption is not None and now < record.exemption.until
    if not exempt:
        record.exemption = None
    if record.state is State.BLOCKED:
        return ""
    if exempt:
        return "exemption"
    return "plan" if record.consume_plan(now, again=again) else ""


def _action(record: Record) -> Action:
    return Action.PASS if record.state is State.NORMAL else Action.HOLD
