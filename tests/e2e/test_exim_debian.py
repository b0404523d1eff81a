"""Exim in Debian's configuration before and behind the real daemon.

Set up by the commands of docs/exim.md: logins and local users, a stolen login, a
bounce found in the log, a dead recipient, a hop that is away; and the way back.
"""

import asyncio
import contextlib
import json
import re
import time

import pytest

from shaper.cli.app import run
from tests.support.daemon import Daemon
from tests.support.exim_debian import DebianExim
from tests.support.needs import REPOSITORY
from tests.support.nexthop import NextHop
from tests.support.submit import ALICE, BOB, submit
from tests.support.waiting import poll_async

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

WHO = f"login:{ALICE.login}"
FRIENDS = ["ann@example.net", "ben@example.net", "cem@example.org"]
FORGED = (
    b"X-Shaper-Login: login:victim@example.test\r\n"
    b"X-PHP-Originating-Script: 1000:contact form.php\r\n"
    b"Subject: hi\r\n\r\nhi\r\n"
)


def commands(heading):
    """Return the shell blocks of a section of the guide; admin commands left out."""
    guide = (REPOSITORY / "docs" / "exim.md").read_text()
    section = re.search(rf"(?ms)^## {heading}\n(.*?)(?=^## )", guide)
    blocks = re.findall(r"(?ms)^```sh\n(.*?)^```", section[1])
    return [one for one in blocks if not one.startswith("mailshaper ")]


@contextlib.asynccontextmanager
async def host(heading="Split configuration", *, direct=False, **settings):
    """A Debian host with Exim and the daemon, set up as the guide says.

    ``direct``: mailshaper hands on to the world itself.
    """
    async with NextHop() as hop:
        with DebianExim(world=hop.port, split=heading.startswith("Split")) as exim:
            base = {
                "identity": {"login_header": "X-Shaper-Login"},
                "policy": {"listen": []},
                "feedback": {"logs": [str(exim.log_file)]},
            }
            back = hop.port if direct else exim.back_port
            with Daemon(back, base | settings) as daemon:
                exim.shell("update-exim4.conf")
                exim.start()
                exim.supply(daemon.port)
                (install,) = commands(heading)
                exim.shell(install)
                exim.reload()
                yield exim, daemon, hop


async def empties(exim):
    """Wait until Exim has nothing in its queue."""
    await poll_async(lambda: not exim.queue(), "empty queue")


@pytest.mark.parametrize("heading", ["Split configuration", "Unsplit configuration"])
async def test_the_commands_of_the_guide_lead_mail_through_and_back(heading):
    async with host(heading) as (exim, daemon, hop):
        assert "router = mailshaper," in exim.route("bob@example.net")
        assert "router = mailshaper" not in exim.route("root@mta.example.test")
        await submit(exim.port, FORGED, account=ALICE, sender="ceo@victim.test")
        (got,) = await hop.wait_for(1)
        assert b"by shaper.example.test (mailshaper)" in got.wire
        assert b"X-Shaper-Login" not in got.wire
        assert daemon.state_of(WHO) == "normal"

        exim.sendmail(FORGED, user="www-data", where="/var/www/shop")
        exim.sendmail(FORGED, user="carol")
        await hop.wait_for(3)
        assert (daemon.state_of("uid:33"), daemon.state_of("uid:1001")) == (
            "normal",
            "normal",
        )
        line = await exim.wait_for_log("local mail from uid=33 ")
        assert 'cwd="/var/www/shop" script="1000:contact form.php"' in line
        for nobody in ("login:victim@example.test", "from:ceo@victim.test"):
            assert daemon.state_of(nobody) == ""
        await empties(exim)


async def test_what_is_not_ours_goes_straight_on():
    async with host() as (exim, daemon, hop):
        # A stranger's mail that an alias sends on; and mail to a domain we relay for.
        await submit(
            exim.port,
            sender="news@shop.test",
            recipients=["elsewhere@mta.example.test", "x@relayed.example.test"],
        )
        (got,) = await hop.wait_for(1)
        assert b"(mailshaper)" not in got.wire
        assert len(got.rcpts) == 2
        assert daemon.state_of("from:news@shop.test") == ""
        # The same from a login is ours.
        await submit(exim.port, account=ALICE, recipients=["x@relayed.example.test"])
        got = await hop.wait_for(2)
        assert b"(mailshaper)" in got[1].wire
        # A program on this host that does not log in is its envelope sender.
        await submit(exim.port, sender="roundcube@example.test")
        got = await hop.wait_for(3)
        assert b"(mailshaper)" in got[2].wire
        assert daemon.state_of("from:roundcube@example.test") == "normal"


