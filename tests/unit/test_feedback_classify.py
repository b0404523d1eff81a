# ruff: noqa: E501 - log lines and mails stand as they are written
"""Recognising what a file is, and the command that prints it."""

import json
import subprocess
import sys

import pytest

from shaper.feedback.classify import classify_bytes
from shaper.feedback.table import shipped_table

MAIL = (
    "Return-Path: <>\nFrom: MAILER-DAEMON@mx.example.net\nTo: alice@example.net\n"
    "Subject: failure notice\n\nSorry.\n\n<{}>:\n"
    "192.0.2.1 does not like recipient.\nRemote host said: 550 5.1.1 no such user\n"
)
REPLY = "550 5.1.1 <bob@example.org>: User unknown"
PAYLOAD = (
    "ABCDEF1: to=<bob@example.org>, relay=mx[192.0.2.1]:25, delay=1, "
    "delays=0/0/0/1, dsn=5.1.1, status=bounced (host mx[192.0.2.1] said: "
    "550 5.1.1 <bob@example.org>: User unknown (in reply to RCPT TO command))"
)
EXIM = "2026-11-25 12:00:00 1abcde-000001-AB ** bob@example.org: Unrouteable address"


def _told(text):
    return list(classify_bytes(text.encode(), shipped_table()))


@pytest.mark.parametrize(
    ("text", "kind", "line"),
    [
        (MAIL.format("bob@example.org"), "dsn", None),
        ("\n\n" + MAIL.format("bob@example.org"), "dsn", None),
        ("From MAILER-DAEMON Fri Jan 1 00:0:00 2015\n" + MAIL.format("bob@example.org"), "dsn", None),
        (MAIL.format("bob@example.org").replace("\n", "\r\n"), "dsn", None),
        (REPLY, "reply", 1),
        (f"host mx[192.0.2.1] said: {REPLY}", "reply", 1),
        (PAYLOAD, "log", 1),
        (f"postfix/smtp[1]: {PAYLOAD}", "log", 1),
        (f"Nov 25 12:00:00 mail postfix-out/smtp[1]: {PAYLOAD}", "log", 1),
        (f"2026-11-25T12:00:00.1+01:00 mail postfix/smtp[1]: {PAYLOAD}", "log", 1),
        (EXIM, "log", 1),
    ],
)  # fmt: skip
def test_the_kind_of_input_is_recognised(text, kind, line):
    (told,) = _told(text)
    outcome = told.outcome
    assert (outcome.kind, told.line, told.understood) == (kind, line, True)
    assert (outcome.recipient, outcome.meaning) == ("bob@example.org", "dead_address")


def test_an_mbox_is_read_mail_by_mail():
    first, second = MAIL.format("a@example.org"), MAIL.format("b@example.org")
    box = f"From x@y Mon Nov 25 12:00:00 2026\n{first}\n\nFrom x@y Tue Nov 26 12:00:00 2026\n{second}"
    assert [t.outcome.recipient for t in _told(box)] == [
        "a@example.org",
        "b@example.org",
    ]


def test_one_answer_for_each_line_and_one_for_a_reply_of_several():
    text = (
        f"{REPLY}\n550-5.7.1 Our system has detected\n550 5.7.1 spam - gsmtp\n"
        "550-5.7.1 likely spam 550 5.7.1 bye\n550 5.1.1 <x@example.org>: no\n\nhello\n"
    )
    told = _told(text)
    assert [(t.line, t.outcome.meaning, t.understood) for t in told] == [
        (1, "dead_address", True),
        (2, "message_refused", True),
        (4, "message_refused", True),
        (5, "dead_address", True),
        (7, "unknown", False),
    ]


def test_log_lines_that_tell_no_outcome_are_told_as_such():
    told = _told(
        "Nov 25 12:00:00 mail postfix/cleanup[1]: ABCDEF1: message-id=<m1@example.net>\n"
        "Nov 25 12:00:00 mail sshd[1]: 550 5.1.1 not mail\n"
        "Untrusted TLS connection established to mx[192.0.2.1]:25: TLSv1.3\n"
    )
    assert [(t.outcome.kind, t.outcome.meaning, t.understood) for t in told] == [
        ("log", "unknown", True),
        ("log", "unknown", False),
        ("log", "unknown", False),
    ]
    assert told[0].outcome.message_id == "m1@example.net"


def _run(*arguments, stdin=b"", root="."):
    return subprocess.run(
        [sys.executable, "-m", "shaper.cli.classify", *arguments],
        input=stdin,
        capture_output=True,
        check=False,
        cwd=root,
        timeout=60,
    )


def test_the_command_prints_json_and_says_what_it_could_not_understand(
    request, tmp_path
):
    root = request.config.rootpath
    path = tmp_path / "bounce.eml"
    path.write_text(MAIL.format("bob@example.org"))
    done = _run("--json", str(path), "-", stdin=REPLY.encode(), root=root)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(r["recipient"], r["kind"], r["permanent"]) for r in rows] == [
        ("bob@example.org", "dsn", True),
        ("bob@example.org", "reply", True),
    ]
    assert done.returncode == 0
    done = _run("--json", stdin=b"hello\n", root=root)
    assert done.returncode == 65
    assert b"nothing understood" in done.stderr


def test_people_get_text_without_control_characters(request):
    done = _run(
        stdin=b"550 5.1.1 \x1b[31m\xe2\x80\xae[bold]<bob@example.org>\n",
        root=request.config.rootpath,
    )
    text = done.stdout.decode()
    assert "dead_address" in text
    assert "[bold]" in text
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_a_missing_file_is_named_and_the_others_are_read(request, tmp_path):
    root = request.config.rootpath
    done = _run(str(tmp_path / "nothing"), root=root)
    assert done.returncode == 66
    assert b"nothing" in done.stderr
    done = _run(str(tmp_path / "nothing"), "-", stdin=REPLY.encode(), root=root)
    assert done.returncode == 0


def test_a_wrong_table_is_a_configuration_error(request, tmp_path):
    path = tmp_path / "own.toml"
    path.write_text('[[text]]\nmeaning = "dead"\n')
    done = _run("--table", str(path), stdin=b"x", root=request.config.rootpath)
    assert done.returncode == 78
    assert b"meaning must be one of" in done.stderr
