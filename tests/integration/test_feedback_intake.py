"""Bounces through LMTP, a Maildir, a pipe: taken once, or left where they were."""

import asyncio
import os
import smtplib
import subprocess
import sys
from pathlib import Path

import pytest

from shaper.config import Settings, load
from shaper.core.ports import StateUnavailableError
from shaper.doctor import chain
from shaper.doctor.finding import Level
from shaper.feedback.lmtp import LmtpListener
from shaper.feedback.maildir import MaildirReader
from shaper.feedback.returns import read_return, verp_address
from shaper.feedback.table import shipped_table
from shaper.feedback_service import Feedback
from tests.support.daemon import Daemon
from tests.support.submit import submit
from tests.support.waiting import poll_async

BOUNCE = b"""\
Return-Path: <>
From: MAILER-DAEMON@mx.example.org
To: alice@example.net
Subject: Undelivered Mail
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary=b

--b

sorry

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.org

Final-Recipient: rfc822; bob@example.org
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 User unknown

--b
Content-Type: text/rfc822-headers

From: alice@example.net
Message-ID: <m1@example.net>

--b--
"""
MUTE = b"""\
Return-Path: <>
From: MAILER-DAEMON@mx.example.org
To: list+bob=example.org@example.net
Subject: Undeliverable

The message was not delivered.
550 5.1.1 User unknown
"""
VERP = "list+bob=example.org@example.net"


@pytest.mark.parametrize(
    ("recipient", "address"),
    [
        (VERP, "bob@example.org"),
        ("<list-bob.k=example.org@example.net>", "bob.k@example.org"),
        ("list@example.net", ""),
        ("a=b@example.net", ""),
        ("", ""),
        ("x" * 10_000 + VERP, ""),
    ],
)
def test_verp(recipient, address):
    assert verp_address(recipient) == address


def test_a_bounce_without_a_readable_recipient_is_found_by_verp():
    table = shipped_table()
    assert not [o for o in read_return(MUTE, table) if o.recipient == "bob@example.org"]
    for found in (
        read_return(MUTE, table, [VERP]),
        read_return(b"X-Original-To: " + VERP.encode() + b"\n" + MUTE, table),
    ):
        (outcome,) = found
        assert outcome.recipient == "bob@example.org"
        assert (outcome.kind.value, outcome.status) == ("dsn", "5.1.1")


def test_an_answer_of_a_person_is_no_bounce_though_it_came_to_verp():
    table = shipped_table()
    for answer in (
        b"From: bob@example.org\nSubject: Re: hello\n\nThank you, I am away.\n",
        MUTE.replace(b"Subject", b"Auto-Submitted: auto-replied\nSubject"),
    ):
        assert read_return(answer, table, [VERP]) == []


def test_a_report_that_names_another_keeps_its_word_and_tells_verp_beside():
    (outcome,) = read_return(BOUNCE, shipped_table(), ["l+bo=example.com@example.net"])
    assert outcome.recipient == "bob@example.org"
    assert outcome.original_recipient == "bo@example.com"
    assert outcome.message_id == "m1@example.net"


# -- LMTP ------------------------------------------------------------------------------


NO_REDIS = StateUnavailableError("no Redis")


class Taker:
    """Takes mails; fails as often as it is told."""

    def __init__(self, failures=0, error=NO_REDIS):
        self.failures, self.error = failures, error
        self.mails = []

    async def __call__(self, data, recipients):
        if self.failures:
            self.failures -= 1
            raise self.error
        self.mails.append((data, list(recipients)))


async def _lmtp(taker, talk):
    listener = LmtpListener(taker, "shaper.example.test")
    port = await listener.listen("127.0.0.1", 0)

    def client():
        with smtplib.LMTP("127.0.0.1", port, timeout=20) as lmtp:
            return talk(lmtp)

    try:
        return await asyncio.to_thread(client)
    finally:
        await listener.stop()


def _raw(lmtp, recipients, data):
    lmtp.ehlo_or_helo_if_needed()
    lmtp.mail("")
    for one in recipients:
        lmtp.rcpt(one)
    assert lmtp.docmd("DATA")[0] == 354
    lmtp.send(data.replace(b"\n", b"\r\n") + b".\r\n")
    answers = [lmtp.getreply()[0] for _ in recipients]
    assert lmtp.noop()[0] == 250  # nothing was said too much
    return answers


async def test_lmtp_answers_each_recipient_after_the_mail_was_taken():
    taker = Taker()
    answers = await _lmtp(taker, lambda lmtp: _raw(lmtp, [VERP, "b@x.example"], BOUNCE))
    assert answers == [250, 250]
    ((data, recipients),) = taker.mails
    assert data == BOUNCE.replace(b"\n", b"\r\n")
    assert recipients == [VERP, "b@x.example"]


