"""Reading a header block: what counts, what is found, what is cut out."""

import pytest

from shaper.core.header import read_header, split_header, without_fields
from shaper.smtp.trace import own_mark, protocol_name, trace_field

MARK = own_mark("hop.test")


@pytest.mark.parametrize(
    ("data", "end"),
    [
        (b"A: b\r\n\r\nbody", 6),
        (b"\r\nbody", 0),
        (b"\nbody", 0),
        (b"A: b\n\nbody", 5),
        (b"A: b\r\n\nbody", 6),
        (b"A: b\r\nB: c\r\n", -1),
        (b"", -1),
        (b"A: b\r\n\r", -1),
    ],
)
def test_the_header_ends_before_the_empty_line(data, end):
    assert split_header(data) == end


def test_the_end_is_found_over_the_border_of_two_looks():
    whole = b"A: b\r\n\r\nbody"
    for border in range(len(whole)):
        first = split_header(whole[:border])
        assert split_header(whole, border if first < 0 else 0) == 6


def test_fields_are_found_folded_and_in_any_case():
    facts = read_header(
        b"SUBJECT: one\r\n two\r\nMessage-Id:<1@a>\r\nfrom : A <a@b>\r\nTo: x\r\n", MARK
    )
    assert (facts.subject, facts.message_id) == ("one two", "<1@a>")
    assert facts.author == "A <a@b>"


def test_encoded_words_are_readable():
    facts = read_header(b"Subject: =?utf-8?q?caf=C3=A9?=\r\n", MARK)
    assert facts.subject == "café"


@pytest.mark.parametrize(
    "raw", [b"=?utf-8?b?x?=", b"=?nonsense?q?x?=", b"\xff\xfe", b"=?utf-8?q?" * 5000]
)
def test_a_broken_subject_is_no_trouble(raw):
    assert isinstance(read_header(b"Subject: " + raw + b"\r\n", MARK).subject, str)


def test_the_first_of_a_repeated_field_counts():
    assert read_header(b"Subject: a\r\nSubject: b\r\n", MARK).subject == "a"


def test_received_fields_are_counted_and_ours_among_them():
    ours = trace_field("hop.test", "ESMTP", "X1", 0)
    theirs = trace_field("hop.test.evil", "ESMTP", "X1", 0)
    facts = read_header(ours + theirs + b"Received: by x\r\n" + ours, MARK)
    assert (facts.received, facts.own_marks) == (4, 2)


def test_the_userid_comes_from_the_topmost_received_only():
    local = b"Received: by mx.test (Postfix, from userid 33)\r\n\tid 4ABC; date\r\n"
    other = b"Received: from x by y\r\n"
    assert read_header(local + other, MARK).userid == "33"
    assert read_header(other + local, MARK).userid == ""


def test_login_fields_are_found_and_cut_out_with_their_folds():
    head = b"A: 1\r\nX-Login: login:a\r\n\tb\r\nB: 2\r\nx-login : uid:5\nC: 3\r\n"
    facts = read_header(head, MARK, "X-Login")
    assert facts.logins == ["login:a b", "uid:5"]
    assert without_fields(head, facts.login_spans) == b"A: 1\r\nB: 2\r\nC: 3\r\n"


def test_a_login_field_that_nobody_configured_stays():
    assert read_header(b"X-Login: login:a\r\n", MARK).logins == []


def test_a_copy_behind_a_bare_line_feed_is_seen():
    head = b"Subject: x\nX-Login: login:victim\r\nX-Login: login:me\r\n"
    assert len(read_header(head, MARK, "X-Login").logins) == 2


def test_a_block_cut_off_in_the_middle_is_read_as_far_as_it_goes():
    facts = read_header(b"Subject: x\r\nX-Login: log", MARK, "X-Login")
    assert facts.subject == "x"
    assert facts.login_spans == [(12, 24)]


def test_the_trace_field_is_valid_and_folded():
    field = trace_field("hop.test", "ESMTPS", "X1", 1_800_000_000.7)
    assert field.startswith(
        b"Received: by hop.test (mailshaper) with ESMTPS id X1;\r\n\t"
    )
    assert field.endswith(b"\r\n")
    assert b" 2027 " in field


@pytest.mark.parametrize(
    ("extended", "tls", "utf8", "word"),
    [
        (False, False, False, "SMTP"),
        (True, False, False, "ESMTP"),
        (True, True, False, "ESMTPS"),
        (True, False, True, "UTF8SMTP"),
        (True, True, True, "UTF8SMTPS"),
    ],
)
def test_the_protocol_is_named_as_registered(extended, tls, utf8, word):
    assert protocol_name(extended=extended, tls=tls, utf8=utf8) == word
