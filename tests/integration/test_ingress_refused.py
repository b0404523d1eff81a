"""Recipients that the next hop refuses reach the gate when no message follows."""

import pytest

from shaper.core.message import Action
from tests.support.gate import hop_before
from tests.support.waiting import poll_async

GONE = "550 5.1.1 No such user"


@pytest.fixture
async def stage(next_hop, tmp_path):
    next_hop.on("rcpt", GONE, match="gone")
    async with hop_before(next_hop.port, tmp_path) as stage:
        yield stage


async def refused(stage, count=1):
    await poll_async(lambda: len(stage.gate.refusals) >= count, "the refusals")
    assert len(stage.gate.refusals) == count
    return stage.gate.refusals[-1]


async def rcpt(client, *recipients, sender="alice@example.test"):
    await client.ask(f"MAIL FROM:<{sender}>")
    for recipient in recipients:
        await client.ask(f"RCPT TO:<{recipient}>")


@pytest.mark.parametrize("end", ["RSET", "QUIT", "EHLO again.test", "hang up"])
async def test_all_refused_is_told_however_it_ends(stage, end):
    client = await stage.connect()
    await rcpt(client, "gone1@x.test", "gone2@x.test")
    if end == "hang up":
        client.close()
    else:
        await client.ask(end)
    submission, replies = await refused(stage)
    assert submission.sender == "from:alice@example.test"
    assert submission.envelope.recipients == ()
    assert {a: r.text for a, r in replies.items()} == {
        "gone1@x.test": GONE,
        "gone2@x.test": GONE,
    }


async def test_each_attempt_is_told_once(stage):
    client = await stage.connect()
    for number in range(1, 4):
        await rcpt(client, "gone@x.test")
        assert (await client.ask("DATA")).startswith(b"554 5.5.1 ")
        await client.ask("RSET")
        await refused(stage, number)
    await client.ask("RSET")
    client.close()
    await refused(stage, 3)


async def test_the_login_that_the_policy_service_saw_is_the_sender(stage):
    stage.gate.logins["4AB12"] = "Alice"
    client = await stage.connect()
    await client.ask("XFORWARD IDENT=4AB12")
    await rcpt(client, "gone@x.test")
    await client.ask("RSET")
    submission, _ = await refused(stage)
    assert submission.sender == "login:alice"


async def test_who_stands_in_a_header_only_is_nobody_without_one(next_hop, tmp_path):
    next_hop.on("rcpt", GONE)
    async with hop_before(next_hop.port, tmp_path, login_header="X-Login") as stage:
        client = await stage.connect()
        await rcpt(client, "gone@x.test")
        await client.ask("RSET")
        submission, _ = await refused(stage)
        assert submission.sender == ""


@pytest.mark.parametrize("sender", ["double-bounce@mx.test", "Double-Bounce@mx.test"])
async def test_a_verification_probe_blames_nobody(stage, sender):
    client = await stage.connect()
    await rcpt(client, "gone@x.test", sender=sender)
    await client.ask("RSET")
    await rcpt(client, "gone@x.test")
    await client.ask("RSET")
    submission, _ = await refused(stage)
    assert submission.envelope.sender == "alice@example.test"


async def test_a_login_that_writes_as_a_probe_does_is_somebody(stage):
    stage.gate.logins["4AB12"] = "Alice"
    client = await stage.connect()
    await client.ask("XFORWARD IDENT=4AB12")
    await rcpt(client, "gone@x.test", sender="double-bounce@mx.test")
    await client.ask("RSET")
    submission, _ = await refused(stage)
    assert submission.sender == "login:alice"


async def test_with_one_recipient_taken_the_message_tells(stage):
    client = await stage.connect()
    await rcpt(client, "gone@x.test", "bob@x.test")
    await client.ask("RSET")
    await client.mail(b"\r\nx\r\n", recipients=("gone@x.test", "bob@x.test"))
    assert stage.gate.refusals == []
    ((replies, end),) = stage.gate.outcomes
    assert list(replies) == ["gone@x.test"]
    assert end.positive


async def test_a_held_message_tells_of_those_that_it_lost(stage):
    stage.gate.action = Action.HOLD
    client = await stage.connect()
    await client.mail(b"\r\nx\r\n", recipients=("gone@x.test", "bob@x.test"))
    submission, replies = await refused(stage)
    assert submission.id == stage.gate.held_messages[0].id
    assert list(replies) == ["gone@x.test"]


async def test_a_bug_in_the_engine_changes_no_answer(stage):
    stage.gate.bug = "refused"
    client = await stage.connect()
    await rcpt(client, "gone@x.test")
    assert (await client.ask("RSET")).startswith(b"250 ")
