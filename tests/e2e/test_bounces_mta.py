"""A real Postfix and a real Exim deliver bounces as the files under conf say."""

import asyncio
import re

import pytest

from shaper.core.ports import StateUnavailableError
from shaper.feedback.lmtp import LmtpListener
from tests.support import snippets
from tests.support.exim import Exim
from tests.support.postfix import Postfix
from tests.support.submit import ALICE, submit
from tests.support.waiting import poll_async

pytestmark = pytest.mark.e2e

VERP = "bounces+bob=example.org@example.net"


@pytest.fixture
async def bounces():
    """A listener whose mail is refused once: the MTA must come again."""
    mails, refused = [], []

    async def intake(_data, recipients):
        if not refused:
            refused.append(recipients)
            raise StateUnavailableError("no Redis")
        mails.extend(recipients)

    listener = LmtpListener(intake, "shaper.example.test")
    port = await listener.listen("127.0.0.1", 0)
    yield port, mails
    await listener.stop()


async def _arrives(mails, port):
    await submit(port, account=ALICE, recipients=[VERP])
    await poll_async(lambda: mails == [VERP], "bounce by LMTP", 40)


async def test_postfix(next_hop, bounces):
    port, mails = bounces
    lines = snippets.text("postfix/bounces.transport").replace(":10028", f":{port}")
    entry = re.search(r"(?m)^(bounces@\S+)\s+(\S+)$", lines)
    main = {
        "recipient_delimiter": "+",
        "transport_maps": f"inline:{{ {{ {entry[1]} = {entry[2]} }} }}",
    }
    master = ["lmtp unix - - n - - lmtp"]
    with Postfix(relay=next_hop.port, main=main, master=master) as postfix:
        await _arrives(mails, postfix.submission_port)
    assert next_hop.transactions == []


async def test_exim(next_hop, bounces):
    port, mails = bounces
    router = snippets.text("exim/bounces-router.conf")
    transport = snippets.text("exim/bounces-transport.conf")
    # Behind the option that the transport named "hop" ends with.
    transport = "hosts_avoid_tls =\n" + transport.replace("10028", str(port))
    exim = Exim(relay=next_hop.port, routers=router, transport=transport)
    # The support indents what belongs to the transport "hop"; ours begins a new one.
    text = exim.config.read_text()
    exim.config.write_text(text.replace("  mailshaper_bounces:", "mailshaper_bounces:"))
    with exim:
        await submit(exim.port, account=ALICE, recipients=[VERP])
        await exim.wait_for_log("==")
        await asyncio.sleep(2.5)  # Exim's retry rule here
        await exim.run_queue()
        await poll_async(lambda: mails == [VERP], "bounce by LMTP", 30)
    assert next_hop.transactions == []
