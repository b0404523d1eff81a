"""The least a hop can cost in Python: `python -m bench.hop.raw PORT NEXT`.

Two asyncio protocols that pass octets on and judge nothing: no validation, no
pool, no limits, one recipient, one connection to the next hop per client. Not a
product; the floor under the figures of the same run.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

_MODE_COMMANDS, _MODE_CONTENT = range(2)


class Outgoing(asyncio.Protocol):
    """Hands every reply of the next hop back."""

    def __init__(self, client: Incoming) -> None:
        self._client = client
        self._greeted = False

    def data_received(self, data: bytes) -> None:
        """Swallow the greeting, pass the rest on."""
        if self._greeted:
            self._client.transport.write(data)
            return
        self._greeted = True
        self._client.transport.write(b"220 raw\r\n")

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """End together."""
        self._client.transport.close()


class Incoming(asyncio.Protocol):
    """Hands every command and all content on, adding a trace field."""

    def __init__(self, next_hop: int) -> None:
        self._next_hop = next_hop
        self._mode = _MODE_COMMANDS
        self._tasks: set[asyncio.Task[None]] = set()
        self.transport = cast("asyncio.Transport", None)
        self._out: asyncio.WriteTransport | None = None
        self._first = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connect to the next hop before greeting."""
        self.transport = cast("asyncio.Transport", transport)
        task = asyncio.get_running_loop().create_task(self._connect())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        self._out, _ = await loop.create_connection(
            lambda: Outgoing(self), "127.0.0.1", self._next_hop
        )

    def data_received(self, data: bytes) -> None:
        """Pass on; look only for DATA and for the end."""
        if self._out is None:
            return
        if self._mode == _MODE_COMMANDS:
            if data[:4].upper() == b"DATA":
                self._mode = _MODE_CONTENT
                self._first = True
        else:
            if self._first:
                self._first = False
                data = b"Received: by raw\r\n" + data
            if data.endswith(b"\r\n.\r\n"):
                self._mode = _MODE_COMMANDS
        self._out.write(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """End together."""
        if self._out is not None:
            self._out.close()


async def main(port: int, next_hop: int) -> None:
    """Serve until killed."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Incoming(next_hop), "127.0.0.1", port, backlog=512
    )
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
