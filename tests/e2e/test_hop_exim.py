"""A hand-written Exim configuration before and behind the real daemon.

Login, local user, re-injection. Debian's configuration: test_exim_debian.
"""

import contextlib
import re

import pytest

from shaper.config import Settings
from tests.support import snippets
from tests.support.daemon import Daemon
from tests.support.exim import Exim
from tests.support.needs import REPOSITORY
from tests.support.nexthop import NextHop
from tests.support.submit import ALICE, submit
from tests.support.waiting import poll_async

CONF = snippets.CONF / "exim"
FILES = sorted(
    str(path.relative_to(CONF)) for path in CONF.rglob("*") if path.is_file()
)
TRANSPORT = "conf.d/transport/30_mailshaper"
LISTS = "domainlist local_domains = mta.example.test\ndomainlist relay_to_domains =\n"
FORGED = (
    b"X-Shaper-Login: login:victim@example.test\r\n"
    b"Received: by mta.example.test (Postfix, from userid 33) id 4FAKE\r\n"
    b"Subject: hi\r\n\r\nna\xc3\xafve\r\n"
)
WAYS = {
    TRANSPORT: {"login_header": "X-Shaper-Login"},
    "transport-auth.conf": {"trust_auth": True},
}


@contextlib.asynccontextmanager
async def exim_road(transport):
    """Exim -> daemon -> the same Exim -> recorder, set up by conf/exim."""
    async with NextHop() as hop:
        exim = Exim(relay=hop.port)
        with Daemon(exim.back_port, {"identity": WAYS[transport]}) as daemon:
            text = exim.config.read_text()
            for begin, name in (
                ("begin transports\n", transport),
                ("begin routers\n", "conf.d/router/190_mailshaper"),
                ("begin retry\n", "conf.d/retry/20_mailshaper"),
                ("acl_rcpt:\n", "acl.conf"),
            ):
                assert text.count(begin) == 1
                text = text.replace(begin, begin + (CONF / name).read_text())
            main = (CONF / "conf.d/main/01_mailshaper").read_text()
            main = main.replace("10025", str(daemon.port))
            main = main.replace("10026", str(exim.back_port))
            text = main + LISTS + text
            exim.config.write_text(text)
            with exim:
                yield exim, daemon, hop


@pytest.mark.e2e
@pytest.mark.parametrize("transport", WAYS)
async def test_the_login_is_the_sender_and_a_forged_one_is_not(transport):
    async with exim_road(transport) as (exim, daemon, hop):
        await submit(exim.port, FORGED, account=ALICE, sender="ceo@victim.test")
        (got,) = await hop.wait_for(1)
        assert daemon.state_of("login:alice@example.test") == "normal"
        for nobody in ("login:victim@example.test", "from:ceo@victim.test", "uid:33"):
            assert daemon.state_of(nobody) == ""
    assert got.sender == "ceo@victim.test"
    assert b"by shaper.example.test (mailshaper)" in got.wire
    assert got.content.endswith(b"\r\n\r\nna\xc3\xafve\r\n")
    if transport == TRANSPORT:
        assert b"X-Shaper-Login" not in got.wire


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("transport", "who"),
    [(TRANSPORT, "uid:0"), ("transport-auth.conf", "login:root")],
)
async def test_local_mail_belongs_to_the_calling_user(transport, who):
    async with exim_road(transport) as (exim, daemon, hop):
        exim.sendmail(FORGED)
        (got,) = await hop.wait_for(1)
        assert daemon.state_of(who) == "normal"
        assert daemon.state_of("login:victim@example.test") == ""
    assert got.recipients == ["bob@example.net"]


@pytest.mark.e2e
async def test_a_refusal_of_the_next_hop_is_returned_to_the_sender():
    async with exim_road(TRANSPORT) as (exim, daemon, hop):
        hop.on("rcpt", "550 5.1.1 Nobody here", match="bob@")
        await submit(exim.port, account=ALICE)
        (bounce,) = await hop.wait_for(1)
        assert bounce.sender == ""
        assert b"Nobody here" in bounce.content
        # Exim's own bounces do not go through the shaper.
        head = bounce.wire.partition(b"\r\n\r\n")[0]
        assert b"by shaper.example.test (mailshaper)" not in head
        await poll_async(lambda: not exim.queue(), "empty queue")
        assert daemon.state_of("login:alice@example.test") == "normal"


@pytest.mark.parametrize("name", FILES)
def test_every_file_is_in_the_guide_with_the_shipped_ports(name):
    text = (CONF / name).read_text()
    guide = (REPOSITORY / "docs" / "exim.md").read_text()
    assert name.removeprefix("conf.d/") in guide
    hop = Settings().hop
    usual = {address.rpartition(":")[2] for address in (hop.listen[0], hop.next_hop)}
    bounces = {"10028"} if name.startswith("bounces") else set()  # feedback.lmtp
    assert set(re.findall(r"\b100\d\d\b", text)) <= usual | bounces
