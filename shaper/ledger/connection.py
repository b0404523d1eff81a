"""One call to Redis: bounded in time, its failures translated.

Mail must not wait for Redis. A call that fails or is too slow *trips* the
connection: for a second every call fails at once, then a single one tries
again while the others go on failing. So a dead Redis costs one wait per second,
whatever the load, and a recovered one is found within a second.

The calls of a message's way (``hot``) that come while others are under way share
one round trip; on a busy host that halves what a decision costs here.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from redis import exceptions
from redis.asyncio import RedisCluster
from redis.asyncio.sentinel import SentinelConnectionPool

from shaper.core.ports import StateUnavailableError
from shaper.durable.batch import Batcher
from shaper.ledger.line import Line

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from shaper.ledger.address import Client
    from shaper.ledger.scripts import Script

__all__ = ["Connection"]

T = TypeVar("T")

_PAUSE = 1.0  # seconds between two tries of a Redis that failed
_TOGETHER = 64  # calls of one round trip; they are short
_ABSENT = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.ClusterDownError,
    exceptions.RedisClusterException,
    TimeoutError,
    OSError,
)


Word = str | bytes | float


class _Call(NamedTuple):
    """A command, or the keys and arguments of a script."""

    words: tuple[Word, ...]
    key: str
    script: Script | None

    def command(self) -> tuple[Word, ...]:
        if self.script is None:
            return self.words
        return ("EVALSHA", self.script.sha, *self.words)


class Connection:
    """A client of redis-py that fails in one way only."""

    def __init__(self, client: Client, timeout: float) -> None:
        """``timeout`` in seconds bounds each call, connecting included."""
        self._client = client
        self._timeout = timeout
        self._retry_at = 0.0
        self._reason = ""
        self._line = (
            None if isinstance(client, RedisCluster) else Line(client.connection_pool)
        )
        self._batcher: Batcher[_Call, Any] = Batcher(self._together, _TOGETHER)

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

    async def command(self, *words: Word) -> Any:  # noqa: ANN401
        """Run one command on a connection of its own."""

        async def work(client: Client) -> Any:  # noqa: ANN401
            return await client.execute_command(*words)

        return await self.call(work, str(words[1]) if words[1:] else "")

    async def hot(self, *words: Word) -> Any:  # noqa: ANN401
        """Run one command, together with others that are wanted just now."""
        return await self._batcher.submit(_Call(words, str(words[1]), None))

    async def run(self, script: Script, keys: tuple[str, ...], *arguments: Word) -> Any:  # noqa: ANN401
        """Run a script, together with others that are wanted just now.

        One round trip unless the server does not know the script yet.
        """
        rest = (len(keys), *keys, *arguments)
        return await self._batcher.submit(_Call(rest, keys[0], script))

    async def _together(self, calls: list[_Call]) -> list[Any]:
        """Return a result or a StateUnavailableError for each call."""

        async def work(client: Client) -> list[Any]:
            if self._line is not None:
                return await self._line.exchange([call.command() for call in calls])
            pipeline = client.pipeline(transaction=False)
            for call in calls:
                pipeline.execute_command(*call.command())
            return list(await pipeline.execute(raise_on_error=False))

        try:
            results = await self.call(work, calls[0].key)
        except StateUnavailableError as error:
            return [StateUnavailableError(*error.args) for _ in calls]
        for n, (call, result) in enumerate(zip(calls, results, strict=True)):
            if isinstance(result, exceptions.NoScriptError) and call.script:
                results[n] = await self._with_source(call, call.script)
            elif isinstance(result, Exception):
                results[n] = StateUnavailableError(
                    f"Redis refused {call.key}: {result}"
                )
        return results

    async def _with_source(self, call: _Call, script: Script) -> Any:  # noqa: ANN401
        try:
            return await self.command("EVAL", script.source, *call.words)
        except StateUnavailableError as error:
            return StateUnavailableError(f"{call.key}: {error}")

    async def close(self) -> None:
        """Finish what was begun, close all connections, those to sentinels included."""
        await self._batcher.idle()
        await self._client.aclose()
        pool = getattr(self._client, "connection_pool", None)
        if isinstance(pool, SentinelConnectionPool):
            for sentinel in pool.sentinel_manager.sentinels:
                await sentinel.aclose()
