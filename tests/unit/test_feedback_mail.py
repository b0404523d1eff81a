# ruff: noqa: E501 - log lines and mails stand as they are written
"""DSNs, complaints and notifications, standard and broken."""

import json

import pytest

from shaper.feedback.dsn import choose_recipient, read_report
from shaper.feedback.mail import read_mail
from shaper.feedback.mime import parse_mail
from shaper.feedback.table import shipped_table

HEAD = (
    "Return-Path: <>\nFrom: Mail Delivery <MAILER-DAEMON@mx.example.net>\n"
    "To: alice@example.net\nSubject: Undelivered Mail Returned to Sender\n"
    "MIME-Version: 1.0\n"
)
RETURNED = (
    "Return-Path: <alice@example.net>\n"
    "Received: from out.example.net (out.example.net [192.0.2.9])\n"
    "\tby mx.example.org (Postfix) with ESMTPS id 4F00D\n"
    "Received: by out.example.net (mailshaper) with ESMTP id t-1;\n\tWed, 25 Nov 2026\n"
    "Received: by out.example.net (mailshaper) with ESMTP id forged-below;\n"
    "Message-ID: <m1@example.net>\nFrom: alice@example.net\nTo: bob@example.org\n"
    "Subject: Hi\n\nHi\n"
)


def _read(text):
    return read_mail(text.encode(), shipped_table())


def _dsn(groups, human="It did not work.\n"):
    return (
        HEAD
        + 'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\n\n'
        f"--b\nContent-Type: text/plain\n\n{human}\n"
        "--b\nContent-Type: message/delivery-status\n\n"
        "Reporting-MTA: dns; mx.example.net\nX-Postfix-Queue-ID: ABCDEF1\n"
        f"X-Postfix-Sender: rfc822; alice@example.net\n\n{groups}\n"
        f"--b\nContent-Type: message/rfc822\n\n{RETURNED}\n--b--\n"
    )


def test_a_standard_report():
    (outcome,) = _read(
        _dsn(
            "Final-Recipient: rfc822; bob@example.org\nAction: failed\nStatus: 5.1.1\n"
            "Remote-MTA: dns; mx.example.org\n"
            "Diagnostic-Code: smtp; 550 5.1.1 <bob@example.org>: Recipient address\n"
            "    rejected: User unknown\n"
        )
    )
    row = outcome.to_json()
    assert {
        "recipient": "bob@example.org",
        "status": "5.1.1",
        "code": "550",
        "meaning": "dead_address",
        "permanent": True,
        "kind": "dsn",
        "message_id": "m1@example.net",
        "trace_id": "t-1",
        "queue_id": "ABCDEF1",
        "sender": "alice@example.net",
        "remote_mta": "mx.example.org",
    }.items() <= row.items()


@pytest.mark.parametrize(
    ("action", "status", "meaning", "permanent"),
    [
        ("failed", "5.0.0", "unknown", True),
        ("failed", "4.4.7", "temporary", True),
        ("delayed", "4.4.1", "temporary", False),
        ("delayed", "5.1.1", "temporary", False),
        ("delivered", "2.0.0", "delivered", False),
        ("relayed", "2.0.0", "delivered", False),
        ("expanded", "2.0.0", "delivered", False),
        ("failed", "2.0.0", "unknown", True),
    ],
)
def test_the_action_says_what_the_server_did(action, status, meaning, permanent):
    (outcome,) = _read(
        _dsn(
            f"Final-Recipient: rfc822;bob@example.org\nAction: {action}\nStatus: {status}\n"
        )
    )
    assert (outcome.meaning, outcome.permanent) == (meaning, permanent)


def test_several_recipients_each_with_their_own_fate():
    outcomes = _read(
        _dsn(
            "Final-Recipient: rfc822;a@example.org\nAction: failed\nStatus: 5.1.1\n\n"
            "Final-Recipient: rfc822;b@example.org\nAction: failed\nStatus: 5.2.2\n"
        )
    )
    assert [(o.recipient, o.meaning) for o in outcomes] == [
        ("a@example.org", "dead_address"),
        ("b@example.org", "temporary"),
    ]


def test_a_forward_blames_the_address_that_failed_not_the_living_alias():
    assert (
        choose_recipient("dead@other.example", "alias@example.org")
        == "dead@other.example"
    )
    assert choose_recipient("u@store.example.org", "u@example.org") == "u@example.org"
    assert choose_recipient("u@internal", "u@example.org") == "u@example.org"
    assert choose_recipient("", "u@example.org") == "u@example.org"


