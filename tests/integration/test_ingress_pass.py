"""Passing mail: bytes, parameters and replies go through as they came."""

import asyncio

import pytest

from tests.support.gate import hop_before
from tests.support.nexthop import MODERN, NextHop, Slow

BODY = b"Subject: hi\r\nFrom: Alice <alice@example.test>\r\n\r\nHello\r\n..dot\r\n"
MARK = b"Received: by hop.example.test (mailshaper) with "


@pytest.fixture
async def stage(next_hop, tmp_path):
    async with hop_before(next_hop.port, tmp_path) as stage:
        yield stage


def trace_removed(wire, word=b"ESMTP"):
    head, _, rest = wire.partition(b"\r\n\t")
    assert head.startswith(MARK + word + b" id ID"), head
    return rest.partition(b"\r\n")[2]


async def test_a_message_leaves_as_it_came_but_for_one_trace_field(stage, next_hop):
    client = await stage.connect()
    assert (await client.mail(BODY)).startswith(b"250 2.0.0 Ok: queued as 1")
    (taken,) = await next_hop.wait_for(1)
    assert trace_removed(taken.wire) == BODY
    assert taken.mail == b"MAIL FROM:<alice@example.test>\r\n"
    (submission,) = stage.gate.decided
    assert submission.subject == "hi"
    assert submission.author == "Alice <alice@example.test>"
    assert submission.sender == "from:alice@example.test"
    assert submission.client.address == "127.0.0.1"
    ((refused, end),) = stage.gate.outcomes
    assert refused == {}
    assert end.text.startswith("250 2.0.0 Ok: queued")


@pytest.mark.parametrize(
    "wire",
    [
        b"",
        b"\r\n",
        b"no header at all\r\n",
        b"Subject: x\r\n\r\n" + bytes(range(1, 256)).replace(b"\r", b"") + b"\r\n",
        b"Subject: bare\n\nline\nfeeds\rand\rreturns\r\n",
        b"Subject: x\r\n\r\n" + b"y" * 60_000 + b"\r\n",
        b"A: " + b"b" * 900 + b"\r\n" * 1,
        b"".join(b"H%d: v\r\n" % i for i in range(20_000)) + b"\r\nx\r\n",
    ],
    ids=["empty", "blank", "headless", "8bit", "bare", "longline", "nobody", "bighead"],
)
async def test_strange_content_is_not_touched(stage, next_hop, wire):
    client = await stage.connect()
    assert (await client.mail(wire)).startswith(b"250 ")
    (taken,) = await next_hop.wait_for(1)
    assert trace_removed(taken.wire) == wire


async def test_parameters_keep_their_case_per_recipient(stage, next_hop):
    client = await stage.connect()
    mail = "MAIL FROM:<Alice@Example.TEST> SIZE=999 BODY=8BITMIME RET=Hdrs ENVID=Qq+2B1"
    assert (await client.ask(mail)).startswith(b"250 ")
    first = "RCPT TO:<bob@example.net> NOTIFY=Success,DELAY ORCPT=rfc822;Bob+2B@x"
    second = "RCPT TO:<carol@example.net> NOTIFY=NEVER"
    for rcpt in (first, second):
        assert (await client.ask(rcpt)).startswith(b"250 ")
    await client.ask("DATA")
    await client.send(BODY + b".\r\n")
    assert (await client.reply()).startswith(b"250 ")
    (taken,) = await next_hop.wait_for(1)
    assert taken.mail == mail.encode() + b"\r\n"
    assert taken.rcpts == [first.encode() + b"\r\n", second.encode() + b"\r\n"]


async def test_an_internationalised_message_passes(stage, next_hop):
    client = await stage.connect()
    assert (await client.ask("MAIL FROM:<andré@exämple.test> SMTPUTF8")).startswith(
        b"250 "
    )
    assert (await client.ask("RCPT TO:<böb@example.net>")).startswith(b"250 ")
    await client.ask("DATA")
    body = "Subject: grüße\r\n\r\nÜ\r\n".encode()
    await client.send(body + b".\r\n")
    assert (await client.reply()).startswith(b"250 ")
    (taken,) = await next_hop.wait_for(1)
    assert taken.mail == "MAIL FROM:<andré@exämple.test> SMTPUTF8\r\n".encode()
    assert trace_removed(taken.wire, b"UTF8SMTP") == body
    assert stage.gate.decided[0].subject == "grüße"


