"""Routes on real Redis, journal, spool and two next hops."""

import asyncio

import pytest

from shaper.core.ports import StateUnavailableError
from shaper.engine.control import RefusedError
from shaper.smtp.ingress import Ingress
from shaper.smtp.routing import Hops
from shaper.smtp.settings import ForwardSettings, IngressSettings
from tests.support.engine import EngineBox
from tests.support.nexthop import NextHop

NEAR, FAR = "near@example.net", "far@orange.fr"


@pytest.fixture
async def other():
    async with NextHop() as hop:
        yield hop


@pytest.fixture
async def box(redis_url, tmp_path):
    async with EngineBox(redis_url, tmp_path) as box:
        yield box


def route(box):
    """Put the next hops of routes into an engine, as the daemon does."""

    def reach(one):
        return ForwardSettings(port=int(one.hop.rpartition(":")[2]))

    hops = Hops(box.forwarder, reach)
    engine = box.engine
    engine.delivery._send = hops.send
    engine.delivery.split = hops.split
    engine.routes.on_change = hops.apply
    engine.routes.check = reach
    hops.apply(engine.routes.table)
    return hops


async def hold(box, *recipients):
    await box.control.block(box.change(), "login:thief")
    await box.offer("login:thief", recipients)


async def test_others_follow_and_a_lost_redis_gets_it_back(redis_url, tmp_path):
    async with (
        EngineBox(redis_url, tmp_path, instance="a") as a,
        EngineBox(redis_url, tmp_path, instance="b", hop=a.hop) as b,
    ):
        await a.engine.routes.add(a.change("listed"), "orange", "127.0.0.1:1")
        await b.engine.routes.refresh()
        assert b.engine.routes.table == a.engine.routes.table
        await b.engine.routes.add(b.change(), "free.fr", "127.0.0.1:2")
        await a.engine.routes.refresh()
        await a.engine.routes.remove(a.change(), "orange")
        assert list(a.engine.routes.table.routes) == ["free.fr"]
        await a.ledger._connection.command("FLUSHALL")
        await b.engine.routes.refresh()  # older than a's
        await a.engine.routes.refresh()
        await b.engine.routes.refresh()
        assert b.engine.routes.table == a.engine.routes.table
        assert b.engine.routes.table.version == 3
        await a.ledger._connection.command("FLUSHALL")
        await b.crash()
        assert list(b.engine.routes.table.routes) == ["free.fr"]


async def test_a_change_counts_while_redis_is_away_and_is_told_later(box, monkeypatch):
    routes = box.engine.routes

    async def away():
        raise StateUnavailableError("away")

    with monkeypatch.context() as patch:
        patch.setattr(box.ledger.routes, "get", away)
        await routes.add(box.change(), "orange", "127.0.0.1:1")
        assert "orange" in routes.table.routes
    assert await box.ledger.routes.get() == b""
    await routes.refresh()
    assert b'"orange"' in await box.ledger.routes.get()


async def test_changes_need_reasons_and_sense(box):
    routes = box.engine.routes
    with pytest.raises(RefusedError, match="neither a domain"):
        await routes.add(box.change(), "nonsense", "127.0.0.1:1")
    with pytest.raises(RefusedError, match="tls is one of"):
        await routes.add(box.change(), "orange", "127.0.0.1:1", "maybe")
    with pytest.raises(RefusedError, match="no route for"):
        await routes.remove(box.change(), "orange")
    result = await routes.add(box.change(dry_run=True), "orange", "127.0.0.1:1")
    assert result["route"] == "orange"
    assert not routes.table.routes


async def test_held_mail_is_parted_each_recipient_once(box, other):
    route(box)
    await hold(box, NEAR, FAR, "near2@example.net")
    await box.engine.routes.add(box.change(), "orange.fr", f"127.0.0.1:{other.port}")
    await box.control.release(box.change(), "login:thief", 0.0)
    await box.advance(60)
    assert [t.recipients for t in box.hop.transactions] == [[NEAR, "near2@example.net"]]
    assert [t.recipients for t in other.transactions] == [[FAR]]
    assert not box.spool.all()


async def test_a_relay_that_is_down_defers_only_its_own(box, other):
    route(box)
    other.on("mail", "451 4.3.0 down", times=1)
    await hold(box, NEAR, FAR)
    await box.engine.routes.add(box.change(), "orange.fr", f"127.0.0.1:{other.port}")
    await box.control.release(box.change(), "login:thief", 0.0)
    await box.advance(60)
    assert [t.recipients for t in box.hop.transactions] == [[NEAR]]
    (held,) = box.spool.all()
    assert held.waiting == (1,)
    await box.advance(700)
    assert [t.recipients for t in box.hop.transactions] == [[NEAR]]
    assert [t.recipients for t in other.transactions if t.accepted] == [[FAR]]


class Cut(Exception):  # noqa: N818
    """The power went."""


async def test_a_crash_between_two_next_hops_repeats_nothing(box, other):
    hops = route(box)
    await hold(box, NEAR, FAR)
    await box.engine.routes.add(box.change(), "orange.fr", f"127.0.0.1:{other.port}")
    calls = []

    async def send(envelope, client, chunks, recipients):
        calls.append(list(recipients))
        if len(calls) > 1:
            raise Cut
        return await hops.send(envelope, client, chunks, recipients)

    box.engine.delivery._send = send
    (message,) = box.spool.all()
    with pytest.raises(Cut):
        await box.engine.delivery.attempt(message)
    assert calls == [[0], [1]]
    await box.crash()
    route(box)
    assert "orange.fr" in box.engine.routes.table.routes
    await box.control.release(box.change(), "login:thief", 0.0)
    await box.advance(700)
    assert [t.recipients for t in box.hop.transactions] == [[NEAR]]
    assert [t.recipients for t in other.transactions] == [[FAR]]


async def test_one_transaction_has_one_next_hop(box, other):
    hops = route(box)
    await box.engine.routes.add(box.change(), "orange.fr", f"127.0.0.1:{other.port}")
    ingress = Ingress(
        IngressSettings("shaper.test"),
        box.engine.gate,
        box.forwarder,
        clock=box.clock,
        hops=hops,
    )
    await ingress.listen("127.0.0.1", 0)
    port = ingress.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    rcpts = "".join(f"RCPT TO:<{one}>\r\n" for one in (FAR, NEAR, "f2@orange.fr"))
    writer.write(f"EHLO mta\r\nMAIL FROM:<a@example.org>\r\n{rcpts}DATA\r\n".encode())
    codes = []
    while not codes or codes[-1] != "354":
        line = (await reader.readline()).decode()
        if line[3] == " ":
            codes.append(line[:3] if "4.5.3" not in line else line[:9])
    assert codes[3:] == ["250", "452 4.5.3", "250", "354"]
    writer.write(b"Subject: x\r\n\r\nx\r\n.\r\n")
    assert (await reader.readline()).startswith(b"250")
    writer.close()
    await ingress.stop(grace=0)
    assert [t.recipients for t in other.transactions] == [[FAR, "f2@orange.fr"]]
    assert box.hop.transactions == []
