"""Handing mail to a server as a mail program does: SMTP, with or without a login."""

import asyncio
import smtplib
from collections.abc import Sequence
from dataclasses import dataclass

MESSAGE = (
    b"From: Alice <alice@example.test>\r\n"
    b"To: Bob <bob@example.net>\r\n"
    b"Subject: hello\r\n"
    b"Message-ID: <1@example.test>\r\n"
    b"\r\n"
    b"Hello Bob.\r\n"
    b".a line that begins with a dot\r\n"
)
"""A small, correct message for tests that do not care which."""


@dataclass(frozen=True, slots=True)
class Account:
    """Who logs in; the password of a made-up user."""

    login: str
    password: str


ALICE = Account("alice@example.test", "correct horse")
BOB = Account("bob@example.test", "battery staple")


async def submit(
    port: int,
    message: bytes = MESSAGE,
    *,
    account: Account | None = None,
    sender: str = "alice@example.test",
    recipients: Sequence[str] = ("bob@example.net",),
    helo: str = "laptop.example.test",
) -> dict[str, tuple[int, bytes]]:
    """Send one message to 127.0.0.1:``port``; log in (AUTH PLAIN) if asked.

    Returns the refused recipients with their replies. Raises smtplib's errors
    when the whole message is refused. Runs in a thread, so policy services and
    next hops of the same test can answer meanwhile.
    """

    def send() -> dict[str, tuple[int, bytes]]:
        with smtplib.SMTP("127.0.0.1", port, local_hostname=helo, timeout=30) as client:
            if account:
                client.ehlo()
                client.user, client.password = account.login, account.password
                client.auth("PLAIN", client.auth_plain)
            return client.sendmail(sender, list(recipients), message)

    return await asyncio.to_thread(send)
