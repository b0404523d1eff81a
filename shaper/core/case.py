"""A case: the story of one departure from normal, as an operator reads it.

Each instance keeps its own part of a case (what it held, which samples it saw)
and the parts are merged when somebody reads. Samples are bounded and come from
outside: whoever shows them escapes them.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from shaper.core.evidence import Evidence
from shaper.core.plain import loads, moment, name
from shaper.core.state import Event, State

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shaper.core.judgement import Transition
    from shaper.core.message import Submission
    from shaper.core.record import Run

__all__ = ["Case", "Step", "merge"]

OUTCOMES = ("faded", "innocent")
SAMPLES = 10
DOMAINS = 200
CLIENTS = 50
STEPS = 100
_TEXT = 200  # characters of a subject that are kept
# What people are told of: changes of state, and one found again after a loss.
# Other lines of the story, such as mail that was returned, are only read.
_TOLD = frozenset({*Event, "restored"})


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the story: when, what, and by whom (an operator, or "")."""

    at: float
    event: str
    state: str
    by: str = ""
    reason: str = ""
    evidence: Evidence | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        data: dict[str, Any] = {"at": self.at, "event": self.event, "state": self.state}
        if self.by:
            data["by"] = self.by
        if self.reason:
            data["reason"] = self.reason
        if self.evidence is not None:
            data["evidence"] = self.evidence.to_json()
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Step:
        """Rebuild; raises KeyError, TypeError or ValueError."""
        evidence = data.get("evidence")
        return cls(
            moment(data["at"]),
            str(data["event"]),
            str(data["state"]),
            str(data.get("by", "")),
            str(data.get("reason", "")),
            Evidence.from_json(evidence) if evidence is not None else None,
        )


@dataclass(slots=True)
class Case:
    """What one instance knows of a case. Counts are of messages and recipients.

    ``onset`` is when the run of sending began that led to the alarm, ``escaped``
    what left between onset and alarm, ``held`` what was ever held, ``bounces`` and
    ``complaints`` what was told of the run's recipients since. ``part`` names the
    instance that keeps this part, "" for a merged case.
    """

    id: str
    sender: str
    opened: float
    part: str = ""
    onset: float = 0.0
    escaped: tuple[int, int] = (0, 0)
    held: tuple[int, int] = (0, 0)
    delivered: tuple[int, int] = (0, 0)
    bounces: int = 0
    complaints: int = 0
    state: State = State.SLOWED
    closed: float = 0.0
    outcome: str = ""
    steps: list[Step] = field(default_factory=list)
    subjects: list[str] = field(default_factory=list)
    domains: Counter[str] = field(default_factory=Counter)
    clients: Counter[str] = field(default_factory=Counter)
    told: list[str] = field(default_factory=list)

    @classmethod
    def open(cls, case_id: str, sender: str, run: Run, at: float, part: str) -> Case:
        """Open a case at the alarm; ``run`` is what had left by then."""
        return cls(
            case_id,
            sender,
            at,
            part,
            onset=run.since or at,
            escaped=(run.messages, run.recipients),
        )

    @property
    def untold(self) -> str:
        """Name of the latest change of state while nobody was told of it, else ""."""
        latest = self.latest
        if latest is None:
            return ""
        step = f"{latest.state}@{latest.at:.0f}"
        return "" if step in self.told else step

    @property
    def by_hand(self) -> Step | None:
        """The operator's word that opened the case, None where evidence did."""
        first = self.steps[0] if self.steps else None
        return first if first and first.event == Event.CONFIRMED else None

    @property
    def latest(self) -> Step | None:
        """The latest step that people are told of."""
        return next((s for s in reversed(self.steps) if s.event in _TOLD), None)

    def moved(self, transition: Transition, by: str = "", reason: str = "") -> None:
        """Add a change of state; a return to normal closes the case."""
        self.note(
            Step(
                transition.at,
                transition.event.value,
                transition.new.value,
                by,
                reason,
                transition.evidence,
            )
        )
        self.state = transition.new
        if transition.new is State.NORMAL:
            self.closed = transition.at
            faded = transition.event in {Event.CALM, Event.LAPSED}
            self.outcome = "faded" if faded else "innocent"

    def note(self, step: Step) -> None:
        """Add a line to the story; the first and the latest lines are kept."""
        self.steps.append(step)
        if len(self.steps) > STEPS:
            del self.steps[1]

    def saw(self, submission: Submission) -> None:
        """Count a held message and keep samples of it."""
        recipients = submission.envelope.recipients
        messages, total = self.held
        self.held = (messages + 1, total + len(recipients))
        subject = submission.subject[:_TEXT]
        if subject and subject not in self.subjects and len(self.subjects) < SAMPLES:
            self.subjects.append(subject)
        for recipient in recipients:
            _count(self.domains, recipient.domain, DOMAINS)
        if submission.client.address:
            _count(self.clients, submission.client.address, CLIENTS)

    def left(self, recipients: int) -> None:
        """Count a held message's recipients as delivered."""
        messages, total = self.delivered
        self.delivered = (messages + 1, total + recipients)

    def encode(self) -> bytes:
        """Return the stored form."""
        data = {
            "id": self.id,
            "sender": self.sender,
            "opened": self.opened,
            "part": self.part,
            "onset": self.onset,
            "escaped": self.escaped,
            "held": self.held,
            "delivered": self.delivered,
            "bounces": self.bounces,
            "complaints": self.complaints,
            "state": self.state.value,
            "closed": self.closed,
            "outcome": self.outcome,
            "steps": [step.to_json() for step in self.steps],
            "subjects": self.subjects,
            "domains": self.domains,
            "clients": self.clients,
            "told": self.told,
        }
        return json.dumps(data, separators=(",", ":"), allow_nan=False).encode()

    @classmethod
    def decode(cls, raw: bytes) -> Case:
        """Rebuild from the stored form. Raises ValueError on anything else."""
        try:
            data = loads(raw)
            case = cls(
                id=name(data["id"]),
                sender=str(data["sender"]),
                opened=moment(data["opened"]),
                part=str(data["part"]),
                onset=moment(data["onset"]),
                escaped=_pair(data["escaped"]),
                held=_pair(data["held"]),
                delivered=_pair(data["delivered"]),
                bounces=int(data.get("bounces", 0)),
                complaints=int(data.get("complaints", 0)),
                state=State(data["state"]),
                closed=moment(data["closed"]),
                outcome=str(data["outcome"]),
                steps=[Step.from_json(step) for step in data["steps"]],
                subjects=[str(s) for s in data["subjects"]],
                domains=_counter(data["domains"]),
                clients=_counter(data["clients"]),
                told=[str(s) for s in data["told"]],
            )
        except (KeyError, TypeError, AttributeError, OverflowError) as error:
            msg = f"a case is not what was stored: {error}"
            raise ValueError(msg) from error
        if not case.id or (case.outcome in OUTCOMES) != bool(case.closed):
            msg = "a case without id, or with an outcome that there is not"
            raise ValueError(msg)
        return case