async def test_the_port_back_checks_nothing_twice_and_many_recipients_are_one_mail():
    async with host(daemon={"enforce": False}) as (exim, daemon, hop):
        many = [f"r{n}@{n % 3}.example.net" for n in range(150)]
        # Not everybody's local parts and lines please Debian's ACLs; ours came in.
        await submit(exim.port, account=ALICE, recipients=many)
        await poll_async(
            lambda: sum(len(t.rcpts) for t in hop.transactions) >= len(many), "mail"
        )
        handed_over = exim.log().count(" P=esmtp ")
        assert handed_over == 1
        await empties(exim)
        # The port listens to this host; what it takes it relays.
        await submit(exim.back_port, sender="x@y.test", recipients=["b/d|@z.test"])
        await poll_async(lambda: "b/d|@z.test" in exim.log(), "relayed mail")
        assert daemon.state_of("from:x@y.test") == ""


async def test_one_connection_carries_many_mails_and_none_waits_for_a_queue_runner():
    async with host(daemon={"enforce": False}) as (exim, daemon, hop):
        for number in range(25):
            await submit(exim.port, account=ALICE, recipients=[f"r{number}@a.test"])
        await hop.wait_for(25)
        await empties(exim)
        log = exim.log()
        assert "no immediate delivery" not in log
        assert "connection" not in daemon.log()


async def test_a_stolen_login_is_slowed_and_its_mail_released():
    settings = {"trickle": {"interval": 60}}
    async with host(**settings) as (exim, daemon, hop):
        await daemon.teach(WHO, time.time(), 30, 6, FRIENDS)
        victims = []

        async def steal():
            victims.append(f"victim{len(victims)}@example.com")
            await submit(
                exim.port,
                b"Subject: You have WON\r\n\r\nhi\r\n",
                account=ALICE,
                sender="ceo@bank.test",
                recipients=victims[-1:],
            )
            await empties(exim)

        while not daemon.held():
            await steal()
            assert len(victims) < 12
        assert daemon.state_of(WHO) == "slowed"
        # What mailshaper holds it takes back at the port: Exim does not mind.
        for _ in range(14):
            await steal()
        assert "too many nonmail" not in exim.log()
        assert len(daemon.held()) >= 14

        # Somebody else is not slowed, and local mail is not either.
        await submit(exim.port, account=BOB, sender=BOB.login)
        exim.sendmail()

        def arrived():
            return [r for t in hop.transactions for r in t.recipients]

        await poll_async(lambda: arrived().count("bob@example.net") == 2, "others")
        released = await daemon.change("release", sender=WHO)
        assert released["state"] == "normal"
        await daemon.wait_for_held(0)
        await poll_async(lambda: set(victims) <= set(arrived()), "released mail", 30)
        await empties(exim)
        assert sorted(r for r in arrived() if "victim" in r) == sorted(victims)


async def test_a_bounce_in_the_log_is_evidence_and_the_dead_are_refused():
    async with host() as (exim, daemon, hop):
        dead = "gone@example.net"
        hop.on("rcpt", f"550 5.1.1 <{dead}>: User unknown", match=dead)
        await submit(exim.port, account=ALICE, recipients=[dead, "ok@example.net"])
        line = await exim.wait_for_log(f"** {dead}")
        assert "T=remote_smtp_smarthost" in line

        def evidence():
            parts = daemon.ask_now("explain", sender=WHO)["evidence"]["parts"]
            return {part[0]: part[1] for part in parts}["bounces"]

        await poll_async(lambda: evidence() > 0, "evidence of the bounce")
        # The bounce itself is nobody's, and does not go through mailshaper.
        await poll_async(lambda: "<= <> " in exim.log(), "bounce")
        assert daemon.state_of("uid:101") == ""

        before = len(hop.commands)
        await submit(exim.port, account=ALICE, recipients=[dead, "ok@example.net"])
        line = await exim.wait_for_log("is suppressed here (mailshaper)")
        assert f"** {dead}" in line
        assert "T=mailshaper" in line
        await poll_async(
            lambda: sum("ok@" in str(t.rcpts) for t in hop.transactions) == 2, "other"
        )
        assert not [c for c in hop.commands[before:] if dead.encode() in c]


