"""The listening side of the hop: sockets, admission, orderly shutdown.

One ``Ingress`` per daemon. The conversation is in ``session``, the message in
``intake``. Stopping closes the listening socket first, lets open transactions
end, and says 421 to everybody else (RFC 5321 3.8).
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from shaper.smtp.session import Session
from shaper.smtp.shared import Shared

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from shaper.core.ports import Gate, Guests, Recipients
    from shaper.smtp.forward import NextHop
    from shaper.smtp.routing import Hops
    from shaper.smtp.settings import IngressSettings

__all__ = ["Ingress"]

_BACKLOG = 512
_BYE = "421 4.3.2 Shutting down"


class Ingress:
    """Accepts mail for ``gate`` to judge and ``hop`` to take."""

    def __init__(  # noqa: PLR0913
        self,
        settings: IngressSettings,
        gate: Gate,
        hop: NextHop,
        *,
        clock: Callable[[], float] = time.time,
        new_id: Callable[[], str] | None = None,
        recipients: Recipients | None = None,
        hops: Hops | None = None,
        guests: Guests | None = None,
        session: type[Session] = Session,
    ) -> None:
        """``recipients`` may refuse some before the next hop is asked.

        ``hops`` are the next hops of routes, ``session`` is how one speaks here,
        ``guests`` counts what friendly hosts send.
        """
        self._guests = guests
        self._session = session
        self._hops = hops
        self._settings = settings
        self._recipients = recipients
        self._gate = gate
        self._hop = hop
        self._clock = clock
        self._new_id = new_id
        self._shared: Shared | None = None
        self._servers: list[asyncio.Server] = []

    @property
    def connections(self) -> int:
        """Open client connections."""
        return len(self._shared.sessions) if self._shared else 0

    @property
    def sockets(self) -> list[socket.socket]:
        """The listening sockets, to learn a port that was chosen by the system."""
        return [s for server in self._servers for s in server.sockets]

    async def listen(self, host: str, port: int, *, reuse_port: bool = False) -> None:
        """Listen on an address; may be called for several. Raises OSError."""
        shared = self._prepare()
        server = await shared.loop.create_server(
            lambda: self._session(shared),
            host,
            port,
            backlog=_BACKLOG,
            reuse_port=reuse_port or None,
        )
        self._servers.append(server)

    async def listen_unix(self, path: str) -> None:
        """Listen on a unix socket; its permissions say who may speak."""
        shared = self._prepare()
        server = await shared.loop.create_unix_server(
            lambda: self._session(shared), path, backlog=_BACKLOG
        )
        self._servers.append(server)

    def apply(self, settings: IngressSettings) -> None:
        """Use other settings from now on, without dropping a connection.

        Raises ValueError for a network that is none; nothing is changed then.
        """
        if self._shared is not None:
            self._shared.apply(settings)
        self._settings = settings

    async def stop(self, grace: float = 30.0) -> None:
        """Stop taking connections; wait up to ``grace`` seconds for open mail."""
        for server in self._servers:
            server.close()
        shared = self._shared
        if shared is None:
            return
        shared.closing = True
        deadline = shared.loop.time() + grace
        while shared.sessions and shared.loop.time() < deadline:
            for session in list(shared.sessions):
                if session.between_messages:
                    session.hang_up(_BYE)
            await asyncio.sleep(0.02)
        for session in list(shared.sessions):
            session.hang_up(_BYE)

    def _prepare(self) -> Shared:
        if self._shared is None:
            self._shared = Shared(
                self._settings,
                self._gate,
                self._hop,
                loop=asyncio.get_running_loop(),
                clock=self._clock,
                new_id=self._new_id,
                recipients=self._recipients,
                hops=self._hops,
                guests=self._guests,
            )
        return self._shared
