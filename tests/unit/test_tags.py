"""The shaper computes the federation's tags by itself: both must agree."""

import contextlib
from base64 import urlsafe_b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.format import tags as theirs
from shaper.engine import tags as ours

PEPPER = bytes(range(32))

parts = st.sampled_from(
    [*'aA.@"\\ é[]1-_+ßK\x00', "e\u0301", "xn--", "example", ".org", "\ud800", "日本"]
)
texts = st.one_of(st.lists(parts, max_size=12).map("".join), st.text(max_size=20))


def expected(address):
    with contextlib.suppress(theirs.NotShareable):
        return theirs.canon(address)
    return ""


@given(texts, texts)
def test_both_canonical_forms_are_one(local, domain):
    address = f"{local}@{domain}"
    assert ours.canon(address) == expected(address)
    assert ours.canon(local) == expected(local)


@pytest.mark.parametrize("address", ["a" * 300 + "@x.org", "Bob@EXAMPLE.org.", "x"])
def test_edges(address):
    assert ours.canon(address) == expected(address)


def test_tags_are_those_of_the_federation():
    pepper = theirs.Pepper(PEPPER)
    for address in ("Bob@Example.ORG", '"a b"@x.example', "bücher@bücher.example"):
        (ours_r,) = ours.tags([PEPPER], address)
        (ours_s,) = ours.tags([PEPPER], address, sender=True)
        assert urlsafe_b64decode(ours_r + "==") == pepper.recipient(address)
        assert urlsafe_b64decode(ours_s + "==") == pepper.sender(address)
        assert ours_r != ours_s
    assert ours.tags([PEPPER], "nobody") == []
