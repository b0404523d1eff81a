"""An LMTP listener (RFC 2033) for bounces and complaints.

A mail is acknowledged only after its outcomes were taken; when they cannot be, the
MTA keeps it (451) and comes again. Mail in which nothing is understood is taken
too: nobody could do anything with a bounce of a bounce.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from aiosmtpd.lmtp import LMTP

from shaper.core.ports import ShaperError
from shaper.core.text import bland

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

__all__ = ["LmtpListener"]

log = logging.getLogger(__name__)

MAX_MAIL = 64 * 1024 * 1024  # octets; parsers look at the first 2 MiB only
_MOST_CONNECTIONS = 10
_MOST_RECIPIENTS = 100
_IDLE = 60.0
_LATER = "451 4.3.0 What this mail tells cannot be stored now, try again later"


class _Session(LMTP):
    """One connection. After the final dot each recipient gets an answer."""

    _owed = 0

    async def push(self, status: Any) -> None:  # noqa: ANN401 - aiosmtpd's str or bytes
        """Answer; once for each recipient after the data (RFC 2033 4.2)."""
        text = status.decode("ascii") if isinstance(status, bytes) else status
        if text.startswith("354"):
            self._owed = len(self.envelope.rcpt_tos) if self.envelope else 1
        elif self._owed:
            text, self._owed = "\r\n".join([text] * self._owed), 0
        await super().push(text)


class LmtpListener:
    """Gives each mail to ``intake`` with its recipients."""

    def __init__(
        self,
        intake: Callable[[bytes, Sequence[str]], Awaitable[object]],
        hostname: str,
    ) -> None:
        """``intake`` raises ShaperError when it cannot take the mail now."""
        self._intake = intake
        self._hostname = hostname
        self._servers: list[asyncio.Server] = []
        self._open = 0

    async def listen(self, host: str, port: int, *, reuse_port: bool = False) -> int:
        """Listen on an address; return the port. Raises OSError."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            self._session, host, port, reuse_port=reuse_port
        )
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    async def listen_unix(self, path: str) -> None:
        """Listen on a unix socket. Raises OSError."""
        loop = asyncio.get_running_loop()
        self._servers.append(await loop.create_unix_server(self._session, path))

    async def stop(self) -> None:
        """Close the sockets; what is not acknowledged comes again."""
        for server in self._servers:
            server.close()
        self._servers.clear()

    def _session(self) -> _Session:
        return _Session(
            self,
            hostname=self._hostname,
            ident="mailshaper",
            data_size_limit=MAX_MAIL,
            enable_SMTPUTF8=True,
            timeout=_IDLE,
        )

    # -- hooks of aiosmtpd, which names them -----------------------------------------

    async def handle_RCPT(  # noqa: N802
        self,
        _server: _Session,
        _session: object,
        envelope: Any,  # noqa: ANN401
        address: str,
        options: list[str],
    ) -> str:
        """Take any recipient: what comes here is decided by the MTA."""
        if len(envelope.rcpt_tos) >= _MOST_RECIPIENTS:
            return "452 4.5.3 Too many recipients"
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 Ok"

    async def handle_DATA(  # noqa: N802
        self,
        _server: _Session,
        _session: object,
        envelope: Any,  # noqa: ANN401
    ) -> str:
        """Take a mail; acknowledge when its outcomes were applied."""
        if self._open >= _MOST_CONNECTIONS:
            return "451 4.3.2 Busy, try again later"
        self._open += 1
        try:
            await self._intake(envelope.content or b"", envelope.rcpt_tos)
        except ShaperError as error:
            log.warning("a returned mail is left to the MTA: %s", bland(str(error)))
            return _LATER
        except Exception:
            # The catch-all of a connection: a bug of ours must not lose the mail,
            # and aiosmtpd would leave its transaction half open.
            log.exception("a returned mail met a bug; it is left to the MTA")
            return _LATER
        finally:
            self._open -= 1
        return "250 2.0.0 Ok"
