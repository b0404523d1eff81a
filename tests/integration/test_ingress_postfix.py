"""A real Postfix in front of the hop: its XFORWARD, its policy requests, its DSN.

Whole-daemon runs are elsewhere; here only what the SMTP side and the policy
service have to understand of each other.
"""

import pytest

from shaper.policy.postfix import PolicyServer, remembering
from tests.support.gate import hop_before
from tests.support.nexthop import MODERN, NextHop
from tests.support.postfix import Postfix
from tests.support.submit import ALICE, submit
from tests.support.waiting import poll_async

pytestmark = pytest.mark.e2e

SCAN = (
    "scan unix - - n - 10 smtp -o smtp_send_xforward_command=yes"
    " -o disable_mime_output_conversion=yes -o smtp_generic_maps="
)


@pytest.fixture
async def parts(tmp_path):
    """Yield (stage, postfix, next hop), wired up."""
    names = (*MODERN, "XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE")
    async with NextHop(names) as next_hop, hop_before(next_hop.port, tmp_path) as stage:

        async def remember(queue_id, login):
            stage.gate.logins[queue_id] = login

        policy = PolicyServer(remembering(remember))
        await policy.listen("127.0.0.1", 0)
        port = policy.sockets[0].getsockname()[1]
        main = {
            "content_filter": f"scan:[127.0.0.1]:{stage.port}",
            "smtpd_end_of_data_restrictions": "check_policy_service"
            f" inet:127.0.0.1:{port}",
        }
        with Postfix(relay=next_hop.port, main=main, master=[SCAN]) as postfix:
            yield stage, postfix, next_hop
        policy.close()


async def test_a_forged_sender_is_known_by_its_login(parts):
    stage, postfix, next_hop = parts
    body = "Subject: grüße\r\n\r\nnaïve\r\n.dot\r\n".encode()
    await submit(
        postfix.submission_port,
        body,
        account=ALICE,
        sender="ceo@victim.test",
        recipients=("bob@example.net", "carol@example.net"),
    )
    (taken,) = await next_hop.wait_for(1)
    (submission,) = stage.gate.decided
    assert submission.sender == "login:alice@example.test"
    assert submission.client.ident
    assert submission.client.helo == "laptop.example.test"
    assert submission.subject == "grüße"
    assert taken.content.endswith(body.partition(b"\r\n\r\n")[2])  # Postfix adds a Date
    assert taken.recipients == ["bob@example.net", "carol@example.net"]
    assert taken.xforward["IDENT"] == submission.client.ident


async def test_local_mail_is_known_by_its_uid(parts):
    stage, postfix, next_hop = parts
    postfix.sendmail()
    await next_hop.wait_for(1)
    assert stage.gate.decided[0].sender == "uid:0"


async def test_a_refused_recipient_is_bounced_by_postfix_alone(parts):
    stage, postfix, next_hop = parts
    next_hop.on("rcpt", "550 5.1.1 Nobody here", match="bob@")
    await submit(
        postfix.submission_port,
        account=ALICE,
        recipients=("bob@example.net", "carol@example.net"),
    )
    log = await postfix.wait_for_log("status=bounced")
    assert "550 5.1.1 Nobody here" in log
    taken = await next_hop.wait_for(2)
    bounce = next(t for t in taken if t.sender == "")
    assert b"5.1.1" in bounce.content
    # Postfix sends its own bounces past the content filter.
    assert [s.sender for s in stage.gate.decided] == ["login:alice@example.test"]


async def test_a_bug_defers_and_is_not_bounced(parts):
    stage, postfix, next_hop = parts
    stage.gate.bug = "decide"
    await submit(postfix.submission_port, account=ALICE)
    assert "451 4.3.0" in await postfix.wait_for_log("status=deferred")
    stage.gate.bug = ""
    (taken,) = await next_hop.wait_for(1)
    assert taken.sender == "alice@example.test"
    await poll_async(lambda: not postfix.queue(), "end of the queue")
