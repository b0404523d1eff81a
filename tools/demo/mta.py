"""Plays Postfix towards the daemon: a policy request, then SMTP with XFORWARD.

The login goes to the policy listener only, joined to the message by its queue
id (SMTPD_POLICY_README, XFORWARD_README), exactly as with a real Postfix. A
temporary answer is tried again under the same queue id, as an MTA does.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import aiosmtplib

if TYPE_CHECKING:
    from collections.abc import Callable

    from tools.demo.books import Books, Letter

__all__ = ["Mta"]

_CONNECTIONS = 6  # smtp(8) processes at a time
_LATER = 1.0  # seconds until a deferred message is tried again
_HELD = "Held for review"


class Mta:
    """A queue and a few connections that empty it."""

    def __init__(
        self,
        books: Books,
        hop_port: int,
        policy_port: int,
        answered: Callable[[Letter], None],
    ) -> None:
        """``answered`` hears of each letter once the daemon answered for it."""
        self._books = books
        self._hop_port = hop_port
        self._policy_port = policy_port
        self._answered = answered
        self._queue: asyncio.Queue[tuple[str, Letter]] = asyncio.Queue()
        self._numbers = itertools.count(0xA1C3000)
        self._tasks: list[asyncio.Task[None]] = []
        self.deferred = 0

    def start(self) -> None:
        """Begin to deliver."""
        self._tasks = [asyncio.create_task(self._work()) for _ in range(_CONNECTIONS)]

    def submit(self, letter: Letter) -> None:
        """Take a letter from a logged-in user."""
        letter.sent = time.time()
        self._books.letters[letter.message_id] = letter
        self._queue.put_nowait((f"4d{next(self._numbers):X}z", letter))

    async def idle(self) -> None:
        """Wait until every letter has got its answer."""
        await self._queue.join()

    async def stop(self) -> None:
        """End the connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _work(self) -> None:
        policy: _Policy | None = None
        client: aiosmtplib.SMTP | None = None
        while True:
            queue_id, letter = await self._queue.get()
            try:
                policy = policy or await _Policy.connect(self._policy_port)
                if client is None or not client.is_connected:
                    client = await _connect(self._hop_port)
                await policy.ask(queue_id, letter)
                await self._deliver(client, queue_id, letter)
                self._queue.task_done()
                self._answered(letter)
            except (OSError, aiosmtplib.SMTPException, asyncio.IncompleteReadError):
                self.deferred += 1
                policy, client = None, None
                await asyncio.sleep(_LATER)
                self._queue.put_nowait((queue_id, letter))
                self._queue.task_done()
            except asyncio.CancelledError:
                if client is not None:
                    with suppress(OSError, aiosmtplib.SMTPException):
                        client.close()
                if policy is not None:
                    policy.close()
                raise

    async def _deliver(
        self, client: aiosmtplib.SMTP, queue_id: str, letter: Letter
    ) -> None:
        """Hand over one message. Raises SMTPException for a temporary answer."""
        facts = (
            f"NAME=[UNAVAILABLE] ADDR={letter.client} PROTO=ESMTPSA "
            f"HELO=[{letter.client}] IDENT={queue_id} SOURCE=REMOTE"
        )
        await client.execute_command(b"XFORWARD", facts.encode())
        await client.mail(letter.mail_from)
        for recipient in letter.recipients:
            try:
                await client.rcpt(recipient)
            except aiosmtplib.SMTPRecipientRefused as error:
                if error.code < 500:  # noqa: PLR2004 - RFC 5321 4.2.1
                    raise
                letter.refused.add(recipient)
        if letter.dead:
            await client.rset()
            letter.held = False
        else:
            reply = await client.data(letter.content)
            letter.held = _HELD in reply.message
        letter.answered = time.time()


async def _connect(port: int) -> aiosmtplib.SMTP:
    client = aiosmtplib.SMTP(
        hostname="127.0.0.1",
        port=port,
        local_hostname="mail.example",
        use_tls=False,
        start_tls=False,
        timeout=20,
    )
    await client.connect()
    await client.ehlo()
    return client


class _Policy:
    """One connection of smtpd(8) to its policy service."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, port: int) -> _Policy:
        """Open it. Raises OSError."""
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def ask(self, queue_id: str, letter: Letter) -> None:
        """Tell who is logged in. Raises IncompleteReadError when hung up."""
        facts = {
            "request": "smtpd_access_policy",
            "protocol_state": "END-OF-MESSAGE",
            "protocol_name": "ESMTP",
            "client_address": letter.client,
            "queue_id": queue_id,
            "sender": letter.mail_from,
            "recipient_count": str(len(letter.recipients)),
            "size": str(len(letter.content)),
            "sasl_method": "PLAIN",
            "sasl_username": letter.login,
        }
        lines = "".join(f"{name}={value}\n" for name, value in facts.items())
        self._writer.write(f"{lines}\n".encode())
        await self._reader.readuntil(b"\n\n")

    def close(self) -> None:
        """Hang up."""
        self._writer.close()
