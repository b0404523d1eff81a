"""Held and refused mail: durable before 250, and the next hop left alone."""

import pytest

from shaper.core.message import Action
from shaper.core.reply import Reply
from tests.support.gate import hop_before
from tests.support.waiting import poll_async

BODY = b"Subject: hi\r\n\r\nHello\r\n..x\r\n"


@pytest.fixture
async def stage(next_hop, tmp_path):
    async with hop_before(next_hop.port, tmp_path) as stage:
        stage.gate.action = Action.HOLD
        yield stage


async def test_a_held_message_is_stored_as_it_came(stage, next_hop):
    client = await stage.connect()
    assert await client.mail(BODY) == b"250 2.0.0 Held for review as ID1\r\n"
    trace, _, rest = stage.gate.content().partition(b"\r\n\t")
    assert trace.startswith(b"Received: by hop.example.test (mailshaper)")
    assert rest.partition(b"\r\n")[2] == BODY
    assert next_hop.transactions == []
    assert b"RSET\r\n" in next_hop.commands
    assert b"DATA\r\n" not in next_hop.commands


async def test_a_long_held_message_is_stored_whole(stage):
    body = BODY + b"y" * 70 + b"\r\n" * 500_000
    assert (await (await stage.connect()).mail(body)).startswith(b"250 ")
    assert stage.gate.content().endswith(body)


async def test_recipients_that_the_next_hop_refused_are_not_held(stage, next_hop):
    next_hop.on("rcpt", "550 5.1.1 No", match="bob@")
    client = await stage.connect()
    await client.mail(BODY, recipients=("bob@x", "carol@x"))
    (message,) = stage.gate.held_messages
    assert [r.address for r in message.submission.envelope.recipients] == ["carol@x"]
    assert stage.gate.decided[0].envelope == message.submission.envelope


async def test_mail_is_held_while_the_next_hop_is_down(stage, next_hop):
    await next_hop.close()
    client = await stage.connect()
    assert (await client.mail(BODY)).startswith(b"250 2.0.0 Held")
    stage.gate.action = Action.PASS
    assert (await client.mail(BODY)).startswith(b"451 4.4.1 ")


@pytest.mark.parametrize("moment", ["hold", "commit"])
async def test_a_full_spool_leaves_the_message_with_the_mta(stage, moment, tmp_path):
    stage.gate.spool_full = moment
    client = await stage.connect()
    assert (await client.mail(BODY * 50_000)).startswith(b"452 4.3.1 ")
    assert list(tmp_path.iterdir()) == []
    stage.gate.spool_full = ""
    assert (await client.mail(BODY)).startswith(b"250 ")


async def test_a_client_that_dies_leaves_no_file(stage, tmp_path):
    client = await stage.connect()
    await client.open_mail()
    await client.send(BODY * 20_000)
    await poll_async(lambda: list(tmp_path.iterdir()), "spool file")
    client.close()
    await poll_async(lambda: not list(tmp_path.iterdir()), "end of the spool file")


async def test_a_bug_after_the_fsync_does_not_repeat_the_message(stage):
    stage.gate.bug = "held"
    answer = await (await stage.connect()).mail(BODY)
    assert answer.startswith(b"250 2.0.0 Held")


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        (Reply(550, ("5.7.1 No",)), b"550 5.7.1 No\r\n"),
        (Reply(250, ("2.0.0 Held already as X",)), b"250 2.0.0 Held already as X\r\n"),
        (None, b"451 4.3.0 "),
    ],
)
async def test_the_gate_may_answer_by_itself(stage, next_hop, reply, answer):
    stage.gate.action = Action.ANSWER
    stage.gate.reply = reply
    client = await stage.connect()
    assert (await client.mail(BODY * 20_000)).startswith(answer)
    assert next_hop.transactions == []
    assert (await client.ask("NOOP")).startswith(b"250 ")
