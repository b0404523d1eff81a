"""The private Postfix does what the shaper's design assumes of a real one."""

import json
import smtplib

import pytest

from tests.support.nexthop import MODERN, NextHop
from tests.support.policy_server import PolicyServer
from tests.support.postfix import Postfix
from tests.support.submit import ALICE, MESSAGE, Account, submit

pytestmark = pytest.mark.e2e

SCAN = "scan unix - - n - 10 smtp -o smtp_send_xforward_command=yes"
XFORWARD = "XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE"


async def test_a_login_and_its_mail_reach_the_next_hop(next_hop):
    with Postfix(relay=next_hop.port) as postfix:
        await submit(postfix.submission_port, account=ALICE)
        (got,) = await next_hop.wait_for(1)
        assert got.recipients == ["bob@example.net"]
        assert got.content.endswith(MESSAGE.partition(b"\r\n\r\n")[2])
        line = await postfix.wait_for_log("sasl_username=")
        assert "sasl_method=PLAIN, sasl_username=alice@example.test" in line


@pytest.mark.parametrize("account", [None, Account("alice@example.test", "wrong")])
async def test_without_the_right_password_nothing_is_taken(next_hop, account):
    with Postfix(relay=next_hop.port) as postfix:
        with pytest.raises((smtplib.SMTPAuthenticationError, smtplib.SMTPException)):
            await submit(postfix.submission_port, account=account)
        assert postfix.queue() == []
    assert next_hop.transactions == []


async def test_the_filter_learns_ident_and_policy_learns_the_login():
    async with NextHop([*MODERN, XFORWARD]) as hop, PolicyServer() as policy:
        ask = f"check_policy_service inet:127.0.0.1:{policy.port}"
        main = {
            "content_filter": f"scan:[127.0.0.1]:{hop.port}",
            "smtpd_data_restrictions": ask,
        }
        with Postfix(relay=hop.port, main=main, master=[SCAN]) as postfix:
            await submit(postfix.submission_port, account=ALICE)
            (got,) = await hop.wait_for(1)
        (asked,) = policy.requests
        assert asked["protocol_state"] == "DATA"
        assert asked["sasl_username"] == "alice@example.test"
        assert asked["queue_id"] == got.xforward["IDENT"] != ""


async def test_local_mail_says_source_local_and_no_ident():
    async with NextHop([*MODERN, XFORWARD]) as hop:
        main = {"content_filter": f"scan:[127.0.0.1]:{hop.port}"}
        with Postfix(relay=hop.port, main=main, master=[SCAN]) as postfix:
            postfix.sendmail(sender="www@example.test")
            (got,) = await hop.wait_for(1)
    assert got.xforward == {"SOURCE": "LOCAL"}
    assert b"(Postfix, from userid 0)" in got.content


async def test_a_temporary_refusal_stays_in_the_queue_and_comes_again(next_hop):
    next_hop.on("rcpt", "450 4.2.0 not now", times=1)
    with Postfix(relay=next_hop.port) as postfix:
        await submit(postfix.smtp_port)
        await postfix.wait_for_log("status=deferred")
        (waiting,) = postfix.queue()
        assert waiting["recipients"][0]["address"] == "bob@example.net"
        assert "not now" in json.dumps(waiting)
        postfix.flush()
        await next_hop.wait_for(1)


async def test_held_mail_waits_for_its_release(next_hop):
    async with PolicyServer("HOLD suspicious") as policy:
        ask = f"check_policy_service inet:127.0.0.1:{policy.port}"
        main = {"smtpd_data_restrictions": ask}
        with Postfix(relay=next_hop.port, main=main) as postfix:
            await submit(postfix.submission_port, account=ALICE)
            await postfix.wait_for_log(": hold: ")
            (held,) = postfix.queue()
            assert held["queue_name"] == "hold"
            assert next_hop.transactions == []
            postfix.postsuper("-H", held["queue_id"])
            await next_hop.wait_for(1)
