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
import sys
import time
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, start_http_server

from shaper import systemd
from shaper.admin import AdminServer
from shaper.audit import AuditJournal
from shaper.config import ConfigError, Settings, changed, load, split_address
from shaper.core.judgement import Rules
from shaper.core.outcome import Meaning
from shaper.core.ports import ShaperError, StateUnavailableError
from shaper.durable.files import private_directory, sync_directory
from shaper.engine.assembly import Engine
from shaper.engine.context import Backoff, Context, Pace
from shaper.engine.control import Control
from shaper.engine.upkeep import Upkeep
from shaper.feedback.reply import outcome_of_reply
from shaper.feedback.table import load_table
from shaper.ledger.child import RedisChild
from shaper.ledger.ledger import RedisLedger
from shaper.metrics import EngineGauges, Metrics
from shaper.notify.mail import NoticeSettings, compose
from shaper.policy.postfix import PolicyServer
from shaper.refits import Refits
from shaper.smtp.forward import NextHop
from shaper.smtp.ingress import Ingress
from shaper.smtp.send import send
from shaper.smtp.settings import ForwardSettings, IngressSettings
from shaper.spool.spool import FileSpool, Limits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from shaper.core.case import Case
    from shaper.core.envelope import Envelope
    from shaper.core.reply import Reply
    from shaper.engine.notices import Compose

__all__ = ["Daemon", "main"]

log = logging.getLogger("shaper")

EX_CONFIG = 78
EX_OSERR = 71
_KEY_SIZE = 32


