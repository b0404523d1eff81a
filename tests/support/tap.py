"""A wire tap: passes every byte on to another port and keeps what the client said.

async with Tap(daemon.port) as tap:
    ... Postfix delivers to ("127.0.0.1", tap.port) ...
    (content,) = tap.messages()     # exactly what Postfix gave to the shaper
"""

import asyncio
import contextlib
import re
from typing import Self

_CONTENT = re.compile(rb"DATA\r\n(.*?\r\n)\.\r\n", re.DOTALL)


class Tap:
    """Listens on 127.0.0.1:`port` until the context ends."""

    def __init__(self, target: int) -> None:
        """Pass on to 127.0.0.1:``target``."""
        self.target = target
        self.port = 0
        self.said: list[bytearray] = []
        """What each client said, one entry per connection."""
        self._tasks: set[asyncio.Task[None]] = set()

    def messages(self) -> list[bytes]:
        """Return the content of every message, as on the wire without final dot."""
        return [found for one in self.said for found in _CONTENT.findall(bytes(one))]

    def lines(self, verb: bytes) -> list[bytes]:
        """Return every command line that begins with ``verb``, oldest first."""
        found = []
        for one in self.said:
            talk = _CONTENT.sub(b"DATA\r\n", bytes(one))
            found += [c for c in talk.splitlines() if c.upper().startswith(verb)]
        return found

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    # Own tasks rather than a coroutine callback: see `tests.support.nexthop`.
    def _connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        said = bytearray()
        self.said.append(said)
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.close()
            return
        try:
            await asyncio.gather(_pass(reader, back, said), _pass(there, writer))
        finally:
            back.close()
            writer.close()


async def _pass(
    source: asyncio.StreamReader,
    sink: asyncio.StreamWriter,
    record: bytearray | None = None,
) -> None:
    with contextlib.suppress(ConnectionError):
        while chunk := await source.read(65536):
            if record is not None:
                record += chunk
            sink.write(chunk)
            await sink.drain()
    sink.close()
