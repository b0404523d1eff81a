"""Attacks on the exchange, by the numbers of the design: 21, 25, 39, 40, 41, 53."""

import asyncio
import os
import socket
import ssl
import time
import zlib
from random import Random

import pytest

from federation.exchange import httpsig, tls
from federation.exchange.client import Client, Target, Unreachable, inflate
from federation.exchange.schedule import Schedule
from federation.exchange.service import Rates
from federation.exchange.session import PUSH, VECTOR, Ask, PeerFault
from federation.exchange.skew import Skew
from federation.format.limits import Limits
from federation.format.profile import b64, decode, encode
from federation.log.tables import Peer
from tests.support.exchanging import NOW, Member, acquaint
from tests.support.https_nodes import host
from tests.support.waiting import poll_async

QUICK = Limits(response_time=1, poll=1)


@pytest.fixture
def port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture
async def friends(tmp_path, port):
    """A server ``a``, and ``b`` that may ask it."""
    async with host("a", tmp_path / "a", port, QUICK) as a:
        b = Member("b", limits=QUICK, now=int(time.time()))
        acquaint(a.member, b)
        a.member.store.put_peer(Peer(b.org, "", "", "b", 0))
        grants = b.store.lines(b.store.logs_of(b.org)[0].which, 1, 1, most=1, size=9999)
        a.member.admission.take(grants, peer="test", now=int(time.time()))
        yield a, b
        b.store.close()


def signed(a, b, path=VECTOR, body=b"{}", created=None, authority=None):
    return httpsig.sign(
        b.signer,
        "POST",
        authority or a.target.authority,
        path,
        body,
        created=int(time.time()) if created is None else created,
        nonce=os.urandom(16),
    )


async def post(a, fields, body=b"{}", path=VECTOR):
    async with a.client.connect(a.target) as http:
        url = a.target.url + path
        async with http.post(url, headers=fields, data=body) as answer:
            return answer.status, decode(await answer.read())


# -- 21


def test_a21_a_clock_a_day_off_stops_and_warns_by_the_median():
    skew = Skew()
    assert skew.stopped(0) == ""
    for peer, off in ((b"a", -86400), (b"b", -86401), (b"c", 3)):
        skew.note(peer, off, 0)
    assert skew.offset(0) == -86400
    assert "86400 s ahead of its peers" in skew.stopped(0)


def test_a21_one_peer_with_a_wrong_clock_stops_nobody():
    skew = Skew()
    for peer, off in ((b"a", 1), (b"b", 86400), (b"c", 0)):
        skew.note(peer, off, 0)
    assert skew.stopped(0) == ""
    two = Skew()
    two.note(b"a", 0, 0)
    two.note(b"b", 86400, 0)
    assert two.stopped(0) == ""


@pytest.mark.parametrize(("off", "stops"), [(3600, False), (3601, True), (-3601, True)])
def test_a21_the_border(off, stops):
    skew = Skew()
    skew.note(b"a", off, 0)
    assert bool(skew.stopped(0)) is stops


async def test_a21_a_node_that_is_stopped_refuses_pushes_and_answers_questions(friends):
    a, b = friends
    a.exchange.skew.note(b.org, 86400, time.monotonic())
    (event,) = b.say(1, now=int(time.time()))

    status, answer = await post(a, signed(a, b, PUSH, event.line), event.line, PUSH)

    assert (status, "clock" in answer["err"]) == (503, True)
    body = encode({"digest": b64(bytes(32))})
    status, answer = await post(a, signed(a, b, body=body), body)
    assert (status, "vec" in answer) == (200, True)


# -- 25


class Hostile:
    """A TLS server that answers every request with the same bytes, in its own way."""

    def __init__(self, tmp_path, answer):
        self._answer = answer
        files = tls.self_made(tmp_path, "127.0.0.1")
        self._context = tls.server_context(*files)
        self._pin = tls.pin_of_file(files[0])

    async def __aenter__(self):
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", 0, ssl=self._context
        )
        port = self._server.sockets[0].getsockname()[1]
        return Target(f"https://127.0.0.1:{port}", self._pin)

    async def __aexit__(self, *_):
        self._server.close()

    async def _serve(self, reader, writer):
        try:
            await reader.readuntil(b"\r\n\r\n")
            await self._answer(writer)
        except (OSError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            writer.transport.abort()


async def answers(target, limits=QUICK):
    member = Member("b", limits=limits)
    client = Client(member.signer, limits, lambda: int(time.time()))
    try:
        async with client.connect(target) as http:
            await client.ask(http, target, Ask(VECTOR, b"{}"))
    finally:
        member.store.close()


async def one_byte_a_time(writer):
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.05)


