"""Open a connection to the next hop: connect, EHLO, TLS, AUTH, by aiosmtplib.

After the greeting our own ``Link`` takes the transport over, because
aiosmtplib loses replies when commands are pipelined, and takes a message as
one piece (docs/adr/0002). Its exceptions end here: a connection that cannot be
had is a synthetic temporary reply, whatever the cause, since nothing that goes
wrong before MAIL says anything about the message.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import TYPE_CHECKING

import aiosmtplib

from shaper.core.reply import Phase, Reply
from shaper.smtp.link import Link

if TYPE_CHECKING:
    from shaper.smtp.settings import ForwardSettings

__all__ = ["dial"]

log = logging.getLogger(__name__)


async def dial(settings: ForwardSettings) -> Link | Reply:
    """Return an open connection, or why there is none. Never raises."""
    place = settings.unix_socket or f"{settings.host}:{settings.port}"
    where = f"{settings.called} {place}"
    client = aiosmtplib.SMTP(
        hostname=None if settings.unix_socket else settings.host,
        port=None if settings.unix_socket else settings.port,
        socket_path=settings.unix_socket or None,
        local_hostname=settings.helo,
        timeout=settings.connect_timeout,
        use_tls=settings.tls == "implicit",
        start_tls=settings.tls == "starttls",
        tls_context=settings.tls_context,
        username=settings.username or None,
        password=settings.password or None,
    )
    try:
        await client.connect()
        if client.is_ehlo_or_helo_needed:
            await _greet(client)
        return _take_over(client, settings)
    except aiosmtplib.SMTPAuthenticationError as error:
        client.close()
        log.error("%s refuses our login: %s", where, error.code)
        return _failure(Phase.AUTH, "4.7.0 Next hop refuses our login")
    except aiosmtplib.SMTPResponseException as error:
        client.close()
        log.warning("%s refuses the session: %s", where, error.code)
        return _failure(Phase.EHLO, f"4.4.1 Next hop answers {error.code} to us")
    except (aiosmtplib.SMTPException, OSError, ValueError) as error:
        client.close()
        log.warning("%s cannot be reached: %s", where, type(error).__name__)
        return _failure(Phase.CONNECT, "4.4.1 Next hop cannot be reached")
    except asyncio.CancelledError:
        client.close()
        raise


async def _greet(client: aiosmtplib.SMTP) -> None:
    try:
        await client.ehlo()
    except aiosmtplib.SMTPHeloError:
        await client.helo()  # RFC 5321 3.2: fall back once


def _take_over(client: aiosmtplib.SMTP, settings: ForwardSettings) -> Link:
    transport = client.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError("closed behind the greeting")
    loop = asyncio.get_running_loop()
    link = Link(loop, client.esmtp_extensions, settings.block_timeout)
    transport.set_protocol(link)
    link.connection_made(transport)
    raw = transport.get_extra_info("socket")
    if raw is not None and raw.family in {socket.AF_INET, socket.AF_INET6}:
        # asyncio sets it for its own sockets; kept explicit because Nagle costs
        # 40 ms per message between small writes.
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return link


def _failure(phase: Phase, text: str) -> Reply:
    return Reply(451, (text,), phase, synthetic=True)
