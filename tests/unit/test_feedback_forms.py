# ruff: noqa: ISC004, E501 - bodies are written line by line
"""Bounces that follow no standard, one per family of servers.

Written in the form that each server is known to use; none is from the reference
data. Each states whom it is about, and what it means.
"""

import pytest

from shaper.feedback.mail import read_mail
from shaper.feedback.table import shipped_table


def _mail(body, *, subject="Undeliverable mail", sender="MAILER-DAEMON@mx.example.net"):
    return (
        f"Return-Path: <>\nFrom: {sender}\nTo: alice@example.net\n"
        f"Subject: {subject}\nMessage-Id: <1@mx.example.net>\n\n{body}"
    ).encode()


RETURNED = "\nReturn-Path: <alice@example.net>\nFrom: alice@example.net\nTo: {}\nSubject: Hi\nMessage-ID: <m1@example.net>\n\nHi\n"

FORMS = {
    "qmail": (
        "Hi. This is the qmail-send program at mx.example.net.\n"
        "I'm afraid I wasn't able to deliver your message to the following addresses.\n"
        "This is a permanent error; I've given up. Sorry it didn't work out.\n\n"
        "<bob@example.org>:\n192.0.2.1 does not like recipient.\n"
        "Remote host said: 550 sorry, no mailbox here by that name (#5.1.1)\n"
        "Giving up on 192.0.2.1.\n\n--- Below this line is a copy of the message.\n",
        "dead_address",
    ),
    "exim": (
        "This message was created automatically by mail delivery software.\n\n"
        "A message that you sent could not be delivered to one or more of its\n"
        "recipients. This is a permanent error. The following address(es) failed:\n\n"
        "  bob@example.org\n"
        "    host mx.example.org [192.0.2.1]\n"
        "    SMTP error from remote mail server after RCPT TO:<bob@example.org>:\n"
        "    550 No such user here\n\n"
        "------ This is a copy of your message, including all the headers. ------\n",
        "dead_address",
    ),
    "opensmtpd": (
        "    Hi!\n\n    This is the MAILER-DAEMON, please DO NOT REPLY to this email.\n\n"
        "    An error has occurred while attempting to deliver a message for\n"
        "    the following list of recipients:\n\n"
        "bob@example.org: 550 5.2.2 <bob@example.org>... Mailbox Full\n\n"
        "    Below is a copy of the original message:\n",
        "temporary",
    ),
    "active hunter": (
        "  ----- The following addresses had permanent fatal errors -----\n\n"
        "<bob@example.org>\n\n   ----- Transcript of session follows -----\n"
        "550 sorry, no mailbox here by that name (#5.1.1 - chkusr)\n\n"
        "   ----- Original message follows -----\n",
        "dead_address",
    ),
    "james": (
        "Hi. This is the James mail server at mx.example.net.\n"
        "Error message below:\n550 5.1.1 unknown user\n\nMessage details:\n"
        "  Subject: Hi\n  MAIL FROM: alice@example.net\n  RCPT TO: bob@example.org\n"
        "  Size (in bytes): 622\n\n---- Original message ----\n",
        "dead_address",
    ),
    "ezweb": (
        "Each of the following recipients was rejected by a remote mail server.\n"
        "The reasons given by the server are included to help you determine why.\n\n"
        "   Recipient: <bob@example.org>\n"
        "   >>> RCPT TO:<bob@example.org>\n"
        "   <<< 550 <bob@example.org>: User unknown\n",
        "dead_address",
    ),
    "interscan": (
        "Sent <<< RCPT TO:<bob@example.org>\n"
        "Received >>> 550 5.1.1 <bob@example.org>... User unknown\n"
        "Unable to deliver message to <bob@example.org>\n",
        "dead_address",
    ),
    "mcafee": (
        "--- The following addresses had delivery problems ---\n\n"
        "<bob@example.org>   (550 5.1.1 User unknown bob@example.org)\n\n"
        "--------------Returned Mail Header--------\n",
        "dead_address",
    ),
    "m-filter": (
        "bob@example.org\n-------server message\n"
        "550 5.1.1 unknown user <bob@example.org>\n-------SMTP command\nDATA\n"
        "-------original message\n",
        "dead_address",
    ),
    "notes": (
        "------- Failure Reasons  --------\n\n"
        "User not listed in public Name & Address Book\nbob@example.org\n\n\n"
        "------- Returned Message --------\n",
        "dead_address",
    ),
    "surfcontrol": (
        "Your message could not be sent.\n"
        "A transcript of the attempts to send the message follows.\n"
        "The number of attempts made: 1\nAddressed To: bob@example.org\n\n"
        "Thu 29 Apr 2010 23:34:45 +0900\nFailed to send to identified host,\n"
        "bob@example.org: [192.0.2.5], 550 bob@example.org... No such user\n"
        "--- Message non-deliverable.\n",
        "dead_address",
    ),
    "exchange 2007": (
        "Delivery has failed to these recipients or distribution lists:\n\n"
        "bob@example.org\nThe recipient's e-mail address was not found.\n\n"
        "Diagnostic information for administrators:\n\n"
        "Generating server: mta22.example.org\n\nbob@example.org\n"
        "#550 5.1.1 RESOLVER.ADR.RecipNotFound; not found ##\n\n"
        "Original message headers:\n",
        "dead_address",
    ),
    "imail": (
        "User mailbox exceeds allowed size: bob@example.org\n\n"
        "Original message follows.\n",
        "temporary",
    ),
    "zoho": (
        "This message was created automatically by mail delivery software.\n"
        "A message that you sent could not be delivered to one or more of its recipients."
        " This is a permanent error. \n\n"
        "bob@example.org Invalid Address, ERROR_CODE :550, ERROR_CODE :5.1.1 "
        "<bob@example.org>... User Unknown\n",
        "dead_address",
    ),
    "gmail": (
        "Delivery to the following recipient failed permanently:\n\n"
        "     bob@example.org\n\nTechnical details of permanent failure:\n"
        "Google tried to deliver your message, but it was rejected by the server for the "
        "recipient domain example.org by mx.example.org. [192.0.2.1].\n\n"
        "The error that the other server returned was:\n"
        "550 5.1.1 <bob@example.org>: Recipient address rejected: User unknown\n\n"
        "----- Original message -----\n",
        "dead_address",
    ),
    "sendmail 5": (
        "   ----- Transcript of session follows -----\n"
        "While talking to mx.example.org:\n>>> RCPT To:<bob@example.org>\n"
        "<<< 550 <bob@example.org>... User unknown\n"
        "550 <bob@example.org>... User unknown\n\n   ----- Unsent message follows -----\n",
        "dead_address",
    ),
    "spam refused": (
        "I'm sorry to have to inform you that your message could not be delivered.\n\n"
        "<bob@example.org>: host mx.example.org[192.0.2.1] said: 554 5.7.1 This message\n"
        "    looks like SPAM to me (in reply to end of DATA command)\n",
        "message_refused",
    ),
    "kundenserver": (
        "This message was created automatically by mail delivery software.\n\n"
        "A message that you sent could not be delivered to one or more of\n"
        "its recipients. The following addresses failed:\n\n<bob@example.org>\n\n"
        "Mail quota exceeded.\n\n--- The header of the original message is following. ---\n",
        "temporary",
    ),
}


