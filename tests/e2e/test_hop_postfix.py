"""Submission -> policy -> filter -> shaper -> (re-injection ->) next hop, for real."""

import asyncio
import smtplib
import time

import pytest
import pytest_asyncio

from shaper.cli.failure import CliError
from tests.support.nexthop import DROP, HANG
from tests.support.road import road
from tests.support.submit import MESSAGE, submit
from tests.support.waiting import poll_async

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

PATIENT = {"message_size_limit": "40000000"}
# The shaper answers pipelined commands together: with MAIL hangs XFORWARD.
HASTY = {
    f"smtp_{phase}_timeout": "2s"
    for phase in ("xforward", "mail", "rcpt", "data_init", "data_done")
}


@pytest_asyncio.fixture(
    scope="module", loop_scope="module", params=["next-hop", "reinject"]
)
async def shared(request):
    async with road(request.param, main=PATIENT | HASTY) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def way(shared):
    await shared.begin()
    return shared


async def talk(way, mail, rcpts, message):
    """Submit with command lines of the test's own; return the last reply."""

    def run():
        port = way.submission
        with smtplib.SMTP("127.0.0.1", port, "laptop", timeout=30) as client:
            client.ehlo()
            client.user, client.password = way.account.login, way.account.password
            client.auth("PLAIN", client.auth_plain)
            client.command_encoding = "utf-8"
            for line in (mail, *rcpts):
                code, text = client.docmd(line)
                assert code == 250, text
            code, text = client.data(message)
            assert code == 250, text

    await asyncio.to_thread(run)


def field(content, name):
    """Return the first header field of this name, folded lines and all."""
    lines = content.split(b"\r\n\r\n", 1)[0].split(b"\r\n")
    start = next(i for i, x in enumerate(lines) if x.lower().startswith(name + b":"))
    end = start + 1
    while end < len(lines) and lines[end][:1] in {b" ", b"\t"}:
        end += 1
    return b"\r\n".join(lines[start:end]) + b"\r\n"


def delivered(way):
    """Return the recipients of each message that the hop accepted."""
    return [t.recipients for t in way.hop.transactions if t.accepted]


def unchanged(way, got):
    """Assert that the hop has what Postfix gave the shaper, and one field more."""
    left = got.wire
    if way.mode == "reinject":
        again = field(left, b"received")
        assert b"by mta.example.test (Postfix)" in again
        left = left.removeprefix(again)
    trace = field(left, b"received")
    assert b"by shaper.example.test (mailshaper)" in trace
    assert left.removeprefix(trace) in way.tap.messages()


async def tried_again(way):
    """Wait until Postfix deferred something, and have it try again at once.

    Returns the line of the log. By itself it tries again when its queue run comes.
    """
    line = await way.logged("status=deferred")
    # Logged a moment before the message moves; a flush would miss it until then.
    await poll_async(
        lambda: "active" not in [m["queue_name"] for m in way.postfix.queue()],
        "deferred message",
    )
    way.postfix.flush()
    return line


async def test_the_login_is_the_sender_whatever_the_envelope_says(way):
    await submit(way.submission, account=way.account, sender="ceo@victim.test")
    (got,) = await way.hop.wait_for(1)
    assert got.sender == "ceo@victim.test"
    unchanged(way, got)
    shown = await way.daemon.ask("show", name=way.who)
    assert shown["sender"]["state"] == "normal"
    with pytest.raises(CliError, match="no case and no sender"):
        await way.daemon.ask("show", name="from:ceo@victim.test")
    if way.mode == "next-hop":
        assert got.xforward["HELO"] == "laptop.example.test"
    else:
        line = await way.logged("orig_queue_id=")
        assert "orig_client=" in line


async def test_a_forged_login_field_and_received_decide_nothing(way):
    forged = (
        b"Received: by mta.example.test (Postfix, from userid 33) id 4FAKE\r\n"
        b"X-Shaper-Login: login:victim@example.test\r\n" + MESSAGE
    )
    await submit(way.submission, forged, account=way.account)
    (got,) = await way.hop.wait_for(1)
    unchanged(way, got)
    assert way.daemon.state_of(way.who) == "normal"
    for nobody in ("login:victim@example.test", "uid:33", "from:alice@example.test"):
        assert way.daemon.state_of(nobody) == ""


