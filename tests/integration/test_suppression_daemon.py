"""The list in the daemon itself: page, link in the mail, reload, crash."""

import asyncio
import contextlib
import http.client
import smtplib

import pytest

from tests.support import needs
from tests.support.daemon import Daemon
from tests.support.nexthop import NextHop

BOB = "bob@example.net"


@pytest.fixture
async def hop():
    async with NextHop() as found:
        yield found


@pytest.fixture
def page():
    return needs.free_port()


@pytest.fixture
async def daemon(hop, page):
    settings = {
        "suppression": {
            "confirm_listen": f"127.0.0.1:{page}",
            "confirm_url": "https://mail.example.org/alive",
        }
    }
    with Daemon(hop.port, settings) as daemon:
        yield daemon


def rcpt(daemon):
    with smtplib.SMTP("127.0.0.1", daemon.port, timeout=30) as client:
        client.ehlo("mta.example.org")
        client.mail("alice@example.org")
        return client.rcpt(BOB)[0]


async def listed(daemon):
    await daemon.change(
        "suppress.import", rows=[[BOB, 0, "5.1.1", "gone", "list"]], last=True
    )


async def test_the_link_of_the_mail_frees_the_address(daemon, hop, page):
    await listed(daemon)
    assert await asyncio.to_thread(rcpt, daemon) == 550
    done = await daemon.change("suppress.confirm", address=BOB)
    assert done["queued"]
    assert not (await daemon.change("suppress.confirm", address=BOB))["queued"]
    (mail,) = await hop.wait_for(1)
    token = mail.content.decode().partition("alive?t=")[2].split()[0]

    def press(method, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", page, timeout=10)
        kind = {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
        connection.request(method, f"/alive?t={token}", body, kind)
        with contextlib.closing(connection):
            return connection.getresponse().status

    assert await asyncio.to_thread(press, "GET") == 200
    assert await asyncio.to_thread(rcpt, daemon) == 550
    assert await asyncio.to_thread(press, "POST", f"t={token}") == 200
    assert await asyncio.to_thread(rcpt, daemon) == 250
    told = await daemon.ask("suppress.explain", address=BOB)
    assert told["lifted_by"] == "confirmed by the recipient"
    assert told["confirmed"]


async def test_a_crash_keeps_the_list_and_a_reload_switches_it_off(daemon):
    await listed(daemon)
    daemon.kill()
    daemon.start()
    assert await asyncio.to_thread(rcpt, daemon) == 550
    daemon.configure({"suppression": {"enabled": False}})
    daemon.reload()
    assert await asyncio.to_thread(rcpt, daemon) == 250
    assert not (await daemon.ask("suppress.explain", address=BOB))["enforced"]


async def test_a_placement_that_needs_a_restart_changes_nothing_at_a_reload(daemon):
    logs = {"logs": [str(daemon.directory / "maillog")]}
    for enforce in (True, False):
        ours = {"placement": "watch", "enforce": enforce}
        daemon.configure({"daemon": ours, "feedback": logs})
        daemon.reload()
    assert daemon.log().count("restart: daemon.placement") == 2
    await daemon.wait_for_log("observing, nothing is held")
    assert "watching" not in daemon.log()
