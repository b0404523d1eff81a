"""Counts events: decisions, changes of state, outcomes, replies, notices.

Called on the path of every message, so children of labels that are known before
are looked up once. prometheus-client's values are safe to read from the thread
that serves the scrape.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram

from shaper.core.message import Action, RecipientFate
from shaper.core.model import BUCKETS
from shaper.core.outcome import Meaning
from shaper.core.receivers import OTHER, group
from shaper.core.reply import Phase
from shaper.core.state import TRANSITIONS, Event
from shaper.engine.gate import Watcher
from shaper.metrics.declared import ALL

if TYPE_CHECKING:
    from shaper.core.judgement import Judgement, Transition
    from shaper.core.message import Decision, HeldMessage, Submission
    from shaper.core.outcome import Outcome
    from shaper.core.reply import Reply

__all__ = ["Metrics"]

_RESULTS = ("sent", "failed")


class Metrics(Watcher):
    """Counts what the engine, the forwarder and the policy listener do."""

    def __init__(self, registry: CollectorRegistry, placement: str = "hop") -> None:
        """Make every declared counter and histogram in ``registry``."""
        counters: dict[str, Counter] = {}
        histograms: dict[str, Histogram] = {}
        for one in ALL:
            name = one.name.removeprefix("mailshaper_")
            if one.kind == "counter":
                counters[name.removesuffix("_total")] = Counter(
                    one.name, one.help, one.labels, registry=registry
                )
            elif one.kind == "histogram":
                histograms[name] = Histogram(
                    one.name,
                    one.help,
                    one.labels,
                    buckets=one.buckets,
                    registry=registry,
                )
        self._count = counters
        self.decision = histograms["decision_duration_seconds"]
        self.forward = histograms["forward_duration_seconds"]
        self._evidence = histograms["evidence_ratio"]
        self._at_alarm = histograms["alarm_evidence_ratio"]
        self._actions = {
            action: (
                counters["messages"].labels(action.value, placement),
                counters["recipients"].labels(action.value, placement),
            )
            for action in Action
        }
        self._classes = {
            digit: counters["next_hop_replies"].labels(f"{digit}xx")
            for digit in (2, 3, 4, 5)
        }
        self._start_at_zero()
        self._policy = counters["policy_requests"]
        self._hits = counters["suppression_hits"]

    def _start_at_zero(self) -> None:
        """Make the children whose labels are known beforehand.

        A rate cannot see the first increment of a counter that was not there.
        """
        for name, labels in (
            ("held_recipients", [(f,) for f in RecipientFate if f != "waiting"]),
            (
                "transitions",
                [(e, s) for row in TRANSITIONS.values() for e, s in row.items()],
            ),
            ("releases", [("trickle",), ("released",), ("notice",)]),
            ("allowances", [("exemption",), ("plan",)]),
            ("outcomes", [(meaning, OTHER) for meaning in Meaning]),
            ("next_hop_errors", [(phase,) for phase in Phase]),
            ("alarms", [*((bucket.name,) for bucket in BUCKETS), ("bounces",)]),
            ("foreign_recipients", [("refused",), ("probe",), ("spared",)]),
            ("notices", [(c, r) for c in ("mail", "webhook") for r in _RESULTS]),
        ):
            for values in labels:
                self._count[name].labels(*values)

    # -- what the engine tells (Watcher)

    def judged(self, submission: Submission, judgement: Judgement) -> None:
        """Count a decision."""
        messages, recipients = self._actions[judgement.action]
        messages.inc()
        recipients.inc(len(submission.envelope.recipients))
        if judgement.allowance:
            self._count["allowances"].labels(judgement.allowance).inc()
        if judgement.weighed:
            evidence = judgement.evidence
            self._evidence.observe(evidence.total / max(evidence.limits[1], 1e-9))

    def decided(
        self, submission: Submission, decision: Decision, seconds: float
    ) -> None:
        """Note how long it took; count what was not taken for now."""
        if seconds:  # 0 in placement watch, where nobody waited
            self.decision.observe(seconds)
        reply = decision.reply
        if reply is None or reply.positive:
            return
        messages, recipients = self._actions[Action.ANSWER]
        messages.inc()
        recipients.inc(len(submission.envelope.recipients))

    def moved(self, sender: str, case_id: str, transition: Transition) -> None:
        """Count a change of state."""
        del sender, case_id
        self._count["transitions"].labels(
            transition.event.value, transition.new.value
        ).inc()
        if transition.event is Event.ALARM:
            evidence = transition.evidence
            self._count["alarms"].labels(evidence.main).inc()
            self._at_alarm.observe(evidence.total / max(evidence.limits[1], 1e-9))

    def finished(self, message: HeldMessage) -> None:
        """Count the fates of a held message, and its release."""
        fates = self._count["held_recipients"]
        if message.notice:
            queue = "notice"
        else:
            queue = "released" if message.order else "trickle"
            for fate in message.fates.values():
                fates.labels(fate.value).inc()
        if RecipientFate.DELIVERED in message.fates.values():
            self._count["releases"].labels(queue).inc()

    def outcome(self, outcome: Outcome, sender: str) -> None:
        """Count what became of a recipient."""
        del sender
        where = group(outcome.recipient, outcome.remote_mta)
        self._count["outcomes"].labels(outcome.meaning.value, where).inc()

    def suppressed(self, sender: str) -> None:
        """Count a recipient that was refused because it is suppressed."""
        del sender
        self._hits.inc()

    def foreign(self, action: str) -> None:
        """Count a recipient that trusted hosts call dead or doubtful."""
        self._count["foreign_recipients"].labels(action).inc()

    # -- what others tell

    def replied(self, reply: Reply, seconds: float) -> None:
        """Count the end of a transaction at the next hop."""
        if reply.synthetic:
            self._count["next_hop_errors"].labels(reply.phase.value).inc()
            return
        self.forward.observe(seconds)
        if child := self._classes.get(reply.code // 100):
            child.inc()

    def policy(self) -> None:
        """Count a login that the policy listener learned."""
        self._policy.inc()

    def notified(self, channel: str, *, sent: bool) -> None:
        """Count a notice; ``channel`` is ``mail`` or ``webhook``."""
        result = "sent" if sent else "failed"
        self._count["notices"].labels(channel, result).inc()