async def test_local_mail_belongs_to_the_user_that_sent_it(way):
    way.postfix.sendmail(sender="ceo@victim.test")
    (got,) = await way.hop.wait_for(1)
    unchanged(way, got)
    assert way.daemon.state_of("uid:0") == "normal"
    assert way.daemon.state_of("from:ceo@victim.test") == ""


async def test_dsn_parameters_arrive_as_they_were_written(way):
    await talk(
        way,
        "MAIL FROM:<alice@example.test> RET=HDRS ENVID=Abc+2BdEf",
        [
            "RCPT TO:<bob@example.net> NOTIFY=DELAY ORCPT=rfc822;Bob.B+2BTag@Ex.NET",
            "RCPT TO:<carol@example.net> NOTIFY=NEVER ORCPT=rfc822;Carol@Example.NET",
        ],
        MESSAGE,
    )
    (got,) = await way.hop.wait_for(1)
    assert b"RET=HDRS" in got.mail
    assert b"ENVID=Abc+2BdEf" in got.mail
    bob, carol = got.rcpts
    assert b"NOTIFY=DELAY" in bob
    assert b"ORCPT=rfc822;Bob.B+2BTag@Ex.NET" in bob
    assert b"NOTIFY=NEVER" in carol
    assert b"ORCPT=rfc822;Carol@Example.NET" in carol


async def test_eight_bit_content_passes_unchanged(way):
    body = b"Subject: caf\xe9\r\n\r\n" + bytes(range(128, 256)) + b"\r\n..\r\n.x\r\n"
    await talk(
        way,
        "MAIL FROM:<alice@example.test> BODY=8BITMIME",
        ["RCPT TO:<bob@example.net>"],
        body,
    )
    (got,) = await way.hop.wait_for(1)
    assert b"BODY=8BITMIME" in got.mail
    assert got.content.endswith(body.partition(b"\r\n\r\n")[2])
    unchanged(way, got)


async def test_held_mail_leaves_as_it_came(way):
    body = b"Subject: caf\xe9\r\n\r\n" + bytes(range(128, 256)) + b"\r\n..\r\n.x\r\n"
    await way.daemon.change("block", sender=way.who)
    await talk(
        way,
        "MAIL FROM:<alice@example.test> BODY=8BITMIME RET=FULL ENVID=Abc+2BdEf",
        ["RCPT TO:<bob@example.net> NOTIFY=DELAY ORCPT=rfc822;Bob.B+2BTag@Ex.NET"],
        body,
    )
    await poll_async(lambda: way.daemon.held(f"sender={way.who}"), "held message")
    await way.queue_empties()
    assert way.hop.transactions == []
    way.daemon.kill()
    way.daemon.start()
    await way.daemon.change("queue.order", action="release", sender=way.who)
    (got,) = await way.hop.wait_for(1)
    unchanged(way, got)
    assert b"BODY=8BITMIME" in got.mail
    assert b"RET=FULL" in got.mail
    assert b"ENVID=Abc+2BdEf" in got.mail
    assert b"NOTIFY=DELAY" in got.rcpts[0]
    assert b"ORCPT=rfc822;Bob.B+2BTag@Ex.NET" in got.rcpts[0]
    await poll_async(lambda: not way.daemon.held(f"sender={way.who}"), "end of hold")
    assert way.daemon.state_of(way.who) == "blocked"


async def test_international_addresses_pass(way):
    await talk(
        way,
        "MAIL FROM:<ünser@example.test> SMTPUTF8",
        ["RCPT TO:<josé@example.net>"],
        "Subject: ¡hola!\r\n\r\nñ\r\n".encode(),
    )
    (got,) = await way.hop.wait_for(1)
    assert b"SMTPUTF8" in got.mail
    assert (got.sender, got.recipients) == ("ünser@example.test", ["josé@example.net"])
    unchanged(way, got)
    assert way.daemon.state_of(way.who) == "normal"


