"""A policy service that writes down what Postfix asks (SMTPD_POLICY_README).

    async with PolicyServer() as policy:
        main = {"smtpd_data_restrictions":
                f"check_policy_service inet:127.0.0.1:{policy.port}"}
        ...
        assert policy.requests[0]["sasl_username"] == "alice@example.test"

For tests of the Postfix side; the shaper's own policy adapter is another thing.
"""

import asyncio
from typing import Self


class PolicyServer:
    """Answers every request with `action`; `requests` holds them, oldest first."""

    def __init__(self, action: str = "DUNNO") -> None:
        """Answer with ``action``, an access(5) result."""
        self.action = action
        self.requests: list[dict[str, str]] = []
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()

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

    def _connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Read name=value lines up to an empty one, answer, repeat."""
        request: dict[str, str] = {}
        try:
            while line := await reader.readline():
                name, equals, value = line.decode().rstrip("\n").partition("=")
                if equals:
                    request[name] = value
                    continue
                self.requests.append(request)
                request = {}
                writer.write(f"action={self.action}\n\n".encode())
                await writer.drain()
        finally:
            writer.close()
