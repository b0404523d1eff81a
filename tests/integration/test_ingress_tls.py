"""TLS on both sides of the hop, with a certificate made for the test."""

import asyncio
import ssl

import pytest

from shaper.core.envelope import Client, Envelope, Recipient
from shaper.smtp.forward import NextHop as Forwarder
from shaper.smtp.send import send
from shaper.smtp.settings import ForwardSettings
from tests.support.gate import hop_before

BODY = b"Subject: hi\r\n\r\n" + b"x" * 70 + b"\r\n" * 200_000


@pytest.fixture
def server_side(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
def client_side(certificate):
    return ssl.create_default_context(cafile=str(certificate))


async def chunks():
    yield BODY


@pytest.fixture
async def stage(next_hop, tmp_path, server_side):
    async with hop_before(next_hop.port, tmp_path, tls=server_side) as stage:
        yield stage


async def upgraded(client, context):
    assert (await client.ask("STARTTLS")).startswith(b"220 ")
    await client.writer.start_tls(context, server_hostname="127.0.0.1")
    return client


async def test_a_client_may_start_tls(stage, next_hop, client_side):
    client = await stage.connect()
    assert b"STARTTLS" in await client.ask("EHLO c")
    await upgraded(client, client_side)
    # RFC 3207 4.2: what was said before is forgotten.
    assert (await client.ask("MAIL FROM:<a@b>")).startswith(b"503 ")
    assert b"STARTTLS" not in await client.ask("EHLO c")
    assert (await client.mail(BODY)).startswith(b"250 ")
    (taken,) = await next_hop.wait_for(1)
    assert taken.wire.endswith(BODY)
    assert b" with ESMTPS id " in taken.wire[:100]


async def test_commands_smuggled_before_tls_are_not_obeyed(
    stage, next_hop, client_side
):
    client = await stage.connect()
    await client.send(b"STARTTLS\r\nEHLO x\r\nMAIL FROM:<evil@x>\r\n")
    assert (await client.reply()).startswith(b"220 ")
    await client.writer.start_tls(client_side, server_hostname="127.0.0.1")
    assert (await client.ask("RCPT TO:<a@b>")).startswith(b"503 ")


async def test_a_failed_handshake_ends_the_connection_only(stage):
    client = await stage.connect()
    await client.ask("STARTTLS")
    await client.send(b"this is no handshake\r\n\r\n")
    async with asyncio.timeout(20):
        while await client.reader.read(100):
            pass
    assert (await (await stage.connect()).mail(BODY)).startswith(b"250 ")


@pytest.mark.parametrize("way", ["starttls", "trusting nobody"])
async def test_the_next_hop_is_reached_by_tls(
    stage, next_hop, client_side, tmp_path, way
):
    context = client_side if way == "starttls" else ssl.create_default_context()
    out = ForwardSettings(port=stage.port, tls="starttls", tls_context=context)
    forwarder = Forwarder(out)
    envelope = Envelope("a@b", (Recipient("c@d"),))
    _, end = await send(forwarder, envelope, Client(), chunks(), (0,))
    if way == "starttls":
        assert end.positive
        assert next_hop.transactions[0].wire.endswith(BODY)
    else:
        assert (end.code, end.synthetic) == (451, True)
        assert next_hop.transactions == []
    forwarder.close()
