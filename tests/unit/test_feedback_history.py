# ruff: noqa: ISC004 - log lines and mails stand as they are written
"""Messages out of old logs: who, to whom, when, once each."""

import gzip
import lzma
import os
from datetime import UTC, datetime

import pytest

from shaper.feedback.history import MAX_LINE, HistoryReader, Sent, read_history

RELAY = "relay=127.0.0.1[127.0.0.1]:10025, delay=1, delays=0/0/0/1"


def _postfix(queue_id, second, intake, recipients, *, relay=None, extra=()):
    head = f"Nov 25 12:00:{second:02d} mail postfix/"
    lines = [f"{head}smtpd[1]: {queue_id}: {intake}"]
    lines += [f"{head}cleanup[1]: {queue_id}: message-id=<m-{queue_id}@x>"]
    lines += [
        f"{head}qmgr[1]: {queue_id}: from=<Alice@example.net>, size=9, "
        f"nrcpt={len(recipients)} (queue active)"
    ]
    lines += [
        f"{head}smtp[1]: {queue_id}: to=<{r}>, "
        f"{relay or 'relay=mx[192.0.2.1]:25, delay=1, delays=0/0/0/1'}, "
        "dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as FFFFFF1)"
        for r in recipients
    ]
    return [*lines, *extra, f"{head}qmgr[1]: {queue_id}: removed"]


LOGIN = "client=pc[192.0.2.9], sasl_method=PLAIN, sasl_username=Alice@Example.net"


def _read(tmp_path, lines, **more):
    path = tmp_path / "mail.log"
    path.write_text("\n".join(lines) + "\n")
    reader = HistoryReader(year=2026, zone=UTC, **more)
    return list(reader.read([path])), reader


def test_a_message_with_its_login_recipients_and_time(tmp_path):
    sent, reader = _read(
        tmp_path,
        _postfix("ABCDEF1", 7, LOGIN, ["bob@example.org", "carol@example.org"]),
    )
    assert sent == [
        Sent(
            "login:alice@example.net",
            ("bob@example.org", "carol@example.org"),
            datetime(2026, 11, 25, 12, 0, 7, tzinfo=UTC).timestamp(),
            "pc[192.0.2.9]",
            "m-ABCDEF1@x",
        )
    ]
    assert (reader.messages, reader.corrupt) == (1, 0)


@pytest.mark.parametrize(
    ("intake", "sender"),
    [
        (LOGIN, "login:alice@example.net"),
        ("uid=33 from=<www-data>", "uid:33"),
        ("client=mx.example.com[192.0.2.8]", "from:alice@example.net"),
    ],
)
def test_who_the_sender_is(tmp_path, intake, sender):
    sent, _ = _read(tmp_path, _postfix("ABCDEF1", 0, intake, ["bob@example.org"]))
    assert [s.sender for s in sent] == [sender]


def test_a_reinjected_copy_is_not_counted_twice(tmp_path):
    first = _postfix("ABCDEF1", 1, LOGIN, ["bob@example.org"], relay=RELAY)
    copy = _postfix("FFFFFF1", 2, "client=localhost[127.0.0.1]", ["bob@example.org"])
    copy = [line.replace("m-FFFFFF1@x", "m-ABCDEF1@x") for line in copy]
    for lines in (first + copy, first[:-2] + copy + first[-2:]):
        sent, reader = _read(tmp_path, lines)
        assert [s.sender for s in sent] == ["login:alice@example.net"]
        assert reader.copies == 1


def test_bounces_and_probes_are_nobodys_mail(tmp_path):
    bounce = [
        line.replace("from=<Alice@example.net>", "from=<>")
        for line in _postfix("ABCDEF1", 1, "client=x[192.0.2.1]", ["alice@example.net"])
    ]
    probe = [
        line.replace("from=<Alice@example.net>", "from=<double-bounce@mail>").replace(
            "status=sent", "status=deliverable"
        )
        for line in _postfix(
            "ABCDEF2", 2, "uid=106 from=<double-bounce>", ["b@example.org"]
        )
    ]
    sent, reader = _read(tmp_path, bounce + probe)
    assert sent == []
    assert reader.nobody == 2


@pytest.mark.parametrize("sender", ["", "double-bounce@example.net"])
def test_a_login_that_writes_as_the_mta_does_is_somebody(tmp_path, sender):
    lines = [
        line.replace("from=<Alice@example.net>", f"from=<{sender}>")
        for line in _postfix("ABCDEF1", 1, LOGIN, ["bob@example.org"])
    ]
    sent, _ = _read(tmp_path, lines)
    assert [s.sender for s in sent] == ["login:alice@example.net"]


