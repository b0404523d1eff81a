"""Envelope senders are looked up behind the path of mail; failures are evidence."""

# ruff: noqa: N802 - handlers have the names that aiosmtpd calls

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import dns.asyncresolver
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from aiosmtpd.smtp import SMTP

from shaper.core.reply import Reply
from shaper.engine import sendercheck
from shaper.smtp.callout import Callout
from shaper.smtp.mailable import Mailable
from shaper.smtp.settings import ForwardSettings
from tests.support.daemon import Daemon
from tests.support.engine import EngineBox
from tests.support.nexthop import Drop, Hang, NextHop
from tests.support.submit import submit
from tests.support.waiting import poll_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

DAY = 86400.0


class Inbound:
    """An inbound server of ours, with one user, that relays for nobody."""

    def __init__(self):
        self.commands = []
        self.answers = {"alice@example.org": "250 2.1.5 Ok"}
        self.open = self.most = 0

    async def handle_EHLO(self, server, session, envelope, hostname, responses):
        session.host_name = hostname
        self.open += 1
        self.most = max(self.most, self.open)
        return responses

    async def handle_MAIL(self, server, session, envelope, address, options):
        self.commands.append(f"MAIL {address}")
        envelope.mail_from = address
        return "250 2.1.0 Ok"

    async def handle_RCPT(self, server, session, envelope, address, options):
        self.commands.append(f"RCPT {address}")
        if not address.endswith("@example.org"):
            return "554 5.7.1 Relay access denied"
        await asyncio.sleep(0)
        return self.answers.get(address, "550 5.1.1 User unknown in mailbox table")

    async def handle_RSET(self, server, session, envelope):
        self.commands.append("RSET")
        return "250 2.0.0 Ok"

    async def handle_DATA(self, server, session, envelope):
        self.commands.append("DATA")
        return "250 2.0.0 Ok"

    async def handle_QUIT(self, server, session, envelope):
        self.open -= 1
        self.commands.append("QUIT")
        return "221 2.0.0 Bye"


RECORDS = {
    "mx.test.": {"MX": ["10 mail.mx.test."]},
    "mail.mx.test.": {"AAAA": ["2001:db8::1"]},
    "host.test.": {"A": ["192.0.2.1"]},
    "null.test.": {"MX": ["0 ."]},
    "dangling.test.": {"MX": ["10 gone.test.", "20 empty.test."]},
    "halfway.test.": {"MX": ["10 gone.test.", "20 broken.test."]},
    "empty.test.": {"TXT": ['"no mail"']},
    "xn--bcher-kva.test.": {"A": ["192.0.2.2"]},
}


class Zone(asyncio.DatagramProtocol):
    """Answers with what the test says; counts what it is asked."""

    def __init__(self):
        self.asked = []

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        query = dns.message.from_wire(data)
        [question] = query.question
        name = str(question.name).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind))
        if name == "silent.test.":
            return
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        if name == "broken.test.":
            response.set_rcode(dns.rcode.SERVFAIL)
        elif name not in RECORDS:
            response.set_rcode(dns.rcode.NXDOMAIN)
        elif values := RECORDS[name].get(kind):
            response.answer.append(dns.rrset.from_text(name, 60, "IN", kind, *values))
        self.transport.sendto(response.to_wire(), address)


@contextlib.asynccontextmanager
async def serving(handler):
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(handler, hostname="in.example.org", loop=loop), "127.0.0.1", 0
    )
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def callout(port: int, timeout: float = 5.0) -> Callout:
    return Callout(
        ForwardSettings("127.0.0.1", port, helo="s.test", connect_timeout=timeout)
    )


@pytest.fixture
def inbound():
    return Inbound()


@pytest.fixture
async def ask(inbound) -> AsyncIterator[Callout]:
    async with serving(inbound) as port:
        yield callout(port)


@pytest.fixture
async def zone() -> AsyncIterator[Zone]:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(
        Zone, local_addr=("127.0.0.1", 0)
    )
    yield protocol
    transport.close()


@pytest.fixture
def mailable(zone) -> Mailable:
    resolver = dns.asyncresolver.Resolver(configure=False)
    resolver.nameservers = ["127.0.0.1"]
    resolver.port = zone.transport.get_extra_info("sockname")[1]
    return Mailable(resolver)


@pytest.fixture
async def box(redis_url: str, tmp_path: Path) -> AsyncIterator[EngineBox]:
    async with EngineBox(redis_url, tmp_path) as made:
        yield made


async def statistic(box: EngineBox, sender: str) -> float:
    record, _ = await box.engine.senders.read(sender)
    return record.profile.cusum


# -- the question to our server


