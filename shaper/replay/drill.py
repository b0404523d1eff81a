"""The fire drill: plant stolen accounts in a host's past and see what escapes.

Owns the replay itself. Innocent traffic runs through the very functions that
decide in the mail path; at each plant the sender's profile is cloned by its
stored form, attacked, and thrown away, so no attack teaches anything to the
replay. The same plants meet the rivals.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from shaper.core.calibration import calibrate
from shaper.core.contacts import contact_hash
from shaper.core.evidence import Level, OutcomeKind, learn, record_outcome, weigh
from shaper.core.model import Model
from shaper.core.profile import Profile
from shaper.replay.assault import Outcome, Target, attack_rival, attack_shaper
from shaper.replay.attacks import BOUNCES, DAY, PROFILES, Attack, Plant, draw
from shaper.replay.custody import Custody, Held
from shaper.replay.rivals import RIVALS, Rival

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shaper.replay.trace import Mail, Trace

__all__ = ["OURS", "Drill", "Innocents", "Settings", "default_start", "run"]

OURS = "mailshaper"
_KEY = b"fire drill"
_ACTIVE = 7 * DAY  # a sender is active that wrote so lately
_NEW = 3  # active days up to which a sender is new
_REFIT = 7 * DAY  # the daemon refits by night; a long trace at most 26 times
_REFITS = 26
_INNOCENT_BOUNCES = 100  # one in so many never-seen recipients is a dead address
_MIX, _MASK = 0x9E3779B97F4A7C15, 2**64 - 1  # the golden ratio spreads the draws


@dataclass(frozen=True, slots=True)
class Settings:
    """What the drill is asked for. ``busy`` plants when people write."""

    seed: int = 1
    attacks: int = 300
    start_day: int | None = None
    profiles: tuple[Attack, ...] = PROFILES
    rivals: dict[str, float] = field(default_factory=lambda: dict.fromkeys(RIVALS, 1.0))
    bounces: tuple[int, ...] = BOUNCES
    busy: bool = False
    model: Model = field(default_factory=Model.default)
    refit: bool = True


@dataclass(slots=True)
class Innocents:
    """What a detector did to innocent mail."""

    alarms: set[tuple[str, int]] = field(default_factory=set)
    delayed: int = 0
    delays: list[float] = field(default_factory=list)  # seconds, per recipient
    blocked: int = 0
    recoveries: list[float] = field(default_factory=list)  # seconds, per alarm


@dataclass(slots=True)
class Drill:
    """The result: innocents and attack outcomes by detector, profile and bounces."""

    trace: Trace
    settings: Settings
    start_day: int
    senders: int = 0
    sender_days: int = 0
    recipients: int = 0
    model: Model = field(default_factory=Model.default)
    innocents: dict[str, Innocents] = field(default_factory=dict)
    outcomes: dict[tuple[str, str, int], list[Outcome]] = field(default_factory=dict)


def default_start(mails: Sequence[Mail]) -> int:
    """Return the day by which a third of the messages were sent.

    Messages rather than days, since many traces begin thinly.
    """
    return int((mails[len(mails) // 3].time - mails[0].time) // DAY) if mails else 0


def run(
    trace: Trace, settings: Settings, progress: Callable[[float], None] | None = None
) -> Drill:
    """Run the drill. The same trace and settings always give the same result."""
    return _Replay(trace, settings).run(progress)


class _Replay:
    def __init__(self, trace: Trace, settings: Settings) -> None:
        mails = trace.mails
        start = settings.start_day
        start = default_start(mails) if start is None else start
        self._settings = settings
        self._model = settings.model
        self._origin = mails[0].time if mails else 0.0
        self._start = self._origin + start * DAY
        self._result = Drill(trace, settings, start)
        self._names = (OURS, *settings.rivals)
        self._result.innocents = {name: Innocents() for name in self._names}
        self._hashes: dict[str, int] = {}
        self._profiles: dict[str, Profile] = {}
        self._custody: dict[str, Custody] = {}
        self._eased: dict[str, float] = {}
        self._rivals: dict[str, dict[str, Rival]] = {}
        self._known: dict[str, dict[int, None]] = defaultdict(dict)
        self._delivered: dict[str, int] = defaultdict(int)
        self._bounces: dict[str, list[float]] = defaultdict(list)
        self._own: dict[str, tuple[list[float], list[tuple[int, ...]]]] = {}
        self._days: set[tuple[str, int]] = set()
        self._evaluated: set[str] = set()

    def run(self, progress: Callable[[float], None] | None) -> Drill:
        mails = self._result.trace.mails
        if not mails:
            return self._result
        self._index(mails)
        plants = self._plants(mails)
        refit_at = self._start
        pause = max(_REFIT, (mails[-1].time - self._start) / _REFITS)
        for number, mail in enumerate(mails):
            if progress and not number % 2000:
                progress(number / len(mails))
            if self._settings.refit and mail.time >= refit_at:
                self._model = calibrate(self._profiles.values(), self._settings.model)
                refit_at = max(refit_at + pause, mail.time)  # not for each silent week
            while plants and plants[0].time <= mail.time:
                self._attack(plants.pop(0))
            self._innocent(mail)
        for plant in plants:
            self._attack(plant)
        for custody in self._custody.values():
            custody.advance(mails[-1].time + 2 * DAY, operator=True)
            self._settle(custody)
        self._result.model = self._model
        self._result.senders = len(self._evaluated)
        self._result.sender_days = len(self._days)
        return self._result

    def _index(self, mails: Sequence[Mail]) -> None:
        for mail in mails:
            times, sent = self._own.setdefault(mail.sender, ([], []))
            times.append(mail.time)
            sent.append(tuple(self._hash(r) for r in mail.recipients))

    def _plants(self, mails: Sequence[Mail]) -> list[Plant]:
        busy = [m.time for m in mails if m.time >= self._start]
        if not busy:
            return []
        return draw(
            self._settings.seed,
            self._settings.attacks,
            self._start,
            mails[-1].time,
            busy if self._settings.busy else (),
        )

    def _hash(self, address: str) -> int:
        found = self._hashes.get(address)
        if found is None:
            found = self._hashes[address] = contact_hash(_KEY, address)
        return found

    def _innocent(self, mail: Mail) -> None:
        sender, now = mail.sender, mail.time
        recipients = tuple(self._hash(r) for r in mail.recipients)
        judged = now >= self._start
        day = int((now - self._origin) // DAY)
        if judged:
            self._days.add((sender, day))
            self._evaluated.add(sender)
            self._result.recipients += len(recipients)
        profile = self._profiles.get(sender)
        if profile is None:
            profile = self._profiles[sender] = Profile.new(now, "login")
            self._rivals[sender] = {
                name: RIVALS[name](scale)
                for name, scale in self._settings.rivals.items()
            }
        self._shape(sender, profile, recipients, now, day)
        for name, rival in self._rivals[sender].items():
            if rival.over(now, len(recipients)) and judged:
                innocents = self._result.innocents[name]
                innocents.alarms.add((sender, day))
                innocents.delayed += len(recipients)
        known = self._known[sender]
        for recipient in recipients:
            draw = (recipient * _MIX + int(now) + self._settings.seed) & _MASK
            if recipient in known or (draw >> 32) % _INNOCENT_BOUNCES:
                self._delivered[sender] += 1
            else:
                self._bounces[sender].append(now + 2 + 58 * (draw & 0xFFFF) / 0x10000)
            known[recipient] = None

    def _shape(
        self,
        sender: str,
        profile: Profile,
        recipients: tuple[int, ...],
        now: float,
        day: int,
    ) -> None:
        custody = self._custody.get(sender)
        if custody is not None:
            custody.advance(now, operator=True)
            if not custody.over:
                custody.hold(Held(now, recipients, thief=False))
                return
            self._settle(custody)
            self._eased[sender] = custody.record.eased
            del self._custody[sender]
        self._outcomes(sender, profile, now)
        evidence = weigh(profile, self._model, recipients, now)
        if evidence.level < Level.SLOW:
            learn(profile, self._model, recipients, now)
            return
        self._custody[sender] = Custody(
            profile,
            self._model,
            Held(now, recipients, thief=False),
            self._eased.get(sender, 0.0),
        )
        if now >= self._start:
            self._result.innocents[OURS].alarms.add((sender, day))

    def _outcomes(self, sender: str, profile: Profile, now: float) -> None:
        delivered = self._delivered.pop(sender, 0)
        if delivered:
            kind = OutcomeKind.DELIVERED
            record_outcome(profile, self._model, kind, delivered, profile.seen)
        waiting = self._bounces.get(sender)
        if waiting and min(waiting) <= now:
            for when in sorted(w for w in waiting if w <= now):
                kind = OutcomeKind.HARD_BOUNCE
                record_outcome(profile, self._model, kind, 1, when)
            self._bounces[sender] = [w for w in waiting if w > now]

    def _settle(self, custody: Custody) -> None:
        innocents = self._result.innocents[OURS]
        if custody.began >= self._start and custody.over:
            innocents.recoveries.append(custody.record.since - custody.began)
        innocents.blocked += custody.blocked_at > 0 and custody.blocked_at >= (
            self._start
        )
        for held, when in custody.released:
            if held.time >= self._start:
                innocents.delayed += len(held.recipients)
                innocents.delays += [when - held.time] * len(held.recipients)

    def _target(self, plant: Plant) -> Target | None:
        senders = list(self._profiles)
        pool = senders
        if plant.pool == "active":
            pool = [s for s in senders if plant.time - self._last(s) < _ACTIVE]
        elif plant.pool == "new":
            pool = [s for s in senders if self._profiles[s].days < _NEW]
        # A sender that is slowed or blocked just then cannot be attacked unseen.
        pool = [s for s in pool or senders if s not in self._custody]
        if not pool:
            return None
        sender = pool[int(plant.pick * len(pool))]
        times, sent = self._own[sender]
        first = bisect_left(times, plant.time)
        return Target(
            profile=self._profiles[sender].encode(),
            known=tuple(self._known[sender]),
            usual=times[max(first - 1, 0)],
            own=list(zip(times[first:], sent[first:], strict=True)),
            rivals=self._rivals[sender],
        )

    def _last(self, sender: str) -> float:
        return self._profiles[sender].seen

    def _attack(self, plant: Plant) -> None:
        target = self._target(plant)
        if target is None:
            return
        outcomes = self._result.outcomes
        for attack in self._settings.profiles:
            for bounces in self._settings.bounces:
                outcome = attack_shaper(attack, plant, target, self._model, bounces)
                key = (OURS, attack.name, bounces)
                outcomes.setdefault(key, []).append(outcome)
            for name in target.rivals:
                outcome = attack_rival(attack, plant, target, name)
                outcomes.setdefault((name, attack.name, 0), []).append(outcome)
