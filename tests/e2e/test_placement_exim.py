"""Placement policy with real Exim in Debian's configuration: frozen, let go, once.

Set up by the commands of docs/placement-policy-exim.md.
"""

import asyncio
import contextlib
import re
import smtplib
import time
from collections import Counter
from email import message_from_bytes
from types import SimpleNamespace

import pytest

from shaper.doctor.onhold import exim_queue
from tests.support.daemon import Daemon
from tests.support.exim_debian import DebianExim
from tests.support.needs import REPOSITORY
from tests.support.nexthop import NextHop
from tests.support.queue_helper import QueueHelperProcess
from tests.support.submit import ALICE, BOB, submit
from tests.support.waiting import poll_async

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(180)]

WHO = f"login:{ALICE.login}"
FRIENDS = ["ann@example.net", "ben@example.net", "cem@example.org"]
PACE = {"interval": 2.0, "longest_interval": 4.0}
LAZY = {"interval": 600.0, "longest_interval": 600.0}
GUIDE = REPOSITORY / "docs" / "placement-policy-exim.md"


def commands(heading):
    section = re.search(rf"(?ms)^## {heading}\n(.*?)(?=^## |\Z)", GUIDE.read_text())
    return re.findall(r"(?ms)^```sh\n(.*?)^```", section[1])


class Host(SimpleNamespace):
    """``exim``, ``daemon``, ``helper``, ``hop``, and ``sent`` by Message-ID."""

    async def send(self, *recipients, sender=None, helo="laptop"):
        """Hand in a message to each over one connection, after a login."""

        def work():
            with smtplib.SMTP("127.0.0.1", self.exim.port, timeout=60) as client:
                client.ehlo(helo)
                client.user, client.password = ALICE.login, ALICE.password
                client.auth("PLAIN", client.auth_plain)
                for one in recipients:
                    mid = f"<{len(self.sent)}.{self.exim.port}@example.test>"
                    head = f"From: {ALICE.login}\r\nSubject: hi\r\nMessage-ID: {mid}"
                    text = f"{head}\r\n\r\nx\r\n"
                    client.sendmail(sender or ALICE.login, [one], text)
                    self.sent[mid] = one

        await asyncio.to_thread(work)

    async def spam(self, count):
        first = len(self.sent)
        victims = [f"victim{first + n}@example.com" for n in range(count)]
        await self.send(*victims, sender="ceo@bank.test")

    def arrived(self):
        found = Counter()
        for one in self.hop.transactions:
            mid = message_from_bytes(one.content)["Message-ID"]
            found[mid] += one.accepted and mid in self.sent
        return +found

    def frozen(self):
        """Return the ids that Exim lists as frozen."""
        return sorted(exim_queue(self.exim.run("/usr/sbin/exim4", "-bp")))

    async def steal(self):
        """Give the account a history, steal it; return when mail is held."""
        await self.daemon.teach(WHO, time.time(), 30, 6, FRIENDS)
        await self.send(*FRIENDS)
        for _ in range(12):
            await self.spam(1)
            if self.daemon.held():
                break
        assert self.daemon.state_of(WHO) == "slowed"

    async def settled(self):
        await self.daemon.wait_for_held(0, 90)
        await poll_async(lambda: not self.exim.queue(), "empty queue", 60)


@contextlib.asynccontextmanager
async def host(heading="Split configuration", *, stepping=False, **trickle):
    async with NextHop() as hop:
        with DebianExim(world=hop.port, split=heading.startswith("Split")) as exim:
            mta = exim.wrapper(exim.directory / "exim-inside")
            with QueueHelperProcess("--mta", "exim", "--exim", mta) as helper:
                settings = {
                    "daemon": {"placement": "policy"},
                    "policy": {"queue_helper": str(helper.socket), "hold_grace": 3},
                    "feedback": {"logs": [str(exim.log_file)]},
                    "trickle": trickle or LAZY,
                }
                with Daemon(exim.back_port, settings, stepping=stepping) as daemon:
                    exim.supply_policy(daemon.policy_port)
                    exim.shell("\n".join(commands(heading)))
                    exim.start()
                    yield Host(
                        hop=hop, exim=exim, helper=helper, daemon=daemon, sent={}
                    )


@pytest.mark.parametrize("heading", ["Split configuration", "Unsplit configuration"])
async def test_mail_frozen_by_exim_trickles_and_is_released(heading):
    async with host(heading, **PACE) as way:
        await way.steal()
        await way.send(*FRIENDS)
        mine = list(way.sent)[-3:]
        assert len(way.frozen()) == len(way.daemon.held()) == 4
        before = way.arrived()
        await poll_async(lambda: len(way.arrived()) > len(before) + 1, "trickle")
        assert set(way.arrived() - before) <= set(mine), "the owner's mail goes first"
        released = await way.daemon.change("release", sender=WHO)
        assert released["state"] == "normal"
        await way.settled()
        assert way.arrived() == Counter(dict.fromkeys(way.sent, 1))


