"""One client connection on top of aiosmtpd: its life, its octets, its patience.

aiosmtpd keeps the transport, the session and STARTTLS. Octets are kept as the
socket gave them, in bounded number (above, reading pauses and TCP makes the
client wait), instead of being copied through a stream buffer. Nothing here
cancels the conversation when the client goes away: it notices at its next
read, so that a message whose final dot was seen is finished and counted.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, cast

from aiosmtpd.smtp import SMTP

if TYPE_CHECKING:
    from shaper.smtp.shared import Shared

__all__ = ["CloseError", "Connection"]

# Octets that may wait to be read; above, the client is made to wait (one more
# read of up to 256 KiB may be under way).
_HIGH = 128 * 1024
_LOW = 64 * 1024


class CloseError(Exception):
    """The conversation is over; everything owed has been said."""


class Connection(SMTP):
    """What ``Session`` talks through."""

    def __init__(self, shared: Shared) -> None:
        # aiosmtpd's own __init__ inspects every member of itself and of the
        # handler, 0.3 ms per connection. It ran once, for the template.
        vars(self).update(shared.template)
        asyncio.StreamReaderProtocol.__init__(
            self,
            asyncio.StreamReader(loop=shared.loop),
            self._cb_client_connected,
            shared.loop,
        )
        self._shared = shared
        self._out = bytearray()
        self._inbox = b""
        self._at = 0  # how far it has been read
        self._reading: asyncio.Future[None] | None = None
        self._arrived: deque[bytes] = deque()
        self._waiting = 0  # octets in it
        self._held_up = False  # the transport was told to stop reading
        self._ended = False
        self._heard_at = 0.0

    def connection_lost(self, error: Exception | None) -> None:
        """Let the conversation notice by itself instead of cancelling it.

        A message whose final dot was seen is finished and counted even when
        its client has gone.
        """
        if self._timeout_handle is not None:
            self._timeout_handle.cancel()
        if self._original_transport is not None:
            self._original_transport.close()
        asyncio.StreamReaderProtocol.connection_lost(self, error)
        self.transport = None
        self._end()

    def eof_received(self) -> bool | None:
        """Keep answering a client that has closed its sending side only."""
        self._end()
        # A TLS connection cannot stay half open.
        return self._tls_protocol is None

    def _end(self) -> None:
        self._ended = True
        if self._reading is not None and not self._reading.done():
            self._reading.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Keep what came as it came: a stream would copy it twice."""
        self._arrived.append(data)
        self._waiting += len(data)
        self._heard_at = self.loop.time()
        if self._waiting > _HIGH and not self._held_up and self.transport is not None:
            self._held_up = True
            cast("asyncio.Transport", self.transport).pause_reading()
        if self._reading is not None and not self._reading.done():
            self._reading.set_result(None)

    def _reset_timeout(self, duration: float | None = None) -> None:
        """Note that the client spoke; one timer serves the whole connection."""
        self._heard_at = self.loop.time()
        if self._timeout_handle is None:
            limit = duration or self._shared.settings.idle_timeout
            self._timeout_handle = self.loop.call_later(limit, self._timeout_cb)

    def _timeout_cb(self) -> None:
        limit = self._shared.settings.idle_timeout
        due = self._heard_at + limit
        now = self.loop.time()
        if self._reading is None:
            due = now + limit  # the next hop is slow, not the client
        if due > now:
            self._timeout_handle = self.loop.call_at(due, self._timeout_cb)
            return
        self.hang_up("421 4.4.2 Idle for too long")

    def hang_up(self, text: str) -> None:
        """Say goodbye and close, from outside of the conversation."""
        if self.transport is not None:
            self._writer.write(bytes(self._out) + text.encode() + b"\r\n")
            self._out.clear()
            self._writer.close()

    async def _receive(self) -> bytes:
        if not self._arrived:
            if self._ended:
                raise CloseError
            self._reading = self.loop.create_future()
            try:
                await self._reading
            finally:
                self._reading = None
            if not self._arrived:
                raise CloseError
        data = self._arrived.popleft()
        self._waiting -= len(data)
        if self._held_up and self._waiting <= _LOW and self.transport is not None:
            self._held_up = False
            cast("asyncio.Transport", self.transport).resume_reading()
        return data

    def _next_line(self) -> bytes | None:
        """Take a command line from the inbox, LF excluded; None when partial."""
        end = self._inbox.find(b"\n", self._at)
        if end < 0:
            return None
        line = self._inbox[self._at : end]
        self._at = end + 1
        return line

    def _rest(self) -> bytes:
        """Take what is left in the inbox."""
        rest = self._inbox[self._at :]
        self._inbox = b""
        self._at = 0
        return rest

    async def _content(self) -> bytes:
        """Read content: what is in the inbox first."""
        return self._rest() or await self._receive()

    def _discard(self) -> None:
        """Forget octets that have not been read."""
        self._arrived.clear()
        self._waiting = 0

    def _say(self, text: str) -> None:
        self._out += text.encode() + b"\r\n"

    async def _flush(self) -> None:
        if self._out:
            self._writer.write(bytes(self._out))
            self._out.clear()
            if self._writer.transport.get_write_buffer_size():
                await self._writer.drain()

    def _goodbye(self) -> None:
        self._writer.write(bytes(self._out))
        self._out.clear()
        raise CloseError