def test_a_report_whose_structure_was_lost_is_still_read():
    text = HEAD + (
        "Content-Type: text/plain\n\nReporting-MTA: dns; x\n\n"
        "Final-Recipient: rfc822; bob@example.org\nAction: failed\nStatus: 5.1.1\n"
    )
    assert [o.recipient for o in _read(text)] == ["bob@example.org"]


def test_when_the_halves_of_a_report_disagree_the_address_lives():
    (outcome,) = _read(
        _dsn(
            "Final-Recipient: rfc822;bob@example.org\nAction: failed\nStatus: 5.1.1\n",
            human="Your message to <bob@example.org> was rejected:\nmailbox is full\n",
        )
    )
    assert outcome.meaning == "temporary"


def test_user_unknown_only_after_the_message_is_no_proof():
    (outcome,) = _read(
        _dsn(
            "Final-Recipient: rfc822;bob@example.org\nAction: failed\nStatus: 5.1.1\n"
            "Diagnostic-Code: smtp; 550 Unknown user bob@example.org\n",
            human="   ----- Transcript of session follows -----\n"
            "... while talking to mx.example.org.:\n>>> DATA\n"
            "<<< 550 Unknown user bob@example.org\n",
        )
    )
    assert outcome.meaning == "message_refused"


def test_an_internationalised_recipient_is_kept_as_it_is():
    (group,) = read_report("Final-Recipient: utf-8; böb@exämple.org\n").groups
    assert group.recipient == "böb@exämple.org"


def test_fields_of_a_report_in_odd_forms():
    report = read_report(
        "Original-Recipient: rfc822;<bob@example.org>\n"
        "Final-Recipient: rfc822;@relay.example.org:bob@example.org\n"
        "Action : failed (of course)\nStatus: 5.1.1 (no mailbox)\n"
    )
    (group,) = report.groups
    assert (group.recipient, group.action, group.status) == (
        "bob@example.org",
        "failed",
        "5.1.1",
    )


ARF = (
    HEAD.replace("Undelivered Mail Returned to Sender", "complaint")
    + "Content-Type: multipart/report; report-type=feedback-report; boundary=b\n\n"
    "--b\nContent-Type: text/plain\n\nThis is an abuse report.\n\n"
    "--b\nContent-Type: message/feedback-report\n\n"
    "Feedback-Type: {kind}\nUser-Agent: X/1\nVersion: 1\n{rcpt}"
    "Original-Mail-From: <alice@example.net>\nSource-IP: 192.0.2.1\n\n"
    "--b\nContent-Type: message/rfc822\n\n" + RETURNED + "\n--b--\n"
)


def test_a_complaint():
    (outcome,) = _read(
        ARF.format(kind="abuse", rcpt="Original-Rcpt-To: <bob@example.org>\n")
    )
    assert (
        outcome.kind,
        outcome.meaning,
        outcome.recipient,
        outcome.feedback_type,
        outcome.message_id,
        outcome.sender,
        outcome.permanent,
    ) == (
        "arf",
        "complaint",
        "bob@example.org",
        "abuse",
        "m1@example.net",
        "alice@example.net",
        False,
    )


def test_a_redacted_complaint_keeps_its_message_id():
    text = ARF.format(kind="fraud", rcpt="").replace("To: bob@example.org\n", "")
    (outcome,) = _read(text.replace("To: alice@example.net", "To: abuse@example.net"))
    assert (outcome.recipient, outcome.message_id, outcome.trace_id) == (
        "",
        "m1@example.net",
        "t-1",
    )


def test_a_withdrawal_is_no_complaint():
    (outcome,) = _read(ARF.format(kind="not-spam", rcpt=""))
    assert outcome.meaning == "unknown"


def test_several_complaints_in_one_mail():
    inner = ARF.format(kind="abuse", rcpt="Original-Rcpt-To: {}@example.org\n")
    inner = inner.replace("boundary=b", "boundary=c").replace("--b", "--c")
    text = HEAD + "Content-Type: multipart/digest; boundary=d\n\n"
    for name in ("one", "two"):
        text += f"--d\nContent-Type: message/rfc822\n\n{inner.format(name)}\n"
    outcomes = _read(text + "--d--\n")
    assert [o.recipient for o in outcomes] == ["one@example.org", "two@example.org"]
    assert {o.meaning for o in outcomes} == {"complaint"}


