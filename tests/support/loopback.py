"""Hosts on loopback addresses, joined by relays that can be cut.

For where no network namespaces can be made: the same methods as ``Namespaces``. Each
host has a name, and each other host finds a relay of its own under that name (see
``names`` of exchange_node), so that the way from one to another is one listener,
which a partition makes reset every connection, old and new.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from tests.support.namespaces import Place
from tests.support.needs import free_port

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["Loopback"]

_MOST = 9


class Loopback:
    """Hosts c1.test, c2.test ... Use as a context manager."""

    def __init__(self) -> None:
        self._net = f"127.{50 + os.getpid() % 200}"
        self._port = free_port()
        self._apart: set[int] = set()
        self._open: set[tuple[int, int, asyncio.StreamWriter]] = set()
        self._servers: list[asyncio.Server] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._wait(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _wait(self, work: Coroutine[object, object, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _end(self) -> None:
        for server in self._servers:
            server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for one in others:
            one.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def host(self, number: int) -> Place:
        """Add a host."""
        place = self.behind_nat(number)
        for other in range(1, _MOST + 1):
            if other != number:
                self._wait(self._relay(other, number))
        return replace(
            place,
            listen=f"{self._net}.0.{number}:{self._port}",
            url=f"https://c{number}.test:{self._port}",
        )

    def behind_nat(self, number: int) -> Place:
        """Add a host that reaches the others and that none of them reaches."""
        names = {
            f"c{other}.test": f"{self._net}.{number}.{other}"
            for other in range(1, _MOST + 1)
        }
        return Place(f"c{number}", options={"names": names})

    def split(self, names: list[str]) -> None:
        """Take these hosts away from the rest."""
        self._apart = {int(name.removeprefix("c")) for name in names}

        async def cut() -> None:
            for one, other, writer in self._open:
                if self._cut(one, other):
                    writer.transport.abort()

        self._wait(cut())

    def heal(self) -> None:
        """Join all hosts again."""
        self._apart = set()

    def _cut(self, one: int, other: int) -> bool:
        return (one in self._apart) != (other in self._apart)

    async def _relay(self, one: int, other: int) -> None:
        """Open the way from ``one`` to ``other``."""

        async def answer(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            way = (one, other, writer)
            self._open.add(way)
            try:
                if self._cut(one, other):
                    return
                up, down = await asyncio.open_connection(
                    f"{self._net}.0.{other}", self._port
                )
                async with asyncio.TaskGroup() as both:
                    both.create_task(_pipe(reader, down))
                    both.create_task(_pipe(up, writer))
            except OSError:  # the host is not up: as if it refused
                pass
            finally:
                self._open.discard(way)
                writer.transport.abort()

        self._servers.append(
            await asyncio.start_server(answer, f"{self._net}.{one}.{other}", self._port)
        )


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
    finally:
        writer.close()
