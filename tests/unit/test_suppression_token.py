"""Links: signed, ending, naming nobody."""

from shaper.core.suppression import digest
from shaper.core.token import derive, read, sign

KEY = derive(b"k" * 32)
NAME = digest("bob@example.net")
T = 1_800_000_000.0


def test_a_token_names_its_digest_until_it_ends():
    token = sign(KEY, NAME, T)
    assert read(KEY, token, T - 1) == NAME
    assert read(KEY, token, T) is None
    assert "bob" not in token
    assert len(token) == 48


def test_no_other_key_and_no_changed_octet_passes():
    token = sign(KEY, NAME, T)
    assert read(derive(b"j" * 32), token, 0) is None
    for at in range(len(token)):
        for char in "Aq":
            changed = token[:at] + char + token[at + 1 :]
            assert changed == token or read(KEY, changed, 0) is None


def test_nonsense_is_no_token():
    for text in ("", "x", "é" * 48, "=" * 48, "A" * 47, "A" * 49, "\x00" * 48):
        assert read(KEY, text, 0) is None
