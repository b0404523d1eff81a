"""Placement policy with real Postfix: held by the MTA, let go by us, exactly once."""

import asyncio
import os
import shutil
import signal
import time
from collections import Counter

import pytest

from shaper.doctor import onhold
from shaper.doctor.finding import Level
from tests.support import needs
from tests.support.daemon import Daemon
from tests.support.policy_road import ADMIN, policy_road
from tests.support.tap import Tap
from tests.support.waiting import poll_async

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(120)]

FRIENDS = ["ann@example.net", "ben@example.net", "cem@example.org"]
BUDGET = 10  # what a thief reaches before the alarm: tests/e2e/test_hop_stolen.py
PACE = {"trickle": {"interval": 1.0, "longest_interval": 60}}
LAZY = {"trickle": {"interval": 600.0, "longest_interval": 600.0}}


async def stolen(way):
    """Give the account a history, steal it; return when mail is held."""
    await way.daemon.teach(way.who, time.time(), 30, 6, FRIENDS)
    await way.send(*((one,) for one in FRIENDS))
    await poll_async(lambda: len(way.arrived()) == len(FRIENDS), "friends' mail")
    for number in range(BUDGET + 1):
        await spam(way, 1, f"first{number}-")
        if way.daemon.held():
            break
    assert way.daemon.state_of(way.who) == "slowed"
    assert 0 < len(way.sent) - len(FRIENDS) - len(way.on_hold()) <= BUDGET


async def spam(way, count, prefix="victim"):
    strangers = [(f"{prefix}{i}@example.com",) for i in range(count)]
    assert await way.send(*strangers, sender="ceo@bank.test") == []


def suppressed(way):
    rows = []
    way.daemon._client.ask("suppress.list", rows.append)
    return rows


async def settled(way):
    """Wait until nothing is held, queued or on its way."""
    await way.daemon.wait_for_held(0, 60)
    await poll_async(lambda: not way.postfix.queue(), "empty queue", 30)


async def test_held_by_postfix_trickled_and_released():
    async with policy_road(PACE) as way:
        await stolen(way)
        await way.send(*((one,) for one in FRIENDS))
        assert len(way.on_hold()) == len(way.daemon.held()) == 4
        before = way.arrived()
        left = []
        while len(left) < 3:
            await poll_async(
                lambda: len(way.arrived()) > len(before) + len(left), "trickle"
            )
            left.append(time.monotonic())
        assert left[1] - left[0] > 0.8
        assert left[2] - left[1] > 1.6
        fresh = [way.sent[mid][0] for mid in list(way.arrived())[-3:]]
        assert all(one in FRIENDS for one in fresh), "the owner's own mail goes first"
        await poll_async(
            lambda: any(t.recipients == [ADMIN] for t in way.hop.transactions), "notice"
        )
        released = await way.daemon.change("release", sender=way.who)
        assert released["state"] == "normal"
        await settled(way)
        assert way.arrived() == Counter(dict.fromkeys(way.sent, 1))


async def test_two_hundred_held_and_a_crash_in_the_middle_of_their_release():
    async with policy_road(LAZY, stepping=True) as way:
        await stolen(way)
        await spam(way, 200 - len(way.on_hold()))
        assert len(way.on_hold()) == len(way.daemon.held()) == 200
        before = len(way.arrived())
        await way.daemon.change("queue.order", action="release", filter="age>0s")
        for share in (20, 90):
            await poll_async(lambda n=share: len(way.arrived()) > before + n, "some")
            way.daemon.kill()
            way.daemon.start()
        # Those whose release was under way are tried again after ten seconds.
        way.daemon.step(15)
        await settled(way)
        assert way.on_hold() == []
        assert way.arrived() == Counter(dict.fromkeys(way.sent, 1))
        assert len(way.sent) >= 200


async def test_dropped_and_returned_mail_goes_no_further():
    async with policy_road(LAZY) as way:
        await stolen(way)
        await way.send(
            ("dave@example.net",), ("fay@example.net",), ("gil@example.net",)
        )
        held = {row["envelope"]["recipients"][0][0]: row for row in way.daemon.held()}
        shown = await way.daemon.ask("queue.show", id=held["dave@example.net"]["id"])
        assert held["dave@example.net"]["client"]["ident"] in shown["content"]
        for action, recipient in (("drop", "dave"), ("bounce", "fay")):
            result = await way.daemon.change(
                "queue.order", action=action, filter=f"rcpt={recipient}@example.net"
            )
            assert result["messages"] == 1
        owner = way.account.login

        def bounced():
            return [
                one
                for one in way.hop.transactions
                if one.sender == "" and one.recipients == [owner]
            ]

        await poll_async(bounced, "Postfix' own bounce")
        assert b"fay@example.net" in bounced()[0].content
        await way.daemon.change("queue.order", action="release", filter="age>0s")
        await settled(way)
        gone = {("dave@example.net",), ("fay@example.net",)}
        expected = [mid for mid, whom in way.sent.items() if whom not in gone]
        assert way.arrived() == Counter(dict.fromkeys(expected, 1))
        assert len(bounced()) == 1


