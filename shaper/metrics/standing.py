"""What stands in the engine at the moment of a scrape.

``Standing.read`` runs in the event loop, where nothing changes under its hands;
long lists are walked in pieces, so that ten thousand held messages delay no
decision by more than a millisecond. ``Gauges`` turns the values into samples and may
be asked from any thread. Parts that exist only with some settings (followed logs,
the webhook) add a source of their own and are absent without it.
"""

from __future__ import annotations

import asyncio
import platform
import time
from collections import Counter
from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily

from shaper.core.ports import StateUnavailableError
from shaper.core.state import State
from shaper.metrics.declared import ALL, QUEUES, REASONS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from shaper.core.message import HeldMessage
    from shaper.engine.assembly import Engine
    from shaper.spool.spool import FileSpool

__all__ = ["Gauges", "Standing", "Values"]

Labels = tuple[str, ...]
Values = dict[str, dict[Labels, float]]

_PIECE = 1000  # entries walked between two turns of the loop
_NORMAL = State.NORMAL.value


class Standing:
    """Reads this instance. Before ``attach`` it is being restored."""

    def __init__(
        self,
        version: str,
        placement: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``reachable`` may be set: whether the next hop takes connections now."""
        self._clock = clock
        self._build = (version, platform.python_version(), placement)
        self._placement = placement
        self.reachable: Callable[[], Awaitable[bool]] | None = None
        self._sources: dict[str, Callable[[], Mapping[str, float]]] = {}
        self._engine: Engine | None = None
        self._spool: FileSpool | None = None

    def attach(self, engine: Engine, spool: FileSpool) -> None:
        """Begin to report an engine that is restored and serves."""
        self._spool = spool
        self._engine = engine

    def add(self, name: str, source: Callable[[], Mapping[str, float]]) -> None:
        """Report a declared gauge from a source: label (or "") to value."""
        declared = {one.name for one in ALL if one.kind == "gauge"}
        if name not in declared:
            raise ValueError(f"{name} is not declared")
        self._sources[name] = source

    async def read(self) -> Values:
        """Return all values of now, by name and labels."""
        values: Values = {"mailshaper_build_info": {self._build: 1.0}}
        reasons = await self.reasons()
        values["mailshaper_unready"] = {
            (reason,): float(reason in reasons) for reason in REASONS
        }
        engine, spool = self._engine, self._spool
        if engine is None or spool is None:
            return values
        await self._senders(engine, values)
        await self._held(engine, values)
        _cases(engine, values)
        self._spooled(spool, values)
        await self._redis(engine, values)
        enforcing = engine.context.enforce and self._placement == "hop"
        suppressed = len(engine.suppression.index)
        values["mailshaper_suppressed_recipients"] = {(): float(suppressed)}
        values["mailshaper_enforcing"] = {(): float(enforcing)}
        for name, source in self._sources.items():
            values[name] = {
                (label,) if label else (): value for label, value in source().items()
            }
        return values

    async def reasons(self) -> dict[str, str]:
        """Return why this instance should get no mail, as sentences."""
        engine, spool = self._engine, self._spool
        if engine is None or spool is None:
            return {"restoring": "journal and spool are being read"}
        reasons: dict[str, str] = {}
        if engine.senders.unavailable_since:
            away = self._clock() - engine.senders.unavailable_since
            reasons["redis"] = f"Redis is away since {away:.0f} s"
        if full := spool.full():
            reasons["spool"] = full
        if self.reachable is not None and not await self.reachable():
            reasons["next_hop"] = "the next hop takes no connection"
        return reasons

    async def _senders(self, engine: Engine, values: Values) -> None:
        states: Counter[str] = Counter()
        waiting, oldest = 0, 0.0
        now = self._clock()
        for count, line in enumerate(list(engine.senders.known.values()), 1):
            state = line["state"]
            if state != _NORMAL:
                states[state] += 1
                if state == State.BLOCKED.value and not line.get("confirmed"):
                    waiting += 1
                    oldest = max(oldest, now - float(line["since"]))
            if count % _PIECE == 0:
                await asyncio.sleep(0)
        values["mailshaper_senders"] = {
            (state.value,): float(states[state.value])
            for state in (State.SLOWED, State.BLOCKED)
        }
        values["mailshaper_review_waiting_senders"] = {(): float(waiting)}
        values["mailshaper_review_oldest_age_seconds"] = {(): oldest}

    async def _held(self, engine: Engine, values: Values) -> None:
        messages = dict.fromkeys(QUEUES, 0)
        octets = dict.fromkeys(QUEUES, 0)
        oldest: dict[str, float] = {}
        known = engine.senders.known
        for count, message in enumerate(list(engine.held.all()), 1):
            queue = _queue(message, known)
            messages[queue] += 1
            octets[queue] += message.size
            received = message.submission.received
            if received < oldest.get(queue, received + 1):
                oldest[queue] = received
            if count % _PIECE == 0:
                await asyncio.sleep(0)
        now = self._clock()
        values["mailshaper_held_messages"] = {(q,): float(messages[q]) for q in QUEUES}
        values["mailshaper_held_bytes"] = {(q,): float(octets[q]) for q in QUEUES}
        values["mailshaper_held_oldest_age_seconds"] = {
            (q,): max(now - oldest.get(q, now), 0.0) for q in QUEUES
        }

    def _spooled(self, spool: FileSpool, values: Values) -> None:
        limits = spool.limits
        for name, value in (
            ("free_bytes", spool.free()),
            ("reserved_bytes", limits.free),
            ("limit_bytes", limits.octets),
            ("limit_messages", limits.messages),
            ("corrupt_files", len(spool.corrupt())),
        ):
            values[f"mailshaper_spool_{name}"] = {(): float(value)}

    async def _redis(self, engine: Engine, values: Values) -> None:
        begun = time.perf_counter()
        try:
            await engine.context.ledger.get_login("\0scrape")  # no queue id has a NUL
        except StateUnavailableError:
            values["mailshaper_redis_up"] = {(): 0.0}
            return
        took = time.perf_counter() - begun
        values["mailshaper_redis_latency_seconds"] = {(): took}
        # Up is what the engine believes: its record may still wait to be stored.
        values["mailshaper_redis_up"] = {
            (): 0.0 if engine.senders.unavailable_since else 1.0
        }


class Gauges:
    """A collector over values that were read (prometheus-client's protocol)."""

    def __init__(self) -> None:
        """Start with nothing to tell."""
        self.values: Values = {}

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield a family for each declared gauge that has values."""
        values = self.values
        for one in ALL:
            if one.kind == "gauge" and one.name in values:
                family = GaugeMetricFamily(one.name, one.help, labels=one.labels)
                for labels, value in values[one.name].items():
                    family.add_metric(labels, value)
                yield family


def _queue(message: HeldMessage, known: Mapping[str, Mapping[str, object]]) -> str:
    if message.notice:
        return "notice"
    if message.order or not message.waiting:
        return "released"
    standing = known.get(message.submission.sender)
    state = standing["state"] if standing else _NORMAL
    if state == State.BLOCKED.value:
        return "blocked"
    return "trickle" if state == State.SLOWED.value else "released"


def _cases(engine: Engine, values: Values) -> None:
    cases = [case for case in engine.casebook.all() if not case.closed]
    states = Counter(case.state for case in cases)
    values["mailshaper_cases_open"] = {
        (state.value,): float(states[state]) for state in (State.SLOWED, State.BLOCKED)
    }
    owed = sum(bool(case.untold) for case in engine.casebook.all())
    values["mailshaper_notices_owed"] = {(): float(owed)}
