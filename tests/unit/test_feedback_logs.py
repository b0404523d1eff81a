# ruff: noqa: E501, ISC004 - log lines and mails stand as they are written
"""Postfix and Exim log lines, alone and joined to messages."""

from datetime import UTC, datetime

import pytest

from shaper.feedback.exim_log import EximLog
from shaper.feedback.logtime import LogClock
from shaper.feedback.postfix_line import (
    Delivery,
    Expired,
    Header,
    Intake,
    Notice,
    Queued,
    Refusal,
    Removed,
    Trouble,
    parse_payload,
    split_prefix,
)
from shaper.feedback.postfix_log import PostfixLog
from shaper.feedback.table import shipped_table

DELIVERY = (
    "to=<bob@example.org>, relay=mx.example.org[192.0.2.1]:25, delay=1, "
    "delays=0.1/0/0.5/0.4, dsn={dsn}, status={status} ({text})"
)
SUBMITTED = "client=host[192.0.2.9], sasl_method=PLAIN, sasl_username=Alice@example.net"


def _line(payload, program="postfix/smtp", head="Nov 25 12:00:00 mail"):
    return f"{head} {program}[123]: {payload}"


def _log():
    return PostfixLog(shipped_table(), LogClock(year=2026, zone=UTC))


@pytest.mark.parametrize(
    ("line", "instance", "daemon"),
    [
        (_line("x"), "postfix", "smtp"),
        (_line("x", "postfix-out/smtp"), "postfix-out", "smtp"),
        (_line("x", "postfix/submission/smtpd"), "postfix", "smtpd"),
        ("2026-11-25T12:00:00.123456+01:00 mail postfix/qmgr[1]: x", "postfix", "qmgr"),
        ("postfix/smtp[1]: x", "postfix", "smtp"),
        ("Nov 25 12:00:00 mail dovecot: x", "", ""),
        ("x", "", ""),
        ("", "", ""),
    ],
)
def test_the_prefix_tells_instance_and_daemon(line, instance, daemon):
    assert split_prefix(line)[:2] == (instance, daemon)


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        (f"ABCDEF1: {SUBMITTED}", Intake),
        ("48rT2v1hQrz1J0N: uid=33 from=<www-data>", Intake),
        ("ABCDEF1: message-id=<m1@example.net>", Header),
        ("ABCDEF1: resent-message-id=<m1@example.net>", Header),
        ("ABCDEF1: from=<a@example.net>, size=1, nrcpt=2 (queue active)", Queued),
        ("ABCDEF1: from=<a@example.net>, status=expired, returned to sender", Expired),
        ("ABCDEF1: sender non-delivery notification: ABCDEF2", Notice),
        (
            "ABCDEF1: host mx[192.0.2.1] said: 450 4.7.1 later (in reply to DATA)",
            Trouble,
        ),
        ("connect to mx.example.org[192.0.2.1]:25: Connection timed out", Trouble),
        ("ABCDEF1: removed", Removed),
        (
            "NOQUEUE: reject: RCPT from u[192.0.2.1]: 550 5.1.1 <a@b.example>: no; "
            "from=<x@y.example> to=<a@b.example> proto=ESMTP helo=<z>",
            Refusal,
        ),
        ("warning: something", type(None)),
        ("ABCDEF1: to=<bob@example.org>, relay=trunc", type(None)),
    ],
)
def test_the_kinds_of_payload(payload, kind):
    assert type(parse_payload(payload)) is kind


def test_a_delivery_line_and_its_fields():
    event = parse_payload(
        "ABCDEF1: to=<bob@example.org>, orig_to=<al@example.org>, relay=[127.0.0.1]:10025, "
        "conn_use=2, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent "
        "(250 2.0.0 Ok: queued as 48rT2v1hQrz1J0N)"
    )
    assert isinstance(event, Delivery)
    assert (event.recipient, event.original, event.relay, event.next_queue_id) == (
        "bob@example.org",
        "al@example.org",
        "[127.0.0.1]:10025",
        "48rT2v1hQrz1J0N",
    )


