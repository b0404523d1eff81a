"""Requests of Postfix and Exim as octets, and the answers as both read them."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shaper.core.asked import HOLD, PASS, Answer, Stage
from shaper.core.reply import Reply
from shaper.policy.request import attributes, question, written
from shaper.queuehelper.queues import Exim, Postfix

POSTFIX = {
    "request": "smtpd_access_policy",
    "protocol_state": "END-OF-MESSAGE",
    "protocol_name": "ESMTP",
    "instance": "1.2.3",
    "queue_id": "4jZTwT597BzJrF7",
    "sender": "ceo@bank.test",
    "recipient": "",
    "recipient_count": "3",
    "client_address": "192.0.2.1",
    "client_name": "unknown",
    "helo_name": "laptop",
    "sasl_username": "alice",
    "size": "1234",
    "a_later_version": "says=more",
}


GOOD = [
    "3F2A21C0042", "4jZTvv5wwCzJrJf", "1xWIUL-0005vW-2S", "1rDKdV-00000000bQc-3sfP",
]  # fmt: skip


def wire(values):
    return "\n".join(f"{k}={v}" for k, v in values.items()).encode()


def asked(values):
    return question(attributes(wire(values), 32768))


def b64(text):
    return base64.b64encode(text.encode()).decode()


def exim(**values):
    plain = {"request": "mailshaper_policy", "protocol_state": "END-OF-MESSAGE"}
    return asked(plain | {k: b64(v) for k, v in values.items()})


def test_postfix_at_the_end_of_a_message():
    q = asked(POSTFIX)
    assert (q.stage, q.instance, q.sender) == (Stage.END, "1.2.3", "ceo@bank.test")
    assert (q.recipients, q.count, q.size) == ((), 3, 1234)
    client = q.client
    assert (client.ident, client.login) == ("4jZTwT597BzJrF7", "alice")
    assert (client.address, client.name, client.helo) == ("192.0.2.1", "", "laptop")


def test_postfix_at_rcpt():
    q = asked(POSTFIX | {"protocol_state": "RCPT", "recipient": "bob@example.net"})
    assert (q.stage, q.recipients) == (Stage.RCPT, ("bob@example.net",))


@pytest.mark.parametrize("state", ["CONNECT", "DATA", "VRFY", ""])
def test_other_stages_decide_nothing(state):
    assert asked(POSTFIX | {"protocol_state": state}) is None


def test_only_digits_are_numbers():
    q = asked(POSTFIX | {"recipient_count": "-1", "size": "9" * 30})
    assert (q.count, q.size) == (0, 0)


def test_what_exims_client_says_stays_in_its_value():
    request = {
        "request": "mailshaper_policy",
        "protocol_state": "END-OF-MESSAGE",
        "queue_id": b64("1u2Ab3-00000000abc-0XyZ"),
        "helo_name": b64("x\nsasl_username=root"),
        "recipients": ":".join(map(b64, ["a@b.test", '"a:b, c"@d.test'])),
    }
    q = asked(request)
    assert q.recipients == ("a@b.test", '"a:b, c"@d.test')
    assert (q.client.login, q.client.helo) == ("", "x?sasl_username=root")
    assert (q.client.ident, q.userid) == ("1u2Ab3-00000000abc-0XyZ", "")


def test_local_mail_of_exim_has_its_user():
    plain = {"request": "mailshaper_policy", "protocol_state": "NOT-SMTP"}
    q = asked(plain | {"userid": b64("33"), "recipients": b64("a@b.test")})
    assert (q.stage, q.userid, q.client.source) == (Stage.END, "33", "LOCAL")


def test_a_long_greeting_is_cut_and_not_refused():
    assert len(exim(helo_name="x" * 12000).client.helo) == 255


@pytest.mark.parametrize("value", [*GOOD, "ALL", "Q1", "../x", "A" * 21, "4jZTvv5ww-"])
def test_a_queue_id_is_one_of_the_queue_helper(value):
    wanted = value if value in GOOD else ""
    assert exim(queue_id=value).client.ident == wanted
    assert asked(POSTFIX | {"queue_id": value}).client.ident == wanted
    known = any(mta._ID.fullmatch(value) for mta in (Postfix, Exim))
    assert known is bool(wanted)


def test_a_userid_belongs_to_local_mail_only():
    assert exim(userid="0").userid == ""


@pytest.mark.parametrize("value", ["alice", "YQ=", "=", "a b"])
def test_exim_without_base64_is_no_request(value):
    with pytest.raises(ValueError, match="base64"):
        asked({"request": "mailshaper_policy", "protocol_state": "RCPT", "x": value})


def test_answers():
    assert written(PASS) == b"action=DUNNO\n\n"
    assert written(HOLD) == b"action=HOLD\n\n"
    refusal = Reply(550, ("5.1.1 it is\ndead", "since\r\n\naction=OK"))
    assert written(Answer(reply=refusal)) == (
        b"action=550 5.1.1 it is dead since   action=OK\n\n"
    )


@given(st.binary(max_size=300))
def test_octets_are_a_question_or_an_error(octets):
    for start in (b"", b"request=smtpd_access_policy\nprotocol_state=RCPT\n"):
        try:
            question(attributes(start + octets, 100))
        except ValueError:
            continue
