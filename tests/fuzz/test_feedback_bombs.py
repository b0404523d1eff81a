# ruff: noqa: E501 - one piece or bomb a line
"""Mails made to hurt: huge, deeply nested, or full of what patterns stumble on.

Time is compared between a size and its double, with wide slack: quadratic code
takes four times as long, exponential code does not come back. Memory is bounded
by what is kept of a mail (shaper.feedback.mime).
"""

import time

import pytest

from shaper.feedback.classify import classify_bytes
from shaper.feedback.mime import MAX_DEPTH, MAX_PARTS, parse_mail
from shaper.feedback.table import shipped_table

HEAD = (
    b"Return-Path: <>\nFrom: MAILER-DAEMON@x.example\nTo: a@example.net\n"
    b"Subject: Undeliverable\nMIME-Version: 1.0\n"
)
MULTIPART = HEAD + b"Content-Type: multipart/mixed; boundary=b\n\n"
REPORT = (
    HEAD + b"Content-Type: multipart/report; boundary=b\n\n--b\n\nfailed:\n%s\n--b\n"
    b"Content-Type: message/delivery-status\n\nReporting-MTA: dns;x\n\n%s"
)


def _nested(n):
    levels = (
        b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (i, i)
        for i in range(n)
    )
    return HEAD + b"".join(levels) + b"\nhello\n"


def _groups(n):
    human = b"".join(b"<u%d@example.org>: failed\n" % i for i in range(n))
    groups = b"".join(
        b"Final-Recipient: rfc822;u%d@example.org\nAction: failed\nStatus: 5.0.0\n\n"
        % i
        for i in range(n)
    )
    return REPORT % (human, groups)


# Each takes a size in thousands.
BOMBS = {
    "lines of a bounce": lambda n: HEAD + b"\n" + b"<x@example.org>: 550 5.1.1 no\n" * n * 1000,
    "one line": lambda n: HEAD + b"\n" + b"a" * n * 100_000,
    "at signs": lambda n: HEAD + b"\n" + b"a@" * n * 1000,
    "at signs, dots, lines": lambda n: HEAD + b"\n" + (b"a.b-c@d.e " * 90 + b"\n") * n * 10,
    "brackets": lambda n: HEAD + b"\n" + b"<" * n * 1000,
    "brackets in html": lambda n: HEAD + b"Content-Type: text/html\n\n" + b"<" * n * 1000,
    "blanks": lambda n: HEAD + b"\n" + (b" " * 900 + b"\n") * n,
    "dashes": lambda n: HEAD + b"\n" + (b"-" * 900 + b"\n") * n,
    "nul": lambda n: HEAD + b"\n" + b"\0" * n * 1000,
    "nested": lambda n: _nested(n * 100),
    "nested messages": lambda n: HEAD + b"Content-Type: message/rfc822\n\nFrom: x@y\n" * n * 100,
    "flat parts": lambda n: MULTIPART + b"--b\n\nx\n" * n * 1000,
    "complaints": lambda n: MULTIPART
    + b"--b\nContent-Type: message/feedback-report\n\nFeedback-Type: abuse\n\n" * n * 100,
    "recipients": lambda n: _groups(n * 100),
    "equal recipients": lambda n: REPORT
    % (b"x", b"Final-Recipient: rfc822;u@example.org\nAction: failed\n\n" * n * 100),
    "failed recipients": lambda n: HEAD
    + b"X-Failed-Recipients: "
    + b", ".join(b"u%d@example.org" % i for i in range(n * 100))
    + b"\n\nbody\n",
    "headers": lambda n: HEAD + b"X: y\n" * n * 1000 + b"\nx\n",
    "folded header": lambda n: HEAD + b"X: y\n" + b" z\n" * n * 1000 + b"\nx\n",
    "base64": lambda n: HEAD + b"Content-Transfer-Encoding: base64\n\n" + b"QUJD\n" * n * 1000,
    "json brackets": lambda n: HEAD + b'\n{"notificationType":' + b"[" * n * 1000,
    "digits": lambda n: HEAD + b"\n" + b"550 5.1.1 \n" * n * 1000,
    "commands": lambda n: HEAD + b"\n>>> " + b"RCPT TO:<" * n * 1000,
    "reply lines": lambda n: b"550-no\n" * n * 1000,
    "log lines": lambda n: b"ABCDEF1: to=<" * n * 1000,
}  # fmt: skip


def _seconds(data):
    begun = time.process_time()
    for _ in classify_bytes(data, shipped_table()):
        pass
    return time.process_time() - begun


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.timeout(120)
def test_twice_the_bomb_takes_no_more_than_twice_the_time(name):
    bomb = BOMBS[name]
    _seconds(bomb(1))  # warm the caches
    # The quicker of two: a busy machine stops either for a while.
    once, twice = (min(_seconds(bomb(n)) for _ in "ab") for n in (10, 20))
    # A constant for noise; beyond the limits of size the second costs the same.
    assert twice < 3 * once + 0.5, (once, twice)


@pytest.mark.timeout(120)
def test_fifty_megabytes_of_bounce():
    data = HEAD + b"\n" + b"<x@example.org>: host y said: 550 5.1.1 no\n" * 1_100_000
    assert len(data) > 47_000_000
    outcomes = [told.outcome for told in classify_bytes(data, shipped_table())]
    assert [o.recipient for o in outcomes] == ["x@example.org"]


@pytest.mark.timeout(120)
def test_ten_thousand_nested_parts_are_cut_at_the_limits():
    parts = parse_mail(_nested(10_000))
    assert len(parts) <= MAX_PARTS
    assert max(part.depth for part in parts) <= MAX_DEPTH
    list(classify_bytes(_nested(10_000), shipped_table()))