class Daemon:
    """One instance, from start to stop."""

    def __init__(self, settings: Settings, path: Path | None) -> None:
        """``path`` is read again at SIGHUP."""
        self._settings = settings
        self._path = path
        self._stop = asyncio.Event()
        self._exit: contextlib.AsyncExitStack = contextlib.AsyncExitStack()

    async def run(self) -> None:
        """Start, serve until SIGTERM or SIGINT, stop in order."""
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, self._stop.set)
        early = asyncio.Event()  # a SIGHUP before we can obey must not end us
        loop.add_signal_handler(signal.SIGHUP, early.set)
        async with self._exit:
            engine, upkeep, ledger = await self._start_engine()
            # Before mail comes: a state that only Redis knows has no case here yet.
            await upkeep.resynchronise()
            await self._listen(engine, ledger)
            loop.add_signal_handler(signal.SIGHUP, self._reload, engine)
            if early.is_set():
                self._reload(engine)
            log.info("ready: %s", self._summary(engine))
            systemd.notify("READY=1")
            # Open transactions end first: what they change is still told and kept.
            drained = asyncio.Event()
            work = [
                asyncio.create_task(engine.trickle.run(drained)),
                asyncio.create_task(upkeep.run(drained)),
                asyncio.create_task(self._refits.run(self._stop)),
                asyncio.create_task(self._watchdog()),
            ]
            stopped = asyncio.create_task(self._stop.wait())
            await asyncio.wait({stopped, *work}, return_when=asyncio.FIRST_COMPLETED)
            self._stop.set()
            systemd.notify("STOPPING=1")
            log.info("stopping")
            await self._sockets.aclose()
            drained.set()
            for task in work:
                await task

    async def _start_engine(self) -> tuple[Engine, Upkeep, RedisLedger]:
        settings = self._settings
        state = settings.daemon.state_directory
        private_directory(state)
        audit = await AuditJournal.open(state / "audit")
        self._exit.push_async_callback(audit.close)
        spool = await FileSpool.open(state / "spool", _limits(settings))
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
            _contact_key(settings.privacy.contact_key_file or state / "contact.key"),
            instance=settings.daemon.instance,
            hostname=settings.hostname,
            proves_dead=_proves_dead(),
        )
        _apply(context, settings)
        hop = NextHop(_forward(settings))
        self._exit.callback(hop.close)
        self._hop = hop
        registry = CollectorRegistry()
        metrics = Metrics(registry)
        engine = Engine(
            context, partial(send, hop), _case_id, _composer(settings), metrics
        )
        registry.register(EngineGauges(engine, time.time))
        self._registry = registry
        self._refits = Refits(
            context, state / "model.json", url, settings.redis.key_prefix
        )
        self._refits.load()
        await engine.restore(audit.replay())
        self._audit = audit
        return engine, Upkeep(engine, secrets.token_hex(8)), ledger

    async def _listen(self, engine: Engine, ledger: RedisLedger) -> None:
        settings = self._settings
        self._sockets = await self._exit.enter_async_context(
            contextlib.AsyncExitStack()
        )
        if settings.metrics.listen:
            await self._serve_metrics(settings.metrics.listen)
        admin = AdminServer(
            Control(engine),
            journal=self._audit.replay,
            forget=partial(_forget, engine, self._audit),
        )
        await admin.start(settings.admin_socket, settings.admin.group)
        self._exit.push_async_callback(admin.stop)
        policy = PolicyServer(partial(self._remember, engine, ledger))
        self._sockets.callback(policy.close)
        for address in settings.policy.listen:
            await _open(address, policy.listen, policy.listen_unix)
        ingress = self._ingress = Ingress(_ingress(settings), engine.gate, self._hop)
        self._sockets.push_async_callback(ingress.stop, settings.daemon.grace)
        for address in settings.hop.listen:
            await _open(address, ingress.listen, ingress.listen_unix)

    async def _serve_metrics(self, address: str) -> None:
        host, port = split_address(address)
        try:
            server, thread = start_http_server(port, host, self._registry)
        except OSError as error:
            raise OSError(error.errno, f"{address}: {error.strerror}") from error

        def close() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        self._exit.callback(close)

    async def _remember(
        self, engine: Engine, ledger: RedisLedger, queue_id: str, login: str
    ) -> None:
        engine.gate.remember_login(queue_id, login)
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
        try:
            self._hop.apply(_forward(settings))
        except ConfigError as error:
            log.error("configuration not reloaded: %s", error)
            return
        self._ingress.apply(_ingress(settings))
        self._spool.limits = _limits(settings)
        _apply(engine.context, settings)
        engine.notices.compose = _composer(settings)
        _level(settings)
        self._settings = settings
        log.info("configuration reloaded: %s", ", ".join(applied) or "nothing new")
        if "daemon.enforce" in applied:
            log.warning("%s", self._summary(engine))
        if restart:
            log.warning("these keys need a restart: %s", ", ".join(restart))

    def _summary(self, engine: Engine) -> str:
        settings = self._settings
        return (
            f"instance {settings.daemon.instance}, mail on "
            f"{', '.join(settings.hop.listen)}, next hop {settings.hop.next_hop}, "
            f"{len(engine.held)} held, "
            f"{len(engine.senders.names('slowed'))} slowed, "
            f"{len(engine.senders.names('blocked'))} blocked"
            + ("" if settings.daemon.enforce else "; observing, nothing is held")
        )


async def _open(
    address: str,
    listen: Callable[..., Awaitable[None]],
    listen_unix: Callable[[str], Awaitable[None]],
) -> None:
    try:
        if address.startswith("/"):
            await listen_unix(address)
        else:
            host, port = split_address(address)
            await listen(host, port, reuse_port=True)
    except OSError as error:
        raise OSError(
            error.errno, f"cannot listen on {address}: {error.strerror}"
        ) from error


def _apply(context: Context, settings: Settings) -> None:
    """Put what a reload may change into the engine."""
    states, trickle = settings.states, settings.trickle
    context.rules = Rules(
        states.low_mark, states.dwell, states.block_after, states.block_at
    )
    context.pace = Pace(
        trickle.interval,
        trickle.longest_interval,
        trickle.growth,
        trickle.longest_hold,
        trickle.concurrency,
        Backoff(trickle.retry_first, trickle.retry_longest),
    )
    context.enforce = settings.daemon.enforce
    context.retention = settings.privacy.retention_days * 86400.0
    context.defer_when_unavailable = settings.redis.when_unavailable == "defer"


