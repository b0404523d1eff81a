"""Facts are read or refused, and a refusal repeats none of their content."""

import json

import pytest

from federation.trust.facts import (
    BadFactError,
    Blocked,
    Bounce,
    Complaint,
    Day,
    Delivered,
    Receiver,
    Released,
    Stopped,
    read,
)
from tests.support.federated import NOW, fact


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (
            fact("bounce", address="a@b.c", at=NOW + 0.9, provider="p"),
            Bounce("a@b.c", NOW, "5.1.1", 550, "smtp", "p"),
        ),
        (
            fact("soft", address="a@b.c", via="dsn"),
            Bounce("a@b.c", NOW, "4.2.2", 452, "dsn", soft=True),
        ),
        (fact("delivered", address="a@b.c"), Delivered("a@b.c", NOW)),
        (fact("override", address="a@b.c"), Delivered("a@b.c", NOW, mail=False)),
        (
            fact("complaint", address="a@b.c"),
            Complaint("a@b.c", NOW, "arf", "unknown"),
        ),
        (
            fact("blocked", sender="a@b.c", why="spam", until=NOW + 1, case="c"),
            Blocked("a@b.c", NOW, "spam", NOW + 1, "c"),
        ),
        (fact("released", case="c"), Released("c")),
        (
            fact("receiver", provider="p", code="4.7.1", n=3, **{"from": 1, "to": 2}),
            Receiver("p", "4.7.1", 3, 1, 2),
        ),
        (
            fact(
                "day",
                sent=1,
                hard=2,
                soft=3,
                complaints=4,
                suppressed=5,
                **{"from": 0, "to": 86400},
            ),
            Day(0, 1, 2, 3, 4, 5),
        ),
        (fact("stopped", address="a@b.c"), Stopped("a@b.c", NOW)),
    ],
)
def test_every_kind(raw, expected):
    assert read(raw) == expected


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"1",
        b"\xff",
        b"[" * 4000,
        b"{}",
        b'{"v":2,"kind":"released","case":"c"}',
        b'{"v":1,"kind":["released"],"case":"c"}',
        fact("nonsense"),
        fact("released"),
        fact("released", case=1),
        fact("released", case="c" * 5000),
        fact("bounce", address="a@b.c", via="pigeon"),
        fact("bounce", address=None),
        fact("delivered", address="a@b.c", at=-1),
        fact("delivered", address="a@b.c", at=1e300),
        fact("delivered", address="a@b.c", at=float("nan")),
        fact("delivered", address="a@b.c", at=True),
        fact("delivered", address="a@b.c", at="1"),
        fact("bounce", address="a@b.c", smtp=1000),
        fact("blocked", sender="a@b.c", why="envy", until=NOW, case="c"),
    ],
)
def test_what_is_no_fact_is_refused(raw):
    with pytest.raises(BadFactError) as refused:
        read(raw)
    assert "a@b.c" not in str(refused.value)


def test_long_and_deep_input_ends_quickly():
    with pytest.raises(BadFactError):
        read(json.dumps({"v": 1, "kind": "released", "case": "9" * 10**6}).encode())
