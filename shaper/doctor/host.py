"""What the host gives: Redis, disk, clock, logs, names, people to tell.

Reads only. What this user may not see is said to be unknown, never well.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import statistics
import time
from typing import TYPE_CHECKING

import redis

from shaper.doctor import logs
from shaper.doctor.finding import Finding, fail, ok, unknown, warn
from shaper.doctor.probes import ProbeError, bounded, run
from shaper.smtp.mailable import Mailable

if TYPE_CHECKING:
    from shaper.config import Settings

__all__ = ["check", "redis_findings", "speed_findings"]

_RESOLVER = "see /etc/resolv.conf; a local resolver such as unbound is best for mail"
_OLD = (6, 2)  # of Redis; Debian 12 has 7.0
_SLOW = 0.005  # seconds of a round trip; each message waits for one
_ROUNDS = 20


def check(settings: Settings) -> list[Finding]:
    """Return what this host lacks."""
    return [
        *_redis(settings),
        *_disk(settings),
        *_clock(),
        *logs.check(settings),
        *_name(settings),
        *_mail_domains(settings),
        *_people(settings),
        *_key(settings),
    ]


def _redis(settings: Settings) -> list[Finding]:
    url = settings.redis.url
    if "+" in url.partition(":")[0]:
        return [unknown("sentinel or cluster: look at each server", "redis.url")]
    own = settings.daemon.runtime_directory / "redis.sock"
    client = redis.Redis.from_url(
        url or f"unix://{own}", socket_timeout=5, socket_connect_timeout=5
    )
    where = "redis.url" if url else str(own)  # a URL may contain a password
    try:
        durable = client.config_get("appendonly", "maxmemory-policy")
        version = str(client.info("server").get("redis_version", ""))
        trip = _round_trip(client)
        alive = client.exists(f"{settings.redis.key_prefix}:federation:alive")
    except (redis.RedisError, OSError) as error:
        hidden = own.parent.exists() and not os.access(own.parent, os.X_OK)
        if not url and (hidden or (own.exists() and not os.access(own, os.W_OK))):
            return [unknown("Redis is not to be seen by this user", where, "use sudo")]
        kind = type(error).__name__
        return [
            fail(
                f"Redis does not answer as it should ({kind})",
                where,
                "systemctl restart redis-server; CONFIG GET must be allowed"
                if url
                else "systemctl restart mailshaper: it starts its own",
            )
        ]
    finally:
        client.close()
    values = {_text(name): _text(value) for name, value in durable.items()}
    found = redis_findings(values, where, own=not url)
    found += speed_findings(version, trip, where)
    if settings.federation.enabled:
        found.append(_federation(bool(alive)))
    return found


def _round_trip(client: redis.Redis) -> float:
    """Return the median of some round trips, in seconds."""
    times = []
    for _ in range(_ROUNDS):
        begun = time.perf_counter()
        client.ping()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def speed_findings(version: str, trip: float, where: str) -> list[Finding]:
    """Judge a version and a round trip in seconds."""
    found = []
    numbers = tuple(int(n) for n in version.split(".")[:2] if n.isdigit())
    if numbers and numbers < _OLD:
        cure = "upgrade to Redis 6.2 or Valkey, or leave redis.url empty"
        found.append(fail(f"Redis {version} is too old", where, cure))
    if trip > _SLOW:
        found.append(
            warn(
                f"a round trip takes {trip * 1000:.1f} ms, and each message waits for "
                "one",
                where,
                "put Redis on this host, or leave redis.url empty for one of our own",
            )
        )
    return found or [ok(f"Redis {version} answers within {trip * 1000:.1f} ms", where)]


def _federation(alive: bool) -> Finding:  # noqa: FBT001
    where = "federation.enabled"
    if alive:
        return ok("the federation daemon is there", where)
    return warn(
        "the federation daemon is not there: what other hosts say has no effect",
        where,
        "systemctl start mailshaper-federation; or set federation.enabled = false",
    )


def _text(raw: object) -> str:
    return raw.decode(errors="replace") if isinstance(raw, bytes) else str(raw)


def redis_findings(
    values: dict[str, str], where: str, *, own: bool = False
) -> list[Finding]:
    """Judge what CONFIG GET said of a server, or of our ``own``."""

    def cure(setting: str) -> str:
        if own:  # it has no file to write to, and is started with the right ones
            return "systemctl restart mailshaper"
        return f"redis-cli CONFIG SET {setting} && redis-cli CONFIG REWRITE"

    found = []
    if values.get("appendonly") != "yes":
        found.append(
            fail(
                "Redis keeps nothing over a crash: AOF is off",
                where,
                cure("appendonly yes"),
            )
        )
    if values.get("maxmemory-policy") != "noeviction":
        found.append(
            fail(
                "Redis forgets what is known of senders when its memory is full",
                where,
                cure("maxmemory-policy noeviction"),
            )
        )
    return found or [ok("Redis keeps what it is given", where)]


def _disk(settings: Settings) -> list[Finding]:
    state = settings.daemon.state_directory
    where = str(state)
    try:
        free = shutil.disk_usage(state).free
        facts = state.stat()
        others = [one for one in state.iterdir() if one.lstat().st_uid != facts.st_uid]
    except PermissionError:
        return [unknown("not to be seen by this user", where, "use sudo")]
    except OSError as error:
        cure = "start the daemon once: it makes the directory"
        return [fail(f"{error.strerror}", where, cure)]
    found = []
    if free < settings.spool.min_free_bytes:
        found.append(
            fail(
                f"only {free} octets are free: held mail is deferred",
                where,
                "free some space, or lower spool.min_free_bytes",
            )
        )
    if others:
        names = ", ".join(sorted(one.name for one in others))
        found.append(
            fail(
                f"does not all belong to whom the directory belongs to: {names}",
                where,
                f"systemctl stop mailshaper; chown -R --reference={where} {where}; "
                "systemctl start mailshaper",
            )
        )
    if facts.st_mode & 0o077:
        found.append(
            fail("others may look into held mail", where, f"chmod 700 {where}")
        )
    return found or [ok("space and permissions are right", where)]


def _clock() -> list[Finding]:
    where = "the clock"
    try:
        answer = run("timedatectl", "show", "--property=NTPSynchronized", "--value")
    except ProbeError as error:
        return [unknown(str(error), where)]
    if answer.strip() == "yes":
        return [ok("is synchronised", where)]
    cure = "apt install systemd-timesyncd (or chrony); timedatectl set-ntp true"
    return [warn("is not synchronised", where, cure)]


def _name(settings: Settings) -> list[Finding]:
    name = settings.hostname
    try:
        bounded(lambda: socket.getaddrinfo(name, None), "the resolver")
    except ProbeError as error:
        return [fail(str(error), name, _RESOLVER)]
    except OSError as error:
        cure = "give it an address in the DNS, or set daemon.hostname"
        return [warn(f"the host's name has no address: {error.strerror}", name, cure)]
    return [ok("the host's name has an address", name)]


def _mail_domains(settings: Settings) -> list[Finding]:
    """Look up where notices go: a typing error there is found by nobody else."""
    domains = {one.rpartition("@")[2] for one in settings.notify.mail_to}
    found = []
    for domain in sorted(domains):
        where = f"notify.mail_to, {domain}"
        receives = asyncio.run(Mailable()(domain))
        if receives is None:
            found.append(unknown("the DNS does not say whether it takes mail", where))
        elif receives:
            found.append(ok("takes mail, says the DNS (MX)", where))
        else:
            cure = "correct the address: no notice would arrive"
            found.append(fail("takes no mail, says the DNS", where, cure))
    return found


def _people(settings: Settings) -> list[Finding]:
    if settings.notify.mail_to or settings.notify.webhook_url:
        return [ok("somebody is told of cases", "[notify]")]
    cure = 'set mail_to = ["you@example.org"], then systemctl reload mailshaper'
    return [warn("nobody is told of cases", "mailshaper.toml [notify]", cure)]


def _key(settings: Settings) -> list[Finding]:
    key = settings.privacy.contact_key_file or (
        settings.daemon.state_directory / "contact.key"
    )
    where = str(key)
    try:
        facts = key.stat()
    except PermissionError:
        return [unknown("not to be seen by this user", where, "use sudo")]
    except OSError:
        cure = "start the daemon once, or restore it from a backup"
        return [warn("there is no contact key", where, cure)]
    if facts.st_mode & 0o077:
        return [fail("others may read the key", where, f"chmod 600 {where}")]
    return [
        unknown("whether the contact key is backed up cannot be seen from here", where)
    ]
