"""The asking side over HTTPS: signs, compresses, and bounds what comes back.

One connection for each session. An answer has a time, a number of bytes on the
wire and a number after decompression; whoever exceeds one of them has lost the
session, and nothing else of the node waits. No redirect is followed, no proxy of
the environment used, and no URL asked but those the operator entered.
"""

from __future__ import annotations

import asyncio
import os
import time
import zlib
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import aiohttp

from federation.exchange import httpsig
from federation.exchange.session import Answer, Ask, PeerFault, Report
from federation.exchange.tls import PinMismatch, check_of
from federation.format.event import LONGEST_PROOF

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from federation.exchange.session import Dialogue
    from federation.format.limits import Limits
    from federation.format.signing import Signer

__all__ = ["Client", "Target", "Unreachable", "inflate"]

COMPRESS_FROM: Final = 512
"""Octets below which compression saves nothing."""
_CHUNK = 1 << 16
_CONNECT = 15
_SESSION = 900.0
"""Seconds: who answers everything at the last moment holds up nobody else."""


class Unreachable(Exception):  # noqa: N818 - the name says what happened
    """No answer: name, connection, TLS, time, or a broken stream."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a peer is: ``https://host[:port]``, and its pin or ""."""

    url: str
    pin: str = ""

    @property
    def authority(self) -> str:
        """Host and port as they are signed."""
        parts = urlsplit(self.url)
        if parts.scheme != "https" or not parts.netloc or parts.path not in {"", "/"}:
            raise ValueError("a peer's address is https://HOST or https://HOST:PORT")
        return httpsig.authority(parts.netloc)


class Client:
    """Requests of one node."""

    def __init__(
        self,
        signer: Signer,
        limits: Limits,
        clock: Callable[[], int],
    ) -> None:
        self.signer = signer
        self.limits = limits
        self.clock = clock

    async def converse(
        self,
        target: Target,
        dialogue: Dialogue,
        inside: Callable[[Callable[[], object]], Awaitable[object]],
    ) -> Report:
        """Run a session with a peer to its end.

        ``inside`` runs a function where the store lives.
        Raises Unreachable, and what the session raises.
        """
        try:
            async with self.connect(target) as http:
                end = time.monotonic() + _SESSION
                step = await inside(lambda: _send(dialogue, None))
                while isinstance(step, Ask):
                    if time.monotonic() > end:
                        raise Unreachable("the session took too long")
                    answer = await self.ask(http, target, step)
                    step = await inside(partial(_send, dialogue, answer))
        finally:
            dialogue.close()
        if not isinstance(step, Report):
            raise TypeError("a session ends with its report")
        return step

    def connect(self, target: Target) -> aiohttp.ClientSession:
        """Return a connection, to be used for one session and closed."""
        connector = aiohttp.TCPConnector(ssl=check_of(target.pin), limit=1)
        return aiohttp.ClientSession(
            connector=connector,
            auto_decompress=False,  # a bomb would be open before it is counted
            cookie_jar=aiohttp.DummyCookieJar(),
            raise_for_status=False,
            trust_env=False,
        )

    async def ask(
        self,
        http: aiohttp.ClientSession,
        target: Target,
        ask: Ask,
        *,
        wait: int = 0,
    ) -> Answer:
        """Send one signed request and return the answer, decompressed."""
        body = ask.body
        headers = {
            "Accept-Encoding": "gzip",
            "Content-Type": "application/octet-stream",
        }
        if len(body) >= COMPRESS_FROM:
            body = zlib.compress(body, 6, 31)  # 31: a gzip frame, RFC 1952
            headers["Content-Encoding"] = "gzip"
        headers |= httpsig.sign(
            self.signer,
            "POST",
            target.authority,
            ask.path,
            body,
            created=self.clock(),
            nonce=os.urandom(httpsig.NONCE),
        )
        return await self._request(
            http, "POST", target.url.rstrip("/") + ask.path, headers, body, wait
        )

    async def well_known(self, target: Target) -> Answer:
        """Return what the peer tells everybody; not signed."""
        async with self.connect(target) as http:
            url = target.url.rstrip("/") + "/.well-known/sm2tp-fed"
            return await self._request(http, "GET", url, {}, None, 0)

    async def _request(
        self,
        http: aiohttp.ClientSession,
        method: str,
        url: str,
        headers: dict[str, str],
        body: bytes | None,
        wait: int,
    ) -> Answer:
        try:
            async with (
                asyncio.timeout(self.limits.response_time + wait),
                http.request(
                    method,
                    url,
                    headers=headers,
                    data=body,
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT),
                ) as response,
            ):
                raw = await self._read(response)
                if response.headers.get("Content-Encoding", "") == "gzip":
                    raw = inflate(raw, self.limits.batch_bytes + LONGEST_PROOF)
                return Answer(response.status, raw)
        except PinMismatch:
            raise Unreachable("its key is not the pinned one") from None
        except TimeoutError:
            raise Unreachable("it did not answer in time") from None
        except (aiohttp.ClientError, OSError) as problem:
            raise Unreachable(f"{type(problem).__name__}: {problem}") from None

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        raw = bytearray()
        async for chunk in response.content.iter_chunked(_CHUNK):
            raw += chunk
            if len(raw) > self.limits.batch_bytes + LONGEST_PROOF:
                connection = response.connection
                if connection is not None and connection.transport is not None:
                    # A polite end of TLS would wait for who never stops sending.
                    connection.transport.abort()
                raise PeerFault("an answer of more bytes than a batch has")
        return bytes(raw)


def inflate(data: bytes, most: int) -> bytes:
    """Return gzip data decompressed; PeerFault: no gzip, or more than ``most``."""
    opener = zlib.decompressobj(31)
    try:
        found = opener.decompress(data, most + 1)
    except zlib.error:
        raise PeerFault("compressed data that is not gzip") from None
    if len(found) > most or not opener.eof or opener.unused_data:
        raise PeerFault("compressed data that is too long, cut off or followed by more")
    return found


def _send(dialogue: Dialogue, answer: Answer | None) -> Ask | Report:
    try:
        return next(dialogue) if answer is None else dialogue.send(answer)
    except StopIteration as end:
        report: Report = end.value
        return report
