"""The filter grammar against a naive oracle, and against nonsense."""

import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shaper.core.envelope import Client, Envelope, Recipient
from shaper.core.filter import FIELDS, FilterError, parse
from shaper.core.message import HeldMessage, Submission

NOW = 1_000_000.0


def message(**over):
    values = {
        "sender": "login:alice@example.org",
        "subject": "Win a (big) prize",
        "rcpts": ("bob@example.net", "eve@Example.COM"),
        "size": 2048,
        "age": 7200.0,
    } | over
    envelope = Envelope(
        "alice@example.org", tuple(Recipient(r) for r in values["rcpts"])
    )
    submission = Submission(
        "id-1",
        values["sender"],
        envelope,
        Client(address="192.0.2.1"),
        NOW - values["age"],
        values["subject"],
        "<m@example.org>",
    )
    return HeldMessage(submission, values["size"], case="c1", attempts=2)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sender=login:alice@example.org", True),
        ("SENDER=LOGIN:ALICE@example.org", True),
        ("sender=alice", False),
        ("sender=*alice*", True),
        ("rcpt-domain=example.com", True),
        ("rcpt-domain!=example.com", False),
        ("rcpt=bob@*", True),
        ('subject~"(big)"', True),
        ("subject!~prize", False),
        ("age>2h", False),
        ("age>=2h", True),
        ("age<3h", True),
        ("size>1k size<3k", True),
        ("size=2k", True),
        ("recipients=2", True),
        ("attempts>=3", False),
        ("id=id-1 case=c1 client=192.0.2.1", True),
        ("not id=id-1", False),
        ("not not id=id-1", True),
        ("id=x or id=id-1", True),
        ("id=x or id=id-1 and size>9M", False),
        ("(id=x or id=id-1) size>1k", True),
        ("not (id=x or id=id-1)", False),
        ("not(id=x)", True),
        ("id=x OR NOT id=y", True),
    ],
)
def test_examples(text, expected):
    assert parse(text).matches(message(), NOW) is expected


@pytest.mark.parametrize(
    ("text", "position", "says"),
    [
        ("", 0, "empty"),
        ("   ", 0, "empty"),
        ("alice", 0, "looks like"),
        ("colour=red", 0, "there are id"),
        ("id=1 subject>3", 5, "is text"),
        ("size~3", 0, "is a number"),
        ("size>3x", 5, "units"),
        ("age>two", 4, "units"),
        ("(id=1", 5, "closing"),
        ("id=1)", 4, "does not belong"),
        ("id=1 or", 7, "missing"),
        ("not", 3, "missing"),
        ('id="open', 0, "looks like"),
        ("(" * 30 + "id=1" + ")" * 30, 20, "too many"),
    ],
)
def test_errors_name_the_place_and_the_way_out(text, position, says):
    with pytest.raises(FilterError, match=says) as caught:
        parse(text)
    assert caught.value.position == position


@given(st.text(max_size=60))
def test_nonsense_raises_filter_error_or_works(text):
    try:
        found = parse(text)
    except FilterError:
        return
    assert found.matches(message(), NOW) in {True, False}


@given(
    pattern=st.text("ab*", min_size=1, max_size=12), value=st.text("ab", max_size=12)
)
def test_the_star_agrees_with_fnmatch(pattern, value):
    found = parse(f'subject="{pattern}"').matches(message(subject=value), NOW)
    assert found == fnmatch.fnmatchcase(value, pattern)


terms = st.sampled_from(
    ["id=id-1", "id=x", "size>1k", "size>9M", "subject~prize", "age<1s"]
)
trees = st.recursive(
    terms,
    lambda inner: st.one_of(
        st.tuples(st.just("not"), inner),
        st.tuples(st.just("and"), inner, inner),
        st.tuples(st.just("or"), inner, inner),
    ),
    max_leaves=8,
)


def render(tree):
    if isinstance(tree, str):
        return tree
    if tree[0] == "not":
        return f"not ({render(tree[1])})"
    return f"({render(tree[1])}) {tree[0]} ({render(tree[2])})"


def oracle(tree):
    if isinstance(tree, str):
        return tree in {"id=id-1", "size>1k", "subject~prize"}
    values = [oracle(part) for part in tree[1:]]
    if tree[0] == "not":
        return not values[0]
    return all(values) if tree[0] == "and" else any(values)


@given(trees)
def test_nested_terms_agree_with_the_oracle(tree):
    assert parse(render(tree)).matches(message(), NOW) is oracle(tree)


def test_every_field_can_be_asked():
    for field in FIELDS:
        assert parse(f"{field}=1").matches(message(), NOW) in {True, False}
