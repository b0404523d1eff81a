"""The scripted next hop records exact bytes and misbehaves on demand."""

import asyncio
import smtplib

import pytest

from tests.support.nexthop import DROP, HANG, NextHop, Slow
from tests.support.submit import MESSAGE, submit


async def talk(port: int, *lines: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"".join(lines))
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_the_message_comes_back_byte_for_byte(next_hop):
    await submit(next_hop.port)
    (got,) = await next_hop.wait_for(1)
    assert got.content == MESSAGE
    assert b"\r\n..a line" in got.wire
    assert got.sender == "alice@example.test"
    assert got.recipients == ["bob@example.net"]
    assert got.helo == "laptop.example.test"
    assert got.accepted


async def test_only_crlf_dot_crlf_ends_a_message(next_hop):
    start = [
        b"EHLO a\r\n",
        b"XFORWARD NAME=[UNAVAILABLE] IDENT=4b+2B\r\n",
        b"MAIL FROM:<A@b> RET=hdrs envid=Qx\r\n",
        b"RCPT TO:<c@d>\r\nDATA\r\n",
    ]
    body = b"one\n.\ntwo\r\n.\n\n.\r\nthree\r\n"
    await talk(next_hop.port, *start, body, b".\r\nQUIT\r\n")
    (got,) = next_hop.transactions
    assert got.wire == body
    assert got.content == b"one\n.\ntwo\r\n\n\n.\r\nthree\r\n"
    assert got.mail == b"MAIL FROM:<A@b> RET=hdrs envid=Qx\r\n"
    assert got.xforward == {"NAME": "[UNAVAILABLE]", "IDENT": "4b+"}


async def test_a_mixed_reply_and_a_rule_that_ends(next_hop):
    next_hop.on("rcpt", "450 4.2.0 later", match="bob@", times=1)
    both = ["bob@example.net", "eve@example.net"]
    refused = await submit(next_hop.port, recipients=both)
    assert list(refused) == ["bob@example.net"]
    assert await submit(next_hop.port, recipients=both) == {}
    first, second = await next_hop.wait_for(2)
    assert [line.upper() for line in first.refused] == [
        b"RCPT TO:<BOB@EXAMPLE.NET>\r\n"
    ]
    assert second.recipients == both


@pytest.mark.parametrize("phase", ["connect", "ehlo", "mail", "data", "body", "dot"])
async def test_dropping_the_connection(next_hop, phase):
    next_hop.on(phase, DROP)
    with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionError)):
        await submit(next_hop.port)
    assert [one.reply for one in next_hop.transactions] == (
        [None] if phase == "dot" else []
    )


async def test_421_says_so_and_closes(next_hop):
    next_hop.on("dot", "421 4.3.2 going down")
    with pytest.raises(smtplib.SMTPDataError):
        await submit(next_hop.port)
    (got,) = next_hop.transactions
    assert got.reply == "421 4.3.2 going down"
    assert not got.accepted


async def test_slow_answers_as_usual_but_later(next_hop):
    next_hop.on("mail", Slow(0.05))
    await submit(next_hop.port)
    assert next_hop.transactions[0].accepted


async def test_hanging_ends_with_the_context():
    async with NextHop() as hop:
        hop.on("data", HANG)
        reader, writer = await asyncio.open_connection("127.0.0.1", hop.port)
        writer.write(b"EHLO a\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n")
        await reader.readuntil(b"2.1.5 Ok\r\n")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.05)
    assert await reader.read() == b""
    writer.close()


async def test_keywords_are_the_ones_chosen():
    async with NextHop(["SIZE 1000", "XFORWARD NAME IDENT"]) as hop:
        answer = await talk(hop.port, b"EHLO a\r\nQUIT\r\n")
    assert answer.splitlines()[1:4] == [
        b"250-hop.example.test",
        b"250-SIZE 1000",
        b"250 XFORWARD NAME IDENT",
    ]
