"""What is remembered of a message that left, and how servers name one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shaper.core.contacts import contact_hash
from shaper.core.reply import queue_id
from shaper.core.sent import KEY, MARK, Sent, mark_of, message_key

SECRET = b"k" * 32


@given(
    st.text(min_size=1, max_size=320),
    st.lists(st.binary(min_size=MARK, max_size=MARK), max_size=400),
    st.integers(0, 2**32 - 1),
)
def test_what_is_stored_comes_back(sender, marks, time):
    sent = Sent(b"12345678", sender, float(time), tuple(marks))
    assert Sent.decode(sent.key, sent.encode()) == sent


@given(st.binary(max_size=200))
def test_anything_else_is_an_error_or_a_message(raw):
    try:
        sent = Sent.decode(b"12345678", raw)
    except ValueError:
        return
    assert sent.encode() == raw


def test_only_so_many_recipients_are_kept():
    many = tuple(number.to_bytes(MARK, "big") for number in range(5000))
    kept = Sent.decode(b"12345678", Sent(b"12345678", "s", 1.0, many).encode())
    assert kept.marks == many[:3000]


def test_ids_of_different_makers_are_apart():
    keys = {message_key(SECRET, kind, "A1") for kind in ("trace", "queue", "message")}
    assert len(keys) == 3
    assert {len(key) for key in keys} == {KEY}
    assert message_key(b"x" * 32, "trace", "A1") not in keys


def test_a_mark_follows_the_person_and_not_the_spelling():
    mark = mark_of(contact_hash(SECRET, "Bob@Example.Net"))
    assert mark == mark_of(contact_hash(SECRET, "bob@example.net"))
    assert len(mark) == MARK


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("250 2.0.0 Ok: queued as 4WzKQc1Xb2z9rxN", "4WzKQc1Xb2z9rxN"),
        ("250 2.0.0 Ok: queued as 7BE0F1C2", "7BE0F1C2"),
        ("250 OK id=1tFqXW-0000000Aabc-1Xyz", "1tFqXW-0000000Aabc-1Xyz"),
        ("250 OK id=1abcde-0004Xy-7Q", "1abcde-0004Xy-7Q"),
        ("250 2.0.0 4AP9b1d2012345 Message accepted for delivery", "4AP9b1d2012345"),
        ("250 2.0.0 5b3f1d6a Message accepted for delivery", "5b3f1d6a"),
        ("250 ok 1700000000 qp 12345", "12345"),
        ("250 Message Queued (0A1B2C3D-4E5F.1)", "0A1B2C3D-4E5F.1"),
        ("250 2.0.0 from MTA(smtp:[::1]:10025): 250 2.0.0 Ok: queued as AB12.", "AB12"),
        ("250 2.0.0 Ok", ""),
        ("250 Message accepted for delivery", ""),
    ],
)
def test_the_queue_id_in_an_acceptance(reply, expected):
    assert queue_id(reply) == expected