@pytest.mark.parametrize(
    ("status", "dsn", "text", "meaning", "permanent"),
    [
        ("sent", "2.0.0", "250 2.0.0 Ok: queued as ABCDEF2", "delivered", False),
        ("deferred", "4.4.1", "connect to mx: Connection timed out", "temporary", False),
        ("deferred", "4.1.1", "host x said: 450 4.1.1 user unknown", "temporary", False),
        ("bounced", "5.1.1", "host x said: 550 5.1.1 no", "dead_address", True),
        ("bounced", "5.7.1", "host x said: 550 5.7.1 user unknown", "message_refused", True),
        ("bounced", "5.4.4", "Host or domain name not found. Name service error for "
         "name=example.invalid type=A: Host not found", "dead_address", True),
        ("bounced", "5.2.2", "host x said: 552 5.2.2 full", "temporary", True),
        ("undeliverable", "5.1.1", "host x said: 550 5.1.1 no", "dead_address", True),
        ("deliverable", "2.1.5", "250 2.1.5 Ok", "delivered", False),
    ],
)  # fmt: skip
def test_the_meaning_of_a_delivery(status, dsn, text, meaning, permanent):
    payload = "ABCDEF1: " + DELIVERY.format(status=status, dsn=dsn, text=text)
    outcome = _log().feed(_line(payload))
    assert outcome is not None
    assert (outcome.meaning, outcome.permanent, outcome.status) == (
        meaning,
        permanent,
        dsn,
    )


def test_an_outcome_finds_its_sender_through_the_queue_id():
    log = _log()
    sent = DELIVERY.format(dsn="2.0.0", status="sent", text="250 ok")
    assert log.feed(_line(f"ABCDEF1: {SUBMITTED}", "postfix/smtpd")) is None
    log.feed(_line("ABCDEF1: message-id=<m1@example.net>", "postfix/cleanup"))
    log.feed(
        _line(
            "ABCDEF1: from=<a@example.net>, size=1, nrcpt=1 (queue active)",
            "postfix/qmgr",
        )
    )
    outcome = log.feed(_line(f"ABCDEF1: {sent}"))
    assert outcome is not None
    assert (outcome.sender, outcome.message_id, outcome.code) == (
        "login:alice@example.net",
        "m1@example.net",
        "250",
    )
    assert outcome.time == datetime(2026, 11, 25, 12, tzinfo=UTC).timestamp()
    log.feed(_line("ABCDEF1: removed", "postfix/qmgr"))
    again = log.feed(_line(f"ABCDEF1: {sent}"))
    assert again is not None
    assert again.sender == ""


def test_an_id_used_again_belongs_to_the_new_message():
    log = _log()
    log.feed(_line(f"ABCDEF1: {SUBMITTED}", "postfix/smtpd"))
    log.feed(_line("ABCDEF1: uid=33 from=<www-data>", "postfix/pickup"))
    sent = DELIVERY.format(dsn="2.0.0", status="sent", text="250 ok")
    outcome = log.feed(_line(f"ABCDEF1: {sent}"))
    assert outcome is not None
    assert outcome.sender == "uid:33"


def test_the_same_id_of_two_instances_is_two_messages():
    log = _log()
    log.feed(_line(f"ABCDEF1: {SUBMITTED}", "postfix/smtpd"))
    sent = DELIVERY.format(dsn="2.0.0", status="sent", text="250 ok")
    outcome = log.feed(_line(f"ABCDEF1: {sent}", "postfix-out/smtp"))
    assert outcome is not None
    assert outcome.sender == ""


def test_our_own_refusals_blame_nobody():
    log = _log()
    outcome = log.feed(
        _line(
            "NOQUEUE: reject: RCPT from u[192.0.2.1]: 450 4.7.1 <a@b.example>: slow; "
            "from=<x@y.example> to=<a@b.example> proto=ESMTP helo=<z>",
            "postfix/smtpd",
        )
    )
    assert outcome is not None
    assert outcome.reason.startswith("refused by this server")
    assert (outcome.recipient, outcome.meaning) == ("a@b.example", "temporary")


