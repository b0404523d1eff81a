"""The Postfix policy service that tells which login owns a queue id.

Speaks the policy delegation protocol of Postfix's SMTPD_POLICY_README: lines
of name=value, an empty line ends a request, several requests a connection. It
decides nothing: whatever it learns, the answer is DUNNO. At DATA and
END-OF-MESSAGE, where Postfix tells both queue_id and sasl_username, the pair is
stored before the answer, so that it is there when the message reaches the hop.

Fail open: when storing fails or takes too long, mail still flows, with the
envelope sender as identity. What is not a policy request is logged and the
connection closed without an answer, as the README asks of a service in trouble.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable

__all__ = ["PolicyServer", "PolicySettings"]

log = logging.getLogger(__name__)

_ANSWER = b"action=DUNNO\n\n"
_STAGES = frozenset(("DATA", "END-OF-MESSAGE"))
_BACKLOG = 512


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """Bounds of the policy service."""

    # Octets of one request. Postfix sends about 600; certificate subjects and
    # 320-octet addresses make it a few thousand.
    max_request: int = 32 * 1024
    max_value: int = 4096  # octets of one line
    # Seconds to wait for the store. Postfix waits 100 for the answer
    # (smtpd_policy_service_timeout), and its client waits with it.
    store_timeout: float = 5.0
    idle_timeout: float = 1000.0  # seconds; Postfix's own is 300


class PolicyServer:
    """Listens for Postfix; ``remember(queue_id, login)`` stores what it learns."""

    def __init__(
        self,
        remember: Callable[[str, str], Awaitable[None]],
        settings: PolicySettings | None = None,
    ) -> None:
        self.remember = remember
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


class _Connection(asyncio.Protocol):
    """One smtpd process. It asks, waits for the answer, asks again."""

    def __init__(self, server: PolicyServer, loop: asyncio.AbstractEventLoop) -> None:
        self._server = server
        self._loop = loop
        self._transport = cast("asyncio.Transport", None)
        self._buffer = b""
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._heard_at = loop.time()

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
        self._buffer = self._buffer + data if self._buffer else data
        self._heard_at = self._loop.time()
        if self._task is None:
            self._serve()
        elif len(self._buffer) > self._server.settings.max_request:
            self._refuse("requests without waiting for the answers")

    def close(self) -> None:
        """Hang up without an answer."""
        self._transport.close()

    def _serve(self) -> None:
        """Answer the requests that are complete."""
        settings = self._server.settings
        while self._task is None and not self._transport.is_closing():
            end = self._buffer.find(b"\n\n")
            if end < 0:
                if len(self._buffer) > settings.max_request:
                    self._refuse("a request that is too long")
                return
            if end > settings.max_request:
                self._refuse("a request that is too long")
                return
            request, self._buffer = self._buffer[:end], self._buffer[end + 2 :]
            try:
                values = _parse(request, settings.max_value)
            except ValueError as error:
                self._refuse(str(error))
                return
            queue_id = values.get("queue_id", "")
            login = values.get("sasl_username", "")
            if queue_id and login and values.get("protocol_state") in _STAGES:
                self._task = self._loop.create_task(self._store(queue_id, login))
                return
            self._transport.write(_ANSWER)

    async def _store(self, queue_id: str, login: str) -> None:
        try:
            async with asyncio.timeout(self._server.settings.store_timeout):
                await self._server.remember(queue_id, login)
        except Exception:  # per attempt: mail flows whatever the store does
            log.exception("the login of %s could not be stored", ascii(queue_id))
        self._task = None
        if not self._transport.is_closing():
            self._transport.write(_ANSWER)
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


def _parse(request: bytes, max_value: int) -> dict[str, str]:
    """Return the attributes; raises ValueError with what is wrong.

    A later attribute of the same name does not replace an earlier one: Postfix
    never repeats one, so a repetition is somebody's attempt.
    """
    values: dict[str, str] = {}
    for raw in request.split(b"\n"):
        if len(raw) > max_value:
            raise ValueError("a value that is too long")
        name, equals, value = raw.partition(b"=")
        if not equals or not name:
            raise ValueError("a line that is not name=value")
        if b"\0" in raw:
            raise ValueError("a NUL octet")
        key = name.decode("utf-8", "replace")
        if key in values:
            raise ValueError("an attribute twice")
        values[key] = value.decode("utf-8", "replace")
    if values.get("request") != "smtpd_access_policy":
        raise ValueError("something else than request=smtpd_access_policy")
    return values
