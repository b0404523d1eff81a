"""The metrics of this instance, and nothing but metrics.

Names, help and labels stand here, once. Labels are bounded: an action, a state,
an event, a part of the detector; never an address. Gauges are read from the
engine at scrape time, so they cannot drift from what they describe.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily

from shaper.core.message import Action
from shaper.core.state import State
from shaper.engine.gate import Watcher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from shaper.core.judgement import Judgement, Transition
    from shaper.core.message import HeldMessage, Submission
    from shaper.core.reply import Reply
    from shaper.engine.assembly import Engine

__all__ = ["EngineGauges", "Metrics"]


class Metrics(Watcher):
    """Counts what the engine does."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Declare every counter in ``registry``."""
        self.messages = Counter(
            "mailshaper_messages_total",
            "Messages judged, by what was done with them.",
            ["action"],
            registry=registry,
        )
        self.recipients = Counter(
            "mailshaper_recipients_total",
            "Recipients of judged messages, by what was done with the message.",
            ["action"],
            registry=registry,
        )
        self.allowances = Counter(
            "mailshaper_allowances_total",
            "Messages that an operator's allowance let pass unjudged.",
            ["allowance"],
            registry=registry,
        )
        self.transitions = Counter(
            "mailshaper_transitions_total",
            "Changes of a sender's state, by event and new state.",
            ["event", "state"],
            registry=registry,
        )
        self.alarms = Counter(
            "mailshaper_alarms_total",
            "Alarms, by the part of the evidence that weighed most.",
            ["part"],
            registry=registry,
        )
        self.answers = Counter(
            "mailshaper_next_hop_replies_total",
            "Final replies of the next hop to passing messages, by first digit.",
            ["class"],
            registry=registry,
        )
        self.fates = Counter(
            "mailshaper_held_recipients_total",
            "Recipients of held messages that wait no more, by fate.",
            ["fate"],
            registry=registry,
        )
        self.evidence = Histogram(
            "mailshaper_evidence_ratio",
            "Evidence of judged messages as a share of the slow limit.",
            buckets=(0.01, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0),
            registry=registry,
        )
        # Looking a label up costs more than counting, and every message counts.
        self._by_action = {
            action: (self.messages.labels(action), self.recipients.labels(action))
            for action in (Action.PASS, Action.HOLD)
        }
        self._answered = {d: self.answers.labels(f"{d}xx") for d in (2, 3, 4, 5)}

    def judged(self, submission: Submission, judgement: Judgement) -> None:
        """Count a decision."""
        messages, recipients = self._by_action[judgement.action]
        messages.inc()
        recipients.inc(len(submission.envelope.recipients))
        if judgement.allowance:
            self.allowances.labels(judgement.allowance).inc()
        if judgement.weighed:
            evidence = judgement.evidence
            self.evidence.observe(evidence.total / max(evidence.limits[1], 1e-9))

    def moved(self, sender: str, case_id: str, transition: Transition) -> None:
        """Count a change of state."""
        del sender, case_id
        self.transitions.labels(transition.event.value, transition.new.value).inc()
        if transition.old is State.NORMAL:
            self.alarms.labels(transition.evidence.main).inc()

    def answered(self, submission: Submission, end: Reply) -> None:
        """Count the next hop's answer."""
        del submission
        self._answered[end.code // 100].inc()

    def finished(self, message: HeldMessage) -> None:
        """Count the fates of a held message."""
        for fate in message.fates.values():
            self.fates.labels(fate.value).inc()


class EngineGauges:
    """A collector of what stands in the engine at the moment of the scrape."""

    def __init__(self, engine: Engine, clock: Callable[[], float]) -> None:
        """``clock`` gives Unix time, for ages."""
        self._engine = engine
        self._clock = clock

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges (prometheus-client's collector protocol)."""
        engine = self._engine
        states = GaugeMetricFamily(
            "mailshaper_senders",
            "Senders that are not normal, by state.",
            labels=["state"],
        )
        for state in (State.SLOWED, State.BLOCKED):
            states.add_metric([state.value], len(engine.senders.names(state.value)))
        yield states
        held = [message for message in list(engine.held.all()) if not message.notice]
        yield GaugeMetricFamily(
            "mailshaper_held_messages", "Messages in the spool.", value=len(held)
        )
        yield GaugeMetricFamily(
            "mailshaper_held_bytes",
            "Octets of the messages in the spool.",
            value=engine.held.bytes,
        )
        oldest = min((m.submission.received for m in held), default=None)
        yield GaugeMetricFamily(
            "mailshaper_held_oldest_age_seconds",
            "Age of the oldest message in the spool, 0 without any.",
            value=0.0 if oldest is None else max(self._clock() - oldest, 0.0),
        )
        yield GaugeMetricFamily(
            "mailshaper_open_cases",
            "Cases that wait for an end.",
            value=sum(not case.closed for case in engine.casebook.all()),
        )
        yield GaugeMetricFamily(
            "mailshaper_redis_up",
            "1 while Redis answers, 0 while the engine works from memory.",
            value=0.0 if engine.senders.unavailable_since else 1.0,
        )
