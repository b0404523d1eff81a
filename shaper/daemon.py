"""The daemon: puts adapters and engine together, and takes them apart again.

Order of starting: what must not be lost first (journal, spool), then Redis,
then the engine restored from both, and only then the sockets. Stopping goes the
other way: no new connections, open ones end, attempts under way end, what may
be written late is written. SIGHUP reads the configuration again without
dropping a connection; keys that need a restart are named in the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import time
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from shaper import journal, observation, policing, suppressing, systemd, wiring
from shaper.admin import AdminServer
from shaper.admin_friends import friend_commands
from shaper.admin_intake import intake_commands
from shaper.admin_learn import learn_commands
from shaper.admin_proofs import proof_commands
from shaper.admin_receivers import receiver_commands
from shaper.admin_route import route_commands
from shaper.admin_suppress import suppress_commands
from shaper.audit import AuditJournal
from shaper.config import ConfigError, Settings, changed, load, split_address
from shaper.core.ports import ShaperError, StateUnavailableError
from shaper.durable.files import private_directory
from shaper.engine.assembly import Engine
from shaper.engine.context import Context
from shaper.engine.control import Control
from shaper.engine.learned import Learned
from shaper.engine.upkeep import Upkeep
from shaper.feedback_service import Feedback
from shaper.ledger.child import RedisChild
from shaper.ledger.ledger import RedisLedger
from shaper.metrics.monitor import Monitor
from shaper.policy.postfix import PolicyServer, remembering
from shaper.policy.queue import QueueHelper
from shaper.refits import Refits
from shaper.smtp.forward import NextHop
from shaper.smtp.friend import FriendSession
from shaper.smtp.ingress import Ingress
from shaper.smtp.routing import Hops
from shaper.spool.spool import FileSpool
from shaper.telling import Telling
from shaper.watch import Watch
from shaper.watchers import Journaling, Watchers

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


__all__ = ["Daemon", "main"]

log = logging.getLogger("shaper")

EX_CONFIG = 78
EX_OSERR = 71


class Daemon:
    """One instance, from start to stop."""

    def __init__(self, settings: Settings, path: Path | None) -> None:
        """``path`` is read again at SIGHUP."""
        self._settings = settings
        self._path = path
        self._stop = asyncio.Event()
        self._exit: contextlib.AsyncExitStack = contextlib.AsyncExitStack()
        self._ingress: Ingress | None = None
        self._friends: Ingress | None = None
        self._switching: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Start, serve until SIGTERM or SIGINT, stop in order."""
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, self._stop.set)
        early = asyncio.Event()  # a SIGHUP before we can obey must not end us
        loop.add_signal_handler(signal.SIGHUP, early.set)
        async with self._exit:
            monitor = await self._exit.enter_async_context(Monitor(self._settings))
            engine, upkeep, ledger = await self._start_engine(monitor)
            # Before mail comes: a state that only Redis knows has no case here yet.
            await upkeep.resynchronise()
            await observation.switch(engine, self._settings.daemon.state_directory)
            await suppressing.start(engine, self._settings, self._exit)
            await self._listen(engine, ledger)
            monitor.attach(engine, self._spool, self._refits.path)
            loop.add_signal_handler(signal.SIGHUP, self._reload, engine)
            if early.is_set():
                self._reload(engine)
            journal.daemon_started(
                self._settings.daemon.instance, self._summary(engine)
            )
            systemd.notify("READY=1")
            # Open transactions end first: what they change is still told and kept.
            drained = asyncio.Event()
            work = [
                asyncio.create_task(engine.trickle.run(drained)),
                asyncio.create_task(upkeep.run(drained)),
                asyncio.create_task(self._refits.run(self._stop)),
                asyncio.create_task(self._watchdog()),
                asyncio.create_task(self._telling.run(self._stop)),
            ]
            stopped = asyncio.create_task(self._stop.wait())
            await asyncio.wait({stopped, *work}, return_when=asyncio.FIRST_COMPLETED)
            self._stop.set()
            systemd.notify("STOPPING=1")
            journal.daemon_stopping(self._settings.daemon.instance)
            await self._sockets.aclose()
            drained.set()
            for task in work:
                await task
            await engine.held.settle()

    async def _start_engine(
        self, monitor: Monitor
    ) -> tuple[Engine, Upkeep, RedisLedger]:
        settings = self._settings
        state = settings.daemon.state_directory
        private_directory(state)
        audit = await AuditJournal.open(state / "audit")
        self._exit.push_async_callback(audit.close)
        spool = await FileSpool.open(state / "spool", wiring.limits(settings))
        self._exit.push_async_callback(spool.close)
        self._spool = spool
        url = settings.redis.url
        if not url:
            child = RedisChild(
                state / "redis", settings.daemon.runtime_directory / "redis.sock"
            )
            await child.start()
            self._exit.push_async_callback(child.stop)
            url = child.url
        ledger = RedisLedger.connect(
            url,
            prefix=settings.redis.key_prefix,
            timeout=settings.redis.timeout,
            case_days=settings.privacy.retention_days,
        )
        self._exit.push_async_callback(ledger.close)
        context = Context(
            ledger,
            spool,
            audit,
            time.time,
            wiring.contact_key(
                settings.privacy.contact_key_file or state / "contact.key"
            ),
            instance=settings.daemon.instance,
            hostname=settings.hostname,
            placement=settings.daemon.placement,
            outcome_of=wiring.outcome_of(wiring.table(settings)),
        )
        wiring.apply(context, settings)
        hop = NextHop(wiring.forward(settings))
        self._exit.callback(hop.close)
        self._hop = hop
        hops = Hops(hop, lambda one: wiring.route(self._settings, one))
        self._exit.callback(hops.close)
        self._hops = hops
        monitor.follow(hop)
        self._monitor = monitor
        engine = Engine(
            context,
            hops.send,
            _case_id,
            watcher=Watchers(monitor.metrics, Journaling()),
            queue=QueueHelper(settings.policy.queue_helper),
        )
        policing.apply(engine, settings)
        self._refits = Refits(
            context, state / "model.json", url, settings.redis.key_prefix
        )
        self._refits.load()
        self._telling = Telling(engine, settings)
        engine.receivers.rules = wiring.receiver_rules(settings)
        wiring.sender_check(engine.sender_check, settings)
        wiring.federation(engine, settings)
        engine.delivery.split = hops.split
        engine.routes.on_change = hops.apply
        engine.routes.check = lambda one: wiring.route(self._settings, one)
        await engine.restore(audit.replay())
        self._audit = audit
        return engine, Upkeep(engine, secrets.token_hex(8)), ledger

    async def _listen(self, engine: Engine, ledger: RedisLedger) -> None:
        settings = self._settings
        self._sockets = await self._exit.enter_async_context(
            contextlib.AsyncExitStack()
        )
        watching = settings.daemon.placement == "watch"
        take = engine.outcomes.take
        watch = Watch(engine.observing, take) if watching else None
        line = watch.line if watch else None
        if settings.daemon.placement == "policy":
            line = engine.asking.line
        feedback = Feedback(
            settings,
            wiring.table(settings),
            watch.take if watch else take,
            line=line,
            past=watch.learn if watch else None,
            handed_on=engine.outcomes.sent.rename,
        )
        admin = AdminServer(
            Control(engine, feedback.troubles),
            journal=self._audit.replay,
            forget=partial(_forget, engine, self._audit),
            more=suppress_commands(engine.suppression_list)
            | proof_commands(self._audit.replay)
            | intake_commands(feedback.intake)
            | receiver_commands(engine.receivers)
            | route_commands(engine.routes)
            | friend_commands(engine.friends)
            | learn_commands(Learned(engine.context, engine.senders)),
        )
        await admin.start(settings.admin_socket, settings.admin.group)
        self._exit.push_async_callback(admin.stop)
        if not watching:
            await self._take_mail(engine, ledger)
        self._sockets.push_async_callback(feedback.stop)
        await feedback.start()
        self._monitor.follow_logs(feedback)

    async def _take_mail(self, engine: Engine, ledger: RedisLedger) -> None:
        settings = self._settings
        asked = settings.daemon.placement == "policy"
        remember = remembering(partial(self._remember, engine, ledger))
        policy = (
            policing.server(engine, self._monitor.metrics.policy)
            if asked
            else PolicyServer(remember)
        )
        self._sockets.push_async_callback(policy.stop)
        await _open(settings.policy.listen, policy)
        if asked:
            return  # the MTA keeps its mail
        ingress = self._ingress = Ingress(
            wiring.ingress(settings),
            engine.gate,
            self._hop,
            recipients=engine.suppression,
            hops=self._hops,
        )
        self._sockets.push_async_callback(ingress.stop, settings.daemon.grace)
        await _open(settings.hop.listen, ingress)
        if settings.sending.listen:
            friends = self._friends = Ingress(
                wiring.friends(settings),
                engine.gate,
                self._hop,
                recipients=engine.suppression,
                hops=self._hops,
                guests=engine.friends,
                session=FriendSession,
            )
            self._sockets.push_async_callback(friends.stop, settings.daemon.grace)
            await _open(settings.sending.listen, friends)

    async def _remember(
        self, engine: Engine, ledger: RedisLedger, queue_id: str, login: str
    ) -> None:
        engine.gate.remember_login(queue_id, login)
        self._monitor.metrics.policy()
        with contextlib.suppress(StateUnavailableError):  # kept in memory
            await ledger.put_login(queue_id, login, self._settings.policy.login_ttl)

    async def _watchdog(self) -> None:
        interval = systemd.watchdog_interval()
        while interval and not self._stop.is_set():
            systemd.notify("WATCHDOG=1")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(interval):
                    await self._stop.wait()
        await self._stop.wait()

    def _reload(self, engine: Engine) -> None:
        """Read the configuration again; a wrong one changes nothing."""
        try:
            settings = load(self._path)
        except ConfigError as error:
            log.error("configuration not reloaded: %s", error)
            return
        applied, restart = changed(self._settings, settings)
        # Mail goes on as it went at the start, and that is what we tell of.
        daemon = settings.daemon
        runs = {"placement": self._settings.daemon.placement}
        settings = settings.model_copy(
            update={"daemon": daemon.model_copy(update=runs)}
        )
        try:
            self._telling.apply(settings)
            self._hop.apply(wiring.forward(settings))
            if self._friends is not None:
                self._friends.apply(wiring.friends(settings))
        except ConfigError as error:
            log.error("configuration not reloaded: %s", error)
            return
        if self._ingress is not None:
            self._ingress.apply(wiring.ingress(settings))
        self._spool.limits = wiring.limits(settings)
        wiring.apply(engine.context, settings)
        engine.receivers.rules = wiring.receiver_rules(settings)
        wiring.sender_check(engine.sender_check, settings)
        wiring.federation(engine, settings)
        suppressing.apply(engine, settings)
        policing.apply(engine, settings)
        _level(settings)
        self._settings = settings
        self._hops.reload()
        log.info("configuration reloaded: %s", ", ".join(applied) or "nothing new")
        if "daemon.enforce" in applied:
            state = settings.daemon.state_directory
            self._switching = asyncio.create_task(observation.switch(engine, state))
            log.warning("%s", self._summary(engine))
        if restart:
            log.warning("these keys need a restart: %s", ", ".join(restart))

    def _summary(self, engine: Engine) -> str:
        settings = self._settings
        places = ", ".join(
            (*map(str, settings.feedback.logs), *settings.feedback.journal)
        )
        way = {
            "watch": f"watching {places or 'nothing: feedback.logs is empty'}",
            "policy": f"asked on {', '.join(settings.policy.listen)}",
            "hop": f"mail on {', '.join(settings.hop.listen)}, "
            f"next hop {settings.hop.next_hop}",
        }[settings.daemon.placement]
        return (
            f"instance {settings.daemon.instance}, {way}, "
            f"{len(engine.held)} held, "
            f"{len(engine.senders.names('slowed'))} slowed, "
            f"{len(engine.senders.names('blocked'))} blocked"
            + ("" if engine.context.enforce else "; observing, nothing is held")
        )