async def endless(writer):
    writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    while not writer.transport.is_closing():
        writer.write(b"x" * 65536)
        await writer.drain()
        await asyncio.sleep(0)  # drain alone does not let the client run


async def bomb(writer):
    packed = zlib.compress(bytes(50_000_000), 9, 31)
    writer.write(
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
        % len(packed)
    )
    writer.write(packed)
    await writer.drain()
    await asyncio.sleep(1)


async def test_a25_a_slow_answer_costs_a_bounded_time(tmp_path):
    began = time.monotonic()
    async with Hostile(tmp_path, one_byte_a_time) as target:
        with pytest.raises(Unreachable, match="in time"):
            await answers(target)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("answer", [endless, bomb], ids=["endless", "bomb"])
async def test_a25_an_endless_answer_and_a_bomb_cost_bounded_memory(tmp_path, answer):
    async with Hostile(tmp_path, answer) as target:
        with pytest.raises(PeerFault):
            await answers(target, Limits(response_time=30))


def test_a25_decompression_stops_at_the_bound():
    packed = zlib.compress(bytes(10_000_000), 9, 31)
    with pytest.raises(PeerFault):
        inflate(packed, 1000)
    with pytest.raises(PeerFault):
        inflate(b"nonsense", 1000)
    with pytest.raises(PeerFault):
        inflate(zlib.compress(b"x", 9, 31)[:-3], 1000)
    with pytest.raises(PeerFault):
        inflate(zlib.compress(b"x", 9, 31) + b"more", 1000)
    assert inflate(zlib.compress(b"x" * 1000, 9, 31), 1000) == b"x" * 1000


async def test_a25_a_bomb_to_the_server_is_refused_and_others_are_served(friends):
    a, b = friends
    packed = zlib.compress(bytes(50_000_000), 9, 31)
    fields = signed(a, b, body=packed) | {"Content-Encoding": "gzip"}
    status, _answer = await post(a, fields, packed)
    assert status == 400
    body = encode({"digest": b64(a.member.replica.whole().digest)})
    status, answer = await post(a, signed(a, b, body=body), body)
    assert (status, answer["same"]) == (200, True)