@pytest.mark.timeout(240)
async def test_two_hundred_frozen_and_a_crash_amid_the_release():
    """Each arrives once; what somebody else froze stays as it is."""
    async with host() as way:
        way.hop.on("rcpt", "450 4.2.0 later", match="slow@")
        await submit(way.exim.port, account=BOB, recipients=["slow@example.net"])
        (foreign,) = await poll_async(way.exim.queue, "deferred mail")
        await way.exim.wait_for_log(f"{foreign} == slow@example.net")

        def freeze():  # it is locked until the delivery that deferred it has ended
            way.exim.run("/usr/sbin/exim4", "-Mf", foreign, check=False)
            return foreign in way.frozen()

        await poll_async(freeze, "frozen mail")

        await way.steal()
        await way.spam(200 - len(way.daemon.held()))
        frozen = set(way.frozen())
        assert len(way.daemon.held()) == 200
        assert len(frozen) == 201
        passed = len(way.arrived())

        # as fast as it goes, and killed twice on the way
        await way.daemon.change("queue.order", action="release", sender=WHO)
        for share in (40, 120):
            await poll_async(
                lambda n=share: len(way.arrived()) >= passed + n, "release", 60
            )
            way.daemon.kill()
            way.daemon.start()
            assert way.daemon.held(), "the crash came when all was done"
        await way.daemon.wait_for_held(0, 90)
        await poll_async(lambda: way.exim.queue() == [foreign], "empty queue", 30)
        assert way.arrived() == Counter(dict.fromkeys(way.sent, 1))
        assert way.frozen() == [foreign]
        asked = way.helper.journal.read_text()
        assert foreign not in asked
        done = []
        for ids, said in re.findall(r"'release ([^']+)': '(.+)'", asked):
            alone = [ids] if said == "done" else []
            done += alone or re.findall(r"(\w+-\w+-\w+) done", said.replace(r"\n", " "))
        assert sorted(done) == sorted(frozen - {foreign})


async def test_thrown_away_given_back_and_taken_by_hand():
    async with host(stepping=True) as way:
        await way.steal()
        await way.send(*FRIENDS)
        names = {}
        for one in way.daemon.held():
            names[one["id"]] = re.match(r"\S{6}-\w+-\w{2,4}(?=-)", one["id"])[0]
        dropped, returned, by_hand, _ = sorted(names)
        await way.daemon.change("queue.order", action="drop", filter=f"id={dropped}")
        await way.daemon.change("queue.order", action="bounce", filter=f"id={returned}")
        await poll_async(lambda: len(way.frozen()) == 2, "two frozen")
        await asyncio.to_thread(way.exim.run, "/usr/sbin/exim4", "-M", names[by_hand])
        await way.daemon.wait_for_held(1, 60)
        await way.exim.wait_for_log(f"{names[dropped]} removed by root")
        bounces = [one for one in way.exim.log().splitlines() if " <= <> " in one]
        assert len(bounces) == 1
        assert f"R={names[returned]} " in bounces[0]


async def test_php_and_cron_are_asked_about_and_frozen():
    async with host() as way:
        mail = b"Subject: hi\r\nX-PHP-Originating-Script: 33:form.php\r\n\r\nhi\r\n"
        send = way.exim.sendmail
        await asyncio.to_thread(send, mail, user="www-data", where="/var/www/shop")
        await way.hop.wait_for(1)
        assert way.daemon.state_of("uid:33") == "normal"
        await way.daemon.change("block", sender="uid:33")
        await asyncio.to_thread(send, mail, user="www-data", where="/var/www/shop")
        (held,) = await poll_async(way.daemon.held, "held mail")
        assert held["sender"] == "uid:33"
        await asyncio.to_thread(send, mail, user="carol")
        await way.hop.wait_for(2)
        assert len(way.frozen()) == 1
        await way.exim.wait_for_log('cwd="/var/www/shop" script="33:form.php"')
        await way.daemon.change("release", sender="uid:33")
        await way.hop.wait_for(3)


async def test_without_the_daemon_mail_passes_and_without_the_helper_it_waits():
    async with host() as way:
        await way.daemon.change("block", sender=WHO)
        await way.send(FRIENDS[0])
        (held,) = way.frozen()
        way.helper.stop()
        await way.daemon.change("release", sender=WHO)
        await way.daemon.wait_for_log("queue helper")
        assert way.frozen() == [held]
        way.daemon.kill()
        await way.send(FRIENDS[0])
        await way.hop.wait_for(1)
        await way.exim.wait_for_log("mailshaper does not answer")
        way.helper.start()
        way.daemon.start()
        await way.settled()
        assert way.arrived() == Counter(dict.fromkeys(way.sent, 1))


async def test_no_greeting_is_too_long_to_be_judged():
    async with host() as way:
        await way.daemon.change("block", sender=WHO)
        await way.send("a@example.net", sender="b@example.net", helo="x" * 7000)
        assert len(way.frozen()) == len(way.daemon.held()) == 1


async def test_mail_of_strangers_is_not_asked_about():
    async with host() as way:
        way.daemon.kill()

        def receive():
            stranger = ("127.0.0.2", 0)  # not in relay_from_hosts
            with smtplib.SMTP(
                "127.0.0.1", way.exim.port, timeout=30, source_address=stranger
            ) as client:
                mail = "From: x@remote.example\r\nSubject: hi\r\n\r\nhi\r\n"
                client.sendmail("x@remote.example", "ann@relayed.example.test", mail)

        await asyncio.to_thread(receive)
        await way.hop.wait_for(1)
        assert "does not answer" not in way.exim.log()