def _limits(settings: Settings) -> Limits:
    spool = settings.spool
    return Limits(spool.max_messages, spool.max_bytes, spool.min_free_bytes)


def _ingress(settings: Settings) -> IngressSettings:
    hop = settings.hop
    return IngressSettings(
        settings.hostname,
        allow=tuple(hop.allow),
        xclient_from=tuple(hop.xclient),
        max_message=hop.max_message_size,
        max_recipients=hop.max_recipients,
        max_line=hop.max_line_length,
        max_connections=hop.max_connections,
        idle_timeout=hop.idle_timeout,
        max_received=hop.max_received,
        login_header=settings.identity.login_header,
        trust_auth_parameter=settings.identity.trust_auth,
    )


def _forward(settings: Settings) -> ForwardSettings:
    hop = settings.hop
    unix = hop.next_hop if hop.next_hop.startswith("/") else ""
    host, port = ("", 0) if unix else split_address(hop.next_hop)
    password = ""
    if hop.next_hop_password_file is not None:
        try:
            password = hop.next_hop_password_file.read_text().strip()
        except OSError as error:
            raise ConfigError(
                f"hop.next_hop_password_file: {error.filename}: {error.strerror}"
            ) from error
    return ForwardSettings(
        host=host,
        port=port,
        unix_socket=unix,
        helo=settings.hostname,
        tls=hop.next_hop_tls,
        username=hop.next_hop_user,
        password=password,
        max_connections=hop.pool_connections,
    )


def _composer(settings: Settings) -> Compose | None:
    """Return what writes notices, None while nobody is to be told."""
    notify = settings.notify
    if not notify.mail_to:
        return None
    hostname = settings.hostname
    notice = NoticeSettings(
        tuple(notify.mail_to),
        notify.mail_from or f"mailshaper@{hostname}",
        notify.language,
        settings.daemon.enforce,
    )

    def write(case: Case, now: float) -> tuple[Envelope, bytes]:
        when = datetime.fromtimestamp(now, UTC).astimezone()
        return compose(case, notice, hostname, when, when.tzinfo or UTC)

    return write


async def _forget(engine: Engine, audit: AuditJournal, address: str) -> dict[str, int]:
    """Remove what is remembered of a person; see docs/privacy.md."""
    return await engine.forget(address, audit.forget)


def _proves_dead() -> Callable[[Reply, str], bool]:
    """Return the judgement of refusals by the shipped table of meanings."""
    table = load_table()

    def judge(reply: Reply, address: str) -> bool:
        outcome = outcome_of_reply(reply, address, table)
        return outcome.meaning is Meaning.DEAD_ADDRESS

    return judge


def _contact_key(path: Path) -> bytes:
    """Return the secret under which recipients are remembered; made once."""
    if not path.exists():
        # Whole or not at all: after a crash half a key would stop every start.
        new = path.with_name(f"{path.name}.new")
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(_KEY_SIZE))
            file.flush()
            os.fsync(descriptor)
        new.rename(path)
        sync_directory(path.parent)
    key = path.read_bytes()
    if len(key) != _KEY_SIZE:
        raise ConfigError(
            f"{path}: a key of {_KEY_SIZE} octets is expected, found {len(key)}; "
            "remove the file to have a new one (learned correspondents are lost)"
        )
    return key


def _case_id() -> str:
    return f"c{datetime.now(UTC):%y%m%d}-{secrets.token_hex(3)}"


def _level(settings: Settings) -> None:
    logging.getLogger().setLevel(settings.log.level.upper())
    logging.getLogger("mail.log").setLevel(logging.WARNING)  # aiosmtpd's


def main(path: Path | None) -> int:
    """Run the daemon; return the exit status."""
    logging.basicConfig(
        stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s", force=True
    )
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