async def _open(addresses: Iterable[str], server: Ingress | PolicyServer) -> None:
    for address in addresses:
        try:
            if address.startswith("/"):
                await server.listen_unix(address)
                # The MTA's processes are another user; as with a port of loopback,
                # who else gets there is a matter of the directory.
                await asyncio.to_thread(os.chmod, address, 0o666)
            else:
                host, port = split_address(address)
                await server.listen(host, port, reuse_port=True)
        except OSError as error:
            raise OSError(
                error.errno, f"cannot listen on {address}: {error.strerror}"
            ) from error


async def _forget(engine: Engine, audit: AuditJournal, address: str) -> dict[str, int]:
    """Remove what is remembered of a person; see docs/privacy.md."""
    return await engine.forget(address, audit.forget)


def _case_id() -> str:
    return f"c{datetime.now(UTC):%y%m%d}-{secrets.token_hex(3)}"


def _level(settings: Settings) -> None:
    journal.set_up(settings.log.format)
    logging.getLogger().setLevel(settings.log.level.upper())
    logging.getLogger("mail.log").setLevel(logging.WARNING)  # aiosmtpd's


def main(path: Path | None) -> int:
    """Run the daemon; return the exit status."""
    journal.set_up("text")
    try:
        settings = load(path)
        _level(settings)
        asyncio.run(_main(settings, path))
    except ConfigError as error:
        log.error("%s", error)
        return EX_CONFIG
    except (ShaperError, OSError) as error:
        log.error("cannot run: %s", error)
        return EX_OSERR
    return 0


async def _main(settings: Settings, path: Path | None) -> None:
    await Daemon(settings, path).run()