async def test_each_recipient_gets_the_next_hops_own_answer(stage, next_hop):
    next_hop.on("rcpt", "550 5.1.1 No such user\nhere", match="bob@")
    next_hop.on("rcpt", "450 4.2.0 Greylisted", match="carol@")
    client = await stage.connect()
    await client.ask("MAIL FROM:<alice@example.test>")
    assert await client.ask("RCPT TO:<bob@x>") == (
        b"550-5.1.1 No such user\r\n550 here\r\n"
    )
    assert await client.ask("RCPT TO:<carol@x>") == b"450 4.2.0 Greylisted\r\n"
    assert (await client.ask("RCPT TO:<dave@x>")).startswith(b"250 ")
    await client.ask("DATA")
    await client.send(BODY + b".\r\n")
    assert (await client.reply()).startswith(b"250 ")
    (taken,) = await next_hop.wait_for(1)
    assert taken.recipients == ["dave@x"]
    ((refused, _),) = stage.gate.outcomes
    assert [r.code for r in refused.values()] == [550, 450]
    (submission,) = stage.gate.decided
    assert [r.address for r in submission.envelope.recipients] == ["dave@x"]


async def test_a_pipelining_client_gets_its_replies_in_order(stage, next_hop):
    next_hop.on("rcpt", Slow(0.02, "550 5.1.1 No"), match="u3@")
    client = await stage.connect()
    rcpts = "".join(f"RCPT TO:<u{i}@x>\r\n" for i in range(6))
    await client.send(
        f"MAIL FROM:<a@b>\r\n{rcpts}RCPT TO:<>\r\nRCPT TO:<last@x>\r\nDATA\r\n".encode()
    )
    codes = [(await client.reply())[:3] for _ in range(10)]
    assert codes == [b"250"] * 4 + [b"550"] + [b"250"] * 2 + [b"501", b"250", b"354"]
    # A second message and QUIT right behind the final dot are not lost.
    await client.send(BODY + b".\r\nMAIL FROM:<c@d>\r\nRCPT TO:<e@f>\r\nQUIT\r\n")
    codes = [(await client.reply())[:3] for _ in range(4)]
    assert codes == [b"250", b"250", b"250", b"221"]
    assert await client.reply() == b""
    (taken,) = await next_hop.wait_for(1)
    assert taken.recipients == ["u0@x", "u1@x", "u2@x", "u4@x", "u5@x", "last@x"]