def test_open_messages_are_bounded():
    log = PostfixLog(shipped_table(), limit=3)
    for i in range(10):
        log.feed(_line(f"ABCDEF{i}: {SUBMITTED}", "postfix/smtpd"))
    assert (len(log.messages), log.forgotten) == (3, 7)


EXIM = "2026-11-25 12:00:00 1abcde-000001-AB "


def _exim(*lines):
    log = EximLog(shipped_table(), LogClock(zone=UTC))
    return log, [log.feed(line) for line in lines]


def test_exim_joins_deliveries_to_the_login():
    log, outcomes = _exim(
        EXIM + "<= alice@example.net H=(pc) [192.0.2.9] P=esmtpsa A=plain:Alice@example.net "
        "S=600 id=m1@example.net for bob@example.org",
        EXIM + '=> bob@example.org R=dnslookup T=remote_smtp H=mx.example.org [192.0.2.1] '
        'C="250 2.0.0 OK id=1xyzab-000002-CD"',
        EXIM + '-> carol@example.org R=dnslookup T=remote_smtp H=mx.example.org [192.0.2.1] C="250 OK"',
        EXIM + "Completed",
    )  # fmt: skip
    delivered = [o for o in outcomes if o]
    assert [(o.recipient, o.meaning, o.sender) for o in delivered] == [
        ("bob@example.org", "delivered", "login:alice@example.net"),
        ("carol@example.org", "delivered", "login:alice@example.net"),
    ]
    assert (delivered[0].next_queue_id, delivered[0].status, delivered[0].code) == (
        "1xyzab-000002-CD",
        "2.0.0",
        "250",
    )
    assert log.completed is not None
    assert log.messages == {}


@pytest.mark.parametrize(
    ("rest", "recipient", "meaning", "code", "permanent"),
    [
        ("** bob@example.org R=dnslookup T=remote_smtp H=mx.example.org [192.0.2.1]: SMTP "
         "error from remote mail server after RCPT TO:<bob@example.org>: 550 No such user",
         "bob@example.org", "dead_address", "550", True),
        ("** bob@example.invalid: all relevant MX records point to non-existent hosts",
         "bob@example.invalid", "dead_address", "", True),
        ("** bob@example.invalid: Unrouteable address", "bob@example.invalid",
         "dead_address", "", True),
        ("== bob@example.org R=dnslookup T=remote_smtp defer (-44) H=mx.example.org "
         "[192.0.2.1]: SMTP error from remote mail server after RCPT TO:<bob@example.org>: "
         "450 4.2.0 Greylisted", "bob@example.org", "temporary", "450", False),
        ("== bob@example.org R=dnslookup T=remote_smtp defer (111): Connection refused",
         "bob@example.org", "temporary", "", False),
        ("** bob@example.org R=dnslookup T=remote_smtp: retry timeout exceeded",
         "bob@example.org", "temporary", "", True),
        ("=> bob <bob@example.org> R=local T=maildir", "bob@example.org", "delivered", "", False),
        ("** |/bin/false <bob@example.org> R=f T=pipe: Child process of pipe transport "
         "returned 1 from command: /bin/false", "bob@example.org", "temporary", "", True),
    ],
)  # fmt: skip
def test_exim_failures_and_local_deliveries(rest, recipient, meaning, code, permanent):
    _, (outcome,) = _exim(EXIM + rest)
    assert outcome is not None
    assert (outcome.recipient, outcome.meaning, outcome.code, outcome.permanent) == (
        recipient,
        meaning,
        code,
        permanent,
    )


def test_exim_forms_of_line():
    for head in (
        "2026-11-25 12:00:00 [123] 1rABCD-00000001abc-0001 ",
        "2026-11-25 12:00:00.123 +0100 1abcde-000001-AB ",
        "Nov 25 12:00:00 host exim[9]: 2026-11-25 12:00:00 1abcde-000001-AB ",
    ):
        _, (outcome,) = _exim(head + "=> bob@example.org R=r T=t H=mx [192.0.2.1]")
        assert outcome is not None, head
        assert outcome.time is not None, head