def test_mail_still_in_the_queue_at_the_end_is_told(tmp_path):
    sent, _ = _read(tmp_path, _postfix("ABCDEF1", 1, LOGIN, ["bob@example.org"])[:-1])
    assert len(sent) == 1


def test_corrupt_lines_are_counted_and_skipped(tmp_path):
    lines = ["garbage", "", "\0\0", "Nov 99 99:99:99 mail postfix/smtp[1]: x"]
    lines += _postfix("ABCDEF1", 1, LOGIN, ["bob@example.org"])
    lines += ["Nov 25 12:00:01 mail sshd[1]: hello", "x" * (3 * MAX_LINE)]
    sent, reader = _read(tmp_path, lines)
    assert len(sent) == 1
    assert (reader.corrupt, reader.other) == (5, 1)


def test_files_are_plain_gzip_or_xz_and_in_any_order(tmp_path):
    lines = _postfix("ABCDEF1", 1, LOGIN, ["bob@example.org"])
    old = ("\n".join(lines[:3]) + "\n").encode()
    new = ("\n".join(lines[3:]) + "\n").encode()
    new = new.replace(b"12:00:01", b"12:30:00")
    for pack, suffix in ((gzip.compress, "gz"), (lzma.compress, "xz"), (bytes, "1")):
        first, second = tmp_path / f"b.{suffix}", tmp_path / f"a.{suffix}"
        first.write_bytes(pack(old))
        second.write_bytes(pack(new))
        sent = list(read_history([second, first], year=2026, zone=UTC))
        assert [s.recipients for s in sent] == [("bob@example.org",)]


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_a_damaged_archive_gives_what_it_has(tmp_path, pack):
    lines = _postfix("ABCDEF1", 1, LOGIN, ["bob@example.org"]) * 1
    packed = pack(("\n".join(lines * 400) + "\n").encode())
    path = tmp_path / "mail.log"
    path.write_bytes(packed[: len(packed) // 2])
    reader = HistoryReader(year=2026, zone=UTC)
    list(reader.read([path]))
    assert reader.damaged == 1


def test_without_a_year_the_file_tells_it(tmp_path):
    path = tmp_path / "mail.log"
    path.write_text(
        "\n".join(_postfix("ABCDEF1", 1, LOGIN, ["bob@example.org"])) + "\n"
    )
    written = datetime(2024, 3, 1, tzinfo=UTC).timestamp()
    os.utime(path, (written, written))
    (sent,) = read_history([path], zone=UTC)
    assert datetime.fromtimestamp(sent.time, tz=UTC).year == 2023


def test_exim_history(tmp_path):
    head = "2026-11-25 12:00:00 1abcde-000001-AB "
    lines = [
        head + "<= alice@example.net H=(pc) [192.0.2.9] P=esmtpsa "
        "A=plain:Alice@example.net S=600 id=m1@example.net",
        head + "=> bob@example.org R=r T=t H=mx [192.0.2.1]",
        head + "-> carol@example.org R=r T=t H=mx [192.0.2.1]",
        head + "Completed",
        head.replace("-AB", "-AC")
        + "<= <> R=1abcde-000001-AB U=Debian-exim P=local S=9",
        head.replace("-AB", "-AC") + "=> alice <alice@example.net> R=l T=t",
        head.replace("-AB", "-AC") + "Completed",
        head.replace("-AB", "-AD") + "<= www-data@host U=www-data P=local S=9",
        head.replace("-AB", "-AD") + "** bob@example.org: Unrouteable address",
        head.replace("-AB", "-AD") + "Completed",
    ]
    sent, reader = _read(tmp_path, lines)
    assert [(s.sender, s.recipients, s.client) for s in sent] == [
        (
            "login:alice@example.net",
            ("bob@example.org", "carol@example.org"),
            "(pc) [192.0.2.9]",
        ),
        ("uid:www-data", ("bob@example.org",), None),
    ]
    assert reader.nobody == 1


def test_memory_is_bounded_by_the_limit(tmp_path):
    lines = []
    for i in range(50):
        lines += _postfix(f"ABCDE{i:02d}", 1, LOGIN, ["bob@example.org"])[:3]
    sent, reader = _read(tmp_path, lines, limit=10)
    assert sent == []
    assert reader.forgotten == 40