async def test_it_asks_with_a_null_sender_and_never_sends(ask, inbound):
    reply = await ask("alice@example.org")
    assert isinstance(reply, Reply)
    assert reply.positive
    reply = await ask("nobody@example.org")
    assert isinstance(reply, Reply)
    assert reply.code == 550
    one = ["MAIL <>", "RCPT {}@example.org", "RSET", "QUIT"]
    for _ in range(100):
        if len(inbound.commands) == 8:
            break
        await asyncio.sleep(0.01)
    assert inbound.commands == [
        text.format(name) for name in ("alice", "nobody") for text in one
    ]


async def test_questions_wait_for_each_other(ask, inbound):
    await asyncio.gather(*(ask("alice@example.org") for _ in range(5)))
    assert inbound.commands.count("RCPT alice@example.org") == 5
    assert inbound.most <= 2  # a farewell may still be under way


@pytest.mark.parametrize("address", ["a\r\nDATA@x.org", '"a b"@x.org', "a>@x.org", ""])
async def test_what_is_no_plain_address_is_not_asked(ask, inbound, address):
    assert await ask(address) is None
    assert inbound.commands == []


async def test_nobody_there_is_no_answer():
    async with serving(Inbound()) as port:
        pass
    assert await callout(port)("alice@example.org") is None


async def test_a_mute_server_is_no_answer():
    async with NextHop() as hop:
        hop.on("connect", Hang())
        assert await callout(hop.port, timeout=0.05)("alice@example.org") is None


@pytest.mark.parametrize("phase", ["mail", "rcpt"])
async def test_a_lost_connection_is_no_answer(phase):
    async with NextHop() as hop:
        hop.on(phase, Drop())
        assert await callout(hop.port)("alice@example.org") is None


# -- the question to the DNS


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        ("mx.test", True),
        ("host.test", True),  # RFC 5321 5.1: no MX, but an address
        ("bücher.test", True),
        ("null.test", False),  # RFC 7505
        ("nowhere.test", False),
        ("empty.test", False),
        ("dangling.test", False),
        ("halfway.test", None),
        ("broken.test", None),
        ("[192.0.2.1]", None),
        ("a..b", None),
        ("a" * 70 + ".test", None),
        ("", None),
    ],
)
async def test_what_the_dns_says(mailable, domain, expected):
    assert await mailable(domain) is expected


# -- what follows


async def test_a_sender_that_exists_has_no_evidence(box, ask):
    box.engine.sender_check.server = ask
    await box.offer("login:alice", ["bob@example.net"])
    await box.engine.sender_check.round()
    assert box.engine.sender_check.counts == {"good": 1}
    assert await statistic(box, "login:alice") == 0.0


async def test_one_that_does_not_is_a_little_evidence_once_a_day(box, ask, inbound):
    box.context.deliveries_from_log = True  # else each delivery takes some of it
    check = box.engine.sender_check
    check.server = ask
    for _ in range(5):
        await box.offer("login:ghost", ["bob@example.net"])
        await check.round()
        box.now += 60
    assert check.counts == {"bad_address": 1}
    first = await statistic(box, "login:ghost")
    assert 0.0 < first < 0.3
    await box.crash()
    box.context.deliveries_from_log = True
    check = box.engine.sender_check
    check.server = ask
    await box.offer("login:ghost", ["bob@example.net"])
    await check.round()
    assert check.counts == {"bad_address": 1}  # asked again after the restart
    assert await statistic(box, "login:ghost") <= first  # and not counted again
    box.now += DAY
    inbound.commands.clear()
    await box.offer("login:ghost", ["bob@example.net"])
    await check.round()
    assert "RCPT ghost@example.org" in inbound.commands


async def test_failures_alone_never_alarm(box, ask):
    check = box.engine.sender_check
    check.server = ask
    highest = 0.0
    for _ in range(60):
        box.now += DAY
        for number in range(8):
            check._waiting["login:list", f"verp{number}@example.org"] = (
                f"verp{number}@example.org"
            )
        await check.round()
        highest = max(highest, await statistic(box, "login:list"))
    assert check.counts["bad_address"] == 60 * 8
    assert 0.0 < highest < 6.0  # of 9.0


async def test_relaying_denied_says_nothing_of_a_foreign_address(box, ask):
    check = box.engine.sender_check
    check.server = ask
    check._waiting["login:a", "x@elsewhere.test"] = "x@elsewhere.test"
    await check.round()
    assert check.counts == {"unknown": 1}
    assert await statistic(box, "login:a") == 0.0


