"""The Prometheus listener: what ``declared`` names, in the daemon's event loop.

``/metrics``: the scrape. ``/healthz``: 200 while the event loop answers. ``/readyz``:
200, or 503 with a line of JSON for each reason. Counters count as things happen;
gauges are what ``Figures`` held when it was last asked, so a scrape costs no query.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiohttp import web
from prometheus_client import ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector, CollectorRegistry

from federation.declared import ALL

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterable, Mapping

    from prometheus_client import Metric

__all__ = ["Figures", "Listener"]

_P = "mailshaper_federation_"
Values = dict[tuple[str, ...], float]


@dataclass(slots=True)
class Figures:
    """The values by metric (without its prefix) and labels."""

    values: dict[str, Values] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # A rate cannot see the first increment of a counter that was not there.
        for name, labels in (
            ("lines_total", ("ok", "dup", "parked", "bad-form", "bad-sig", "quota")),
            ("sessions_total", ("done", "failed")),
            ("published_total", ("rcpt.hard", "rcpt.soft", "rcpt.ok", "send.blocked")),
            ("facts_total", ("taken", "refused")),
        ):
            self.values[name] = {(label,): 0.0 for label in labels}

    def set(self, name: str, value: float, *labels: str) -> None:
        """Set one value."""
        self.values.setdefault(name, {})[labels] = float(value)

    def count(self, name: str, counts: Mapping[str, int]) -> None:
        """Add to a counter by its one label."""
        mine = self.values.setdefault(name, {})
        for label, number in counts.items():
            mine[label,] = mine.get((label,), 0.0) + number

    def replace(self, name: str, counts: Mapping[str, float]) -> None:
        """Set a gauge by its one label; other labels are gone."""
        self.values[name] = {(label,): float(one) for label, one in counts.items()}


class _Declared(Collector):
    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterable[Metric]:
        for one in ALL:
            values = self._figures.values.get(one.name.removeprefix(_P))
            if not values:
                continue
            made: CounterMetricFamily | GaugeMetricFamily
            if one.kind == "counter":
                name = one.name.removesuffix("_total")
                made = CounterMetricFamily(name, one.help, labels=one.labels)
            else:
                made = GaugeMetricFamily(one.name, one.help, labels=one.labels)
            for labels, value in values.items():
                made.add_metric(list(labels), value)
            yield made


class Listener:
    """Serves the figures from ``start`` to ``stop``."""

    def __init__(self, figures: Figures, reasons: Callable[[], Counter[str]]) -> None:
        """``reasons`` are why the node is not ready: reason -> anything but 0."""
        self._registry = CollectorRegistry()
        self._registry.register(_Declared(figures))
        ProcessCollector(registry=self._registry)
        self._reasons = reasons
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, port: int) -> None:
        """Listen. Raises OSError."""
        app = web.Application()
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _metrics(self, _: web.Request) -> web.Response:
        text = generate_latest(self._registry)
        kind = "text/plain; version=0.0.4; charset=utf-8"
        return web.Response(body=text, headers={"Content-Type": kind})

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        found = sorted(reason for reason, count in self._reasons().items() if count)
        lines = "".join(json.dumps({"reason": one}) + "\n" for one in found)
        return web.Response(
            status=503 if found else 200,
            text=lines,
            content_type="application/x-ndjson",
        )
