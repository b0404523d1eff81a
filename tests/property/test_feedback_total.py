# ruff: noqa: E501 - one piece or bomb a line
"""No input makes a parser raise, and no input condemns what it must not."""

from datetime import UTC

from hypothesis import example, given
from hypothesis import strategies as st

from shaper.core.meaning import Signals, judge, normalise
from shaper.core.outcome import Meaning
from shaper.core.reply import Phase
from shaper.feedback.classify import classify_bytes
from shaper.feedback.dsn import read_report
from shaper.feedback.exim_log import EximLog
from shaper.feedback.logtime import LogClock
from shaper.feedback.mail import read_mail
from shaper.feedback.mime import parse_mail
from shaper.feedback.postfix_log import PostfixLog
from shaper.feedback.reply import outcome_of_text
from shaper.feedback.table import shipped_table

TABLE = shipped_table()

# Pieces that mean something to one parser or another, to be stuck together wrongly.
PIECES = (
    "From: MAILER-DAEMON@x.example\n", "To: a@example.net\n", "Subject: failure\n",
    "Return-Path: <>\n", "X-Failed-Recipients: b@example.org\n", "\n", "\n\n", "\r\n",
    'Content-Type: multipart/report; boundary="b"\n', "Content-Type: multipart/mixed;\n",
    "boundary=b\n", "--b\n", "--b--\n", "Content-Type: message/delivery-status\n\n",
    "Content-Type: message/feedback-report\n\n", "Content-Type: message/rfc822\n\n",
    "Content-Transfer-Encoding: base64\n", "Content-Type: text/plain; charset=utf-7\n",
    "Final-Recipient: rfc822; b@example.org\n", "Action: failed\n", "Action: delayed\n",
    "Status: 5.1.1\n", "Status: 5.7.1\n", "Diagnostic-Code: smtp; 550 5.1.1 no\n",
    "Feedback-Type: abuse\n", "Original-Rcpt-To: b@example.org\n", "<b@example.org>:\n",
    "550 5.1.1 user unknown\n", "550-5.7.1 no\n", "421 4.7.0 later\n", ">>> DATA\n",
    "<<< 550 no\n", "   ----- Transcript of session follows -----\n", " In:  RCPT TO:<b@c.d>\n",
    " Out: 550 no\n", "--- Below this line is a copy of the message.\n", "\0", "\x1b[2J",
    '{"notificationType":"Bounce","bounce":{', "}}", "b@example.org", "<", ">", "=E9=\n",
    "Nov 25 12:00:00 mail postfix/smtp[1]: ABCDEF1: ", "to=<b@example.org>, relay=x, ",
    "dsn=5.1.1, status=bounced (550 5.1.1 no)\n", "client=x[1], sasl_username=a\n",
    "2026-11-25 12:00:00 1abcde-000001-AB ", "** b@example.org: ", "<= a@b P=local U=r\n",
    "From x@y Mon Nov 25 12:00:00 2026\n",
)  # fmt: skip

soup = st.lists(
    st.one_of(st.sampled_from(PIECES), st.text(max_size=20)), max_size=40
).map("".join)
statuses = st.one_of(
    st.just(""),
    st.builds(
        "{}.{}.{}".format,
        st.sampled_from("245"),
        st.integers(0, 9),
        st.integers(0, 999),
    ),
)
codes = st.sampled_from(
    ["", "250", "421", "450", "550", "551", "552", "553", "554", "556"]
)
phases = st.sampled_from(["", "local", *(p.value for p in Phase)])
phrases = st.sampled_from(
    [" ".join(phrase) for rule in TABLE.text_rules for phrase in rule.phrases]
)


def _must_hold(outcome):
    assert outcome.meaning in Meaning
    if outcome.meaning is Meaning.DEAD_ADDRESS:
        assert outcome.permanent
        assert not outcome.status.startswith(("4.", "5.7."))
    if outcome.meaning in (Meaning.DELIVERED, Meaning.COMPLAINT):
        assert not outcome.permanent
    assert all(
        isinstance(v, (str, bool, float, type(None)))
        for v in outcome.to_json().values()
    )


@given(st.binary(max_size=2000))
def test_any_octets_are_classified(data):
    for told in classify_bytes(data, TABLE):
        _must_hold(told.outcome)
    for outcome in read_mail(data, TABLE):
        _must_hold(outcome)


@given(soup)
@example("Content-Type: multipart/mixed; boundary=b\n\n--b\n--b\n--b--\n--b\n")
def test_any_soup_of_pieces_is_classified(text):
    data = text.encode("utf-8", "replace")
    for told in classify_bytes(data, TABLE):
        _must_hold(told.outcome)
    for outcome in read_mail(data, TABLE):
        _must_hold(outcome)


@given(soup)
def test_a_mail_is_split_without_loss_of_its_lines(text):
    data = b"Subject: x\n\n" + text.encode("utf-8", "replace")
    (part, *_) = parse_mail(data)
    assert part.content_type == "text/plain"
    assert part.raw == data.replace(b"\r\n", b"\n").partition(b"\n\n")[2]


@given(st.text(max_size=300))
def test_any_text_is_read_as_report_reply_and_time(text):
    for group in read_report(text).groups:
        assert group.recipient == "" or "@" in group.recipient
    _must_hold(outcome_of_text(text, TABLE))
    LogClock(year=2026, zone=UTC).read(text)
    assert len(normalise(text)) <= len(text) * 3


@given(statuses, codes, phases, st.lists(phrases, max_size=3).map(" ".join))
def test_the_guards_stand_above_every_phrase_of_the_table(status, code, phase, text):
    verdict = judge(Signals(status, code, text, phase), TABLE)
    assert verdict == judge(Signals(status, code, text, phase), TABLE)
    dead = verdict.meaning is Meaning.DEAD_ADDRESS
    if status.startswith(("2", "4", "5.7.")) or (not status and code[:1] in ("2", "4")):
        assert not dead
    if phase in ("connect", "ehlo", "tls", "auth", "mail"):
        assert not dead
    assert verdict.permanent or not dead


lines = st.lists(
    st.one_of(
        st.text(max_size=60),
        st.builds(
            "Nov 25 12:00:00 mail {}[1]: {}: {}".format,
            st.sampled_from(
                ["postfix/smtp", "postfix/qmgr", "postfix-out/smtpd", "postfix/pickup"]
            ),
            st.sampled_from(["ABCDEF1", "ABCDEF2", "NOQUEUE"]),
            st.sampled_from(
                [
                    "removed",
                    "client=x[192.0.2.1], sasl_username=a",
                    "uid=0 from=<root>",
                    "message-id=<1@x>",
                    "from=<a@b>, size=1, nrcpt=1 (queue active)",
                    "to=<b@c.example>, relay=x, delay=1, dsn=5.1.1, status=bounced (no)",
                    "to=<b@c.example>, relay=x, delay=1, dsn=4.1.1, status=deferred (550 5.1.1)",
                    "host x said: 550 5.1.1 user unknown (in reply to RCPT TO command)",
                ]
            ),
        ),
    ),
    max_size=40,
)


@given(lines)
def test_any_lines_are_joined_within_bounds(given_lines):
    postfix = PostfixLog(TABLE, LogClock(year=2026, zone=UTC), limit=1)
    exim = EximLog(TABLE, limit=1)
    for line in given_lines:
        for outcome in (postfix.feed(line), exim.feed(line)):
            if outcome is not None:
                _must_hold(outcome)
                if "deferred" in line:
                    assert not outcome.permanent
        assert len(postfix.messages) <= 1
        assert len(exim.messages) <= 1