async def test_twenty_megabytes_pass(way):
    line = b".....x" * 12 + b"\r\n"
    big = b"Subject: big\r\n\r\n" + line * (20_000_000 // len(line) + 1)
    await submit(way.submission, big, account=way.account)
    (got,) = await way.hop.wait_for(1, within=50)
    assert len(got.content) > 20_000_000
    unchanged(way, got)


async def test_many_recipients_are_one_message(way):
    everybody = [f"r{i}@example.net" for i in range(60)]
    # So many strangers at once are unusual for somebody nobody knows.
    await way.daemon.change("exempt", sender=way.who, until=time.time() + 600)
    await submit(way.submission, account=way.account, recipients=everybody)
    await poll_async(
        lambda: sum(len(t.recipients) for t in way.hop.transactions) == 60,
        "60 recipients",
    )
    # More than Postfix' usual 50 for one delivery: the shaper sees one message.
    assert len(way.tap.messages()) == 1
    assert sorted(r for t in way.hop.transactions for r in t.recipients) == sorted(
        everybody
    )
    for got in way.hop.transactions:
        unchanged(way, got)


async def test_each_recipient_has_its_own_answer(way):
    way.hop.on("rcpt", "550 5.1.1 Nobody here", match="gone@")
    way.hop.on("rcpt", "450 4.2.1 Not now", match="later@", times=1)
    await submit(
        way.submission,
        account=way.account,
        recipients=["ok@example.net", "gone@example.net", "later@example.net"],
    )
    assert "550 5.1.1 Nobody here" in await way.logged("status=bounced")
    assert "450 4.2.1 Not now" in await tried_again(way)
    await way.queue_empties()
    taken = [r for t in way.hop.transactions if t.sender for r in t.recipients]
    assert sorted(taken) == ["later@example.net", "ok@example.net"]
    (bounce,) = [t for t in way.hop.transactions if not t.sender]
    assert bounce.recipients == ["alice@example.test"]
    assert b"5.1.1" in bounce.content
    assert b"gone@example.net" in bounce.content


@pytest.mark.parametrize(
    ("phase", "step"),
    [
        ("mail", "451 4.3.0 Not me, not now"),
        ("data", "451 4.3.0 Not me, not now"),
        ("dot", "452 4.3.1 No room"),
        ("rcpt", "421 4.3.2 Closing"),
        ("body", DROP),
        ("dot", DROP),
        ("mail", HANG),
        ("dot", HANG),
    ],
    ids=str,
)
async def test_trouble_that_passes_costs_no_mail(way, phase, step):
    way.hop.on(phase, step, times=1)
    await submit(way.submission, account=way.account)
    await tried_again(way)
    await way.queue_empties()
    assert delivered(way) == [["bob@example.net"]]
    assert way.daemon.held(f"sender={way.who}") == []
    assert way.daemon.state_of(way.who) == "normal"


async def test_a_refusal_for_good_is_returned_with_the_next_hops_words(way):
    way.hop.on("dot", "554 5.7.1 Your mail smells", match="bob@")
    await submit(way.submission, account=way.account)
    assert "554 5.7.1 Your mail smells" in await way.logged("status=bounced")
    await way.queue_empties()
    bounces = [t for t in way.hop.transactions if t.accepted]
    assert [t.sender for t in bounces] == [""]
    assert b"Your mail smells" in bounces[0].content


async def test_a_next_hop_that_is_away_defers_and_comes_back(way):
    await way.hop.close()
    await submit(way.submission, account=way.account)
    line = await way.logged("status=deferred")
    if way.mode == "next-hop":
        # Said inside a transaction: a refused connection would make Postfix stop
        # all deliveries to the shaper.
        assert "said: 451" in line
    await way.hop.__aenter__()
    await tried_again(way)
    await way.queue_empties()
    assert delivered(way) == [["bob@example.net"]]
