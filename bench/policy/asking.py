"""Asks a policy service about messages, as Postfix's smtpd processes would."""

from __future__ import annotations

import asyncio

__all__ = ["messages"]

_SENDERS = 20
_REQUEST = (
    "request=smtpd_access_policy\nprotocol_state={stage}\nprotocol_name=ESMTP\n"
    "client_address=192.0.2.1\nclient_name=client.example.test\nclient_port=4711\n"
    "helo_name=laptop.example.test\nsender={login}\nrecipient={recipient}\n"
    "recipient_count={count}\nqueue_id={queue_id}\ninstance={instance}\nsize={size}\n"
    "sasl_method=PLAIN\nsasl_username={login}\nencryption_protocol=TLSv1.3\n\n"
)


async def messages(
    port: int, count: int, connections: int, first: int, *, both: bool
) -> float:
    """Ask about ``count`` messages of one recipient each; return the seconds taken.

    ``both``: at RCPT and at END-OF-MESSAGE, else at RCPT only. ``first``: number of
    the first message, so that queue ids and instances never come again. Raises
    ValueError at an answer other than DUNNO.
    """
    loop = asyncio.get_running_loop()
    streams = [
        await asyncio.open_connection("127.0.0.1", port) for _ in range(connections)
    ]
    start = loop.time()
    share = count // connections
    await asyncio.gather(
        *(
            _ask(*pair, range(first + n * share, first + (n + 1) * share), both=both)
            for n, pair in enumerate(streams)
        )
    )
    taken = loop.time() - start
    for _, writer in streams:
        writer.close()
    return taken


async def _ask(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    numbers: range,
    *,
    both: bool,
) -> None:
    for number in numbers:
        known = {
            "login": f"user{number % _SENDERS}@example.test",
            "recipient": f"friend{number % 7}@example.net",
            "instance": f"{number:x}.1.0",
        }
        ask = _REQUEST.format(stage="RCPT", count=0, queue_id="", size=0, **known)
        await _one(reader, writer, ask)
        if both:
            name = f"4BE{number:010X}"
            ask = _REQUEST.format(
                stage="END-OF-MESSAGE", count=1, queue_id=name, size=5000, **known
            )
            await _one(reader, writer, ask)


async def _one(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ask: str
) -> None:
    writer.write(ask.encode())
    answer = await reader.readuntil(b"\n\n")
    if answer.strip().lower() != b"action=dunno":
        raise ValueError(f"answered {answer!r}")