@pytest.mark.parametrize("name", FORMS)
def test_each_form_tells_its_recipient_and_meaning(name):
    body, meaning = FORMS[name]
    outcomes = read_mail(
        _mail(body + RETURNED.format("bob@example.org")), shipped_table()
    )
    assert [(o.recipient, o.meaning) for o in outcomes] == [
        ("bob@example.org", meaning)
    ], [(o.rule, o.diagnostic) for o in outcomes]


@pytest.mark.parametrize(
    "body",
    [
        "Thank you for your mail, I am on holiday until Monday.\n\nBob bob@example.org\n",
        "Hello Alice,\n\nbob@example.org is my new address.\n",
        "",
    ],
)
def test_the_mail_of_a_person_is_no_bounce(body):
    mail = (
        "Return-Path: <bob@example.org>\nFrom: Bob <bob@example.org>\n"
        "To: alice@example.net\nSubject: Re: lunch\n\n"
    ) + body
    assert read_mail(mail.encode(), shipped_table()) == []


def test_a_warning_is_not_given_up():
    body = (
        "**********************************************\n"
        "**      THIS IS A WARNING MESSAGE ONLY      **\n"
        "**  YOU DO NOT NEED TO RESEND YOUR MESSAGE  **\n"
        "**********************************************\n\n"
        "   ----- The following addresses had transient non-fatal errors -----\n"
        "<bob@example.org>\n\n   ----- Transcript of session follows -----\n"
        "<bob@example.org>... Deferred: Connection timed out with mx.example.org.\n"
        "Warning: message still undelivered after 4 hours\n"
    )
    (outcome,) = read_mail(
        _mail(body, subject="Warning: could not send"), shipped_table()
    )
    assert (outcome.recipient, outcome.meaning, outcome.permanent) == (
        "bob@example.org",
        "temporary",
        False,
    )
