"""Asks our own inbound server whether it would take mail for an address.

MAIL FROM:<>, RCPT TO:<the address>, RSET, QUIT: a null sender, so that nothing can
come back, and never DATA (RFC 5321 3.3, 4.1.1.3, 4.5.5). One connection at a time and
one question per connection. The server is the operator's own; nobody else's server
is ever asked. What the answer means is not decided here.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from shaper.core.reply import Phase, Reply
from shaper.smtp.dial import dial

if TYPE_CHECKING:
    from shaper.smtp.link import Link
    from shaper.smtp.settings import ForwardSettings

__all__ = ["Callout"]

_COMMAND = 5.0  # seconds for one answer; our own server is near
_PLAIN = frozenset(map(chr, range(0x21, 0x7F))) - frozenset("<>")


class Callout:
    """The server to ask. Calls wait for each other."""

    def __init__(self, settings: ForwardSettings) -> None:
        """``settings`` say where the server is and how long to try to connect."""
        self._settings = settings
        self._turn = asyncio.Lock()

    async def __call__(self, address: str) -> Reply | None:
        """Return the reply to RCPT, None when there was no answer to that."""
        plain = address.isascii()
        if not address or not _PLAIN.issuperset(c for c in address if c < "\x80"):
            return None  # a quoted local part; not worth a doubt
        async with self._turn:
            link = await dial(self._settings)
            if isinstance(link, Reply):
                return None
            try:
                if not plain and "SMTPUTF8" not in link.extensions:
                    return None
                # RFC 6531 3.4: the parameter announces addresses like this one.
                mail = b"MAIL FROM:<>\r\n" if plain else b"MAIL FROM:<> SMTPUTF8\r\n"
                if not (await _say(link, mail, Phase.MAIL)).positive:
                    return None
                line = f"RCPT TO:<{address}>\r\n".encode("utf-8", "surrogateescape")
                reply = await _say(link, line, Phase.RCPT)
                if reply.synthetic:
                    return None
                await _say(link, b"RSET\r\n", Phase.RCPT)
                link.quit()
            finally:
                if not link.closed:
                    link.abort()
            return reply


async def _say(link: Link, line: bytes, phase: Phase) -> Reply:
    answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

    def take(reply: Reply) -> None:
        if not answer.done():
            answer.set_result(reply)

    link.command(line, take, phase, _COMMAND)
    return await answer
