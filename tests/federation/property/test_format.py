"""Whatever arrives, the answer is a value or Refused; what is accepted is exact."""

import json
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from federation.format.errors import Refused
from federation.format.event import Stub, authentic, parse
from federation.format.kinds import KINDS, defect
from federation.format.profile import DEEPEST, LARGEST, b64, decode, encode, unb64
from federation.format.tags import NotShareable, canon
from tools.federation_vectors._bodies import GOOD, stream
from tools.federation_vectors.event import HEAD, WORKED, signed, text

LINE = WORKED.encode()

keys = st.from_regex(re.compile(r"[a-z][a-z0-9_]{0,15}", re.ASCII), fullmatch=True)
texts = st.text(
    st.characters(codec="ascii", min_codepoint=0x20, max_codepoint=0x7E).filter(
        lambda char: char not in '"\\'
    ),
    max_size=12,
)
scalars = st.booleans() | st.integers(0, LARGEST) | texts


def containers(depth):
    """Return objects of at most ``depth`` containers inside each other."""
    inner = scalars
    for _ in range(depth - 1):
        inner = (
            scalars
            | st.lists(inner, min_size=1, max_size=3)
            | st.dictionaries(keys, inner, min_size=1, max_size=3)
        )
    return st.dictionaries(keys, inner, min_size=1, max_size=4)


# What JSON libraries accept, and more: floats, null, odd keys, any depth.
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(keys | st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)
jsonish = st.lists(
    st.sampled_from(
        [
            b"{",
            b"}",
            b"[",
            b"]",
            b'"',
            b":",
            b",",
            b'"a"',
            b"1",
            b"9" * 20,
            b"true",
            b"null",
            b"NaN",
            b"-",
            b".",
            b"e",
            b"\\",
            b" ",
            b"\n",
            b"\xff",
            b'{"a":',
        ]
    ),
    max_size=40,
).map(b"".join)


def code_of(read, *arguments):
    """Return "ok" and what was read, or the code of the refusal and None."""
    try:
        return "ok", read(*arguments)
    except Refused as refusal:
        return refusal.code, None


def accepted(data):
    code, value = code_of(decode, data)
    assert code in {"ok", "bad-form"}
    return value


@given(st.binary(max_size=300) | jsonish)
@example(b"[" * 100_000)
@example(b'{"a":' * 100_000)
@example(b'{"a":' + b"9" * 100_000 + b"}")
@example(b'{"a":1' + b"}" * 100_000)
def test_bytes_are_a_value_or_refused(data):
    value = accepted(data)
    assert value is None or encode(value) == data


@given(containers(DEEPEST))
def test_a_value_comes_back_with_its_types(value):
    data = encode(value)
    assert data == json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    assert repr(sorted_deep(decode(data))) == repr(sorted_deep(value))


def sorted_deep(value):
    if isinstance(value, dict):
        return {key: sorted_deep(value[key]) for key in sorted(value)}
    return list(map(sorted_deep, value)) if isinstance(value, list) else value


@given(containers(DEEPEST), st.data())
def test_no_other_text_of_the_value_is_accepted(value, data):
    text = data.draw(
        st.sampled_from(
            [
                json.dumps(value),
                json.dumps(value, indent=1),
                json.dumps(value, sort_keys=True) + " ",
                json.dumps(dict(reversed(value.items())), separators=(",", ":")),
            ]
        )
    ).encode()
    assert text == encode(value) or accepted(text) is None


@given(anything)
def test_what_json_has_and_the_profile_has_not_is_refused(value):
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    try:
        assert encode(value) == canonical
    except Refused:
        assert accepted(canonical) is None


@given(containers(DEEPEST), st.integers(0, 400), st.binary(max_size=3))
def test_a_damaged_text_is_another_value_or_refused(value, place, patch):
    data = encode(value)
    place %= len(data)
    damaged = data[:place] + patch + data[place + 1 :]
    if damaged != data:
        other = accepted(damaged)
        assert other is None or repr(other) != repr(decode(data))


@given(st.text(max_size=50), st.none() | st.integers(0, 40))
def test_base64url_has_one_spelling(text, length):
    try:
        data = unb64(text, length)
    except Refused:
        return
    assert b64(data) == text
    assert length in {None, len(data)}


@given(st.binary(max_size=80))
def test_bytes_come_back_from_base64url(data):
    assert unb64(b64(data), len(data)) == data


@given(
    st.lists(
        st.tuples(st.integers(0, len(LINE)), st.integers(0, 6), st.binary(max_size=6)),
        min_size=1,
        max_size=4,
    )
)
def test_a_damaged_line_is_refused_or_not_authentic(damages):
    line = LINE
    for place, cut, patch in damages:
        line = line[:place] + patch + line[place + cut :]
    try:
        event = parse(line, "test")
    except Refused:
        return
    assert event.line == line
    assert line == LINE or not authentic(event)


@given(st.binary(max_size=200))
def test_any_bytes_are_an_event_a_stub_or_refused(line):
    for code, found in (code_of(parse, line, "test"), code_of(Stub.parse, line)):
        assert code in {"ok", "bad-form", "too-long"}
        assert found is None or found.line == line


@pytest.mark.parametrize("field", sorted(HEAD))
@given(st.data())
def test_any_value_in_a_header_is_read_or_refused(field, data):
    value = data.draw(scalars | st.lists(scalars, min_size=1, max_size=2))
    line = signed(text({**HEAD, field: value}))
    code, event = code_of(parse, line, "test")
    assert code in {"ok", "bad-form", "wrong-net"}
    assert event is None or event.line == line


@pytest.mark.parametrize("kind", sorted(KINDS))
@given(st.data())
def test_any_value_in_a_body_has_weight_or_not(kind, data):
    body = dict(data.draw(st.sampled_from(GOOD[kind])))
    field = data.draw(st.sampled_from(sorted(body)))
    known = st.sampled_from([value for one in GOOD[kind] for value in one.values()])
    body[field] = data.draw(scalars | st.lists(scalars, min_size=1) | known)
    line = signed(text({**HEAD, "k": kind, "st": stream(kind), "b": body}))
    if len(line) <= 2048 or kind == "proof.fork":
        assert isinstance(defect(parse(line, "test")), str)


ADDRESSES = st.builds(
    "{}@{}".format,
    st.text(st.sampled_from('aAhH.+"\\ üÜ\u0308\u0331\u212aßé@'), max_size=8),
    st.sampled_from(["example.org", "EXAMPLE.org.", "bücher.example"])
    | st.text(max_size=8),
)


@given(ADDRESSES | st.text(max_size=40))
@example("a@" + "\u00ad" * 100_000 + "b.org")
@example("a@" + "ü" * 100_000 + ".org")
@example('"' + "\\a" * 100_000 + '"@b.org')
@example("a." * 100_000 + "@b.org")
@example("a@" + "b." * 100_000)
def test_an_address_has_one_form_or_none(address):
    try:
        form = canon(address)
    except NotShareable:
        return
    assert canon(form) == form
    assert len(form.encode()) <= 254
    local, _, domain = address.rpartition("@")
    assert canon(f"{local.swapcase() if local.isascii() else local}@{domain}") == form