@pytest.mark.parametrize("error", [StateUnavailableError("no"), RuntimeError("bug")])
async def test_lmtp_leaves_a_mail_to_the_mta_that_cannot_be_taken(error, caplog):
    taker = Taker(1, error)
    talk = lambda lmtp: (  # noqa: E731
        _raw(lmtp, ["a@x.example"], BOUNCE) + _raw(lmtp, ["a@x.example"], BOUNCE)
    )
    assert await _lmtp(taker, talk) == [451, 250]
    assert len(taker.mails) == 1


async def test_lmtp_bounds_a_mail(monkeypatch):
    monkeypatch.setattr("shaper.feedback.lmtp.MAX_MAIL", 1000)
    taker = Taker()
    big = BOUNCE + b"x" * 70 * 1 + (b"y" * 900 + b"\n") * 5
    answers = await _lmtp(taker, lambda lmtp: _raw(lmtp, ["a@b.c", "d@e.f"], big))
    assert answers == [552, 552]
    assert taker.mails == []


# -- Maildir ---------------------------------------------------------------------------


@pytest.fixture
def maildir(tmp_path):
    for name in ("new", "cur", "tmp"):
        (tmp_path / name).mkdir()
    return tmp_path


async def test_a_maildir_is_read_and_marked_as_seen(maildir):
    taker, stop = Taker(), asyncio.Event()
    (maildir / "new" / "1.host").write_bytes(BOUNCE)
    (maildir / "new" / "2.host:2,").write_bytes(MUTE)
    reader = MaildirReader(maildir, taker)
    assert await reader.look(stop) == 2
    assert [data for data, _ in taker.mails] == [BOUNCE, MUTE]
    assert sorted(p.name for p in (maildir / "cur").iterdir()) == [
        "1.host:2,S",
        "2.host:2,S",
    ]
    assert await reader.look(stop) == 0


async def test_a_mail_that_cannot_be_taken_stays_new(maildir):
    taker, stop = Taker(1), asyncio.Event()
    (maildir / "new" / "1.host").write_bytes(BOUNCE)
    reader = MaildirReader(maildir, taker)
    with pytest.raises(StateUnavailableError):
        await reader.look(stop)
    assert (maildir / "new" / "1.host").exists()
    assert await reader.look(stop) == 1
    assert len(taker.mails) == 1


async def test_what_cannot_be_read_is_set_aside_and_told_once(maildir, caplog):
    taker, stop = Taker(), asyncio.Event()
    os.mkfifo(maildir / "new" / "1.fifo")
    (maildir / "new" / "2.link").symlink_to("/etc/passwd")
    (maildir / "new" / "3.directory").mkdir()
    (maildir / "new" / "4.mail").write_bytes(BOUNCE)
    reader = MaildirReader(maildir, taker)
    await reader.look(stop)
    assert len(taker.mails) == 1
    assert len(list((maildir / "unreadable").iterdir())) == 3
    assert await reader.look(stop) == 0
    assert caplog.text.count("cannot be read") == 3


async def test_a_mail_that_meets_a_bug_keeps_no_other_waiting(maildir, caplog):
    taker, stop = Taker(1, RuntimeError("bug")), asyncio.Event()
    for name in ("1.mail", "2.mail"):
        (maildir / "new" / name).write_bytes(BOUNCE)
    reader = MaildirReader(maildir, taker)
    await reader.look(stop)
    assert [p.name for p in (maildir / "unreadable").iterdir()] == ["1.mail"]
    assert [p.name for p in (maildir / "cur").iterdir()] == ["2.mail:2,S"]
    assert "met a bug" in caplog.text


async def test_a_mail_whose_name_cannot_be_marked_keeps_no_other_waiting(maildir):
    taker, stop = Taker(), asyncio.Event()
    for name in ("1" * 255, "2.mail"):
        (maildir / "new" / name).write_bytes(BOUNCE)
    reader = MaildirReader(maildir, taker)
    await reader.look(stop)
    assert await reader.look(stop) == 0
    assert len(taker.mails) == 2


async def test_two_may_read_one_maildir(maildir):
    mail, stop = maildir / "new" / "1.mail", asyncio.Event()
    mail.write_bytes(BOUNCE)

    async def quicker(_data, _recipients):
        mail.unlink()

    assert await MaildirReader(maildir, quicker).look(stop) == 1