async def test_a_temporary_answer_is_unknown_and_not_kept(box, ask, inbound):
    check = box.engine.sender_check
    check.server = ask
    inbound.answers["ghost@example.org"] = "450 4.2.0 Greylisted"
    await box.offer("login:ghost", ["bob@example.net"])
    await check.round()
    inbound.answers["ghost@example.org"] = "250 2.1.5 Ok"
    box.now += 61
    await box.offer("login:ghost", ["bob@example.net"])
    await check.round()
    assert check.counts == {"unknown": 1, "good": 1}


async def test_a_server_that_is_away_is_left_alone_for_a_while(box):
    check = box.engine.sender_check
    calls = []

    async def away(address):
        calls.append(address)

    check.server = away
    for name in ("a", "b", "c"):
        await box.offer(f"login:{name}", ["bob@example.net"])
    await check.round()
    await check.round()
    assert calls == ["a@example.org"]
    box.now += 61
    await check.round()
    assert calls == ["a@example.org", "b@example.org"]


async def test_answers_are_kept_for_other_senders_until_they_are_old(box, zone):
    check = box.engine.sender_check
    check.cache = 3600.0
    asked = []

    async def domain(name):
        asked.append(name)
        return True

    check.domain = domain
    for name in ("a", "b"):
        await box.offer(f"login:{name}", ["bob@example.net"])
    await check.round()
    assert asked == ["example.org"]
    box.now += 3601
    await box.offer("login:c", ["bob@example.net"])
    await check.round()
    assert asked == ["example.org"] * 2


async def test_a_domain_that_receives_nothing_is_evidence(box, mailable):
    check = box.engine.sender_check
    check.domain = mailable
    check._waiting["login:a", "a@null.test"] = "a@null.test"
    check._waiting["login:b", "b@mx.test"] = "b@mx.test"
    check._waiting["login:c", "c@broken.test"] = "c@broken.test"
    await check.round()
    assert check.counts == {"bad_domain": 1, "good": 1, "unknown": 1}
    assert await statistic(box, "login:a") > 0.0
    assert await statistic(box, "login:b") == await statistic(box, "login:c") == 0.0


async def test_a_silent_resolver_is_unknown(box, mailable, monkeypatch):
    monkeypatch.setattr(sendercheck, "_LONGEST", 0.05)
    check = box.engine.sender_check
    check.domain = mailable
    check._waiting["login:a", "a@silent.test"] = "a@silent.test"
    await check.round()
    assert check.counts == {"unknown": 1}


async def test_off_nothing_waits_and_on_the_queue_is_bounded(box, monkeypatch):
    check = box.engine.sender_check
    await box.offer("login:a", ["bob@example.net"])
    assert not check._waiting

    async def domain(name):
        return True

    monkeypatch.setattr(sendercheck, "_WAITING", 2)
    check.domain = domain
    for name in ("a", "b", "c", "d"):
        await box.offer(f"login:{name}", ["bob@example.net"])
    assert len(check._waiting) == 2
    assert check.counts == {"dropped": 2}
    check.forget("login:a")
    assert list(check._waiting) == [("login:b", "b@example.org")]


async def test_mail_that_the_next_hop_refused_is_not_looked_at(box, ask):
    box.engine.sender_check.server = ask
    await box.offer("login:ghost", ["bob@example.net"], accept=False)
    assert not box.engine.sender_check._waiting


async def test_two_instances_count_a_failure_once(redis_url, tmp_path, box, ask):
    async with EngineBox(redis_url, tmp_path, hop=box.hop, instance="other") as other:
        for one in (box, other):
            one.engine.sender_check.server = ask
            await one.offer("login:ghost", ["bob@example.net"])
            await one.engine.sender_check.round()
            await one.engine.senders.flush()
        assert await statistic(other, "login:ghost") <= await statistic(
            box, "login:ghost"
        )
        assert await statistic(other, "login:ghost") < 0.3


@pytest.mark.slow
async def test_the_daemon_asks_and_a_reload_ends_it(inbound):
    async with serving(inbound) as port, NextHop() as hop:
        settings = {"sender_check": {"server": f"127.0.0.1:{port}"}}
        with Daemon(hop.port, settings) as daemon:
            await submit(daemon.port, sender="ghost@example.org")
            await poll_async(
                lambda: "RCPT ghost@example.org" in inbound.commands, "a question", 20
            )
            assert "DATA" not in inbound.commands
            daemon.configure({"sender_check": {"server": ""}})
            await asyncio.to_thread(daemon.reload)
            await submit(daemon.port, sender="other@example.org")
            assert len(hop.transactions) == 2
            assert await asyncio.to_thread(daemon.stop) == 0
    assert "RCPT other@example.org" not in inbound.commands
