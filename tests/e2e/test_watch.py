"""Placement watch beside a real Postfix: it reads the log, and mail is not its way.

A stolen account becomes a case and a notice; every message is delivered all the same,
and nobody listens for mail.
"""

import asyncio
import contextlib
import smtplib
import socket
import time
from email import message_from_bytes

import pytest

from shaper.cli.app import run
from tests.support.daemon import Daemon
from tests.support.nexthop import NextHop
from tests.support.postfix import Postfix
from tests.support.submit import ALICE
from tests.support.waiting import poll_async

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(180)]

WHO = f"login:{ALICE.login}"
FRIENDS = ["ann@example.net", "ben@example.net"]
ADMIN = "postmaster@example.org"
THEFT = 40


@contextlib.asynccontextmanager
async def watched(**more):
    """Postfix delivering to a recorder, and a daemon that reads its log."""
    async with NextHop() as hop:
        with (
            Postfix(relay=hop.port) as postfix,
            Daemon(
                postfix.smtp_port,
                {
                    "daemon": {"placement": "watch"},
                    "feedback": {"logs": [str(postfix._maillog)]},
                    "notify": {"mail_to": [ADMIN]},
                    **more,
                },
            ) as daemon,
        ):
            yield hop, postfix, daemon


async def send(postfix, recipients, subject):
    def hand_in():
        with smtplib.SMTP("127.0.0.1", postfix.submission_port, timeout=30) as client:
            client.ehlo()
            client.user, client.password = ALICE.login, ALICE.password
            client.auth("PLAIN", client.auth_plain)
            for recipient in recipients:
                client.sendmail(
                    "forged@bank.test", [recipient], f"Subject: {subject}\r\n\r\nhi\r\n"
                )

    await asyncio.to_thread(hand_in)


async def test_a_stolen_account_is_a_case_and_a_notice_and_nothing_is_held(capsys):
    async with watched() as (hop, postfix, daemon):
        await daemon.teach(WHO, time.time(), 30, 6, FRIENDS)
        await send(postfix, FRIENDS, "our meeting")
        victims = [f"victim{n}@example.com" for n in range(THEFT)]
        await send(postfix, victims, "You have WON")

        await poll_async(lambda: daemon.state_of(WHO) != "normal", "a state", 30)

        def shown():
            # The record changes first, its case an instant later.
            found = daemon.ask_now("show", name=WHO)
            return found if "case" in found else None

        found = await poll_async(shown, "a case", 30)
        assert found["case"]["escaped"]["recipients"] <= 12
        assert not found["sender"]["enforce"]

        def delivered():
            return {r for t in hop.transactions if t.accepted for r in t.recipients}

        await poll_async(lambda: delivered() >= {*victims, *FRIENDS}, "all mail", 30)
        await poll_async(lambda: ADMIN in delivered(), "a notice", 30)
        (notice, *_) = [t for t in hop.transactions if t.recipients == [ADMIN]]
        subject = message_from_bytes(notice.content)["Subject"]
        assert "would be" in subject
        assert "nothing was held" in subject
        assert daemon.held() == []

        # Nobody listens for mail.
        for port in (daemon.port, daemon.policy_port):
            with socket.socket() as probe:
                assert probe.connect_ex(("127.0.0.1", port)) != 0

        command = ["--socket", str(daemon.runtime / "admin.sock")]
        assert await asyncio.to_thread(run, [*command, "status"]) == 0
        assert "placement watch" in capsys.readouterr().out
        for words in (["show", WHO], ["explain", WHO], ["cases"]):
            assert await asyncio.to_thread(run, [*command, *words]) == 0
            assert "would be" in capsys.readouterr().out, words
        export = [*command, "export", "blocked", "--slowed"]
        assert await asyncio.to_thread(run, export) == 0
        assert f"{ALICE.login} REJECT" in capsys.readouterr().out


async def test_a_log_of_the_past_opens_no_case_and_replay_teaches_the_daemon(capsys):
    async with watched() as (_hop, postfix, daemon):
        log = daemon.directory / "old.log"
        day = time.time() - 20 * 86400
        rows = []
        for number in range(60):
            when = time.strftime(
                "%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(day + number * 7200)
            )
            name = f"{0x10000000 + number:X}"
            rows += [
                f"{when} mx postfix/{text}"
                for text in (
                    (
                        f"smtpd[1]: {name}: client=pc[192.0.2.7], sasl_method=PLAIN, "
                        f"sasl_username={ALICE.login}"
                    ),
                    f"qmgr[3]: {name}: from=<a@b.test>, size=9, nrcpt=1 (queue active)",
                    (
                        f"smtp[4]: {name}: to=<{FRIENDS[number % 2]}>, relay=mx[192.0.2"
                        ".1]:25, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250)"
                    ),
                    f"qmgr[3]: {name}: removed",
                )
            ]
        log.write_text("\n".join(rows) + "\n")
        assert not postfix.queue()
        options = ["--config", str(daemon.config)]
        learn = ["replay", str(log), "--learn", "--reason", "first day"]
        dry = [*options, *learn, "--dry-run"]
        assert await asyncio.to_thread(run, dry) == 0
        assert "would take 1 of 1" in capsys.readouterr().out
        assert await asyncio.to_thread(run, [*options, *learn]) == 0
        assert "took 1 of 1" in capsys.readouterr().out
        found = await daemon.ask("explain", sender=WHO)
        assert found["state"] == "normal"
        assert await daemon.ask("cases") == []
        # A second time it knows as much already.
        assert await asyncio.to_thread(run, [*options, *learn]) == 0
        assert "took 0 of 1" in capsys.readouterr().out
