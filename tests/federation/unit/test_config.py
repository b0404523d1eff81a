"""The configuration: the file that is shipped, and what is wrong with others."""

import tomllib
from pathlib import Path

import pytest

from federation.config import ConfigError, Settings, load, sample, sections

ROOT = Path(__file__).parents[3]


@pytest.fixture
def read(tmp_path, monkeypatch):
    monkeypatch.delenv("MAILSHAPERFED_NODE__STATE_DIRECTORY", raising=False)

    def load_text(text):
        path = tmp_path / "federation.toml"
        path.write_text(text)
        return load(path)

    return load_text


def test_the_shipped_file_is_written_from_the_declarations():
    shipped = (ROOT / "conf" / "federation.toml").read_text()
    assert shipped == sample(), "python -m federation.config > conf/federation.toml"
    assert all(len(line) < 90 for line in shipped.splitlines())


def test_the_shipped_file_with_every_key_is_the_default(read):
    text = "\n".join(
        line[1:] if line.startswith("#") and not line.startswith("# ") else line
        for line in sample().splitlines()
    )
    assert read(text) == Settings()
    keys = {f"{s}.{k}" for s, section in tomllib.loads(text).items() for k in section}
    assert keys == {
        f"{s}.{k}" for s, kind in sections().items() for k in kind.model_fields
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[nodes]\n", ["'nodes'", "did you mean"]),
        ("[node]\nstate_dir = 'x'\n", ["node.state_dir", "node.state_directory"]),
        ("x = 1\n", ["outside a [section]"]),
        ("[server]\nlisten = '[::]:8641'\n", ["server.listen and server.url"]),
        ("[server]\nlisten = ':8641'\nurl = 'https://a'\n", ["server.listen", "IP"]),
        ("[server]\nurl = 'http://a.example'\n", ["server.url", "https"]),
        ("[server]\nurl = 'https://a.example/x'\n", ["server.url"]),
        ("[server]\nkey = '/k'\n", ["certificate"]),
        ("[decision]\nquorum = 1\n", ["decision.quorum"]),
        ("[decision]\ncaution = 200\n", ["suppress is not above"]),
        ("[decision]\ncanaries = ['nobody']\n", ["decision.canaries", "address"]),
        ("[redis]\nkey_prefix = 'a b'\n", ["redis.key_prefix"]),
        ("[log]\nlevel = 'loud'\n", ["log.level"]),
        ('[node]\nstate_directory = "a\\u0000b"\n', ["NUL"]),
        ("[node\n", ["not TOML"]),
    ],
)
def test_what_is_wrong_is_named_with_file_and_key(read, text, words):
    with pytest.raises(ConfigError) as told:
        read(text)
    for word in ["federation.toml", *words]:
        assert word in str(told.value)


def test_the_environment_wins_and_its_mistakes_are_named(read, monkeypatch):
    monkeypatch.setenv("MAILSHAPERFED_DECISION__QUORUM", "3")
    assert read("[decision]\nquorum = 2\n").decision.quorum == 3
    monkeypatch.setenv("MAILSHAPERFED_DECISION__QUORUM", "1")
    with pytest.raises(ConfigError, match="variable MAILSHAPERFED_DECISION__QUORUM"):
        read("")
    monkeypatch.delenv("MAILSHAPERFED_DECISION__QUORUM")
    monkeypatch.setenv("MAILSHAPERFED_DECISIONS__QUORUM", "3")
    with pytest.raises(ConfigError, match=r"did you mean 'decision\.quorum'"):
        read("")


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "none.toml")


def test_canaries_are_kept_in_their_canonical_form(read):
    found = read("[decision]\ncanaries = ['Trap@EXAMPLE.org']\n")
    assert found.decision.canaries == ["trap@example.org"]
