"""A friendly host's mail over real SMTP, TLS and login, and its single hop."""

import asyncio
import base64
import ssl
from dataclasses import replace

import pytest

from shaper import wiring
from shaper.config import ConfigError, load
from shaper.core.envelope import Client, Envelope, Recipient
from shaper.core.reply import Phase, Reply
from shaper.core.routes import Route, RouteTable
from shaper.core.state import State
from shaper.smtp.forward import NextHop as Forwarder
from shaper.smtp.friend import FriendSession
from shaper.smtp.ingress import Ingress
from shaper.smtp.routing import Hops
from shaper.smtp.settings import ForwardSettings, FriendAccount, IngressSettings
from tests.support.engine import EngineBox
from tests.support.gate import RawClient
from tests.support.nexthop import NextHop

CONTENT = b"From: Ada <ada@asso.example>\r\nSubject: hi\r\n\r\nhello\r\n.\r\n"
_OPEN = []
ACCOUNT = FriendAccount("secret", frozenset({"asso.example"}))


@pytest.fixture
async def box(redis_url, tmp_path):
    async with EngineBox(redis_url, tmp_path) as found:
        found.engine.friends.quotas = {"c1": 100}
        yield found


@pytest.fixture
async def second_hop():
    async with NextHop() as hop:
        yield hop


