# ruff: noqa: E501 - log lines and mails stand as they are written
"""Reading what a server said, out of any text that quotes it."""

import pytest

from shaper.core.reply import Phase, Reply
from shaper.feedback.reply import (
    find_address,
    outcome_of_reply,
    outcome_of_text,
    parse_said,
    prefer_status,
)
from shaper.feedback.table import shipped_table


@pytest.mark.parametrize(
    ("text", "code", "status", "phase", "recipient"),
    [
        ("550 5.1.1 <a@example.org>: no", "550", "5.1.1", "", "a@example.org"),
        ("550-5.7.1 one\n550 5.7.1 two", "550", "5.7.1", "", ""),
        ("smtp; 450 4.2.0 later", "450", "4.2.0", "", ""),
        ("550: 5.2.2 <a@example.org>... Full", "550", "5.2.2", "", "a@example.org"),
        ("did not like our RCPT TO:550 5.1.1 x", "550", "5.1.1", "rcpt", ""),
        ("Remote Server returned '550 5.4.316 Message expired'", "550", "5.4.316", "", ""),
        ("Sorry, no mailbox here by that name. (#5.1.1)", "", "5.1.1", "", ""),
        ("#550 5.1.1 RESOLVER.ADR.RecipNotFound", "550", "5.1.1", "", ""),
        ("host x[192.0.2.1] said: 554 no (in reply to end of DATA command)", "554", "", "end", ""),
        ("after RCPT TO:<a@example.org>: 550 no", "550", "", "rcpt", "a@example.org"),
        ("after MAIL FROM:<s@example.net>: 550 no", "550", "", "mail", ""),
        ("550 no (state 14)", "550", "", "rcpt", ""),
        ("550 no [RCPT_TO]", "550", "", "rcpt", ""),
        ("(Exim 4.96.1) 550 no", "550", "", "", ""),
        ("timed out after 421 seconds", "", "", "", ""),
        ("[2001:db8:220:1::5]:25: socket error", "", "", "", ""),
        ("550 5.12.345 odd", "550", "5.12.345", "", ""),
        ("", "", "", "", ""),
    ],
)  # fmt: skip
def test_the_pieces_of_a_reply(text, code, status, phase, recipient):
    said = parse_said(text)
    assert (said.code, said.status, said.phase, said.recipient) == (
        code,
        status,
        phase,
        recipient,
    )


def test_a_generic_status_gives_way_to_a_telling_one_of_its_class():
    assert prefer_status("5.0.0", "5.1.1") == "5.1.1"
    assert prefer_status("5.1.0", "5.7.1") == "5.7.1"
    assert prefer_status("4.0.0", "5.1.1") == "4.0.0"
    assert prefer_status("5.2.2", "5.1.1") == "5.2.2"
    assert prefer_status("", "5.1.1") == "5.1.1"


def test_the_senders_address_is_not_the_recipient():
    assert (
        find_address("MAIL FROM:<s@example.net> then <r@example.org>")
        == "r@example.org"
    )
    assert find_address("Sender <s@example.net> refused") == ""


@pytest.mark.parametrize(
    "text", ["550 " * 10**6, "<" * 10**6, "a@" * 10**6, "\0" * 10**6]
)
def test_long_texts_are_cut(text):
    assert len(outcome_of_text(text, shipped_table()).diagnostic) <= len(text)
    assert len(parse_said(text).text) <= 4000


@pytest.mark.parametrize(
    ("reply", "meaning", "permanent", "next_id"),
    [
        (Reply(550, ("No such user",), Phase.RCPT), "dead_address", True, ""),
        (Reply(550, ("No such user",), Phase.END), "message_refused", False, ""),
        (Reply(550, ("5.7.1 No such user",), Phase.RCPT), "message_refused", False, ""),
        (Reply(550, ("5.1.1 unknown",), Phase.MAIL), "unknown", False, ""),
        (
            Reply(451, ("4.4.2 lost",), Phase.END, synthetic=True),
            "temporary",
            False,
            "",
        ),
        (Reply(250, ("2.0.0 Ok: queued as ABCDEF1",)), "delivered", False, "ABCDEF1"),
        (
            Reply(250, ("OK id=1abcde-000001-AB",)),
            "delivered",
            False,
            "1abcde-000001-AB",
        ),
    ],
)
def test_a_reply_of_the_next_hop_with_its_phase(reply, meaning, permanent, next_id):
    outcome = outcome_of_reply(
        reply, "bob@example.org", shipped_table(), sender="login:a", message_id="m1"
    )
    assert (outcome.meaning, outcome.permanent, outcome.next_queue_id) == (
        meaning,
        permanent,
        next_id,
    )
    assert (outcome.kind, outcome.recipient, outcome.sender) == (
        "reply",
        "bob@example.org",
        "login:a",
    )
