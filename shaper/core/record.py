"""Everything the shaper remembers of one sender, as one stored value.

The record is the unit of storage: it is read, judged and written back as a
whole (compare and set), so a message costs one round trip to Redis. It is one
line of JSON followed by the detector's profile in its own compact form.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

from shaper.core.plain import loads, moment, name
from shaper.core.profile import Profile
from shaper.core.state import State

__all__ = ["Exemption", "Plan", "Record", "Run"]

_MOST_RELEASED = 10**9  # more changes no pace


@dataclass(frozen=True, slots=True)
class Exemption:
    """An operator lets a sender's mail pass unjudged until a time (Unix)."""

    until: float
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """A burst the operator expects: up to ``messages`` between two Unix times."""

    start: float
    end: float
    messages: int
    by: str
    reason: str
    used: int = 0

    def open_at(self, now: float) -> bool:
        """Whether the plan lets one more message pass now."""
        return self.start <= now < self.end and self.used < self.messages


@dataclass(frozen=True, slots=True)
class Run:
    """What left since the evidence last stood near zero: what had escaped."""

    since: float = 0.0
    messages: int = 0
    recipients: int = 0
    last: float = 0.0

    def and_one(self, recipients: int, now: float) -> Run:
        """Return the run with one more message."""
        since = self.since if self.messages else now
        return Run(since, self.messages + 1, self.recipients + recipients, now)


@dataclass(slots=True)
class Record:
    """State, allowances and learned profile of one sender.

    ``since`` is when the state was entered, ``calm_since`` when the evidence
    last went under the low mark while slowed (0: it has not). ``case`` is the id
    of the open case, "" without one. ``confirmed`` says that an operator called it
    a theft. ``released`` counts the recipients that the trickle served since the
    state was entered, ``caught`` those of all mail since then; ``stirred`` is when the
    evidence last grew while slowed, ``eased`` when slow evidence was last let go
    (``judgement``). ``serial`` grows with every change of state or allowance: of two
    versions the one with the greater is the newer.
    """

    sender: str
    profile: Profile
    state: State = State.NORMAL
    since: float = 0.0
    calm_since: float = 0.0
    case: str = ""
    exemption: Exemption | None = None
    plans: tuple[Plan, ...] = ()
    run: Run = field(default_factory=Run)
    confirmed: bool = False
    released: int = 0
    caught: int = 0
    stirred: float = 0.0
    eased: float = 0.0
    serial: int = 0

    @classmethod
    def new(cls, sender: str, now: float) -> Record:
        """Return the record of a sender that was never seen before."""
        kind = sender.partition(":")[0] or "from"
        return cls(sender, Profile.new(now, kind), since=now)

    def count_change(self, now: float) -> None:
        """Note that state or allowances changed, at a Unix time.

        By the clock, so that a record that was lost and begun anew is newer than
        all that was there before; by one, when the clock has stepped back.
        """
        self.serial = max(self.serial + 1, int(now * 1000))

    def consume_plan(self, now: float, *, again: bool) -> bool:
        """Take one message from an open plan; expired plans are forgotten.

        ``again`` is for a message that was offered before: it takes nothing.
        """
        plans = [plan for plan in self.plans if now < plan.end]
        for i, plan in enumerate(plans):
            if again and plan.start <= now:
                return True
            if plan.open_at(now):
                plans[i] = replace(plan, used=plan.used + 1)
                self.plans = tuple(plans)
                return True
        self.plans = tuple(plans)
        return False

    @property
    def noteworthy(self) -> bool:
        """Whether losing this record would forget an operator or an alarm."""
        return bool(self.state is not State.NORMAL or self.exemption or self.plans)

    def standing_json(self) -> dict[str, Any]:
        """Return what the audit journal keeps: all but habits and counts."""
        data: dict[str, Any] = {
            "sender": self.sender,
            "state": self.state.value,
            "since": self.since,
        }
        if self.serial:
            data["serial"] = self.serial
        if self.calm_since:
            data["calm_since"] = self.calm_since
        if self.case:
            data["case"] = self.case
        if self.confirmed:
            data["confirmed"] = True
        if self.exemption:
            e = self.exemption
            data["exemption"] = [e.until, e.by, e.reason]
        if self.plans:
            data["plans"] = [
                [p.start, p.end, p.messages, p.by, p.reason, p.used] for p in self.plans
            ]
        return data

    def apply_standing(self, data: dict[str, Any]) -> None:
        """Take over what ``standing_json`` gave.

        Raises KeyError, TypeError or ValueError, and changes nothing then.
        """
        state = State(data["state"])
        since = moment(data["since"])
        calm_since = moment(data.get("calm_since", 0.0))
        case, serial = name(data.get("case", "")), int(data.get("serial", 0))
        exemption = None
        if "exemption" in data:
            until, by, reason = data["exemption"]
            exemption = Exemption(moment(until), str(by), str(reason))
        plans = tuple(
            Plan(moment(s), moment(e), int(m), str(by), str(why), int(used))
            for s, e, m, by, why, used in data.get("plans", ())
        )
        self.state, self.since, self.calm_since = state, since, calm_since
        self.case, self.serial = case, serial
        self.confirmed = data.get("confirmed") is True
        self.exemption, self.plans = exemption, plans

    def encode(self) -> bytes:
        """Return the stored form."""
        data = self.standing_json()
        if self.run.messages:
            run = self.run
            data["run"] = [run.since, run.messages, run.recipients, run.last]
        if self.released:
            data["released"] = self.released
        if self.caught:
            data["caught"] = self.caught
        if self.stirred:
            data["stirred"] = self.stirred
        if self.eased:
            data["eased"] = self.eased
        head = json.dumps(data, separators=(",", ":"), allow_nan=False)
        return head.encode() + b"\n" + self.profile.encode()

    @classmethod
    def decode(cls, raw: bytes) -> Record:
        """Rebuild from the stored form. Raises ValueError on anything else."""
        head, newline, tail = raw.partition(b"\n")
        if not newline:
            msg = "a sender's record has no profile"
            raise ValueError(msg)
        try:
            data = loads(head)
            record = cls(str(data["sender"]), Profile.decode(tail))
            record.apply_standing(data)
            if "run" in data:
                since, messages, recipients, last = data["run"]
                record.run = Run(
                    moment(since), int(messages), int(recipients), moment(last)
                )
            record.released = min(int(data.get("released", 0)), _MOST_RELEASED)
            record.caught = min(int(data.get("caught", 0)), _MOST_RELEASED)
            record.stirred = moment(data.get("stirred", 0.0))
            record.eased = moment(data.get("eased", 0.0))
        except (KeyError, TypeError, AttributeError, OverflowError) as error:
            msg = f"a sender's record is not what was stored: {error}"
            raise ValueError(msg) from error
        return record
