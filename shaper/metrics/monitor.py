"""Puts the metrics of one daemon together: registry, listener, hooks.

The daemon makes it first, so that probes are answered while the spool is being read,
hands its hooks to the other parts, and calls ``attach`` once the engine serves.
"""

from __future__ import annotations

import logging
from importlib.metadata import version
from typing import TYPE_CHECKING, Self

from prometheus_client import (
    CollectorRegistry,
    ProcessCollector,
    disable_created_metrics,
)

from shaper.addresses import split_address
from shaper.core.receivers import GROUPS, OTHER
from shaper.metrics.counting import Metrics
from shaper.metrics.hop import HopWatch
from shaper.metrics.listener import Listener
from shaper.metrics.standing import Gauges, Standing

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from shaper.config import Settings
    from shaper.engine.assembly import Engine
    from shaper.feedback_service import Feedback
    from shaper.smtp.forward import NextHop
    from shaper.spool.spool import FileSpool

__all__ = ["Monitor"]

log = logging.getLogger(__name__)


class Monitor:
    """An async context that serves ``metrics.listen`` while it is open."""

    def __init__(self, settings: Settings) -> None:
        """Make every metric; nothing listens yet."""
        # Twice the samples, and nobody asks for them.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        placement = settings.daemon.placement
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry, placement)
        self.standing = Standing(version("mailshaper"), placement)
        self._gauges = Gauges()
        self.registry.register(self._gauges)
        ProcessCollector(registry=self.registry)
        self._address = settings.metrics.listen
        self._listener: Listener | None = None

    def follow(self, hop: NextHop) -> None:
        """Hear of every transaction at the next hop."""
        watch = HopWatch(lambda: hop.settings, self.metrics.replied)
        hop.on_end = watch.ended
        self.standing.reachable = watch.reachable

    def attach(self, engine: Engine, spool: FileSpool, model: Path) -> None:
        """Report an engine that serves; ``model`` is where refits are kept."""
        self.standing.attach(engine, spool)
        self.standing.add(
            "mailshaper_receiver_troubles",
            lambda: {
                one.receiver if one.receiver in GROUPS else OTHER: 1.0
                for one in engine.receivers.open()
            },
        )
        self.standing.add(
            "mailshaper_host_alarm", lambda: {"": float(engine.host.alarmed)}
        )
        self.standing.add(
            "mailshaper_host_evidence_ratio", lambda: {"": engine.host.ratio}
        )
        self.standing.add(
            "mailshaper_foreign_present", lambda: {"": float(engine.foreign.live)}
        )
        self.standing.add("mailshaper_friend_recipients", engine.friends.sent)
        self.standing.add(
            "mailshaper_friend_quota", lambda: dict(engine.friends.quotas)
        )
        self.standing.add(
            "mailshaper_baseline_refit_timestamp_seconds", lambda: {"": _written(model)}
        )

    def follow_logs(self, feedback: Feedback) -> None:
        """Report how each followed log is; without any there is nothing to report."""
        self.standing.add(
            "mailshaper_log_lag_bytes",
            lambda: {one.name: float(one.lag) for one in feedback.sources()},
        )
        self.standing.add(
            "mailshaper_log_unreadable",
            lambda: {one.name: float(bool(one.trouble)) for one in feedback.sources()},
        )

    async def __aenter__(self) -> Self:
        """Listen. Raises OSError that names the address."""
        if self._address:
            host, port = split_address(self._address)
            try:
                self._listener = Listener(
                    host, port, self.registry, self.standing, self._gauges
                )
            except OSError as error:
                raise OSError(
                    error.errno,
                    f"cannot listen on {self._address}: {error.strerror}",
                ) from error
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop listening."""
        if self._listener is not None:
            await self._listener.close()


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
