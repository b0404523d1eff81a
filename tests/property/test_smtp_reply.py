"""Replies of a next hop: any octets, in any pieces."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shaper.smtp.link import ReplyParser

texts = st.text("abc 123.-<>", max_size=20)
replies = st.lists(
    st.tuples(st.integers(200, 599), st.lists(texts, min_size=1, max_size=4)),
    max_size=5,
)


def wire(code, lines):
    marks = "-" * (len(lines) - 1) + " "
    return "".join(
        f"{code}{mark}{line}\r\n" for mark, line in zip(marks, lines, strict=True)
    ).encode()


def feed(data, borders):
    parser = ReplyParser()
    found = []
    edges = sorted({0, len(data), *(b for b in borders if b < len(data))})
    for start, end in itertools.pairwise(edges):
        found += parser.feed(data[start:end])
    return found


@given(replies, st.lists(st.integers(0, 300), max_size=8))
def test_replies_are_read_in_any_pieces(replies, borders):
    data = b"".join(wire(*reply) for reply in replies)
    assert feed(data, borders) == [(code, tuple(lines)) for code, lines in replies]


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=4))
def test_any_octets_are_replies_or_an_error(data, borders):
    try:
        found = feed(data, borders)
    except ValueError:
        return
    assert all(200 <= code < 600 for code, _ in found)


@pytest.mark.parametrize(
    "data",
    [
        b"hello\r\n",
        b"25\r\n",
        b"100 x\r\n",
        b"600 x\r\n",
        b"250x\r\n",
        b"250-a\r\n251 b\r\n",
        b"250 " + b"x" * 5000 + b"\r\n",
        b"x" * 5000,
        b"250-" + (b"y" * 1000 + b"\r\n250-") * 80 + b"z\r\n",
    ],
)
def test_what_is_no_reply_is_an_error(data):
    with pytest.raises(ValueError, match="reply"):
        feed(data, [])


def test_a_bare_code_and_bare_line_feeds_are_taken():
    assert feed(b"250\r\n354 go\n", []) == [(250, ("",)), (354, ("go",))]
