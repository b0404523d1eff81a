"""The private Exim does what the shaper's design assumes of a real one."""

import smtplib

import pytest

from tests.support.exim import Exim
from tests.support.nexthop import HANG, NextHop
from tests.support.submit import ALICE, MESSAGE, submit
from tests.support.waiting import poll_async

pytestmark = pytest.mark.e2e

LOGIN = """\
headers_remove = X-Shaper-Login
headers_add = ${if def:authenticated_id{X-Shaper-Login: $authenticated_id}fail}
"""


async def test_the_login_arrives_and_a_forged_one_does_not(next_hop):
    with Exim(relay=next_hop.port, transport=LOGIN) as exim:
        await submit(exim.port, b"X-Shaper-Login: root\r\n" + MESSAGE, account=ALICE)
        (got,) = await next_hop.wait_for(1)
    assert got.content.count(b"X-Shaper-Login:") == 1
    assert b"X-Shaper-Login: alice@example.test\r\n" in got.content


async def test_without_a_login_nothing_is_taken(next_hop):
    with Exim(relay=next_hop.port) as exim:
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            await submit(exim.port)
        assert exim.queue() == []


async def test_local_mail_carries_the_calling_user(next_hop):
    with Exim(relay=next_hop.port, transport=LOGIN) as exim:
        exim.sendmail()
        (got,) = await next_hop.wait_for(1)
    assert b"X-Shaper-Login: root\r\n" in got.content
    assert got.sender == "root@example.test"


async def test_local_mail_of_a_trusted_user_with_a_sender_has_no_login(next_hop):
    with Exim(relay=next_hop.port, transport=LOGIN) as exim:
        exim.sendmail(sender="www@example.test")
        (got,) = await next_hop.wait_for(1)
    assert b"X-Shaper-Login" not in got.content
    assert b"Received: from root by mta.example.test with local" in got.content
    assert got.sender == "www@example.test"


async def test_reinjected_mail_does_not_come_back(next_hop):
    async with NextHop() as world:
        with Exim(relay=next_hop.port, back=world.port) as exim:
            await submit(exim.back_port)
            await world.wait_for(1)
    assert next_hop.transactions == []


async def test_a_temporary_refusal_stays_in_the_queue_and_comes_again(next_hop):
    next_hop.on("rcpt", "450 4.2.0 not now", times=1)
    with Exim(relay=next_hop.port) as exim:
        await submit(exim.port, account=ALICE)
        await exim.wait_for_log("not now")
        assert len(exim.queue()) == 1
        await exim.run_queue()
        await next_hop.wait_for(1)


async def test_stopping_ends_a_delivery_that_hangs(next_hop):
    next_hop.on("dot", HANG)
    with Exim(relay=next_hop.port) as exim:
        await submit(exim.port, account=ALICE)
        await poll_async(lambda: b"DATA\r\n" in next_hop.commands, "DATA")
        directory = exim.directory
    await next_hop.close()
    assert not directory.exists()
