"""The next hop: a real SMTP server on aiosmtpd that enters arrivals in the books.

It accepts everything but the mailboxes that do not exist. Nothing here comes
from the daemon, so a mistake there cannot hide.
"""

from __future__ import annotations

import asyncio
import email
import time
from email import policy
from typing import TYPE_CHECKING, Any

from aiosmtpd.smtp import SMTP

if TYPE_CHECKING:
    from collections.abc import Callable

    from tools.demo.books import Books, Letter

__all__ = ["Hop"]


class Hop:
    """Listens on a free port of the loopback; `port` is known once started."""

    def __init__(
        self,
        books: Books,
        dead: Callable[[str], bool],
        told: Callable[[Letter | None, bytes], None],
    ) -> None:
        """``told`` hears of each arrival; the letter is None for a notice."""
        self._books = books
        self._dead = dead
        self._told = told
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self) -> None:
        """Listen."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: SMTP(self, hostname="mx.example", enable_SMTPUTF8=True, loop=loop),
            "127.0.0.1",
            0,
        )
        self.port = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        """Stop listening; connections end with the daemon's."""
        if self._server is not None:
            self._server.close()

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's hook
        self,
        server: Any,  # noqa: ANN401
        session: Any,  # noqa: ANN401
        envelope: Any,  # noqa: ANN401
        address: str,
        options: list[str],
    ) -> str:
        """Refuse whom nobody knows (RFC 3463 3.2)."""
        del server, session
        if self._dead(address):
            return "550 5.1.1 No such mailbox"
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 Ok"

    async def handle_DATA(  # noqa: N802 - aiosmtpd's hook
        self,
        server: Any,  # noqa: ANN401
        session: Any,  # noqa: ANN401
        envelope: Any,  # noqa: ANN401
    ) -> str:
        """Take a message and write it down."""
        del server, session
        content = bytes(envelope.original_content)
        head = email.message_from_bytes(content, policy=policy.SMTP)
        message_id = str(head["Message-ID"] or "")
        if head["Auto-Submitted"]:
            self._books.notices.append(content)
            self._told(None, content)
        else:
            letter = self._books.arrive(
                message_id, list(envelope.rcpt_tos), content, time.time()
            )
            if letter is not None:
                self._told(letter, content)
        return "250 2.0.0 Ok"
