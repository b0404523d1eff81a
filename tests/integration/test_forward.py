"""The forwarder against next hops that misbehave."""

import asyncio

import pytest

from shaper.core.envelope import Client, Envelope, Recipient
from shaper.core.reply import Phase
from shaper.smtp.forward import NextHop as Forwarder
from shaper.smtp.send import send
from shaper.smtp.settings import ForwardSettings
from tests.support.gate import hop_before
from tests.support.nexthop import DROP, HANG, MODERN, NextHop, Slow
from tests.support.waiting import poll_async

BODY = b"Subject: hi\r\n\r\nHello\r\n"
ENVELOPE = Envelope(
    "alice@example.test",
    (Recipient("bob@x", ("NOTIFY=NEVER",)), Recipient("carol@x")),
    ("RET=HDRS", "SIZE=5"),
)
CLIENT = Client(address="192.0.2.1", ident="4ABC")


async def chunks(*parts):
    for part in parts:
        yield part


@pytest.fixture
async def make():
    made = []

    def make(port, **settings):
        made.append(Forwarder(ForwardSettings(port=port, **settings)))
        return made[-1]

    yield make
    for forwarder in made:
        forwarder.close()


async def deliver(forwarder, recipients=(0, 1), envelope=ENVELOPE, content=(BODY,)):
    return await send(forwarder, envelope, CLIENT, chunks(*content), recipients)


async def test_a_stored_message_is_sent_to_the_chosen_recipients(make, next_hop):
    replies, end = await deliver(make(next_hop.port), (1,))
    assert {i: r.code for i, r in replies.items()} == {1: 250}
    assert end.code == 250
    (taken,) = next_hop.transactions
    assert taken.recipients == ["carol@x"]
    assert taken.wire == BODY
    assert taken.mail == b"MAIL FROM:<alice@example.test> RET=HDRS SIZE=5\r\n"


async def test_replies_are_per_recipient(make, next_hop):
    next_hop.on("rcpt", "550 5.1.1 No", match="bob@")
    replies, end = await deliver(make(next_hop.port))
    assert {i: r.code for i, r in replies.items()} == {0: 550, 1: 250}
    assert replies[0].phase is Phase.RCPT
    assert end.positive


async def test_no_recipient_taken_sends_no_content(make, next_hop):
    next_hop.on("rcpt", "450 4.2.0 Later")
    forwarder = make(next_hop.port)
    replies, end = await deliver(forwarder)
    assert end.code == 450
    assert not any(r.positive for r in replies.values())
    assert b"DATA\r\n" not in next_hop.commands
    next_hop.reset()
    assert (await deliver(forwarder))[1].positive
    assert next_hop.connections == 1


async def test_a_refused_mail_is_each_recipients_reason(make, next_hop):
    next_hop.on("mail", "550 5.7.1 Not you")
    replies, end = await deliver(make(next_hop.port))
    assert [r.text for r in replies.values()] == ["550 5.7.1 Not you"] * 2
    assert end.text == "550 5.7.1 Not you"


@pytest.mark.parametrize("phase", ["data", "dot"])
async def test_a_refusal_of_the_content_is_handed_back(make, next_hop, phase):
    next_hop.on(phase, "554 5.7.1 Spam", times=1)
    forwarder = make(next_hop.port)
    replies, end = await deliver(forwarder)
    assert all(r.positive for r in replies.values())
    assert (end.text, end.synthetic) == ("554 5.7.1 Spam", False)
    assert (await deliver(forwarder))[1].positive


async def test_a_connection_lost_after_the_dot_is_no_bounce(make, next_hop):
    next_hop.on("dot", DROP)
    _, end = await deliver(make(next_hop.port))
    assert (end.code, end.enhanced, end.phase) == (451, "4.4.2", Phase.END)
    assert end.synthetic
    assert len(next_hop.transactions) == 1  # and it was not repeated


