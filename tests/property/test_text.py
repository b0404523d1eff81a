"""Text from outside becomes harmless, whatever it is."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shaper.core.text import bland

anything = st.text(st.characters(codec=None), max_size=60)


@given(anything)
def test_nothing_dangerous_is_left(text):
    shown = bland(text)
    bad = {"Cc", "Cf", "Cs", "Zl", "Zp", "Co", "Cn"}
    assert not bad & {unicodedata.category(char) for char in shown}
    shown.encode()


@given(anything)
def test_a_second_call_changes_nothing(text):
    assert bland(bland(text)) == bland(text)


@given(st.text(st.characters(categories=["L", "N", "P", "S"], codec="utf-8")))
def test_ordinary_words_of_any_script_stay(text):
    hidden = {c for c in text if bland(c) != c}
    assert all(c in "\u115f\u1160\u3164\uffa0" for c in hidden)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2Jgone", r"\x1b[2Jgone"),
        ("a\r\nb\tc", r"a\r\nb\tc"),
        ("evil\u202egpj.exe", r"evil\u202egpj.exe"),
        ("caf\udce9", r"caf\udce9"),
        ("c1\x9b31m", r"c1\x9b31m"),
        ("\u2028", r"\u2028"),
        ("tag\U000e0041", r"tag\U000e0041"),
        ("zero\u200bwidth", r"zero\u200bwidth"),
        ("Grüße, 日本 😀", "Grüße, 日本 😀"),
    ],
)
def test_each_danger_is_shown_by_its_number(text, shown):
    assert bland(text) == shown
