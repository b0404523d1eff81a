"""POSTs events to one URL, signed; what the server answers is only a status.

``X-Mailshaper-Signature: t=<seconds>,v1=<hex>`` is HMAC-SHA256 over the seconds, a
dot and the body, so neither can be changed nor an old one be played again later
(docs/webhook.md has checks). TLS is verified, a redirect is a failure, proxies of
the environment and cookies are not used, the answer's body is not read.
aiohttp is imported when the first event is sent.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import ClientSession

__all__ = ["Webhook", "signature"]

_TIMEOUT = 10.0  # seconds for all of it


def signature(secret: bytes, seconds: int, body: bytes) -> str:
    """Return the value of the signature header."""
    signed = hmac.new(secret, f"{seconds}.".encode() + body, hashlib.sha256)
    return f"t={seconds},v1={signed.hexdigest()}"


class Webhook:
    """Implements the engine's port ``Post``."""

    def __init__(
        self,
        url: str,
        secret: bytes,
        clock: Callable[[], float],
        timeout: float = _TIMEOUT,
    ) -> None:
        """Without a secret events are not signed."""
        self.url = url
        self.secret = secret
        self._clock = clock
        self._timeout = timeout
        self._session: ClientSession | None = None

    async def __call__(self, event_id: str, body: bytes) -> str:
        """Return "" when the server answered 2xx, else why not."""
        from aiohttp import ClientError  # noqa: PLC0415 - only where it is wanted

        headers = {
            "Content-Type": "application/json",
            "User-Agent": "mailshaper",
            "X-Mailshaper-Event": event_id.encode("ascii", "replace").decode(),
        }
        if self.secret:
            seconds = int(self._clock())
            signed = signature(self.secret, seconds, body)
            headers["X-Mailshaper-Signature"] = signed
        try:
            async with self._open().post(
                self.url, data=body, headers=headers, allow_redirects=False
            ) as answer:
                if answer.status // 100 == 2:  # noqa: PLR2004 - RFC 9110 15.3
                    return ""
                return f"status {answer.status}"
        except TimeoutError:
            return f"no answer within {self._timeout:g} s"
        except (ClientError, OSError, ValueError) as error:
            return f"{type(error).__name__}: {error}"

    def _open(self) -> ClientSession:
        from aiohttp import ClientSession, ClientTimeout, DummyCookieJar  # noqa: PLC0415

        if self._session is None:
            self._session = ClientSession(
                timeout=ClientTimeout(total=self._timeout),
                cookie_jar=DummyCookieJar(),
                trust_env=False,
            )
        return self._session

    async def close(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()