def test_exim_refusing_somebody_itself():
    _, (outcome,) = _exim(
        "2026-11-25 12:00:00 H=(x) [192.0.2.1] F=<s@example.net> temporarily rejected "
        "RCPT <bob@example.org>: greylisted"
    )
    assert outcome is not None
    assert (outcome.recipient, outcome.meaning) == ("bob@example.org", "temporary")


@pytest.mark.parametrize(
    ("line", "moment"),
    [
        ("2026-11-25T12:30:15.250000+01:00 x", datetime(2026, 11, 25, 11, 30, 15, 250000, UTC)),
        ("2026-11-25T12:30:15Z x", datetime(2026, 11, 25, 12, 30, 15, 0, UTC)),
        ("2026-11-25 12:30:15 +0100 x", datetime(2026, 11, 25, 11, 30, 15, 0, UTC)),
        ("2026-11-25 12:30:15 x", datetime(2026, 11, 25, 12, 30, 15, 0, UTC)),
        ("Nov 25 12:30:15 x", datetime(2025, 11, 25, 12, 30, 15, 0, UTC)),
        ("Jan  5 12:30:15 x", datetime(2026, 1, 5, 12, 30, 15, 0, UTC)),
        ("Feb 29 12:30:15 x", datetime(2024, 2, 29, 12, 30, 15, 0, UTC)),
    ],
)  # fmt: skip
def test_times_of_lines(line, moment):
    clock = LogClock(latest=datetime(2026, 6, 1, tzinfo=UTC), zone=UTC)
    assert clock.read(line) == moment.timestamp()


@pytest.mark.parametrize(
    "line",
    ["", "x", "Nov 99 12:00:00", "9999-99-99T99:99:99Z", "Nov", "2026-", "\0" * 30],
)
def test_a_line_without_a_time_has_none(line):
    assert LogClock(latest=datetime(2026, 6, 1, tzinfo=UTC)).read(line) is None


def test_a_given_year_goes_on_at_new_year():
    clock = LogClock(year=2025, zone=UTC)
    first = clock.read("Dec 31 23:59:59 x")
    second = clock.read("Jan  1 00:00:00 x")
    assert first is not None
    assert second == first + 1


@pytest.mark.parametrize(
    ("fields", "identity"),
    [
        ('"x A=plain:victim"@t.org H=pc [192.0.2.1] P=esmtpa A=plain:thief', "thief"),
        ("t@t.org H=(x A=plain:victim) [192.0.2.1] P=esmtpa A=plain:thief", "thief"),
        ('t@t.org H=p [::1] X=T DN="x A=plain:victim" A=plain:thief S=9', "thief"),
        ('t@t.org H=p [::1] P=esmtpa A=plain:thief id=x T="x A=plain:v"', "thief"),
    ],
)
def test_exim_nobody_names_another_login(fields, identity):
    log = EximLog(shipped_table())
    log.feed(f"2026-11-25 12:00:00 1abcDE-000001-AB <= {fields}")
    (message,) = log.messages.values()
    assert message.identity == f"login:{identity}"


def test_exim_a_subject_names_no_login():
    log = EximLog(shipped_table())
    log.feed(
        "2026-11-25 12:00:00 1abcDE-000001-AB <= t@t.org U=mallory P=local S=9 "
        'id=x A=plain:victim T="hi \\" A=plain:victim" for a@b.org c@d.org'
    )
    (message,) = log.messages.values()
    assert message.identity == "uid:mallory"
    assert list(message.recipients) == ["a@b.org", "c@d.org"]


def test_postfix_a_sender_does_not_tell_how_many_recipients_there_are():
    event = parse_payload(
        'ABCDEF1: from=<"a>, size=1, nrcpt=1 "@t.org>, size=9, nrcpt=1000 (queue act)'
    )
    assert event == Queued("ABCDEF1", '"a>, size=1, nrcpt=1 "@t.org', 1000)
