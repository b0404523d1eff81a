"""Where a message ends, for every way of cutting it into chunks."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shaper.smtp.data import DataScanner

END = b"\r\n.\r\n"

# Octets that matter, so that interesting sequences are frequent.
wires = st.lists(
    st.sampled_from([b"\r", b"\n", b".", b"\0", b"a", b"\r\n", b"\r\n.\r\n", b"\n.\n"]),
    max_size=30,
).map(b"".join)
cuts = st.lists(st.integers(0, 80), max_size=12)

FORMS = [
    b"\n.\n",
    b"\n.\r",
    b"\r.\n",
    b"\r.\r",
    b"\n.\r\n",
    b"\r.\r\n",
    b"\r\n.\r\r\n",
    b"\r\r\n.\r\r\n",
    b"\r\n\0.\r\n",
    b"\r\n.\n",
    b"\r\n.\r",
    b"\r\n.\0\r\n",
    b"\r\0\n.\r\n",
]


def scan(data, borders=(), max_line=10_000):
    scanner = DataScanner(max_line)
    pieces = []
    edges = sorted({0, len(data), *(b for b in borders if b < len(data))})
    for start, end in itertools.pairwise(edges):
        if scanner.done:
            scanner.rest += data[start:end]
        else:
            pieces.append(scanner.feed(data[start:end]))
    return scanner, pieces


def reference(data):
    """Return (content, rest) by the letter of RFC 5321 4.1.1.4, else None."""
    at = (b"\r\n" + data).find(END)
    return None if at < 0 else (data[:at], data[at + 3 :])


def misleading(content):
    """Whether a lone dot lies between line ends of any kind, octet by octet."""
    whole = b"\r\n" + content + b".\r\n"
    edges = b"\r\n\0"
    return any(
        whole[i] == ord(".") and whole[i - 1] in edges and whole[i + 1] in edges
        for i in range(1, len(whole) - 3)
    )


@given(wires, cuts)
def test_only_the_strict_end_ends_and_misleading_dots_are_faults(data, borders):
    data += END
    scanner, pieces = scan(data, borders)
    content, rest = reference(data)
    assert scanner.done
    assert scanner.rest == rest
    assert bool(scanner.fault) == misleading(content)
    assert scanner.size == len(content)
    if not scanner.fault:
        assert b"".join(pieces) == content


@given(wires, cuts)
def test_nothing_misleading_leaves_in_parts(data, borders):
    _, pieces = scan(data, borders)
    sent = b"\r\n" + b"".join(pieces)
    for form in FORMS:
        assert form not in sent
    assert END not in sent


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("border", range(20))
def test_each_known_smuggling_form_is_a_fault_and_no_end(form, border):
    scanner, _ = scan(b"before" + form + b"after" + END, [border])
    assert scanner.done
    assert scanner.fault.startswith("5.5.2")
    assert scanner.rest == b""


def test_stuffed_dots_and_bare_line_ends_pass():
    content = b"..\r\n.x\r\na\nb\rc\r\n..\r\n...\r\n. \r\n"
    for border in range(len(content)):
        scanner, pieces = scan(content + b".\r\n", [border])
        assert (scanner.done, scanner.fault) == (True, "")
        assert b"".join(pieces) == content


def test_an_empty_message_ends_at_once():
    scanner, pieces = scan(b".\r\nQUIT\r\n")
    assert (scanner.done, scanner.rest, b"".join(pieces)) == (True, b"QUIT\r\n", b"")


def test_a_dot_at_the_very_start_before_a_bare_line_feed_is_a_fault():
    assert scan(b".\nx" + END)[0].fault


@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=6),
    st.lists(st.integers(0, 200), max_size=8),
)
def test_a_line_is_too_long_wherever_the_chunks_end(lengths, borders):
    data = b"".join(b"x" * n + b"\r\n" for n in lengths) + b".\r\n"
    scanner, _ = scan(data, borders, max_line=20)
    assert bool(scanner.fault) == any(n + 2 > 20 for n in lengths)
