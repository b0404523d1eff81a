"""The HTTPS listener: bounds first, then the signature, then the service.

Reads a request in bounded time and size, verifies who signed it and that its nonce
is new, and hands it to the service, which runs where the store lives. A long poll
waits here, without holding anything but its connection. Connections are bounded in
number and age, in all and for each address: a stranger who opens many, or sends
one byte a minute, gets in nobody's way.

PROTOCOL.md 9.1. Behind a proxy the proxy ends TLS; the signature does not
mind, since it is over the authority of our own URL.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import zlib
from collections import Counter
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from aiohttp import web

from federation.exchange import httpsig
from federation.exchange.client import COMPRESS_FROM, inflate
from federation.exchange.joining import JOIN
from federation.exchange.service import Rates, error
from federation.exchange.session import VECTOR, Answer, PeerFault
from federation.format.event import LONGEST_PROOF
from federation.log.database import StoreFull

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from federation.exchange.service import Service

__all__ = ["Inside", "Server", "network_of"]

T = TypeVar("T")


class Inside(Protocol):
    """Runs a function where the store lives."""

    async def __call__(self, function: Callable[[], T]) -> T:
        """Return what the function returns."""


WELL_KNOWN: Final = "/.well-known/sm2tp-fed"

CONNECTIONS: Final = 256
CONNECTIONS_OF_ONE: Final = 32
CONNECTION_AGE: Final = 900.0
"""Seconds after which a connection is closed, whatever it does: no session of an
honest peer is longer, and it opens another."""
HEADER_TIME: Final = 30.0
"""Seconds in which a new connection must have sent a request."""

_NOBODY: Final = asyncio.BaseTransport()
_log = logging.getLogger("mailshaper.federation.server")
# aiohttp writes a traceback for whatever is no HTTP: strangers would fill the disk.
_http = logging.getLogger("mailshaper.federation.http")
_http.setLevel(logging.CRITICAL + 1)


class Server:
    """One listener.

    ``authority`` is our own host and port as peers write them. ``inside`` runs a
    function where the store lives. ``join`` answers invitations. ``spoken`` is told
    who has asked something, where our store stands now, and whether it has the same.
    """

    def __init__(
        self,
        service: Service,
        *,
        authority: str,
        clock: Callable[[], int],
        inside: Inside,
        join: Callable[[bytes, bytes, int], Answer] | None = None,
        rates: Rates | None = None,
        spoken: Callable[[bytes, int, bool], None] | None = None,
    ) -> None:
        self.service = service
        self._authority = authority
        self._clock = clock
        self._inside = inside
        self._join = join
        self._spoken = spoken
        self._limits = service.replica.limits
        self._most = self._limits.batch_bytes + LONGEST_PROOF
        self._nonces = httpsig.Nonces(self._limits.nonce_memory)
        self._rates = rates or Rates()
        # One bucket for all who join: strangers have no name. Each of their requests
        # may cost hundreds of signatures.
        self._strangers = Rates(1.0, 20)
        self._open: Counter[bytes] = Counter()
        self._waiters: set[asyncio.Event] = set()
        self._connections: dict[asyncio.BaseTransport, _Bounded] = {}
        self._runner: web.Server | None = None
        self._listener: asyncio.Server | None = None

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None) -> int:
        """Listen, and return the port; without ``tls`` for a proxy on this host."""
        self._runner = web.Server(
            self._request,
            access_log=None,
            logger=_http,
            auto_decompress=False,  # a bomb would be open before it is counted
            max_line_size=1024,
            max_field_size=1024,
            keepalive_timeout=self._limits.response_time,
            lingering_time=0,
        )
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(
            self._protocol,
            host,
            port,
            ssl=tls,
            ssl_handshake_timeout=None if tls is None else HEADER_TIME,
            backlog=64,
        )
        found: int = self._listener.sockets[0].getsockname()[1]
        return found

    async def stop(self) -> None:
        """Close the listener and every connection."""
        self.news()
        if self._listener is not None:
            self._listener.close()
        if self._runner is not None:
            await self._runner.shutdown(1)

    def news(self) -> None:
        """Something changed in the store: answer those who wait for it."""
        for waiter in self._waiters:
            waiter.set()

    def _protocol(self) -> asyncio.Protocol:
        if self._runner is None:
            raise RuntimeError("the listener is not started")
        return _Bounded(self._runner(), self._connections)

    async def _request(self, request: web.BaseRequest) -> web.StreamResponse:
        now = self._clock()
        connection = self._connections.get(request.transport or _NOBODY)
        if connection is not None:
            connection.spoke = True
        try:
            async with asyncio.timeout(self._limits.response_time + self._limits.poll):
                answer = await self._answer(request, now)
        except TimeoutError:
            answer = error(408, "the request did not come in time", now)
        except Exception:  # noqa: BLE001 - the catch-all of a connection
            _log.exception("a request")
            answer = error(500, "an error of this program", now)
        return self._response(request, answer)

    async def _answer(  # noqa: PLR0911 - one return a check
        self, request: web.BaseRequest, now: int
    ) -> Answer:
        path = request.raw_path
        if request.method == "GET" and path == WELL_KNOWN:
            return self.service.well_known(now)
        if request.method != "POST" or "?" in path or not path.isascii():
            return error(404, "no such resource", now)
        body = await self._body(request)
        if body is None:
            return error(413, "too long", now)
        try:
            signed = httpsig.check(
                "POST",
                self._authority,
                path,
                request.headers,
                body,
                now=now,
                age=self._limits.request_age,
            )
        except httpsig.Unsigned as refusal:
            return error(401, refusal.reason, now)
        encoding = request.headers.get("Content-Encoding", "")
        if encoding not in {"", "gzip"}:
            return error(415, "an encoding other than gzip", now)
        try:
            plain = inflate(body, self._most) if encoding else body
        except PeerFault as refusal:
            return error(400, str(refusal), now)
        if path == JOIN:
            return await self._joining(signed, plain, now)
        return await self._of_peer(path, signed, plain, now)

    async def _of_peer(
        self, path: str, signed: httpsig.Signed, body: bytes, now: int
    ) -> Answer:
        peer = await self._inside(lambda: self.service.peer_of(signed.key))
        if peer is None:
            return error(403, "not a peer", now)
        if not self._rates.allow(peer, now):
            return error(429, "too many requests", now)
        if self._open[peer] >= self._limits.sessions:
            return error(429, "too many requests at once", now)
        if not self._nonces.use(signed.key, signed.nonce, now):
            return error(401, "replay", now)
        self._open[peer] += 1
        try:
            if path == VECTOR:
                await self._hold(body)
                now = self._clock()
            store = self.service.replica.store
            answer, counter = await self._inside(
                lambda: (
                    self.service.answer(path, body, peer=peer, now=now),
                    store.counter(),
                )
            )
        finally:
            self._open[peer] -= 1
        self._rates.charge(peer, answer.cost)
        if self._spoken is not None:
            self._spoken(peer, counter, answer.same)
        return answer

    async def _joining(self, signed: httpsig.Signed, body: bytes, now: int) -> Answer:
        if self._join is None:
            return error(404, "no such resource", now)
        if not self._strangers.allow(b"", now):
            return error(429, "too many requests", now)
        if not self._nonces.use(signed.key, signed.nonce, now):
            return error(401, "replay", now)
        join = self._join
        try:
            return await self._inside(lambda: join(body, signed.key, now))
        except StoreFull:
            return error(503, "the disk is full", now)

    async def _hold(self, body: bytes) -> None:
        """Wait until there is something new, or as long as the peer allows."""
        held = await self._inside(lambda: self.service.held(body))
        if held is None:
            return
        waiter = asyncio.Event()
        self._waiters.add(waiter)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(held.seconds):
                    while not await self._inside(
                        lambda: self.service.changed(held.since)
                    ):
                        await waiter.wait()
                        waiter.clear()
                        if self._listener is None or not self._listener.is_serving():
                            return
        finally:
            self._waiters.discard(waiter)

    async def _body(self, request: web.BaseRequest) -> bytes | None:
        if (request.content_length or 0) > self._most:
            return None
        body = bytearray()
        async with asyncio.timeout(self._limits.response_time):
            async for chunk in request.content.iter_chunked(1 << 16):
                body += chunk
                if len(body) > self._most:
                    return None
        return bytes(body)

    def _response(self, request: web.BaseRequest, answer: Answer) -> web.Response:
        body = answer.body
        headers = {"Content-Type": "application/octet-stream", "Server": "sm2tp-fed"}
        wants = "gzip" in request.headers.get("Accept-Encoding", "")
        if wants and len(body) >= COMPRESS_FROM:
            body = zlib.compress(body, 6, 31)
            headers["Content-Encoding"] = "gzip"
        response = web.Response(status=answer.status, body=body, headers=headers)
        if answer.status in {401, 408, 413}:
            response.force_close()
        return response


def network_of(address: str) -> str:
    """Return what counts as one neighbour: an IPv4 address, or an IPv6 /64."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return address
    if found.ipv4_mapped:
        return str(found.ipv4_mapped)
    return found.packed[:8].hex()


