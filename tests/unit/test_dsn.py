"""The notification about held mail that cannot go on, read back by the stdlib."""

import email
from datetime import UTC, datetime
from email import policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shaper.core.dsn import failure_report
from shaper.core.envelope import Client, Envelope, Recipient
from shaper.core.message import HeldMessage, RecipientFate, Submission
from shaper.core.reply import Phase, Reply

WHEN = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)
HEADER = b"From: a@example.org\r\nSubject: hello\r\n..dotted: yes\r\n"


def held(sender="alice@example.org", recipients=(("bob@example.net",),), parameters=()):
    envelope = Envelope(
        sender, tuple(Recipient(r[0], tuple(r[1:])) for r in recipients), parameters
    )
    return HeldMessage(
        Submission("id1", "login:alice", envelope, Client(), 0.0), size=10
    )


def report_of(message, fates, replies=None, header=HEADER):
    report = failure_report(
        message, fates, replies or {}, header, "mail.example.org", WHEN
    )
    if report is None:
        return None, None
    text = report.content.replace(b"\r\n.", b"\r\n")
    return report, email.message_from_bytes(text, policy=policy.default)


def test_a_refused_recipient_is_reported_with_the_words_of_the_next_hop():
    message = held(
        recipients=(("bob@example.net", "ORCPT=rfc822;Bob@Example.net"),),
        parameters=("ENVID=QQ314159",),
    )
    reply = Reply(550, ("5.1.1 No such user",), Phase.RCPT)
    report, mail = report_of(message, {0: RecipientFate.REFUSED}, {0: reply})
    assert report.envelope.is_null
    assert report.envelope.recipients[0].address == "alice@example.org"
    assert mail.get_content_type() == "multipart/report"
    assert mail.get_param("report-type") == "delivery-status"
    text, status, original = mail.iter_parts()
    assert "bob@example.net" in text.get_content()
    head, recipient = status.get_payload()
    assert head["Reporting-MTA"] == "dns; mail.example.org"
    assert head["Original-Envelope-Id"] == "QQ314159"
    assert recipient["Original-Recipient"] == "rfc822;Bob@Example.net"
    assert recipient["Final-Recipient"] == "rfc822; bob@example.net"
    assert recipient["Action"] == "failed"
    assert recipient["Status"] == "5.1.1"
    assert recipient["Diagnostic-Code"] == "smtp; 550 5.1.1 No such user"
    assert "Subject: hello" in original.as_string()


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (held(sender=""), "RFC 3461 6.1: never about a null sender"),
        (
            held(recipients=(("bob@example.net", "NOTIFY=NEVER"),)),
            "RFC 3461 4.1: the sender asked for silence",
        ),
        (
            held(recipients=(("bob@example.net", "NOTIFY=SUCCESS,DELAY"),)),
            "RFC 3461 4.1: failure was not asked for",
        ),
    ],
)
def test_nobody_is_told_who_must_not_be(message, why):
    assert report_of(message, {0: RecipientFate.REFUSED}) == (None, None), why


def test_delivered_and_dropped_recipients_are_not_reported():
    message = held(recipients=(("a@x.org",), ("b@x.org",), ("c@x.org",)))
    fates = {
        0: RecipientFate.DELIVERED,
        1: RecipientFate.DROPPED,
        2: RecipientFate.EXPIRED,
    }
    _, mail = report_of(message, fates)
    _, status, _ = mail.iter_parts()
    assert [p["Final-Recipient"] for p in status.get_payload()[1:]] == [
        "rfc822; c@x.org"
    ]
    assert status.get_payload()[1]["Status"] == "4.4.7"


def test_utf8_addresses_use_the_internationalised_report():
    message = held(sender="élise@exemple.fr", recipients=(("jürgen@x.org",),))
    report, mail = report_of(message, {0: RecipientFate.BOUNCED})
    assert "SMTPUTF8" in report.envelope.parameters
    assert mail.get_param("report-type") == "global-delivery-status"


@given(
    st.text(max_size=40),
    st.text(max_size=40),
    st.text(max_size=80),
    st.binary(max_size=200),
)
def test_outside_text_cannot_forge_a_header_or_end_the_report(
    sender, recipient, words, header
):
    message = held(sender=sender or "a", recipients=((recipient,),))
    reply = Reply(550, (words,), Phase.RCPT)
    report, _ = report_of(message, {0: RecipientFate.REFUSED}, {0: reply}, b"")
    lines = report.content.split(b"\r\n")
    assert not any(b"\r" in line or b"\n" in line for line in lines)
    assert sum(line.startswith(b"Bcc") for line in lines) == 0
    assert not any(line.startswith(b".") for line in lines)
    end = lines.index(b"")
    names = [line.split(b":")[0] for line in lines[:end]]
    assert names == [
        b"Date",
        b"From",
        b"To",
        b"Message-ID",
        b"Subject",
        b"Auto-Submitted",
        b"MIME-Version",
        b"Content-Type",
    ]
    with_header, _ = report_of(message, {0: RecipientFate.REFUSED}, {}, header)
    assert with_header.content.endswith(b"--=_mailshaper_id1--\r\n")


def test_people_read_their_language_and_english_and_programs_the_same():
    message = held()
    reports = {
        language: failure_report(
            message, {0: RecipientFate.EXPIRED}, {}, HEADER, "h.example", WHEN, language
        ).content
        for language in ("en", "fr")
    }
    text, status = {}, {}
    for language, content in reports.items():
        mail = email.message_from_bytes(content, policy=policy.default)
        parts = list(mail.iter_parts())
        text[language], status[language] = parts[0].get_content(), parts[1].as_string()
    assert "the longest time allowed" in text["en"]
    assert "examen" not in text["en"]
    assert text["fr"].index("délai maximal") < text["fr"].index("longest time allowed")
    assert "remis à\xa0:" in text["fr"]
    assert status["en"] == status["fr"]
