"""The process ``mailshaper-federation``: exchange, intake, verdicts, upkeep.

One event loop, two connections to the file: the exchange has its own in a thread of
its own, so that a large import delays neither facts nor look-ups. Everything here
may stop at any time: what was begun is done again from what is stored. Redis away,
a full disk or a peer's fault stop their own part and nothing else.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections import Counter
from contextlib import suppress
from importlib.metadata import version
from typing import TYPE_CHECKING

from federation import journal, state
from federation.config import host_port
from federation.exchange import tls
from federation.exchange.joining import Door
from federation.exchange.rounds import Exchange
from federation.link import Link
from federation.metrics import Figures, Listener
from federation.node import Node
from federation.systemd import notify, watchdog_interval
from federation.upkeep import Upkeep

if TYPE_CHECKING:
    from federation.config import Settings

__all__ = ["EX_CONFIG", "EX_OSERR", "Daemon", "run"]

EX_CONFIG, EX_OSERR = 78, 71
_TICK = 1.0
_SETTLE = 900.0  # seconds after which own events no longer wait for a peer

log = logging.getLogger("mailshaper.federation")


def run(settings: Settings) -> int:
    """Serve until a signal comes; return the exit status. Raises NodeError."""
    journal.set_up(settings.log.format, settings.log.level)
    try:
        asyncio.run(Daemon(settings).serve())
    except OSError as error:
        log.error("cannot serve: %s", error)
        return EX_OSERR
    except tls.CertificateError as error:
        log.error("cannot serve: %s", error)
        return EX_CONFIG
    return 0


class Daemon:
    """One run of the node."""

    def __init__(self, settings: Settings) -> None:
        """Open the node. Raises NodeError."""
        self.settings = settings
        self.node = Node(settings)
        self.wire = Node(settings)
        self.figures = Figures()
        door = Door(
            self.wire.replica,
            self.wire.own,
            name=self.node.name_of(self.node.org),
            peppers=lambda: [one.secret for one in self.wire.peppers()],
            settled=self._settled,
        )
        self.exchange = Exchange(
            self.wire.replica,
            self.wire.signer,
            own=self.wire.own,
            url=settings.server.url,
            join=door.answer,
        )
        self.link = Link(self.node, settings.redis, self.figures)
        self.upkeep = Upkeep(self.node, self.wire, self.exchange, self.figures)
        self.metrics = Listener(self.figures, self._unready)
        self._started = time.monotonic()

    def _unready(self) -> Counter[str]:
        return Counter(
            store=int(self.upkeep.failing),
            clock=int(bool(self.exchange.stopped())),
            redis=int(self.link.lost),
        )

    def _settled(self) -> bool:
        """Whether a peer has shown that our own log ends where we think it does."""
        waited = time.monotonic() - self._started
        return self.exchange.settled.is_set() or waited > _SETTLE

    async def serve(self) -> None:
        """Serve until SIGTERM or SIGINT. Raises OSError, CertificateError."""
        server, node = self.settings.server, self.node
        placement = "federation"
        self.figures.set("build_info", 1, placement, version("mailshaper"))
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        tasks: list[asyncio.Task[None]] = []
        try:
            if server.listen:
                certificate, key = node.certificate()
                context = tls.server_context(certificate, key)
                await self.exchange.listen(*host_port(server.listen), context)
            if self.settings.metrics.listen:
                await self.metrics.start(*host_port(self.settings.metrics.listen))
            tasks = [
                asyncio.create_task(work)
                for work in (self.exchange.run(), self._tick(), self.link.run())
            ]
            journal.node_started(node.name_of(node.org), node.net, server.url)
            notify("READY=1")
            waiting = asyncio.create_task(stop.wait())
            done, _ = await asyncio.wait(
                [waiting, *tasks], return_when=asyncio.FIRST_COMPLETED
            )
            waiting.cancel()
            for one in done - {waiting}:
                one.result()  # it ended by itself: a bug, told with its traceback
        finally:
            notify("STOPPING=1")
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.metrics.stop()
            journal.node_stopping(node.name_of(node.org))
            with suppress(OSError):
                state.remove(node.directory)
            node.close()
            self.wire.close()

    async def _tick(self) -> None:
        """Do what is due each second, and tell systemd that we live."""
        interval, told = watchdog_interval(), 0.0
        while True:
            now, settled = int(time.time()), self._settled()
            await asyncio.to_thread(self.upkeep.round, now, settled)
            if interval and time.monotonic() - told >= interval:
                notify("WATCHDOG=1")
                told = time.monotonic()
            await asyncio.sleep(_TICK)
