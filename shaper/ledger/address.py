"""From the configured URL to a client of redis-py; no connection is made here.

    redis://[user:password@]host[:6379][/db]      rediss:// with TLS
    unix:///run/redis/redis.sock[?db=0]
    redis+sentinel://[user:password@]host[:26379],host.../MASTER[?db=0]
    redis+cluster://[user:password@]host[:6379],host...

``rediss+`` works for both of the last. TLS options are query parameters. Errors
never repeat the URL, which may hold a password.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from redis import exceptions
from redis.asyncio import Redis, RedisCluster, Sentinel
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Client", "client_for"]

Client = Redis | RedisCluster

_MANY = re.compile(
    r"(rediss?)\+(sentinel|cluster)://(?:([^@/?]*)@)?([^/?@]+)(?:/([^?]*))?(?:\?(.*))?"
)
_TLS = {
    "ssl_ca_certs", "ssl_ca_path", "ssl_cert_reqs", "ssl_certfile",
    "ssl_check_hostname", "ssl_keyfile",
}  # fmt: skip
_QUERY = _TLS | {"db", "sentinel_username", "sentinel_password"}


def client_for(url: str, timeout: float) -> Client:
    """Return a client. Raises ValueError saying what is wrong with the URL."""
    # One retry without a pause serves the connection that a restarted server
    # has closed. Timeouts are not retried: the caller's patience is over then.
    options: dict[str, Any] = {
        "socket_timeout": None,  # RedisLedger bounds each call as a whole
        "socket_connect_timeout": timeout,
        "retry": Retry(NoBackoff(), 1, supported_errors=(exceptions.ConnectionError,)),
    }
    many = _MANY.fullmatch(url)
    query = _query(many[6] if many else urlsplit(url).query, tls="rediss" in url[:6])
    if many is None:
        if not re.match(r"(rediss?|unix)://.", url):
            raise ValueError(
                "the Redis URL must begin with redis://, rediss://, unix://, "
                "redis+sentinel:// or redis+cluster://"
            )
        return Redis.from_url(url, **options)
    scheme, kind, login, hosts, master, _ = many.groups()
    options |= _login(login)
    if scheme == "rediss":
        options |= {"ssl": True} | {k: v for k, v in query.items() if k in _TLS}
    if kind == "cluster":
        if master or "db" in query:
            raise ValueError("a Redis Cluster has no master name and only database 0")
        nodes = [ClusterNode(host, port) for host, port in _hosts(hosts, 6379)]
        return RedisCluster(startup_nodes=nodes, **options)
    if not master:
        raise ValueError("redis+sentinel:// needs the master's name behind the hosts")
    # Half: the first sentinel asked may be the dead one.
    for_sentinels: dict[str, Any] = {
        "socket_timeout": timeout / 2,
        "socket_connect_timeout": timeout / 2,
        "retry": Retry(NoBackoff(), 0),
    }
    for name in ("username", "password"):
        if value := query.get(f"sentinel_{name}"):
            for_sentinels[name] = value
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        _hosts(hosts, 26379), sentinel_kwargs=for_sentinels, **options
    )
    client = sentinel.master_for(unquote(master), db=int(query.get("db", 0)))
    if not isinstance(client, Redis):
        raise TypeError("redis-py gave no client for the master")
    return client


def _query(query: str | None, *, tls: bool) -> Mapping[str, Any]:
    options: dict[str, Any] = dict(parse_qsl(query or "", keep_blank_values=True))
    for name in options:
        if name not in _QUERY or (name in _TLS and not tls):
            raise ValueError(f"the Redis URL has an option {name!r} without meaning")
    if "ssl_check_hostname" in options:
        word = str(options["ssl_check_hostname"]).lower()
        options["ssl_check_hostname"] = word in {"1", "true", "yes", "on"}
    if not re.fullmatch(r"\d{1,5}", options.get("db", "0")):
        raise ValueError("the Redis URL's db must be a number")
    return options


def _login(login: str | None) -> dict[str, str]:
    if not login:
        return {}
    user, colon, password = login.partition(":")
    if not colon:
        raise ValueError("the Redis URL needs user:password or :password before @")
    found = {"username": unquote(user), "password": unquote(password)}
    return {name: value for name, value in found.items() if value}


def _hosts(hosts: str, port: int) -> list[tuple[str, int]]:
    found = []
    for one in hosts.split(","):
        try:
            parts = urlsplit(f"//{one}")
            host, given = parts.hostname, parts.port
        except ValueError as error:
            raise ValueError(f"the Redis URL has a bad host: {error}") from error
        if not host:
            raise ValueError("the Redis URL has an empty host")
        found.append((host, given or port))
    return found