async def test_mail_that_somebody_else_put_on_hold_stays_there():
    main = {"smtpd_sender_restrictions": "check_sender_access static:HOLD"}
    async with policy_road({"daemon": {"enforce": False}}, main=main) as way:
        await way.send(("ann@example.net",))
        (ident,) = way.on_hold()
        await way.daemon.change("queue.order", action="drop", filter="age>0s")
        assert way.daemon.held() == []
        assert way.on_hold() == [ident]
        (told,) = await looked_at(way)
        assert (told.level, f": 1 ({ident})" in told.what) == (Level.WARN, True)


async def test_a_lost_state_directory_leaves_mail_on_hold_that_the_doctor_names():
    async with policy_road() as way:
        await way.daemon.change("block", sender=way.who)
        await way.send(("ann@example.net",), ("ben@example.net",))
        (told,) = await looked_at(way)
        assert (told.level, len(way.on_hold())) == (Level.OK, 2)
        way.daemon.stop()
        shutil.rmtree(way.daemon.state / "spool")
        way.daemon.start()
        (told,) = await looked_at(way)
        assert (told.level, ": 2 (" in told.what) == (Level.WARN, True)


async def looked_at(way):
    admin = way.daemon.runtime / "admin.sock"
    return await asyncio.to_thread(onhold.postfix, admin, str(way.postfix.config))


async def test_a_message_that_postfix_refuses_after_all_is_forgotten():
    rule = "/^X-Bad:/ REJECT no"
    main = {"header_checks": "inline:{x=y}"}
    async with policy_road(LAZY, main=main, stepping=True) as way:
        checks = way.postfix.config / "checks"
        checks.write_text(rule + "\n")
        way.postfix.command("postconf", "-e", f"header_checks=regexp:{checks}")
        way.postfix.reload()
        await stolen(way)
        held = len(way.on_hold())
        (refusal,) = await way.send(("new@example.net",), header="X-Bad: yes\r\n")
        assert refusal.smtp_code == 550
        assert len(way.daemon.held()) == held + 1, "was it asked about at all?"
        assert len(way.on_hold()) == held
        await way.daemon.wait_for_held(held, 60)
        assert '"gone"' in way.daemon.log() or "gone" in way.daemon.log()


async def test_without_daemon_or_when_observing_mail_passes():
    async with policy_road({"daemon": {"enforce": False}}) as way:
        await way.daemon.teach(way.who, time.time(), 30, 6, FRIENDS)
        await spam(way, BUDGET + 5)
        assert way.on_hold() == []
        assert way.daemon.state_of(way.who) in {"slowed", "blocked"}
        way.daemon.stop()
        assert await way.send(("ann@example.net",)) == []
        await poll_async(lambda: not way.postfix.queue(), "empty queue", 30)
        assert way.arrived() == Counter(dict.fromkeys(way.sent, 1))


async def test_a_dead_address_is_learnt_from_the_log_and_refused_at_rcpt():
    async with policy_road() as way:
        way.hop.on("rcpt", "550 5.1.1 no such user", match="dead@")
        assert await way.send(("ann@example.net", "dead@example.net")) == []

        await poll_async(lambda: suppressed(way), "suppression from the log")
        refusals = await way.send(("dead@example.net",))
        code, text = refusals[0].recipients["dead@example.net"]
        assert code == 550
        assert b"dead@example.net" in text
        (mid,) = [m for m in way.sent if way.sent[m][0] == "ann@example.net"]
        assert way.arrived()[mid] == 1


async def test_behind_a_content_filter_mail_is_still_its_senders():
    """As with amavis: a second queue id, from this host and without a login."""
    back = needs.free_port()
    async with Tap(back) as scan:
        main = {"content_filter": f"scan:[127.0.0.1]:{scan.port}"}
        master = [
            "scan unix - - n - 10 smtp -o smtp_send_xforward_command=yes",
            f"127.0.0.1:{back} inet n - n - - smtpd -o content_filter=",
        ]
        async with policy_road(main=main, master=master) as way:
            way.hop.on("rcpt", "550 5.1.1 nobody of that name", match="gone@")
            await way.daemon.change("block", sender=way.who)
            await way.send(("gone@example.net",), ("ann@example.net",))
            assert len(way.on_hold()) == len(way.daemon.held()) == 2
            await way.daemon.change("release", sender=way.who)
            await poll_async(lambda: suppressed(way), "a dead address", 30)
            await settled(way)
            assert [row["address"] for row in suppressed(way)] == ["gone@example.net"]
            assert set(way.arrived().values()) == {1}
            assert len(scan.messages()) == 2