@pytest.fixture
async def ingress(box, certificate, second_hop):
    def reach(route):
        return ForwardSettings(port=second_hop.port, friend=route.hop == "c3")

    hops = Hops(box.forwarder, reach)
    hops.apply(
        RouteTable(
            1,
            {
                "orange.example": Route("orange.example", "c3"),
                "free.example": Route("free.example", "other"),
            },
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    settings = IngressSettings(
        "c2.example", tls=context, friends={"c1": ACCOUNT}, allow=("0.0.0.0/0",)
    )
    ingress = Ingress(
        settings,
        box.engine.gate,
        box.forwarder,
        hops=hops,
        guests=box.engine.friends,
        session=FriendSession,
        clock=lambda: box.now,
    )
    await ingress.listen("127.0.0.1", 0)
    yield ingress
    while _OPEN:
        _OPEN.pop().close()
    await ingress.stop(0)
    hops.close()


@pytest.fixture
def port(ingress):
    return ingress.sockets[0].getsockname()[1]


async def opened(port):
    client = RawClient(*await asyncio.open_connection("127.0.0.1", port))
    _OPEN.append(client)
    assert (await client.reply()).startswith(b"220 ")
    return client


async def ready(port, certificate, name="c1", password="secret"):
    client = await opened(port)
    assert b"STARTTLS" in await client.ask("EHLO c1.example")
    assert (await client.ask("STARTTLS")).startswith(b"220 ")
    trusting = ssl.create_default_context(cafile=str(certificate))
    await client.writer.start_tls(trusting, server_hostname="127.0.0.1")
    assert b"AUTH PLAIN" in await client.ask("EHLO c1.example")
    token = base64.b64encode(f"\0{name}\0{password}".encode()).decode()
    return client, await client.ask(f"AUTH PLAIN {token}")


async def mail(client, to="bob@else.example", sender="ada@asso.example", body=CONTENT):
    """Return the first reply that is not positive, or the last."""
    for line in (f"MAIL FROM:<{sender}>", f"RCPT TO:<{to}>", "DATA"):
        reply = await client.ask(line)
        if not reply.startswith((b"250", b"354")):
            await client.ask("RSET")
            return reply
    client.writer.write(body)
    return await client.reply()


async def test_a_friend_logs_in_and_its_mail_leaves_as_one_sender(
    box, port, certificate
):
    client, welcome = await ready(port, certificate)
    assert welcome.startswith(b"235 ")
    assert (await mail(client)).startswith(b"250")
    (sent,) = box.hop.transactions
    assert b"with ESMTPSA id" in sent.content
    assert b"(relayed for c1)" in sent.content
    record, seen = await box.engine.senders.read("friend:c1")
    assert seen
    assert record.state is State.NORMAL
    (row,) = box.engine.friends.rows()
    assert row["sent"] == 1
    assert row["senders"] == [{"sender": "ada@asso.example", "sent": 1}]


@pytest.mark.parametrize(
    ("name", "password"),
    [("c1", "wrong"), ("nobody", "secret"), ("c1", ""), ("", ""), ("c1\0x", "secret")],
)
async def test_a_wrong_login_opens_nothing(port, certificate, name, password):
    client, reply = await ready(port, certificate, name, password)
    assert reply.startswith(b"535 ")
    assert (await mail(client)).startswith(b"530 5.7.0")


async def test_nothing_goes_in_clear(port):
    client = await opened(port)
    reply = await client.ask("EHLO c1.example")
    assert b"AUTH" not in reply
    assert (await client.ask("AUTH PLAIN AGMxAHNlY3JldA==")).startswith(b"538 ")
    assert (await client.ask("MAIL FROM:<ada@asso.example>")).startswith(b"530 ")


async def test_three_wrong_passwords_close_the_connection(port, certificate):
    client, _ = await ready(port, certificate, "c1", "wrong")
    assert (await client.ask("AUTH PLAIN AGMxAHg=")).startswith(b"535")
    assert (await client.ask("AUTH PLAIN AGMxAHg=")).startswith(b"535")
    assert await client.reader.read() == b""


async def test_a_challenge_is_answered_on_the_next_line(port, certificate):
    client, _ = await ready(port, certificate, "c1", "wrong")
    assert (await client.ask("AUTH PLAIN")).startswith(b"334")
    assert (await client.ask("AGMxAHNlY3JldA==")).startswith(b"235")


@pytest.mark.parametrize("command", ["XCLIENT LOGIN=root", "XFORWARD IDENT=x"])
async def test_the_facts_of_the_connection_stand(port, certificate, command):
    client, _ = await ready(port, certificate)
    assert (await client.ask(command)).startswith(b"550 5.7.0")


@pytest.mark.parametrize(
    ("sender", "body"),
    [
        ("ada@bank.example", CONTENT),
        ("", CONTENT),
        ("ada@asso.example", CONTENT.replace(b"asso", b"bank")),
        ("ada@asso.example", b"Subject: no author\r\n\r\nx\r\n.\r\n"),
        ("ada@asso.example.evil.example", CONTENT),
        *(
            ("ada@asso.example", b"From: " + author + b"\r\n\r\nx\r\n.\r\n")
            for author in (
                b"ada@asso.example\r\nFrom: ceo@bank.example",
                b"ada@asso.example, ceo@bank.example",
                b"ada@asso.example,"
                + b" " * 500
                + b"x@asso.example,\r\n " * 80
                + b" ceo@bank.example",
                b"=?utf-8?q?=3Cada=40asso.example=3E?= <ceo@bank.example>",
                b"ada@asso.example <ceo@bank.example>",
                b'"<ada@asso.example>" <ceo@bank.example>',
                b"(ada@asso.example) ceo@bank.example",
                b"ada@asso.example (x) . evil.example",
                b"<@bank.example:ada@asso.example>",
                b"undisclosed:;",
            )
        ),
    ],
)
async def test_a_friend_writes_from_its_own_domains_only(
    box, port, certificate, sender, body
):
    client, _ = await ready(port, certificate)
    reply = await mail(client, sender=sender, body=body)
    assert reply.startswith(b"554 5.7.1")
    assert not box.hop.transactions


@pytest.mark.parametrize(
    "author",
    [
        b"ada@ASSO.example",
        b'"ceo@bank.example via Asso" <ada@asso.example>',
        b"Ada (of bank@bank.example) <ada@asso.example>",
        b"=?utf-8?q?ceo=40bank?= <ada@asso.example>, bob@asso.example",
        b"Ada\r\n <ada@asso.example>",
        b"ada@asso.example <ada@asso.example>",
        b"Doe, Ada <ada@asso.example>",
    ],
)
async def test_a_friend_writes_as_it_likes_in_its_own_domains(
    port, certificate, author
):
    client, _ = await ready(port, certificate)
    reply = await mail(client, body=b"From: " + author + b"\r\n\r\nx\r\n.\r\n")
    assert reply.startswith(b"250")


async def test_a_friend_that_sends_too_much_waits_until_tomorrow(
    box, port, certificate
):
    box.engine.friends.quotas = {"c1": 2}
    client, _ = await ready(port, certificate)
    assert (await mail(client)).startswith(b"250")
    assert (await mail(client)).startswith(b"250")
    assert (await mail(client)).startswith(b"450 4.7.1")
    box.now += 86400
    assert (await mail(client)).startswith(b"250")


async def test_quota_counts_over_instances(box, redis_url, tmp_path):
    async with EngineBox(
        redis_url, tmp_path, hop=box.hop, instance="two", start=box.now
    ) as two:
        one, other = box.engine.friends, two.engine.friends
        other.quotas = one.quotas = {"c1": 5}
        await box.offer("friend:c1", ["a@x.example"] * 3)
        submission = box.offered[-1]
        friend = replace(submission, client=replace(submission.client, friend="c1"))
        one.answered(friend, Reply(250, ("ok",), Phase.END))
        await one.refresh()
        await other.refresh()
        assert other.room("c1", 2)
        assert not other.room("c1", 3)


async def test_a50_mail_of_a_friend_goes_to_no_other_friend(
    box, port, certificate, second_hop
):
    client, _ = await ready(port, certificate)
    reply = await mail(client, to="eve@orange.example")
    assert reply.startswith(b"554 5.7.1 One hop only")
    # A relay that is no friend is an ordinary next hop.
    assert (await mail(client, to="eve@free.example")).startswith(b"250")
    assert [t.recipients for t in second_hop.transactions] == [["eve@free.example"]]


async def test_a50_what_was_relayed_once_is_not_taken_again(box, port, certificate):
    client, _ = await ready(port, certificate)
    mark = (
        b"Received: by c9.example (mailshaper) with ESMTPSA id 1f (relayed for c8);\r\n"
        b"\tWed, 25 Nov 2026 10:00:00 +0000\r\n"
    )
    reply = await mail(client, body=mark + CONTENT)
    assert reply.startswith(b"554 5.7.1 One hop only")
    # The friend's own shaper leaves its own, ordinary trace.
    own = mark.replace(b" (relayed for c8)", b"")
    assert (await mail(client, body=own + CONTENT)).startswith(b"250")
    assert len(box.hop.transactions) == 1


@pytest.mark.parametrize(
    "mark",
    [
        b"by c9.example (mailshaper) with ESMTPSA id 1f\r\n\t(relayed for c8);",
        b"by c9.example\r\n (mailshaper)  with ESMTPSA\r\n id 1f (relayed for c8);",
        b"by c9.example (mailshaper) with ESMTPSA id 1f (relayed\r\n for c8);",
    ],
)
async def test_a50_the_mark_is_seen_however_it_is_folded(box, port, certificate, mark):
    client, _ = await ready(port, certificate)
    reply = await mail(client, body=b"Received: " + mark + b" x\r\n" + CONTENT)
    assert reply.startswith(b"554 5.7.1 One hop only")
    assert not box.hop.transactions


async def test_a50_a_long_header_hides_nothing(box, port, certificate):
    client, _ = await ready(port, certificate)
    padding = b"".join(b"X-%d: %s\r\n" % (n, b"x" * 900) for n in range(2000))
    hidden = b"From: Ada <ada@asso.example>\r\n" + padding
    mark = b"Received: by c9.example (mailshaper) with S id 1 (relayed for c8); x\r\n"
    reply = await mail(client, body=hidden + mark + b"\r\nhello\r\n.\r\n")
    assert reply.startswith(b"552 5.3.4 Header longer")
    assert not box.hop.transactions


async def test_held_mail_of_a_friend_makes_no_second_hop_either(second_hop):
    forwarder = Forwarder(ForwardSettings(port=second_hop.port))
    hops = Hops(forwarder, lambda _: ForwardSettings(port=second_hop.port, friend=True))
    hops.apply(RouteTable(1, {"orange.example": Route("orange.example", "c3")}))

    async def chunks():
        yield CONTENT

    envelope = Envelope("ada@asso.example", (Recipient("eve@orange.example"),))
    _, end = await hops.send(envelope, Client(friend="c1"), chunks(), [0])
    assert (end.code, end.enhanced) == (554, "5.7.1")
    assert not second_hop.transactions
    hops.close()
    forwarder.close()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[sending]\nlisten=["127.0.0.1:1"]\n', "sending.certificate"),
        (
            '[friends.c1]\npassword_file="/x"\ndomains=["a.example"]\n',
            "no sending.listen",
        ),
        ('[relays.c2]\nnext_hop="127.0.0.1:1"\nfriend=true\n', "relays.c2.friend"),
        (
            '[relays.c2]\nnext_hop="c2.example:1"\nfriend=true\ntls="starttls"\n',
            "relays.c2.friend",
        ),
        (
            '[relays.c2]\nnext_hop="[::1]:1"\nfriend=true\nuser="c"\npassword_file="/x"',
            "relays.c2.friend",
        ),
        ('[daemon]\ninstance="federation"\n', "another name"),
        ('[friends."a b"]\npassword_file="/x"\ndomains=["a.example"]\n', "friends"),
    ],
)
def test_a_configuration_that_cannot_be_safe_is_refused(tmp_path, text, said):
    path = tmp_path / "mailshaper.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        load(path)


def test_a_missing_password_or_certificate_is_named(tmp_path, certificate):
    path = tmp_path / "mailshaper.toml"
    path.write_text(
        f'[sending]\nlisten=["127.0.0.1:1"]\ncertificate="{certificate}"\n'
        f'key="{tmp_path}/none"\n'
    )
    with pytest.raises(ConfigError, match=r"sending\.certificate"):
        wiring.friends(load(path))


async def test_bounces_go_the_common_way_and_not_to_a_friend(second_hop):
    """A friend takes none: refused there, they would be lost (RFC 5321 4.5.5)."""
    forwarder = Forwarder(ForwardSettings(port=second_hop.port))

    def reach(route):
        return ForwardSettings(port=second_hop.port, friend=route.hop == "c2")

    hops = Hops(forwarder, reach)
    hops.apply(
        RouteTable(
            1,
            {
                "orange.example": Route("orange.example", "c2"),
                "free.example": Route("free.example", "other"),
            },
        )
    )
    try:
        assert hops.of("eve@orange.example", "") is forwarder
        assert hops.of("eve@orange.example", "ada@asso.example").settings.friend
        assert hops.of("eve@free.example", "") is not forwarder
    finally:
        hops.close()
        forwarder.close()