class _Bounded(asyncio.Protocol):
    """A connection within the bounds of number and age, in front of aiohttp's.

    Keeps nothing of what it passes on; asyncio calls it like any protocol.
    """

    def __init__(
        self,
        inner: asyncio.Protocol,
        others: dict[asyncio.BaseTransport, _Bounded],
    ) -> None:
        self.address = ""
        self.spoke = False
        self._inner = inner
        self._others = others
        self._timers: list[asyncio.TimerHandle] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection, or end it at once."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - it is TCP
        name = transport.get_extra_info("peername") or ("",)
        self.address = network_of(str(name[0]))
        of_one = sum(one.address == self.address for one in self._others.values())
        if len(self._others) >= CONNECTIONS or of_one >= CONNECTIONS_OF_ONE:
            transport.abort()
            return
        self._others[transport] = self
        loop = asyncio.get_running_loop()
        self._timers = [
            loop.call_later(HEADER_TIME, self._silent, transport),
            loop.call_later(CONNECTION_AGE, transport.abort),
        ]
        self._inner.connection_made(transport)

    def _silent(self, transport: asyncio.Transport) -> None:
        if not self.spoke:
            transport.abort()

    def connection_lost(self, problem: Exception | None) -> None:
        """Forget the connection."""
        if not self._timers:
            return  # it was ended at once
        for timer in self._timers:
            timer.cancel()
        for transport in [t for t, one in self._others.items() if one is self]:
            del self._others[transport]
        self._inner.connection_lost(problem)

    def data_received(self, data: bytes) -> None:
        """Pass on."""
        if self._timers:
            self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """Pass on."""
        return self._inner.eof_received() if self._timers else None

    def pause_writing(self) -> None:
        """Pass on."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Pass on."""
        self._inner.resume_writing()