@pytest.mark.parametrize("phase", ["connect", "mail", "rcpt", "data", "body", "dot"])
@pytest.mark.parametrize("trouble", [DROP, HANG], ids=["drops", "hangs"])
async def test_trouble_in_any_phase_is_temporary(make, next_hop, phase, trouble):
    next_hop.on(phase, trouble)
    forwarder = make(
        next_hop.port,
        connect_timeout=0.1,
        command_timeout=0.1,
        data_timeout=0.1,
        block_timeout=0.1,
        end_timeout=0.1,
    )
    async with asyncio.timeout(20):
        replies, end = await deliver(forwarder)
    assert (end.code, end.synthetic) == (451, True)
    assert end.enhanced in {"4.4.1", "4.4.2"}
    assert len(replies) == 2
    assert forwarder.pool.open == 0


@pytest.mark.parametrize(
    ("phase", "reply"), [("rcpt", "hello"), ("mail", "999 x"), ("data", "250 what")]
)
async def test_nonsense_is_temporary(make, next_hop, phase, reply):
    next_hop.on(phase, reply)
    _, end = await deliver(make(next_hop.port))
    assert (end.code, end.enhanced) == (451, "4.5.0")


async def test_a_next_hop_that_is_down_is_temporary(make, next_hop):
    await next_hop.close()
    replies, end = await deliver(make(next_hop.port))
    assert [r.enhanced for r in (*replies.values(), end)] == ["4.4.1"] * 3


@pytest.mark.parametrize("greeting", ["554 5.7.1 Go away", "421 4.3.2 Busy"])
async def test_a_next_hop_that_refuses_us_bounces_nothing(make, next_hop, greeting):
    next_hop.on("connect", greeting)
    _, end = await deliver(make(next_hop.port))
    assert (end.code, end.synthetic) == (451, True)


async def test_a_stale_connection_is_replaced_unseen(make, next_hop):
    forwarder = make(next_hop.port)
    await deliver(forwarder)
    next_hop.on("mail", DROP, times=1)
    _, end = await deliver(forwarder)
    assert end.positive
    assert [t.session for t in next_hop.transactions] == [1, 2]


async def test_a_goodbye_to_an_old_connection_is_no_answer(make, next_hop):
    forwarder = make(next_hop.port)
    await deliver(forwarder)
    next_hop.on("mail", "421 4.4.2 Idle too long", times=1)
    replies, end = await deliver(forwarder)
    assert end.positive
    assert len(replies) == 2
    assert forwarder.pool.open == 1


async def test_a_fresh_connection_is_not_retried(make, next_hop):
    next_hop.on("mail", DROP)
    _, end = await deliver(make(next_hop.port))
    assert end.enhanced == "4.4.2"
    assert next_hop.connections == 1


async def test_a_restarted_next_hop_is_found_again(make, next_hop):
    forwarder = make(next_hop.port)
    await deliver(forwarder)
    port = next_hop.port
    await next_hop.close()
    async with NextHop(port=port) as second:
        assert (await deliver(forwarder))[1].positive
        assert len(second.transactions) == 1


async def rcpt(transaction, position):
    """Offer one recipient and wait for the answer."""
    await transaction.ready()
    return await transaction.offer(ENVELOPE.recipients[position])


async def test_connections_are_bounded_and_shared(make, next_hop):
    forwarder = make(next_hop.port, max_connections=3)
    next_hop.on("rcpt", Slow(0.01))
    results = await asyncio.gather(*(deliver(forwarder) for _ in range(12)))
    assert all(end.positive for _, end in results)
    assert next_hop.connections <= 3
    assert forwarder.pool.open == forwarder.pool.idle <= 3


async def test_waiting_for_a_connection_is_bounded(make, next_hop):
    forwarder = make(next_hop.port, max_connections=1, wait_timeout=0.05)
    holder = forwarder.begin(ENVELOPE, CLIENT)
    assert (await rcpt(holder, 0)).positive
    _, end = await deliver(forwarder)
    assert (end.code, end.enhanced) == (451, "4.3.2")
    await holder.abandon()
    assert (await deliver(forwarder))[1].positive


async def test_idle_connections_are_closed(make, next_hop):
    forwarder = make(next_hop.port, idle_limit=0.02)
    await deliver(forwarder)
    await poll_async(lambda: forwarder.pool.open == 0, "end of idle connections")
    await poll_async(lambda: b"QUIT\r\n" in next_hop.commands, "QUIT")