async def test_a_full_spool_has_the_client_try_again():
    async with policy_road(LAZY | {"spool": {"max_messages": 3}}) as way:
        await stolen(way)
        refusals = await way.send(*((f"x{i}@example.com",) for i in range(5)))
        assert {error.smtp_code for error in refusals} == {452}
        assert len(way.on_hold()) == len(way.daemon.held()) == 3


async def test_long_held_mail_gets_a_new_life_or_goes_back():
    async with policy_road(LAZY, stepping=True) as way:
        await stolen(way)
        await way.send(("dead@example.net",))
        way.hop.on("rcpt", "550 5.1.1 no such user", match="dead@")
        way.daemon.step(2 * 86400)
        await way.daemon.change("queue.order", action="release", filter="age>0s")
        await settled(way)
        assert "requeued" in way.postfix.log()
        taken = [mid for mid in way.sent if way.sent[mid] != ("dead@example.net",)]
        assert way.arrived() == Counter(dict.fromkeys(taken, 1))
        # It has another queue id since, and is still known as the sender's.
        await poll_async(lambda: suppressed(way), "suppression from the log")
        assert "dead@example.net" in str(suppressed(way))
        await way.daemon.change("block", sender=way.who)
        await spam(way, 1, "late")
        assert len(way.on_hold()) == 1
        way.daemon.step(6 * 86400)
        await way.postfix.wait_for_log("force-expired", 90)
        await settled(way)


async def test_a_queue_helper_that_died_delays_and_loses_nothing():
    async with policy_road(LAZY, stepping=True) as way:
        await stolen(way)
        await way.send(("dave@example.net",))
        way.helper.stop()
        await way.daemon.change("queue.order", action="drop", filter="rcpt~dave")
        await way.daemon.change("queue.order", action="release", filter="age>0s")
        await way.daemon.wait_for_log("must wait")
        assert len(way.on_hold()) == 2
        way.helper.start()
        way.daemon.step(400)
        await settled(way)
        expected = [m for m in way.sent if way.sent[m] != ("dave@example.net",)]
        assert way.arrived() == Counter(dict.fromkeys(expected, 1))


async def test_a_daemon_that_hangs_delays_mail_and_holds_none():
    async with policy_road(LAZY, stepping=True) as way:
        await stolen(way)
        held = len(way.on_hold())
        # Two tries at each stage, each of five seconds as shipped: of two here.
        shown = way.postfix.command("postconf", "-n").splitlines()
        asks = [line for line in shown if line.startswith("mailshaper_")]
        assert [ask.count(" timeout=5s, ") for ask in asks] == [1, 1]
        quicker = [ask.replace(" timeout=5s, ", " timeout=2s, ") for ask in asks]
        way.postfix.command("postconf", "-e", *quicker)
        way.postfix.reload()
        os.kill(way.daemon.pid, signal.SIGSTOP)
        try:
            assert await way.send(("ann@example.net",)) == []
        finally:
            os.kill(way.daemon.pid, signal.SIGCONT)
        assert len(way.on_hold()) == held
        # It was judged when nobody listened any more; the record ends by itself.
        await way.daemon.wait_for_held(held, 60)
        (last,) = [m for m, whom in way.sent.items() if whom == ("ann@example.net",)][
            1:
        ]
        await poll_async(lambda: way.arrived()[last] == 1, "the mail")


async def test_two_instances_may_listen_on_one_port():
    async with policy_road(LAZY) as way:
        other = Daemon(way.daemon.next_hop)
        settings = {
            "daemon": {"placement": "policy", "instance": "two"},
            "policy": {
                "queue_helper": str(way.helper.socket),
                "hold_grace": 3,
                "listen": [f"127.0.0.1:{way.daemon.policy_port}"],
            },
            "redis": {"url": way.daemon.redis_url},
        }
        other.configure(settings)
        other.runtime.mkdir()
        with other:
            await stolen(way)
            for number in range(12):  # a connection of its own each
                await spam(way, 1, f"again{number}-")
            # Each shows the mail of both.
            shown = {row["id"]: row["instance"] for row in other.held()}
            assert len(shown) == len(way.on_hold()) >= 13
            assert set(shown.values()) <= {"main", "two"}
            await other.change("release", sender=way.who)
            await settled(way)
            assert way.arrived() == Counter(dict.fromkeys(way.sent, 1))