async def test_a25_a_body_that_never_ends_is_answered_in_time(friends):
    a, _b = friends
    host_, port = a.target.authority.split(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    reader, writer = await asyncio.open_connection(host_, int(port), ssl=context)
    writer.write(
        b"POST /fed/v1/push HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nx"
    )
    answer = await asyncio.wait_for(reader.readline(), 15)
    assert b" 408 " in answer
    writer.transport.abort()


# -- 39, 40


async def test_a39_a_replayed_request_is_refused(friends):
    a, b = friends
    body = encode({"digest": b64(bytes(32))})
    fields = signed(a, b, body=body)
    assert (await post(a, fields, body))[0] == 200
    status, answer = await post(a, fields, body)
    assert (status, answer["err"]) == (401, "replay")


async def test_a39_a_request_to_another_server_or_after_61_s_is_refused(friends):
    a, b = friends
    elsewhere = signed(a, b, authority="other.example")
    assert (await post(a, elsewhere))[1]["err"] == "signature"
    old = signed(a, b, created=int(time.time()) - 62)
    status, answer = await post(a, old)
    assert (status, answer["err"]) == (401, "stale")
    assert abs(answer["now"] - time.time()) < 5  # so that it sees why


async def test_a40_no_signature_or_one_over_another_body_is_refused(friends):
    a, b = friends
    assert (await post(a, {}))[1]["err"] == "missing"
    status, answer = await post(a, signed(a, b), b'{"digest":"other"}')
    assert (status, answer["err"]) == (401, "digest")


async def test_a40_a_good_signature_of_a_stranger_is_no_admission(friends):
    a, _b = friends
    stranger = Member("stranger", now=int(time.time()))
    status, answer = await post(a, signed(a, stranger))
    assert (status, answer["err"]) == (403, "not a peer")
    stranger.store.close()


async def test_a40_a_revoked_key_is_no_peer_any_more(friends):
    a, b = friends
    now = int(time.time())
    revoke = b.own.append(
        "ctl.revoke", {"key": b64(b.signer.public), "why": "stolen"}, now
    )
    body = encode({"digest": b64(bytes(32))})
    assert (await post(a, signed(a, b, body=body), body))[0] == 200
    assert a.member.admission.take([revoke.line], peer="t", now=now) == ["ok"]
    assert (await post(a, signed(a, b, body=body), body))[0] == 403


# -- 41


async def test_a41_no_url_out_of_an_event_is_ever_fetched(tmp_path, port):
    asked = []

    async def note(writer):
        asked.append(1)
        writer.close()

    async with Hostile(tmp_path, note) as target, host("a", tmp_path, port) as a:
        b = Member("b", now=int(time.time()))
        acquaint(a.member, b)
        url = target.url
        b.own.append("ctl.peer", {"peer": b64(bytes(32)), "url": url}, b_now())
        b.own.append("ctl.org", {"name": "b", "url": url}, b_now())
        lines = [
            line
            for log in b.store.logs_of(b.org)
            for line in b.store.lines(log.which, 1, 9, most=9, size=99999)
        ]
        assert set(a.member.admission.take(lines, peer="t", now=b_now())) == {"ok"}
        # The exchange has looked at the store again, and started nothing.
        counter = a.member.store.counter()
        await poll_async(lambda: a.exchange._counter == counter, "a look at the store")
        assert a.exchange._targets == {}
        assert not a.exchange._tasks
        assert asked == []
        b.store.close()


def b_now() -> int:
    return int(time.time())


@pytest.mark.parametrize(
    "url", ["http://169.254.169.254/", "file:///etc/passwd", "https://a/b", "https://"]
)
def test_a41_a_peers_address_is_https_and_a_host(url):
    with pytest.raises(ValueError, match="https://HOST"):
        _ = Target(url).authority


async def test_a41_redirects_are_not_followed(tmp_path):
    async def elsewhere(writer):
        writer.write(
            b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\n"
            b"Content-Length: 0\r\n\r\n"
        )
        await writer.drain()

    member = Member("b")
    client = Client(member.signer, QUICK, lambda: NOW)
    async with Hostile(tmp_path, elsewhere) as target, client.connect(target) as http:
        answer = await client.ask(http, target, Ask(VECTOR, b"{}"))
    assert answer.status == 302
    member.store.close()


# -- 53


def test_a53_a_storm_of_news_starts_one_session_at_a_time_and_one_a_second():
    schedule, random = Schedule(period=1e9), Random(1)
    schedule.set_peers([b"p"])
    started = []
    now = 0.0
    while now < 10:
        schedule.news()
        schedule.want(b"p")
        for org in schedule.due(now, random):
            assert schedule.due(now, random) == []  # at most one in flight
            started.append(now)
            schedule.done(org, now, good=True)
        now += 0.01
    assert 9 <= len(started) <= 11


def test_a53_a_peer_has_a_hundred_requests_and_ten_a_second():
    rates = Rates()
    allowed = sum(rates.allow(b"p", 0.0) for _ in range(1000))
    assert allowed == 100
    assert sum(rates.allow(b"p", 1.0) for _ in range(1000)) == 10
    assert rates.allow(b"other", 1.0)


async def test_a53_a_storm_at_the_server_is_answered_429_and_others_are_served(friends):
    a, b = friends
    c = Member("c", now=int(time.time()))
    acquaint(a.member, c)
    a.member.store.put_peer(Peer(c.org, "", "", "c", 0))
    grant = c.store.lines(c.store.logs_of(c.org)[0].which, 1, 1, most=1, size=9999)
    a.member.admission.take(grant, peer="t", now=int(time.time()))
    body = encode({"digest": b64(bytes(32))})

    async with a.client.connect(a.target) as http:

        async def one(who):
            url, fields = a.target.url + VECTOR, signed(a, who, body=body)
            async with http.post(url, headers=fields, data=body) as answer:
                return answer.status

        storm = [await one(b) for _ in range(150)]
        assert storm[:100] == [200] * 100
        assert 429 in storm
        assert await one(c) == 200
    c.store.close()


async def test_a53_connections_of_one_address_are_bounded(friends):
    a, _b = friends
    host_, port = a.target.authority.split(":")
    opened = [await asyncio.open_connection(host_, int(port)) for _ in range(40)]
    await poll_async(lambda: len(a.exchange.server._connections) <= 32, "the bound")
    for _reader, writer in opened:
        writer.transport.abort()