async def test_abandoned_content_is_never_ended(make, next_hop):
    forwarder = make(next_hop.port)
    transaction = forwarder.begin(ENVELOPE, CLIENT)
    await rcpt(transaction, 0)
    assert (await transaction.data()).code == 354
    await transaction.write(BODY * 10_000)
    await transaction.abandon()
    await transaction.abandon()
    assert (await transaction.finish()).synthetic
    assert forwarder.pool.open == 0
    await deliver(forwarder)
    assert len(next_hop.transactions) == 1


async def test_a_source_that_fails_ends_nothing(make, next_hop):
    async def broken():
        yield BODY
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        await send(make(next_hop.port), ENVELOPE, CLIENT, broken(), (0,))
    assert next_hop.transactions == []


async def test_overlapping_calls_share_one_transaction(make, next_hop):
    transaction = make(next_hop.port).begin(ENVELOPE, CLIENT)
    first, second = await asyncio.gather(rcpt(transaction, 0), rcpt(transaction, 1))
    assert first.positive
    assert second.positive
    await transaction.data()
    await transaction.write(BODY)
    assert (await transaction.finish()).positive
    assert next_hop.commands.count(
        b"MAIL FROM:<alice@example.test> RET=HDRS SIZE=5\r\n"
    )
    assert next_hop.transactions[0].recipients == ["bob@x", "carol@x"]


async def test_without_pipelining_commands_go_one_by_one(make):
    async with NextHop(keywords=("DSN", "SIZE")) as next_hop:
        next_hop.on("rcpt", "550 5.1.1 No", match="bob@")
        replies, end = await deliver(make(next_hop.port))
        assert [r.code for r in replies.values()] == [550, 250]
        assert end.positive


async def test_what_the_next_hop_cannot_do_is_left_out(make):
    envelope = Envelope(
        "a@b",
        (Recipient("bob@x", ("NOTIFY=NEVER", "ORCPT=rfc822;b@x")),),
        ("RET=HDRS", "ENVID=x", "BODY=8BITMIME", "SIZE=9", "AUTH=<>", "MT-PRIORITY=1"),
    )
    async with NextHop(keywords=("PIPELINING",)) as next_hop:
        _, end = await deliver(make(next_hop.port), (0,), envelope, (b"\xe9\r\n",))
        assert end.positive
        (taken,) = next_hop.transactions
        assert taken.mail == b"MAIL FROM:<a@b> MT-PRIORITY=1\r\n"
        assert taken.rcpts == [b"RCPT TO:<bob@x>\r\n"]
        assert taken.wire == b"\xe9\r\n"


async def test_internationalised_mail_needs_a_next_hop_that_can(make):
    envelope = Envelope("é@b", (Recipient("bob@x"),), ("SMTPUTF8",))
    async with NextHop(keywords=("PIPELINING",)) as next_hop:
        replies, _ = await deliver(make(next_hop.port), (0,), envelope)
        assert (replies[0].code, replies[0].enhanced) == (553, "5.6.7")
        assert [c for c in next_hop.commands if c.startswith(b"MAIL")] == []


async def test_an_envelope_with_a_line_break_sends_no_command(make, next_hop):
    envelope = Envelope("a@b", (Recipient("x@y>\r\nDATA\r\n<"), Recipient("ok@y")))
    replies, end = await deliver(make(next_hop.port), envelope=envelope)
    assert replies[0].enhanced == "5.1.3"
    assert end.positive
    assert next_hop.transactions[0].recipients == ["ok@y"]


async def test_a_message_to_a_hop_that_stalls_is_given_up(make, next_hop):
    next_hop.on("body", HANG)
    forwarder = make(next_hop.port, end_timeout=0.1)
    async with asyncio.timeout(30):
        _, end = await deliver(forwarder)
    assert (end.enhanced, end.phase) == ("4.4.2", Phase.END)


