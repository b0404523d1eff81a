"""A connection to Redis that is kept for the calls of a message's way.

redis-py takes a connection out of its pool for every command, probes it, packs
the words in Python and puts the connection back: three times the CPU of what is
done here with the same connection object. Connecting, logging in, TLS, finding
the master and the reading of replies remain redis-py's.

Not for Redis Cluster, where each key has its own server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hiredis import pack_command
from redis import exceptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis.asyncio import ConnectionPool
    from redis.asyncio.connection import AbstractConnection

__all__ = ["Line"]


class Line:
    """One connection out of a pool. One exchange at a time, see ``Batcher``."""

    def __init__(self, pool: ConnectionPool) -> None:
        """Whoever closes the pool closes the connection."""
        self._pool = pool
        self._connection: AbstractConnection | None = None

    async def exchange(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Send idempotent commands together; return replies, ResponseErrors included.

        Raises what redis-py raises when there is no connection. A lost one is
        replaced once: a server that was restarted has closed it.
        """
        packed = [pack_command(words) for words in commands]
        try:
            return await self._attempt(packed)
        except exceptions.ConnectionError:
            return await self._attempt(packed)

    async def _attempt(self, packed: list[bytes]) -> list[Any]:
        connection = self._connection
        if connection is None:
            connection = await self._pool.get_connection()  # type: ignore[no-untyped-call]
            self._connection = connection
        elif not connection.is_connected:
            await connection.connect()  # type: ignore[no-untyped-call]
        # Whatever interrupts these two closes the connection (redis-py), so no
        # reply is ever taken for that of a later command.
        await connection.send_packed_command(packed)
        return [await _reply(connection) for _ in packed]


async def _reply(connection: AbstractConnection) -> Any:  # noqa: ANN401
    try:
        return await connection.read_response()
    except exceptions.ResponseError as error:
        return error
