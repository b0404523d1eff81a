"""The fire drill's thieves: what a stolen account sends, and from which senders.

Owns the attack profiles and where they are planted. All is drawn from a seed
before anything is judged, the same for every detector, and known contacts come
from the sender's past only.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["BOUNCES", "PROFILES", "Attack", "Plant", "Shot", "draw", "shots"]

MOST_RECIPIENTS = 5000
DAY = 86400.0
BOUNCES = (0, 5, 20, 40)  # per cent of unknown recipients


@dataclass(frozen=True, slots=True)
class Attack:
    """An attack profile: recipients a message, pause in seconds, share of known."""

    name: str
    recipients: int
    pause: float
    known: float
    lasts: float = DAY
    growth: float = 0.0  # a day; 0: steady


PROFILES = (
    Attack("blast", 1, 1.0, 0.0),
    Attack("multi", 20, 10.0, 0.0),
    Attack("drip", 1, 30.0, 0.0),
    Attack("stealth", 1, 300.0, 0.0),
    Attack("lateral", 1, 5.0, 0.5),
    Attack("contacts", 1, 60.0, 1.0),
    Attack("bulk", 50, 60.0, 0.0),
    Attack("ramp", 1, 0.0, 0.0, 90 * DAY, 0.1),
)


class Plant(NamedTuple):
    """Where and when an account is stolen; ``pick`` in [0, 1) chooses the sender."""

    time: float
    pool: str
    pick: float
    seed: int


class Shot(NamedTuple):
    """One message of a thief: when, to whom, and how many are unknown addresses."""

    time: float
    recipients: tuple[int, ...]
    unknown: int


_POOLS = (("active", 0.45), ("any", 0.45), ("new", 0.1))


def draw(
    seed: int, count: int, start: float, end: float, busy: Sequence[float] = ()
) -> list[Plant]:
    """Draw plants between two times, in order of time.

    Uniform in time, or with ``busy`` at the times of real messages: the hours in
    which people write, when a thief is harder to tell from them.
    """
    rng = random.Random(f"plants {seed}")  # noqa: S311 - a simulation
    plants = []
    for _ in range(count):
        at, place, pool = rng.random(), rng.random(), rng.random()
        when = busy[int(at * len(busy))] if busy else start + at * (end - start)
        name = "new"
        for candidate, share in _POOLS:
            if pool < share:
                name = candidate
                break
            pool -= share
        plants.append(Plant(when, name, place, rng.getrandbits(48)))
    return sorted(plants)


def shots(
    attack: Attack, plant: Plant, known: Sequence[int], usual: float
) -> Iterator[Shot]:
    """Yield a thief's messages in order of time.

    ``known`` are hashes of the sender's earlier recipients; without any, all are
    unknown. ``usual`` is a time of day at which the sender writes: the patient
    ramp hides in it, the others cannot wait.
    """
    rng = random.Random(f"{attack.name} {plant.seed}")  # noqa: S311
    reached = 0
    for time in _times(attack, plant.time, usual):
        recipients = []
        unknown = 0
        for _ in range(min(attack.recipients, MOST_RECIPIENTS - reached)):
            if known and attack.known > 0 and rng.random() < attack.known:
                recipients.append(known[int(rng.random() * len(known))])
            else:
                recipients.append(rng.getrandbits(64))
                unknown += 1
        if not recipients:
            return
        reached += len(recipients)
        yield Shot(time, tuple(recipients), unknown)


def _times(attack: Attack, start: float, usual: float) -> Iterator[float]:
    if not attack.growth:
        count = int(attack.lasts // attack.pause)
        yield from (start + i * attack.pause for i in range(count))
        return
    first = start - start % DAY + usual % DAY
    if first < start:
        first += DAY
    spread = 8 * 3600.0
    for day in range(int(attack.lasts // DAY)):
        count = round(2 * (1 + attack.growth) ** day)
        for i in range(count):
            yield first + day * DAY + i * spread / count