def test_microsofts_older_form_of_complaint():
    text = (
        "From: <staff@hotmail.com>\nTo: abuse@example.net\n"
        "Subject: complaint about message from 192.0.2.1\nMIME-Version: 1.0\n"
        "Content-Type: multipart/mixed; boundary=b\n\n--b\n"
        "Content-Type: message/rfc822\n\nX-HmXmrOriginalRecipient: bob@hotmail.com\n"
        + RETURNED
        + "\n--b--\n"
    )
    (outcome,) = _read(text)
    assert (outcome.recipient, outcome.meaning) == ("bob@hotmail.com", "complaint")


def _ses(event):
    return HEAD + "Content-Type: text/plain\n\n" + json.dumps(event) + "\n"


MAIL = {
    "source": "alice@example.net",
    "messageId": "ses-1",
    "commonHeaders": {"messageId": "<m1@example.net>"},
}


def test_notifications_of_ses():
    bounce = {
        "notificationType": "Bounce",
        "mail": MAIL,
        "bounce": {
            "bounceType": "Permanent",
            "bouncedRecipients": [
                {
                    "emailAddress": "bob@example.org",
                    "status": "5.1.1",
                    "diagnosticCode": "smtp; 550 5.1.1 user unknown",
                }
            ],
        },
    }
    (outcome,) = _read(_ses(bounce))
    assert (outcome.recipient, outcome.meaning, outcome.message_id) == (
        "bob@example.org",
        "dead_address",
        "m1@example.net",
    )
    complaint = {
        "notificationType": "Complaint",
        "mail": MAIL,
        "complaint": {"complainedRecipients": [{"emailAddress": "bob@example.org"}]},
    }
    (outcome,) = _read(_ses({"Type": "Notification", "Message": json.dumps(complaint)}))
    assert (outcome.recipient, outcome.meaning) == ("bob@example.org", "complaint")
    delivery = {
        "eventType": "Delivery",
        "mail": MAIL,
        "delivery": {"recipients": ["bob@example.org"], "smtpResponse": "250 2.0.0 ok"},
    }
    # Without "notificationType" first, so that both spellings are tried.
    (outcome,) = _read(_ses(delivery))
    assert (outcome.meaning, outcome.code) == ("delivered", "250")


@pytest.mark.parametrize(
    "event",
    [
        {"notificationType": "Bounce", "bounce": "x"},
        {"notificationType": "Bounce", "bounce": {"bouncedRecipients": [1, {}]}},
        {"notificationType": ["Bounce"]},
        {"notificationType": "Delivery", "delivery": {"recipients": [None]}},
        [],
    ],
)
def test_a_notification_of_the_wrong_shape_is_survived(event):
    for outcome in _read(_ses(event)):
        assert outcome.meaning in ("unknown", "delivered")


def test_parts_are_split_with_their_depth():
    text = (
        "Content-Type: multipart/mixed; boundary=a\n\npreamble\n--a\n"
        "Content-Type: multipart/alternative; boundary=b\n\n--b\n\nplain\n--b--\n"
        "--a\nContent-Type: text/html; charset=latin-1\n"
        "Content-Transfer-Encoding: quoted-printable\n\n=E9\n--a--\nepilogue\n"
    )
    parts = parse_mail(text.encode())
    assert [(p.depth, p.content_type) for p in parts] == [
        (0, "multipart/mixed"),
        (1, "multipart/alternative"),
        (2, "text/plain"),
        (1, "text/html"),
    ]
    assert parts[2].text.strip() == "plain"
    assert "é" in parts[3].text


@pytest.mark.parametrize(
    ("header", "body", "text"),
    [
        ("Content-Transfer-Encoding: base64\n", "aGVs\nbG8=\n", "hello"),
        ("Content-Transfer-Encoding: base64\n", "aGVsbG8\n", "hello"),
        ("Content-Transfer-Encoding: base64\n", "!\n", ""),
        ("Content-Type: text/plain; charset=nonsense\n", "hé\n", "hé\n"),
        ('Content-Type: text/plain; charset="\0"\n', "h\n", "h\n"),
        ("Content-Type: text/plain;\ncharset=utf-8\n", "é\n", "é\n"),
    ],
)
def test_bodies_are_decoded_as_well_as_possible(header, body, text):
    (part,) = parse_mail(f"Subject: x\n{header}\n{body}".encode())
    assert part.text.strip() == text.strip()