async def test_a_hop_that_stops_reading_stops_the_source(make):
    replies = b"220 x\r\n", b"250 x\r\n", b"250 x\r\n", b"250 x\r\n", b"354 x\r\n"
    stop = asyncio.Event()

    async def stubborn(reader, writer):
        for reply in replies:
            writer.write(reply)
            if reply != replies[-1]:
                await reader.readline()
        writer.transport.pause_reading()
        await stop.wait()
        writer.transport.abort()

    taken = []

    async def endless():
        while True:
            taken.append(1)
            yield b"x" * 998 + b"\r\n"

    server = await asyncio.start_server(stubborn, "127.0.0.1", 0)
    forwarder = make(server.sockets[0].getsockname()[1], block_timeout=0.1)
    async with asyncio.timeout(30):
        _, end = await send(forwarder, ENVELOPE, CLIENT, endless(), (0,))
    assert (end.code, end.enhanced) == (451, "4.4.2")
    # What the kernel's buffers and ours take, and not a hundred megabytes.
    assert len(taken) < 20_000
    stop.set()
    server.close()


@pytest.mark.parametrize(
    ("phase", "step", "answer"),
    [
        ("rcpt", "421 4.3.2 Going down", b"451 4.3.2 Going down"),
        ("dot", "451 4.7.1 Later", b"451 4.7.1 Later"),
        ("dot", "554 5.7.1 Spam\nsee x", b"554-5.7.1 Spam\r\n554 see x"),
        ("dot", "421 4.3.2 Going down", b"451 4.3.2 Going down"),
        ("dot", DROP, b"451 4.4.2 "),
        ("data", "451 4.3.0 Disk", b"451 4.3.0 Disk"),
        ("data", DROP, b"451 4.4.2 "),
        ("body", DROP, b"451 4.4.2 "),
    ],
)
async def test_through_the_hop_the_client_hears_the_next_hop(
    next_hop, tmp_path, phase, step, answer
):
    next_hop.on(phase, step)
    async with hop_before(next_hop.port, tmp_path) as stage:
        client = await stage.connect()
        await client.ask("MAIL FROM:<a@b>")
        got = await client.ask("RCPT TO:<c@d>")
        if phase != "rcpt":
            await client.ask("DATA")
            await client.send(BODY + b"x" * 70 + b"\r\n" * 100_000 + b".\r\n")
            got = await client.reply()
        assert got.startswith(answer)
        next_hop.reset()
        await client.ask("RSET")
        assert (await client.mail(BODY)).startswith(b"250 ")


async def test_recipients_taken_before_the_loss_do_not_count(next_hop, tmp_path):
    next_hop.on("rcpt", DROP, match="carol@")
    async with hop_before(next_hop.port, tmp_path) as stage:
        client = await stage.connect()
        await client.ask("MAIL FROM:<a@b>")
        for name in ("bob@x", "carol@x", "dave@x"):
            assert (await client.ask(f"RCPT TO:<{name}>")).startswith(b"250 ")
        await client.ask("DATA")
        await client.send(BODY + b".\r\n")
        assert (await client.reply()).startswith(b"451 4.4.2 ")
        assert next_hop.transactions == []


async def test_tls_is_spoken_when_asked_for_and_only_then(make, next_hop):
    _, end = await deliver(make(next_hop.port, tls="starttls"))
    assert end.synthetic
    assert next_hop.transactions == []


def test_the_modern_hop_of_these_tests_pipelines():
    assert "PIPELINING" in MODERN


@pytest.mark.parametrize("step", [HANG, DROP, "421 4.3.2 Too many connections"])
async def test_a_next_hop_with_few_processes_is_no_trouble(make, next_hop, step):
    forwarder = make(next_hop.port, connect_timeout=30, wait_timeout=30)
    both = [forwarder.begin(ENVELOPE, CLIENT) for _ in range(2)]
    for transaction in both:
        await rcpt(transaction, 0)
    # From now on it greets nobody, as a Postfix service does whose processes are
    # all taken, or turns everybody away.
    next_hop.on("connect", step)
    for transaction in both:
        await transaction.abandon()
    async with asyncio.timeout(15):
        results = await asyncio.gather(*(deliver(forwarder) for _ in range(8)))
    assert all(end.positive for _, end in results)
