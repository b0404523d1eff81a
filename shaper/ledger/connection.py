"""One call to Redis: bounded in time, its failures translated.

Mail must not wait for Redis. A call that fails or is too slow *trips* the
connection: for a second every call fails at once, then a single one tries
again while the others go on failing. So a dead Redis costs one wait per second,
whatever the load, and a recovered one is found within a second.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, TypeVar

from redis import exceptions
from redis.asyncio.sentinel import SentinelConnectionPool

from shaper.core.ports import StateUnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from shaper.ledger.address import Client
    from shaper.ledger.scripts import Script

__all__ = ["Connection"]

T = TypeVar("T")

_PAUSE = 1.0  # seconds between two tries of a Redis that failed
_ABSENT = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.ClusterDownError,
    exceptions.RedisClusterException,
    TimeoutError,
    OSError,
)


class Connection:
    """A client of redis-py that fails in one way only."""

    def __init__(self, client: Client, timeout: float) -> None:
        """``timeout`` in seconds bounds each call, connecting included."""
        self._client = client
        self._timeout = timeout
        self._retry_at = 0.0
        self._reason = ""

    async def call(self, work: Callable[[Client], Awaitable[T]], key: str) -> T:
        """Return what ``work`` gets from the client; ``key`` is for the error.

        Raises StateUnavailableError and nothing else of Redis.
        """
        now = time.monotonic()
        if now < self._retry_at:
            raise StateUnavailableError(f"Redis failed a moment ago: {self._reason}")
        if self._retry_at:
            # This call tries; the others fail until it knows.
            self._retry_at = now + self._timeout + _PAUSE
        try:
            async with asyncio.timeout(self._timeout):
                result = await work(self._client)
        except _ABSENT as error:
            self._reason = str(error) or f"no answer within {self._timeout} s"
            self._retry_at = time.monotonic() + _PAUSE
            raise StateUnavailableError(f"Redis: {self._reason}") from error
        except exceptions.RedisError as error:
            # It answers, but not what is wanted: wrong type, no memory, no right.
            self._retry_at = 0.0
            raise StateUnavailableError(f"Redis refused {key}: {error}") from error
        self._retry_at = 0.0
        return result

    async def command(self, *words: str | bytes | float) -> Any:  # noqa: ANN401
        """Run one command."""

        async def work(client: Client) -> Any:  # noqa: ANN401
            return await client.execute_command(*words)

        return await self.call(work, str(words[1]) if words[1:] else "")

    async def run(
        self, script: Script, keys: tuple[str, ...], *arguments: str | bytes | float
    ) -> Any:  # noqa: ANN401
        """Run a script; one round trip unless the server does not know it yet."""
        rest = (len(keys), *keys, *arguments)

        async def work(client: Client) -> Any:  # noqa: ANN401
            try:
                return await client.execute_command("EVALSHA", script.sha, *rest)
            except exceptions.NoScriptError:
                return await client.execute_command("EVAL", script.source, *rest)

        return await self.call(work, keys[0])

    async def close(self) -> None:
        """Close all connections, those to sentinels included."""
        await self._client.aclose()
        pool = getattr(self._client, "connection_pool", None)
        if isinstance(pool, SentinelConnectionPool):
            for sentinel in pool.sentinel_manager.sentinels:
                await sentinel.aclose()