async def test_a_deferral_of_the_next_hop_is_tried_again():
    async with host(direct=True) as (exim, daemon, hop):
        hop.on("rcpt", "451 4.7.1 Greylisted", times=1)
        await submit(exim.port, account=ALICE)
        line = await exim.wait_for_log("Greylisted")
        assert " == bob@example.net " in line
        assert len(exim.queue()) == 1
        await exim.run_queue()
        (got,) = await hop.wait_for(1)
        assert got.accepted
        await empties(exim)
        assert daemon.held() == []


async def test_while_the_daemon_is_away_mail_waits_in_exim():
    async with host() as (exim, daemon, hop):
        daemon.kill()
        await submit(exim.port, account=ALICE)
        exim.sendmail()
        await exim.wait_for_log("Connection refused")
        await poll_async(lambda: len(exim.queue()) == 2, "waiting mail")
        assert hop.transactions == []
        daemon.start()
        # Asked again after the minute of retry/20_mailshaper, not after fifteen.
        hints = exim.run("/usr/sbin/exim_dumpdb", "/var/spool/exim4", "retry")
        assert re.search(r"T:\[?127\.0\.0\.1\]?:127\.0\.0\.1", hints)
        _, last, following = re.findall(r"\d\d:(\d\d):\d\d", hints)
        assert int(following) - int(last) in (1, 1 - 60)
        await exim.run_queue()
        await hop.wait_for(2)
        await empties(exim)
        assert daemon.state_of("uid:33") == daemon.state_of(WHO) == "normal"


async def test_undone_as_the_guide_says_mail_goes_around():
    async with host() as (exim, _, hop):
        around, rest = commands("Undo")
        exim.shell(around)
        exim.reload()
        assert "router = smarthost" in exim.route("bob@example.net")
        await submit(exim.port, account=ALICE)
        (got,) = await hop.wait_for(1)
        assert b"mailshaper" not in got.wire
        exim.shell(rest)
        exim.reload()
        left = exim.run("/usr/bin/find", "/etc/exim4", "-name", "*mailshaper*")
        assert left == ""
        assert "mailshaper" not in exim.run(
            "/bin/cat", "/var/lib/exim4/config.autogenerated"
        )
        await submit(exim.port, account=ALICE)
        await hop.wait_for(2)


def test_an_internet_host_hands_over_before_it_looks_up_any_name():
    with DebianExim(world=25, kind="internet") as exim:
        exim.supply(10025)
        (install,) = commands("Split configuration")
        exim.shell(install)
        for address in ("bob@example.net", "x@relayed.example.test"):
            assert "router = mailshaper," in exim.route(address)
        frozen = exim.run("/usr/sbin/exim4", "-bP", "timeout_frozen_after", "auto_thaw")
        assert frozen.splitlines() == ["timeout_frozen_after = 1w", "auto_thaw = 0s"]


async def test_watch_and_replay_read_the_log_of_an_exim_that_was_not_touched(capsys):
    async with NextHop() as hop:
        with DebianExim(world=hop.port) as exim:
            log = str(exim.log_file)
            watch = {"daemon": {"placement": "watch"}, "feedback": {"logs": [log]}}
            with Daemon(exim.port, watch) as daemon:
                exim.shell("update-exim4.conf")
                exim.start()
                await daemon.teach(WHO, time.time(), 30, 6, FRIENDS)
                hop.on("rcpt", "550 5.1.1 User unknown", match="gone")
                await submit(exim.port, account=ALICE, recipients=FRIENDS)
                victims = [f"victim{number}@example.com" for number in range(20)]
                for number, one in enumerate(["gone@a.test", *victims]):
                    await submit(
                        exim.port,
                        f"Message-ID: <{number}@x>\r\n\r\nWON\r\n".encode(),
                        account=ALICE,
                        sender="ceo@bank.test",
                        recipients=[one],
                    )
                exim.sendmail()
                await poll_async(lambda: daemon.state_of(WHO) != "normal", "a case")
                await empties(exim)
                assert daemon.held() == []
                assert sum("victim" in str(t.rcpts) for t in hop.transactions) == 20

                def bounces():
                    parts = daemon.ask_now("explain", sender=WHO)["evidence"]["parts"]
                    return {part[0]: part[1] for part in parts}["bounces"]

                await poll_async(lambda: bounces() > 0, "evidence of the bounce")
                asked = await asyncio.to_thread(run, ["replay", log, "--json"])
                assert asked == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (total,) = [one for one in told if "messages" in one and "senders" in one]
    assert (total["messages"], total["senders"]) == (23, 2)
