"""What a tab key offers is safe to take, and fits into what bash has cut."""

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shaper.cli.completion import joined, offered


@pytest.mark.parametrize(
    ("pieces", "words", "kept"),
    [
        (["mailshaper", "show", "lo"], ["mailshaper", "show", "lo"], ""),
        (["m", "show", "login", ":"], ["m", "show", "login:"], "login:"),
        (["m", "show", "login", ":", "b"], ["m", "show", "login:b"], "login:"),
        (["m", "login", ":", "a", "@", "e"], ["m", "login:a@e"], "login:a"),
        (["m", "login", ":", "a", "@"], ["m", "login:a@"], "login:a"),
        (["m", "--sender", "=", "lo"], ["m", "--sender=lo"], "--sender="),
        (["m", "login", ":", "bob", "--rea"], ["m", "login:bob", "--rea"], ""),
        (["m", "show", ""], ["m", "show", ""], ""),
        (["m", "login", ":@", "x", ""], ["m", "login:@x", ""], ""),
    ],
)
def test_the_pieces_of_a_word_are_joined(pieces, words, kept):
    assert joined(pieces) == (words, kept)


@pytest.mark.parametrize(
    "name",
    [
        "from:`reboot`@example.org",
        "from:$(reboot)@example.org",
        "login:a b",
        "login:a\nb",
        "login:a\x1b[2J",
        "login:evil\u202egpj",
        "login:a;b",
        "login:a'b",
        "from:caf\udce9@example.org",
        "from:\ud800@example.org",
    ],
)
def test_a_name_that_a_shell_would_read_is_not_offered(name):
    assert offered([name, "login:alice@example.org"], "") == ["login:alice@example.org"]


@given(st.text(st.characters(exclude_characters="\0"), max_size=20))
def test_what_is_offered_is_one_word_that_a_shell_leaves_alone(text):
    for name in offered([text], ""):
        done = subprocess.run(
            ["bash", "-c", f"printf %s {name}"], capture_output=True, check=True
        )
        assert done.stdout.decode() == text
