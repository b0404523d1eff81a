"""Whom a From field names, also where it has to be repaired."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shaper.core.author import author_domains


@pytest.mark.parametrize(
    ("values", "domains"),
    [
        (["Ada <ada@A.example>"], ["a.example"]),
        (["Ada J. Doe <ada@a.example>, b@b.example"], ["a.example", "b.example"]),
        (["club: ada@a.example, x@b.example;"], ["a.example", "b.example"]),
        (["=?utf-8?q?=3Cx=40b.example=3E?= <ada@a.example>"], ["a.example"]),
        (["Zoé <zoe@bücher.example>"], ["bücher.example"]),
        # Repaired: whoever might be meant.
        (["Doe, Ada <ada@a.example>"], ["a.example"]),
        (["x@b.example <ada@a.example>"], ["b.example", "a.example"]),
        (["<@b.example:ada@a.example>"], ["b.example", "a.example"]),
        (["(" * 3000 + " ada@a.example"], ["a.example"]),
        # Nobody.
        ([], []),
        (["a@a.example", "a@a.example"], []),
        (["undisclosed:;"], []),
        (["a@a.example" + " " * 5000], []),
    ],
)
def test_every_author_that_may_be_meant(values, domains):
    assert author_domains(values) == domains


@example(" .;")  # a TypeError of the standard library's parser
@example("=@[ ")  # and an UnboundLocalError
@given(st.text(alphabet='a@.<>,;:()"\\ =?é', max_size=60))
def test_nothing_breaks_it(text):
    for domain in author_domains([text]):
        assert domain == domain.lower()
