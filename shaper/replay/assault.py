"""One planted theft against one detector: what left before it was stopped.

Owns the merging of the thief's messages with the sender's own, which go on as
they did, and the counting. Recipients of the message that raises the alarm did
not receive it. After the alarm the thief keeps sending until blocked, and what
the trickle lets out of that is counted apart.
"""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from shaper.core.evidence import Level, OutcomeKind, learn, record_outcome, weigh
from shaper.core.profile import Profile
from shaper.replay.attacks import DAY, shots
from shaper.replay.custody import Custody, Held

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from shaper.core.model import Model
    from shaper.replay.attacks import Attack, Plant, Shot
    from shaper.replay.rivals import Rival

__all__ = ["Outcome", "Target", "attack_rival", "attack_shaper"]


class Outcome(NamedTuple):
    """Recipients reached, seconds to the alarm (None: missed), and the aftermath.

    ``leaked`` are the thief's messages that left through the trickle before the
    block; ``blocked`` the seconds until then. Both None where not simulated.
    ``idle`` is how many seconds the owner had been silent.
    """

    pool: str
    days: int
    escaped: int
    seconds: float | None
    leaked: int | None = None
    blocked: float | None = None
    idle: float = 0.0


@dataclass(frozen=True, slots=True)
class Target:
    """The stolen account at the moment of the theft.

    ``known`` are hashes of everybody it wrote to, ``own`` its later messages.
    """

    profile: bytes
    known: tuple[int, ...]
    usual: float
    own: list[tuple[float, tuple[int, ...]]]
    rivals: Mapping[str, Rival]


class _Sent(NamedTuple):
    time: float
    recipients: tuple[int, ...]
    thief: bool
    unknown: int


def attack_shaper(
    attack: Attack, plant: Plant, target: Target, model: Model, bounces: int
) -> Outcome:
    """Attack a clone of the account; ``bounces`` in per cent of unknown recipients."""
    profile = Profile.decode(target.profile)
    days, idle = profile.days, plant.time - profile.seen
    rng = random.Random(f"bounces {attack.name} {plant.seed}")  # noqa: S311
    pending: list[float] = []
    reached = delivered = 0
    stream = _merged(attack, plant, target)
    for sent in stream:
        if delivered:
            kind = OutcomeKind.DELIVERED
            record_outcome(profile, model, kind, delivered, profile.seen)
            delivered = 0
        while pending and pending[0] <= sent.time:
            when = heapq.heappop(pending)
            record_outcome(profile, model, OutcomeKind.HARD_BOUNCE, 1, when)
        evidence = weigh(profile, model, sent.recipients, sent.time)
        if evidence.level >= Level.SLOW:
            alarm = sent.time - plant.time
            leaked: int | None = None
            blocked: float | None = None
            if not bounces:
                leaked, blocked = _aftermath(profile, model, sent, stream)
            return Outcome(plant.pool, days, reached, alarm, leaked, blocked, idle)
        learn(profile, model, sent.recipients, sent.time)
        reached += len(sent.recipients) * sent.thief
        bad = sum(rng.random() * 100 < bounces for _ in range(sent.unknown))
        for _ in range(bad):
            heapq.heappush(pending, sent.time + 2 + 58 * rng.random())
        delivered = len(sent.recipients) - bad
    return Outcome(plant.pool, days, reached, None, idle=idle)


def attack_rival(attack: Attack, plant: Plant, target: Target, name: str) -> Outcome:
    """Attack a rival's copy of the account."""
    rival = target.rivals[name].copy()
    reached = 0
    for sent in _merged(attack, plant, target):
        if rival.over(sent.time, len(sent.recipients)):
            return Outcome(plant.pool, 0, reached, sent.time - plant.time)
        reached += len(sent.recipients) * sent.thief
    return Outcome(plant.pool, 0, reached, None)


def _merged(attack: Attack, plant: Plant, target: Target) -> Iterator[_Sent]:
    """Yield the thief's and the sender's own messages in order of time."""
    own = iter(target.own)
    mine = next(own, None)
    for shot in shots(attack, plant, target.known, target.usual):
        while mine is not None and mine[0] <= shot.time:
            yield _Sent(*mine, thief=False, unknown=0)
            mine = next(own, None)
        yield _thief(shot)


def _thief(shot: Shot) -> _Sent:
    return _Sent(shot.time, shot.recipients, thief=True, unknown=shot.unknown)


def _aftermath(
    profile: Profile, model: Model, first: _Sent, stream: Iterator[_Sent]
) -> tuple[int, float | None]:
    """Go on until blocked, or a day; count what the trickle let the thief have."""
    custody = Custody(
        profile, model, Held(first.time, first.recipients, thief=first.thief)
    )
    for sent in stream:
        if custody.blocked_at or sent.time > first.time + DAY:
            break
        custody.advance(sent.time, operator=False)
        if custody.over:
            break  # it recovered; what follows would be a second attack
        if custody.blocked_at:
            break
        custody.hold(Held(sent.time, sent.recipients, thief=sent.thief))
    if not custody.blocked_at and not custody.over:
        custody.advance(first.time + DAY, operator=False)
    leaked = sum(r.held.thief for r in custody.released)
    return leaked, custody.blocked_at - first.time if custody.blocked_at else None
