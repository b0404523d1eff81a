"""The policy service: an MTA asks about a message before it takes it.

Speaks the policy delegation protocol of Postfix's SMTPD_POLICY_README (for Exim see
``shaper.policy.request``): lines of name=value, an empty line ends a request,
several requests a connection. What is answered is the handler's duty.

``remembering`` is the handler of placement ``hop``. It decides nothing: whatever it
learns, the answer is DUNNO. At DATA and END-OF-MESSAGE, where Postfix tells both
queue_id and sasl_username, the pair is stored before the answer, so that it is there
when the message reaches the hop.

Fail open: when the handler fails or takes too long, mail still flows. What is not a
policy request is logged and the connection closed without an answer, as the README
asks of a service in trouble.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, cast

from shaper.core.asked import PASS
from shaper.policy.request import attributes, written

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Mapping

__all__ = ["Handler", "PolicyServer", "PolicySettings", "remembering"]

log = logging.getLogger(__name__)

Handler: TypeAlias = "Callable[[Mapping[str, str]], Awaitable[bytes] | bytes]"
"""Takes the attributes of a request; returns the answer, or what gives it.

Raises ValueError when a value cannot be."""

_DUNNO = written(PASS)
_STAGES = frozenset(("DATA", "END-OF-MESSAGE"))
_BACKLOG = 512


def remembering(remember: Callable[[str, str], Awaitable[None]]) -> Handler:
    """Return a handler that has ``remember(queue_id, login)`` store what it hears."""

    async def store(queue_id: str, login: str) -> bytes:
        await remember(queue_id, login)
        return _DUNNO

    def handle(values: Mapping[str, str]) -> Awaitable[bytes] | bytes:
        queue_id = values.get("queue_id", "")
        login = values.get("sasl_username", "")
        if queue_id and login and values.get("protocol_state") in _STAGES:
            return store(queue_id, login)
        return _DUNNO

    return handle


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """Bounds of the policy service."""

    # Octets of one request. Postfix sends about 600; certificate subjects and
    # 320-octet addresses make it a few thousand.
    max_request: int = 32 * 1024
    max_value: int = 4096  # octets of one line
    # Seconds to wait for the handler. Postfix waits 100 for the answer
    # (smtpd_policy_service_timeout), our snippets let it wait 5, and its client
    # waits with it.
    answer_timeout: float = 5.0
    idle_timeout: float = 1000.0  # seconds; Postfix's own is 300


class PolicyServer:
    """Listens for an MTA; ``handle`` says what it is told."""

    def __init__(self, handle: Handler, settings: PolicySettings | None = None) -> None:
        self.handle = handle
        self.settings = settings or PolicySettings()
        self.connections: set[_Connection] = set()
        self._servers: list[asyncio.Server] = []

    @property
    def sockets(self) -> list[socket.socket]:
        """The listening sockets, to learn a port that was chosen by the system."""
        return [s for server in self._servers for s in server.sockets]

    async def listen(self, host: str, port: int, *, reuse_port: bool = False) -> None:
        """Listen on an address. Raises OSError."""
        loop = asyncio.get_running_loop()
        self._servers.append(
            await loop.create_server(
                lambda: _Connection(self, loop),
                host,
                port,
                backlog=_BACKLOG,
                reuse_port=reuse_port or None,
            )
        )

    async def listen_unix(self, path: str) -> None:
        """Listen on a unix socket. Raises OSError."""
        loop = asyncio.get_running_loop()
        self._servers.append(
            await loop.create_unix_server(
                lambda: _Connection(self, loop), path, backlog=_BACKLOG
            )
        )

    def close(self) -> None:
        """Stop listening and close what is open; Postfix reconnects by itself."""
        for server in self._servers:
            server.close()
        for connection in list(self.connections):
            connection.close()

    async def stop(self) -> None:
        """Stop listening, answer what was asked, then close what is open."""
        for server in self._servers:
            server.close()
        for connection in list(self.connections):
            connection.eof_received()
        tasks = [one.task for one in self.connections if one.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=self.settings.answer_timeout)
        self.close()


class _Connection(asyncio.Protocol):
    """One process of the MTA. It asks, waits for the answer, asks again."""

    def __init__(self, server: PolicyServer, loop: asyncio.AbstractEventLoop) -> None:
        self._server = server
        self._loop = loop
        self._transport = cast("asyncio.Transport", None)
        self._buffer = bytearray()
        self._looked = 0  # at so many octets of it: no end of a request is in them
        self.task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._heard_at = loop.time()
        self._ended = False  # it says nothing more and still wants its answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start listening to it."""
        self._transport = cast("asyncio.Transport", transport)
        self._server.connections.add(self)
        limit = self._server.settings.idle_timeout
        self._timer = self._loop.call_later(limit, self._watch)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Forget it; a store under way is finished for the message's sake."""
        self._server.connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Collect a request, answer it; further ones wait for their turn."""
        self._buffer += data
        self._heard_at = self._loop.time()
        if self.task is None:
            self._serve()
        elif len(self._buffer) > self._server.settings.max_request:
            self._refuse("requests without waiting for the answers")

    def eof_received(self) -> bool:
        """Answer what was asked before hanging up: Exim reads to the end."""
        self._ended = True
        if self.task is None:
            self._transport.close()
        return True

    def close(self) -> None:
        """Hang up without an answer."""
        self._transport.close()

    def _serve(self) -> None:
        """Answer the requests that are complete."""
        settings = self._server.settings
        while self.task is None and not self._transport.is_closing():
            end = self._buffer.find(b"\n\n", self._looked)
            if end < 0:
                self._looked = max(len(self._buffer) - 1, 0)
                if len(self._buffer) > settings.max_request:
                    self._refuse("a request that is too long")
                break
            if end > settings.max_request:
                self._refuse("a request that is too long")
                return
            request = bytes(self._buffer[:end])
            del self._buffer[: end + 2]
            self._looked = 0
            try:
                values = attributes(request, settings.max_value)
                answer = self._server.handle(values)
            except ValueError as error:
                self._refuse(str(error))
                return
            if not isinstance(answer, bytes):
                self.task = self._loop.create_task(self._await(answer))
                return
            self._transport.write(answer)
        if self._ended and self.task is None:
            self._transport.close()

    async def _await(self, answer: Awaitable[bytes]) -> None:
        said = _DUNNO
        try:
            async with asyncio.timeout(self._server.settings.answer_timeout):
                said = await answer
        except Exception:  # per connection: mail flows whatever befalls us
            log.exception("a policy request is answered DUNNO")
        self.task = None
        if not self._transport.is_closing():
            self._transport.write(said)
            self._serve()

    def _refuse(self, what: str) -> None:
        log.warning("policy client sent %s; closed without an answer", what)
        self._transport.abort()

    def _watch(self) -> None:
        due = self._heard_at + self._server.settings.idle_timeout
        if due <= self._loop.time():
            self._transport.close()
            return
        self._timer = self._loop.call_at(due, self._watch)
