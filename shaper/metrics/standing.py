"""What stands in the engine at the moment of a scrape.

``Standing.read`` runs in the event loop, where nothing changes under its hands;
long lists are walked in pieces, so that ten thousand held messages delay no
decision by more than a millisecond. ``Gauges`` turns the values into samples and may
be asked from any thread. Parts that exist only with some settings (followed logs,
the webhook) add a source of their own and are absent without it.
"""

from __future__ import annotations

import asyncio
import math
import platform
import time
from collections import Counter
from operator import itemgetter
from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily

from shaper.core.ports import StateUnavailableError
from shaper.core.state import State
from shaper.metrics.declared import ALL, QUEUES, REASONS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from shaper.core.message import HeldMessage
    from shaper.engine.assembly import Engine
    from shaper.engine.heldmail import Lane
    from shaper.spool.spool import FileSpool

__all__ = ["Gauges", "Standing", "Values"]

Labels = tuple[str, ...]
Values = dict[str, dict[Labels, float]]

_PIECE = 1000  # entries walked between two turns of the loop
_SLOWED, _BLOCKED = State.SLOWED.value, State.BLOCKED.value
_STATE = itemgetter("state")


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
        enforcing = engine.context.enforce and self._placement != "watch"
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
        lines = list(engine.senders.known.values())
        states: Counter[str] = Counter()
        since: list[float] = []
        for at in range(0, len(lines), _PIECE):
            piece = lines[at : at + _PIECE]
            found = Counter(map(_STATE, piece))
            states += found
            if found[_BLOCKED]:
                since += [
                    float(line["since"])
                    for line in piece
                    if line["state"] == _BLOCKED and not line.get("confirmed")
                ]
            await asyncio.sleep(0)
        values["mailshaper_senders"] = {
            (state,): float(states[state]) for state in (_SLOWED, _BLOCKED)
        }
        oldest = max(self._clock() - min(since), 0.0) if since else 0.0
        values["mailshaper_review_waiting_senders"] = {(): float(len(since))}
        values["mailshaper_review_oldest_age_seconds"] = {(): oldest}

    async def _held(self, engine: Engine, values: Values) -> None:
        tally = {queue: _Tally() for queue in QUEUES}
        known = engine.senders.known
        walked = 0
        for lane in engine.held.lanes():
            of_lane = tally[_queue(lane, known)]
            for message in engine.held.in_lane(lane):
                # Mail of others that only has its end to be told is on its way out.
                ours = lane.kind != "notice" or message.notice
                (of_lane if ours else tally["released"]).add(message)
                walked += 1
            if walked >= _PIECE:
                walked = 0
                await asyncio.sleep(0)
        now = self._clock()
        values["mailshaper_held_messages"] = {
            (queue,): float(own.messages) for queue, own in tally.items()
        }
        values["mailshaper_held_bytes"] = {
            (queue,): float(own.octets) for queue, own in tally.items()
        }
        values["mailshaper_held_oldest_age_seconds"] = {
            (queue,): max(now - own.oldest, 0.0) if own.messages else 0.0
            for queue, own in tally.items()
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


class _Tally:
    """What one queue holds."""

    __slots__ = ("messages", "octets", "oldest")

    def __init__(self) -> None:
        self.messages = self.octets = 0
        self.oldest = math.inf

    def add(self, message: HeldMessage) -> None:
        self.messages += 1
        self.octets += message.size
        received = message.submission.received
        if received < self.oldest:  # noqa: PLR1730 - min() takes twice as long
            self.oldest = received


def _queue(lane: Lane, known: Mapping[str, Mapping[str, object]]) -> str:
    if lane.kind == "notice":
        return "notice"
    standing = known.get(lane.name) if lane.kind == "state" else None
    state = standing["state"] if standing else ""
    if state == _BLOCKED:
        return "blocked"
    return "trickle" if state == _SLOWED else "released"


def _cases(engine: Engine, values: Values) -> None:
    cases = [case for case in engine.casebook.all() if not case.closed]
    states = Counter(case.state for case in cases)
    values["mailshaper_cases_open"] = {
        (state.value,): float(states[state]) for state in (State.SLOWED, State.BLOCKED)
    }
    owed = sum(bool(case.untold) for case in engine.casebook.all())
    owed += len(engine.outbox.owed())
    values["mailshaper_notices_owed"] = {(): float(owed)}
