"""What a running node does by itself, second by second: publish, audit, expire, tell.

Called in a thread with the time; writes to the database, the journal, the figures
and the state file. A full disk is told once and tried again; a forked own log stops
publishing and nothing else.
"""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

from federation import journal, state, views
from federation.exchange.skew import WARN
from federation.format.errors import Refused
from federation.format.profile import b64
from federation.log import housekeeping
from federation.log.database import StoreFull
from federation.trust.levels import Level

if TYPE_CHECKING:
    from federation.exchange.rounds import Exchange
    from federation.metrics import Figures
    from federation.node import Node

__all__ = ["Upkeep"]

_REFUSALS = frozenset({"ok", "dup", "parked"})
_FULL = "this host's disk is full"
_WATCH, _MEASURE, _MINUTE, _AUDIT = 10, 10, 60, 300  # seconds between two


class Upkeep:
    """Rounds of regular work. ``failing``: the database cannot be written."""

    def __init__(
        self, node: Node, wire: Node, exchange: Exchange, figures: Figures
    ) -> None:
        """``wire`` is the exchange's own view of the same node."""
        self.failing = False
        self._node = node
        self._wire = wire
        self._exchange = exchange
        self._figures = figures
        self._due: dict[str, int] = {}
        self._orgs: set[bytes] | None = None
        self._forks: set[tuple[str, str, int, int]] | None = None
        self._troubled: set[bytes] = set()
        self._tried: dict[bytes, int] = {}
        self._failed = 0
        self._told: Counter[str] = Counter()
        self._clock_off = False
        self._open = False
        self._own_trouble = ""
        self._settled = False

    def round(self, now: int, settled: bool) -> None:  # noqa: FBT001
        """Do what is due. ``settled``: own events may be written."""
        if settled != self._settled:
            self._settled = settled
            self._due.pop("measure", None)  # commands wait for it
        try:
            # Events dated by a wrong clock would be taken by nobody, for as long.
            if settled and not self._exchange.stopped():
                self._publish(now)
            if self._is_due("watch", now, _WATCH):
                self._watch(now)
            if self._is_due("minute", now, _MINUTE):
                self._minute(now)
            if self.failing:
                self._node.store.set_meta("written", now)
                self._failing(problem="")
        except StoreFull as error:
            self._failing(problem=str(error))
        if self._is_due("measure", now, _MEASURE):
            self._measure(now)

    def _is_due(self, name: str, now: int, every: int) -> bool:
        # A clock that went back makes everything due.
        if self._due.get(name, 0) - every <= now < self._due.get(name, 0):
            return False
        self._due[name] = now + every
        return True

    def _failing(self, problem: str) -> None:
        if bool(problem) != self.failing:
            if problem:
                journal.store_failed(problem)
            else:
                journal.store_back()
        self.failing = bool(problem)

    # -- writing

    def _publish(self, now: int) -> None:
        """Write own events that are due, and what proves forks."""
        try:
            self._figures.count("published_total", self._node.intake.emit(now))
            proofs = self._node.own.publish_proofs(now)
            if proofs:
                self._figures.count("published_total", {"proof.fork": len(proofs)})
            self._own_trouble = ""
        except Refused as error:
            # The own log is forked: only the operator can go on (reopen).
            if str(error) != self._own_trouble:
                self._own_trouble = str(error)
                journal.publishing_stopped(error.why)

    def _watch(self, now: int) -> None:
        judge = self._node.judge
        audited = self._is_due("audit", now, _AUDIT)
        for change in judge.audit(now) if audited else judge.watch(now):
            name = self._node.name_of(change.org)
            journal.weight_lowered(name, change.share, change.why or "restored")
        is_open = not judge.rules(now).remote
        if is_open != self._open:
            self._open = is_open
            if is_open:
                journal.breaker_opened(judge.breaker_until)
            else:
                journal.breaker_closed()

    def _minute(self, now: int) -> None:
        store = self._node.store
        erased = housekeeping.erase(store)
        expired = 0
        if not self._exchange.stopped():
            self._node.admission.retry(now)
            expired = housekeeping.expire(store, now)
            with store.writing():
                self._node.evidence.prune(now)
        if erased or expired:
            journal.events_ended(expired, erased)
        counts = self._wire.admission.counts
        for code, count in sorted(counts.items()):
            if code not in _REFUSALS and count > self._told[code]:
                journal.lines_refused(code, count - self._told[code])
        self._told = Counter(counts)

    # -- looking

    def _measure(self, now: int) -> None:
        """Read what stands, into figures, journal and state file."""
        node, figures = self._node, self._figures
        found = views.status(node, {}, now)
        figures.replace("events", found["events"])
        levels = dict.fromkeys(map(str, Level), 0) | found["organisations"]
        figures.replace("organisations", levels)
        own = sum(one["level"] == "self" for one in found["forks"])
        figures.replace("forks", {"own": own, "others": len(found["forks"]) - own})
        figures.set("parked_lines", found["parked"])
        figures.set("database_bytes", found["bytes"])
        with suppress(OSError):
            figures.set("disk_free_bytes", shutil.disk_usage(node.directory).free)
        figures.set("breaker_open", not found["remote_counts"])
        figures.set("stopped_recipients", len(node.evidence.stops(now - 3600)))
        hit = len(node.judge.hit)
        figures.replace(
            "lowered_organisations",
            {"canary": hit, "contradicted": max(0, len(found["lowered"]) - hit)},
        )
        figures.replace("lines_total", self._lines())
        self._tell_forks()
        self._tell_organisations()
        self._peers(now)
        figures.set("store_failing", self.failing)

    def _lines(self) -> dict[str, float]:
        zero = self._figures.values["lines_total"]
        known = {code: 0.0 for (code,) in zero}
        return known | {k: float(n) for k, n in self._wire.admission.counts.items()}

    def _tell_forks(self) -> None:
        found = {
            (one["name"], one["stream"], one["incarnation"], one["seq"])
            for one in views.forks(self._node)
        }
        for one in sorted(found - (self._forks or set()), key=str):
            if self._forks is not None:
                journal.log_forked(*one)
        self._forks = found

    def _tell_organisations(self) -> None:
        found = set(self._node.orgs())
        for org in sorted(found - (self._orgs or set())):
            if self._orgs is not None:
                journal.organisation_new(b64(org), self._node.name_of(org))
        self._orgs = found

    def _peers(self, now: int) -> None:
        ages: dict[str, float] = {}
        missing = sessions = 0
        full = False
        for peer in self._node.store.peers():
            met = self._exchange.peers.get(peer.org)
            name = self._node.name_of(peer.org)
            seen = met.seen if met else 0
            ages[name] = max(0, now - (seen or peer.added))
            if met is None:
                continue
            missing = max(missing, met.behind)
            sessions += met.sessions
            full |= met.problem.startswith(_FULL)
            if met.tried != self._tried.get(peer.org) and met.problem:
                self._failed += 1
            self._tried[peer.org] = met.tried
            if met.problem and peer.org not in self._troubled:
                journal.peer_lost(name, met.problem)
                self._troubled.add(peer.org)
            elif not met.problem and peer.org in self._troubled:
                journal.peer_back(name)
                self._troubled.discard(peer.org)
        if full:
            self._failing(problem=_FULL)
        offset = -self._exchange.skew.offset(time.monotonic())
        off = abs(offset) > WARN
        if off != self._clock_off:
            self._clock_off = off
            (journal.clock_off if off else journal.clock_right)(offset)
        figures = self._figures
        figures.replace("peer_age_seconds", ages)
        figures.replace("sessions_total", {"done": sessions, "failed": self._failed})
        figures.set("missing_events", missing)
        figures.set("clock_offset_seconds", offset)
        met_any = any(one.seen for one in self._exchange.peers.values())
        with suppress(OSError):
            state.write(
                self._node.directory,
                {
                    "at": now,
                    "pid": os.getpid(),
                    "missing": missing,
                    "clock": offset if met_any else None,
                    "settled": self._settled,
                    "stopped": self._exchange.stopped(),
                    "publishing": self._own_trouble,
                },
            )