def merge(parts: Iterable[Case]) -> Case:
    """Return one case out of the parts that several instances keep.

    State and story follow the part that knows the latest step. Raises ValueError
    without parts.
    """
    ordered = sorted(parts, key=lambda case: (case.opened, case.id))
    if not ordered:
        msg = "there is no part of this case"
        raise ValueError(msg)
    latest = max(ordered, key=lambda case: case.steps[-1].at if case.steps else 0.0)
    whole = Case(
        latest.id,
        latest.sender,
        ordered[0].opened,
        # 0 means that this part was not there at the alarm and does not know.
        onset=min((case.onset for case in ordered if case.onset), default=0.0),
        escaped=max(case.escaped for case in ordered),
        state=latest.state,
        closed=latest.closed,
        outcome=latest.outcome,
    )
    seen: set[tuple[float, str]] = set()
    steps = [step for case in ordered for step in case.steps]
    for step in sorted(steps, key=lambda step: step.at):
        if (step.at, step.event) not in seen:
            seen.add((step.at, step.event))
            whole.steps.append(step)
    for case in ordered:
        whole.held = _add(whole.held, case.held)
        whole.delivered = _add(whole.delivered, case.delivered)
        whole.bounces += case.bounces
        whole.complaints += case.complaints
        whole.domains.update(case.domains)
        whole.clients.update(case.clients)
        whole.told = sorted({*whole.told, *case.told})
        fresh = [s for s in case.subjects if s not in whole.subjects]
        whole.subjects.extend(fresh[: SAMPLES - len(whole.subjects)])
    return whole


def _add(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    return a[0] + b[0], a[1] + b[1]


def _pair(data: Any) -> tuple[int, int]:  # noqa: ANN401
    first, second = data
    return int(first), int(second)


def _counter(data: dict[str, Any]) -> Counter[str]:
    return Counter({str(key): int(value) for key, value in data.items()})


def _count(counter: Counter[str], key: str, most: int) -> None:
    """Count a key, unless it is new and the counter is full."""
    if key in counter or len(counter) < most:
        counter[key] += 1
