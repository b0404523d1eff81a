"""What the configuration means to each part: settings in, the parts' own out.

Pure translation, but for the two secrets that are read (and, at the first start,
made) here.
"""

from __future__ import annotations

import os
import secrets
import ssl
from dataclasses import replace
from typing import TYPE_CHECKING

from shaper.addresses import address
from shaper.config import ConfigError, Settings, split_address
from shaper.core.judgement import Rules
from shaper.core.meaning import TableError
from shaper.durable.files import sync_directory
from shaper.engine.context import Backoff, Context, Pace
from shaper.engine.receivers import ReceiverRules
from shaper.feedback.reply import outcome_of_reply
from shaper.feedback.table import load_table
from shaper.notify.mail import Composer, NoticeSettings
from shaper.settings import Relay
from shaper.smtp.callout import Callout
from shaper.smtp.mailable import Mailable
from shaper.smtp.settings import ForwardSettings, FriendAccount, IngressSettings
from shaper.spool.spool import Limits

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from shaper.core.meaning import Table
    from shaper.core.outcome import Outcome
    from shaper.core.reply import Reply
    from shaper.core.routes import Route
    from shaper.engine.assembly import Engine
    from shaper.engine.sendercheck import SenderCheck

__all__ = [
    "apply",
    "contact_key",
    "federation",
    "forward",
    "friends",
    "ingress",
    "limits",
    "outcome_of",
    "receiver_rules",
    "route",
    "sender_check",
    "table",
    "writer",
]

_KEY_SIZE = 32


def apply(context: Context, settings: Settings) -> None:
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
    context.enforce = settings.daemon.enforce and context.placement != "watch"
    context.language = settings.notify.language
    context.retention = settings.privacy.retention_days * 86400.0
    context.remember = settings.feedback.remember
    context.deliveries_from_log = bool(
        settings.feedback.logs or settings.feedback.journal
    )
    context.defer_when_unavailable = settings.redis.when_unavailable == "defer"


def friends(settings: Settings) -> IngressSettings:
    """Return what the friends' listener needs. Raises ConfigError."""
    accounts = {}
    for name, one in settings.friends.items():
        password = _password(f"friends.{name}.password_file", one.password_file)
        if not password:
            raise ConfigError(
                f"friends.{name}.password_file: {one.password_file} is empty"
            )
        domains = frozenset(domain.lower() for domain in one.domains)
        accounts[name] = FriendAccount(password, domains)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    sending = settings.sending
    try:
        context.load_cert_chain(str(sending.certificate), str(sending.key))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"sending.certificate {sending.certificate}, sending.key {sending.key}: "
            f"{error}"
        ) from error
    return replace(
        ingress(settings),
        allow=("0.0.0.0/0", "::/0"),
        xclient_from=(),
        login_header="",
        trust_auth_parameter=False,
        tls=context,
        friends=accounts,
    )


def federation(engine: Engine, settings: Settings) -> None:
    """Tell the engine of the federation daemon and of friends."""
    engine.foreign.enabled = engine.federating.enabled = settings.federation.enabled
    engine.friends.quotas = {k: one.daily for k, one in settings.friends.items()}
    engine.friends.domains = {k: one.domains for k, one in settings.friends.items()}


def receiver_rules(settings: Settings) -> ReceiverRules:
    """Return when refusals by a receiver are trouble."""
    one = settings.receivers
    return ReceiverRules(one.alarm_at, one.senders_at, one.window)


def sender_check(check: SenderCheck, settings: Settings) -> None:
    """Put into the check of senders what the configuration says."""
    wanted = settings.sender_check
    check.cache = wanted.cache
    check.server = check.domain = None
    if wanted.server:
        unix = wanted.server if wanted.server.startswith("/") else ""
        host, port = ("", 0) if unix else split_address(wanted.server)
        where = ForwardSettings(
            host,
            port,
            unix,
            settings.hostname,
            connect_timeout=5.0,
            called="sender_check.server",
        )
        check.server = Callout(where)
    if wanted.mx:
        check.domain = Mailable()


def limits(settings: Settings) -> Limits:
    """Return the spool's limits."""
    spool = settings.spool
    return Limits(spool.max_messages, spool.max_bytes, spool.min_free_bytes)


def ingress(settings: Settings) -> IngressSettings:
    """Return what the SMTP listener needs."""
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


def forward(settings: Settings) -> ForwardSettings:
    """Return what reaches the next hop. Raises ConfigError."""
    hop = settings.hop
    password = _password("hop.next_hop_password_file", hop.next_hop_password_file)
    return _reaching(
        settings, hop.next_hop, hop.next_hop_tls, hop.next_hop_user, password
    )


def route(settings: Settings, one: Route) -> ForwardSettings:
    """Return what reaches a route's next hop.

    Raises ValueError for one that cannot be, or that is ourselves.
    """
    relay = settings.relays.get(one.hop)
    if relay is None:
        try:
            address(one.hop)
        except ValueError as error:
            names = ", ".join(sorted(settings.relays)) or "none"
            raise ValueError(
                f"{one.hop[:100]!r} is no relay of the configuration (there: {names}), "
                "no host:port and no path of a socket"
            ) from error
        relay = Relay(next_hop=one.hop)
    if listener := settings.listener_at(relay.next_hop):
        raise ValueError(
            f"{relay.next_hop} is our own {listener}: mail would go in circles"
        )
    tls = relay.tls if one.tls == "none" else one.tls
    try:
        password = _password(f"relays.{one.hop}.password_file", relay.password_file)
    except ConfigError as error:
        raise ValueError(str(error)) from error
    reaching = _reaching(settings, relay.next_hop, tls, relay.user, password)
    return replace(reaching, friend=relay.friend)


def _password(key: str, path: Path | None) -> str:
    if path is None:
        return ""
    try:
        return path.read_text().strip()
    except OSError as error:
        raise ConfigError(f"{key}: {error.filename}: {error.strerror}") from error


def _reaching(
    settings: Settings, place: str, tls: str, user: str, password: str
) -> ForwardSettings:
    unix = place if place.startswith("/") else ""
    host, port = ("", 0) if unix else split_address(place)
    return ForwardSettings(
        host=host,
        port=port,
        unix_socket=unix,
        helo=settings.hostname,
        tls=tls,
        username=user,
        password=password,
        max_connections=settings.hop.pool_connections,
    )


def writer(settings: Settings) -> Composer:
    """Return what writes notices."""
    notify, hostname = settings.notify, settings.hostname
    notice = NoticeSettings(
        tuple(notify.mail_to),
        notify.mail_from or f"mailshaper@{hostname}",
        notify.language,
        settings.daemon.enforce and settings.daemon.placement != "watch",
        html=notify.html,
        owner=notify.owner,
    )
    return Composer(notice, hostname)


def table(settings: Settings) -> Table:
    """Return the table of meanings. Raises ConfigError."""
    try:
        return load_table(settings.feedback.table)
    except (OSError, TableError) as error:
        raise ConfigError(f"feedback.table: {error}") from error


def outcome_of(meanings: Table) -> Callable[[Reply, str], Outcome]:
    """Return the judgement of replies by a table of meanings."""

    def judge(reply: Reply, address: str) -> Outcome:
        return outcome_of_reply(reply, address, meanings)

    return judge


def contact_key(path: Path) -> bytes:
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