async def test_a_line_that_meets_a_bug_is_skipped_and_told(tmp_path, caplog):
    path, taken = tmp_path / "mail.log", []

    async def line(text):
        taken.append(text)
        if text == "bad":
            raise RuntimeError("bug")

    async def take(outcome):
        raise AssertionError(outcome)

    state = {"state_directory": str(tmp_path)}
    settings = Settings(daemon=state, feedback={"logs": [str(path)]})
    feedback = Feedback(settings, shipped_table(), take, line=line)
    await feedback.start()
    try:
        places = tmp_path / "feedback"
        await poll_async(lambda: list(places.glob("*.place")), "the start", 30)
        path.write_text("bad\ngood\n")
        await poll_async(lambda: taken == ["bad", "good"], "both lines", 30)
    finally:
        await feedback.stop()
    assert "is skipped" in caplog.text


async def test_a_maildir_that_is_not_there_is_told_once(tmp_path, caplog):
    stop, rounds = asyncio.Event(), []

    async def sleep(_seconds):
        rounds.append(1)
        if len(rounds) == 3:
            stop.set()

    await MaildirReader(tmp_path / "none", Taker(), sleep=sleep).run(stop)
    assert caplog.text.count("it must be a Maildir") == 1


# -- the daemon and the command line ----------------------------------------------


def _intake(daemon, *arguments, data=b""):
    command = [str(Path(sys.executable).with_name("mailshaper"))]
    return subprocess.run(
        [
            *command,
            "--socket",
            str(daemon.runtime / "admin.sock"),
            "intake",
            *arguments,
        ],
        input=data,
        capture_output=True,
        check=False,
        timeout=60,
    )


async def test_a_pipe_to_the_daemon(next_hop, tmp_path):
    with Daemon(next_hop.port) as daemon:
        await submit(daemon.port, recipients=["bob@example.org"])
        (sent,) = await next_hop.wait_for(1)
        message_id = next(
            line.split(b":", 1)[1].strip()
            for line in sent.content.splitlines()
            if line.lower().startswith(b"message-id:")
        )
        bounce = BOUNCE.replace(b"<m1@example.net>", message_id)
        run = lambda *args, **more: asyncio.to_thread(  # noqa: E731
            _intake, daemon, *args, **more
        )
        first = await run("--json", data=bounce)
        assert (first.returncode, first.stderr) == (0, b"")
        assert b'"meaning": "dead_address"' in first.stdout
        assert b'"result": "taken"' in first.stdout
        path = tmp_path / "bounce.eml"
        path.write_bytes(bounce)
        again = await run(str(path))
        assert (again.returncode, b"known already" in again.stdout) == (0, True)
        mute = await run("--json", "--recipient", VERP, data=MUTE)
        assert b'"recipient": "bob@example.org"' in mute.stdout
        big = await run(data=bounce + b"x" * 3_000_000)
        assert (big.returncode, b"known already" in big.stdout) == (0, True)
        for nothing in (b"", b"Subject: hello\nFrom: a@b.c\n\nhow are you\n"):
            assert (await run(data=nothing)).returncode == 65
            assert (await run("--take-all", data=nothing)).returncode == 0
        assert (await run(str(tmp_path / "none"))).returncode == 66
        daemon.stop()
        away = await run(data=bounce)
        assert (away.returncode, b"does not listen" in away.stderr) == (75, True)


async def test_the_daemon_reads_lmtp_and_maildir(next_hop, tmp_path):
    box = tmp_path / "box"
    for name in ("new", "cur", "tmp"):
        (box / name).mkdir(parents=True)
    socket = tmp_path / "lmtp"
    settings = {"feedback": {"maildir": str(box), "lmtp": [str(socket)]}}
    with Daemon(next_hop.port, settings) as daemon:
        (box / "new" / "1").write_bytes(BOUNCE)
        await poll_async((box / "cur" / "1:2,S").exists, "mail marked as seen")

        def talk():
            with smtplib.LMTP(str(socket), timeout=20) as lmtp:
                return lmtp.sendmail("", [VERP], BOUNCE)

        assert await asyncio.to_thread(talk) == {}
        assert daemon.stop() == 0


async def test_a_log_that_is_not_there_yet_is_a_warning(next_hop, tmp_path):
    path = tmp_path / "mail.log"
    with Daemon(next_hop.port, {"feedback": {"logs": [str(path)]}}) as daemon:
        await daemon.wait_for_log("waiting until it is there")
        status = await daemon.ask("status")
        assert status["unread_sources"] == {str(path): f"{path}: {os.strerror(2)}"}
        admin = daemon.runtime / "admin.sock"
        found = await asyncio.to_thread(chain.check, load(daemon.config), admin)
        (told,) = [one for one in found if one.where == f"feedback, {path}"]
        assert told.level is Level.FAIL
        assert "cannot read it" in told.what
        await submit(daemon.port)
        await next_hop.wait_for(1)
        assert daemon.stop() == 0
