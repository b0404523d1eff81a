"""A host's past judged as the daemon would have judged it, message by message.

Owns the walk through time. Every message goes through ``judge`` and ``learn``, every
slowed sender through ``review``, outcomes through ``record_outcome``, and the
model through ``calibrate``, as in the mail path and the nightly refit. What
happens to held mail, and the verdict that nobody gave in the past, is the duty
of ``imagined``.

Memory: one record per sender, the open cases, and one number for each hour.
"""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from shaper.core.calibration import calibrate
from shaper.core.contacts import contact_hash
from shaper.core.evidence import OutcomeKind, learn, record_outcome
from shaper.core.judgement import Rules, judge
from shaper.core.message import Action
from shaper.core.model import Model
from shaper.core.record import Record
from shaper.replay.imagined import Imagined

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["DAY", "HOUR", "Past", "Sender"]

DAY = 86400.0
HOUR = 3600.0
_SHARES = 60  # evidence of so many messages is kept for the plot of a case
_HOURS = 14 * 24  # of a sender's volume
_REFIT_FIRST = (DAY, 3 * DAY)  # a young history changes the model most
_REFIT = 7 * DAY
_TOGETHER = 20  # deliveries
_HASHES = 100_000  # addresses whose hash is kept


class Share(NamedTuple):
    """Evidence at a time, as a share of the sender's slow limit."""

    time: float
    share: float


@dataclass(slots=True)
class Sender:
    """What the replay knows of a sender."""

    record: Record
    imagined: Imagined | None = None
    shares: deque[Share] = field(default_factory=lambda: deque(maxlen=_SHARES))
    hours: dict[int, int] = field(default_factory=dict)  # recipients by hour
    delivered: int = 0  # outcomes not yet taken in


class Past:
    """Takes messages and outcomes in order of time; ``cases`` is the answer."""

    def __init__(self, key: bytes, model: Model | None = None) -> None:
        """``key`` is the secret of the contact hashes."""
        self.rules = Rules()
        self.shipped = self.model = model or Model.default()
        self.senders: dict[str, Sender] = {}
        self.cases: list[Imagined] = []
        self.first = self.last = 0.0
        self.messages = self.recipients = 0
        self.sender_days = 0
        self.passed: dict[int, int] = defaultdict(int)  # recipients by hour
        self.held: dict[int, int] = defaultdict(int)
        self._key = key
        self._hashes: dict[str, int] = {}
        self._refit_at = 0.0
        self._open: dict[str, Imagined] = {}
        self._days: tuple[int, set[str]] = (0, set())

    def message(
        self, name: str, recipients: Sequence[str], now: float, subject: str = ""
    ) -> None:
        """Judge one message of a sender."""
        self._pass_time(now)
        self.messages += 1
        self.recipients += len(recipients)
        self._active(name, now)
        sender = self.senders.get(name)
        if sender is None:
            sender = self.senders[name] = Sender(Record.new(name, now))
        hour = int(now // HOUR)
        self._count_hour(sender, hour, len(recipients))
        hashes = self._hash(recipients)
        imagined = sender.imagined
        if imagined is not None:
            imagined.advance(now)
            imagined = self._settled(name, sender)
        record = sender.record
        # Without a bounce to outweigh, deliveries only count: many at once do.
        if record.profile.cusum > 0 or sender.delivered >= _TOGETHER:
            self._take_deliveries(sender)
        run = record.run
        waiting = len(imagined.waiting) if imagined else 0
        judgement = judge(record, self.model, self.rules, hashes, waiting, now)
        evidence = judgement.evidence
        share = Share(now, evidence.total / evidence.limits[1])
        if imagined is not None:
            imagined.curve.append(share)
        sender.shares.append(share)
        if judgement.action is Action.PASS:
            self.passed[hour] += len(recipients)
            learn(record.profile, self.model, hashes, now)
            return
        self.held[hour] += len(recipients)
        if imagined is None:
            imagined = Imagined(record, self, judgement.transitions[0], run)
            imagined.curve.extend(sender.shares)
            imagined.volume.update(sender.hours)
            sender.imagined = imagined
            self._open[name] = imagined
            self.cases.append(imagined)
        for transition in judgement.transitions:
            imagined.moved(transition)
        imagined.hold(now, tuple(hashes), recipients, subject)

    def fate(self, name: str, recipient: str, now: float, *, dead: bool) -> None:
        """Take in what became of a recipient."""
        sender = self.senders.get(name)
        if sender is None:
            return
        imagined = sender.imagined
        if imagined is not None:
            imagined.advance(now)
            imagined = self._settled(name, sender)
        if imagined is not None and imagined.fate(recipient, dead=dead):
            return  # it would not have left, so nothing would have come back
        if not dead:
            sender.delivered += 1
            return
        self._take_deliveries(sender)
        profile = sender.record.profile
        record_outcome(profile, self.model, OutcomeKind.HARD_BOUNCE, 1, now)

    def _take_deliveries(self, sender: Sender) -> None:
        """Take deliveries in together; nothing is decided between two messages."""
        if sender.delivered:
            profile = sender.record.profile
            kind = OutcomeKind.DELIVERED
            record_outcome(profile, self.model, kind, sender.delivered, profile.seen)
            sender.delivered = 0

    def finish(self) -> None:
        """Let the open cases go on for as long as the log does."""
        for sender in self.senders.values():
            self._take_deliveries(sender)
        for name, imagined in list(self._open.items()):
            imagined.advance(self.last)
            self._settled(name, self.senders[name])

    def _settled(self, name: str, sender: Sender) -> Imagined | None:
        """Return the case while it is open."""
        imagined = sender.imagined
        if imagined is not None and imagined.over:
            sender.imagined = None
            self._open.pop(name, None)
            return None
        return imagined

    def _pass_time(self, now: float) -> None:
        if not self.first:
            self.first = self.last = now
            self._refit_at = now + _REFIT_FIRST[0]
        self.last = max(self.last, now)
        if now >= self._refit_at:
            profiles = (s.record.profile for s in self.senders.values())
            self.model = calibrate(profiles, self.shipped)
            age = now - self.first
            pause = _REFIT if age >= _REFIT_FIRST[1] else _REFIT_FIRST[1] - age
            self._refit_at = now + max(pause, DAY)

    def _active(self, name: str, now: float) -> None:
        day = int(now // DAY)
        if day > self._days[0]:
            self._days = day, set()
        if name not in self._days[1]:
            self._days[1].add(name)
            self.sender_days += 1

    def _count_hour(self, sender: Sender, hour: int, recipients: int) -> None:
        hours = sender.hours
        hours[hour] = hours.get(hour, 0) + recipients
        if len(hours) > _HOURS:
            del hours[next(iter(hours))]
        if sender.imagined is not None:
            sender.imagined.volume[hour] = hours[hour]

    def _hash(self, addresses: Sequence[str]) -> list[int]:
        known = self._hashes
        found = []
        for address in addresses:
            value = known.get(address)
            if value is None:
                if len(known) >= _HASHES:
                    known.clear()
                value = known[address] = contact_hash(self._key, address)
            found.append(value)
        return found