async def test_fifty_recipients_and_twenty_megabytes(stage, next_hop):
    client = await stage.connect()
    line = b"x" * 76 + b"\r\n"
    body = b"Subject: big\r\n\r\n" + line * (20 * 2**20 // len(line))
    recipients = tuple(f"r{i}@example.net" for i in range(50))
    assert (await client.open_mail(recipients=recipients)).startswith(b"354 ")
    await client.send(body + b".\r\n")
    assert (await client.reply()).startswith(b"250 ")
    (taken,) = await next_hop.wait_for(1)
    assert trace_removed(taken.wire) == body
    assert taken.recipients == list(recipients)


async def test_connections_to_the_next_hop_are_reused(stage, next_hop):
    client = await stage.connect()
    for _ in range(3):
        assert (await client.mail(BODY)).startswith(b"250 ")
    assert [t.session for t in next_hop.transactions] == [1, 1, 1]


async def test_xforward_is_taken_passed_on_and_forgotten(tmp_path):
    names = (*MODERN, "XFORWARD NAME ADDR PROTO HELO IDENT SOURCE")
    async with NextHop(names) as next_hop, hop_before(next_hop.port, tmp_path) as stage:
        stage.gate.logins["4ABC"] = "Alice@Example.test"
        client = await stage.connect()
        assert b"XFORWARD NAME ADDR PORT" in await client.ask("EHLO c")
        for command in (
            "XFORWARD NAME=mail+20er.test ADDR=IPV6:2001:db8::1 PORT=99",
            "XFORWARD PROTO=ESMTP HELO=[UNAVAILABLE] IDENT=4ABC SOURCE=REMOTE",
        ):
            assert (await client.ask(command)).startswith(b"250 ")
        assert (await client.mail(BODY, sender="forged@x")).startswith(b"250 ")
        assert (await client.mail(BODY)).startswith(b"250 ")
        first, second = await next_hop.wait_for(2)
        assert first.xforward == {
            "NAME": "mail er.test",
            "ADDR": "IPV6:2001:db8::1",
            "PROTO": "ESMTP",
            "IDENT": "4ABC",
            "SOURCE": "REMOTE",
        }
        assert second.xforward["ADDR"] == "127.0.0.1"
        assert "IDENT" not in second.xforward
        told, plain = stage.gate.decided
        # The login counts, whatever MAIL FROM claims.
        assert told.sender == "login:alice@example.test"
        assert told.client.address == "2001:db8::1"
        assert plain.sender == "from:alice@example.test"


async def test_local_submission_is_known_by_its_uid(stage):
    client = await stage.connect()
    await client.ask("XFORWARD SOURCE=LOCAL")
    received = b"Received: by mx (Postfix, from userid 33)\r\n\tid 4A; date\r\n"
    await client.mail(received + BODY)
    await client.mail(received + BODY)  # without XFORWARD: anybody can write that
    assert [s.sender for s in stage.gate.decided] == [
        "uid:33",
        "from:alice@example.test",
    ]


async def test_the_null_sender_is_nobody(stage, next_hop):
    client = await stage.connect()
    assert (await client.mail(BODY, sender="")).startswith(b"250 ")
    assert stage.gate.decided[0].sender == ""
    assert next_hop.transactions[0].mail == b"MAIL FROM:<>\r\n"


async def test_the_login_field_is_believed_once_and_removed(next_hop, tmp_path):
    async with hop_before(next_hop.port, tmp_path, login_header="X-Login") as stage:
        client = await stage.connect()
        mine = b"X-Login: login:Alice\r\n"
        forged = b"x-login: login:victim\r\n"
        await client.mail(mine + BODY)
        await client.mail(forged + BODY[:13] + mine + BODY[13:])
        one, two = await next_hop.wait_for(2)
        assert trace_removed(one.wire) == BODY
        assert trace_removed(two.wire) == BODY
        assert [s.sender for s in stage.gate.decided] == [
            "login:alice",
            "from:alice@example.test",
        ]


async def test_a_forged_login_field_means_nothing_unless_configured(stage, next_hop):
    client = await stage.connect()
    forged = b"X-Login: login:victim\r\n" + BODY
    await client.mail(forged)
    assert stage.gate.decided[0].sender == "from:alice@example.test"
    assert trace_removed(next_hop.transactions[0].wire) == forged


async def test_xclient_is_for_those_who_may(next_hop, tmp_path, stage):
    client = await stage.connect()
    assert b"XCLIENT" not in await client.ask("EHLO c")
    assert (await client.ask("XCLIENT LOGIN=root")).startswith(b"550 5.7.0")
    allowed = {"xclient_from": ("127.0.0.0/8",)}
    async with hop_before(next_hop.port, tmp_path, **allowed) as trusting:
        client = await trusting.connect()
        assert b"XCLIENT NAME ADDR" in await client.ask("EHLO c")
        answer = await client.ask("XCLIENT LOGIN=Carol ADDR=192.0.2.1")
        assert answer.startswith(b"220 ")
        assert (await client.ask("MAIL FROM:<a@b>")).startswith(b"503 ")
        await client.ask("EHLO again")
        await client.mail(BODY)
        await client.mail(BODY)
        assert [s.sender for s in trusting.gate.decided] == ["login:carol"] * 2
        assert trusting.gate.decided[0].client.address == "192.0.2.1"


async def test_ehlo_announces_what_the_next_hop_can(tmp_path):
    names = ("PIPELINING", "SIZE 5000", "8BITMIME")
    async with NextHop(names) as next_hop, hop_before(next_hop.port, tmp_path) as stage:
        client = await stage.connect()
        before = await client.ask("EHLO c")
        for word in (b"DSN", b"SMTPUTF8", b"8BITMIME", b"PIPELINING", b"SIZE 67108864"):
            assert word in before
        await client.mail(BODY)
        after = await client.ask("EHLO c")
        assert b"8BITMIME" in after
        assert b"SIZE 5000\r\n" in after
        assert b"ENHANCEDSTATUSCODES" in after
        assert b"DSN" not in after
        assert b"SMTPUTF8" not in after


async def test_a_helo_client_is_served(stage, next_hop):
    client = await stage.connect()
    assert await client.ask("HELO old.example.test") == b"250 hop.example.test\r\n"
    assert (await client.mail(BODY)).startswith(b"250 ")
    trace_removed(next_hop.transactions[0].wire, b"SMTP")


async def test_a_client_that_closes_its_side_still_gets_its_answers(stage):
    client = await stage.connect()
    await client.send(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n")
    for _ in range(3):
        await client.reply()
    await client.send(BODY + b".\r\n")
    client.writer.write_eof()
    assert (await client.reply()).startswith(b"250 ")
    assert await client.reply() == b""


async def test_many_clients_at_once(stage, next_hop):
    async def one(number):
        client = await stage.connect()
        body = BODY + b"%d\r\n" % number
        assert (await client.mail(body, sender=f"s{number}@x")).startswith(b"250 ")

    await asyncio.gather(*(one(i) for i in range(30)))
    taken = await next_hop.wait_for(30)
    assert {t.sender for t in taken} == {f"s{i}@x" for i in range(30)}
    for transaction in taken:
        number = transaction.sender[1:-2]
        assert transaction.wire.endswith(f"dot\r\n{number}\r\n".encode())
