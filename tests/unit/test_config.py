"""The configuration: its sample is true, its errors name file, key and reason."""

import os
import re
from pathlib import Path

import pytest

from shaper.config import ConfigError, Settings, changed, load, sample

SAMPLE = Path(__file__).parents[2] / "conf" / "mailshaper.toml"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    for name in list(os.environ):
        if name.startswith("MAILSHAPER_"):
            monkeypatch.delenv(name)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "mailshaper.toml"


def test_the_committed_sample_is_what_the_code_says():
    assert SAMPLE.read_text() == sample()


def test_the_sample_uncommented_gives_the_defaults(file):
    file.write_text(re.sub(r"^#(\w+ = )", r"\1", sample(), flags=re.MULTILINE))
    assert "\n#instance" not in file.read_text()
    assert load(file) == load(None)


def test_every_key_is_explained():
    for name, field in Settings.model_fields.items():
        for key, item in field.annotation.model_fields.items():
            assert item.description, f"{name}.{key}"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[hop]\nlisten_ = 1", "no key 'hop.listen_'; did you mean 'hop.listen'?"),
        ("[hopp]\nlisten = 1", "did you mean 'hop"),
        ("listen = 1", "'listen' stands outside a [section]; did you mean"),
        ('[hop]\nnext_hop = "127.0.0.1:10025"', "in circles"),
        ('[hop]\nnext_hop = "127.0.0.1"', "hop.next_hop: write host:port"),
        ("[states]\nblock_at = 99", "states.block_at"),
        ('[trickle]\ninterval = "fast"', "trickle.interval"),
        ("[trickle]\ninterval = nan", "trickle.interval"),
        ("[trickle]\ninterval = 7200.0", "longest_interval is below"),
        ("[trickle]\nretry_first = 9000.0", "retry_longest is below"),
        ("[spool]\nmax_bytes = 1000", "spool.max_bytes is below"),
        ('[hop]\nallow = ["everybody"]', "hop.allow"),
        ('[notify]\nmail_to = ["a b@c"]', "plain mail address"),
        ('[notify]\nlanguage = "de"', "notify.language"),
        ("[hop", "not TOML"),
        ("\x00", "not TOML"),
    ],
)
def test_errors_name_file_key_and_reason(file, text, says):
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert str(file) in str(caught.value)
    assert says in str(caught.value)


def test_bytes_that_are_no_text_are_an_error(file):
    file.write_bytes(b"[hop]\nx = '\xff'")
    with pytest.raises(ConfigError, match="not TOML"):
        load(file)


def test_a_missing_file_is_an_error(file):
    with pytest.raises(ConfigError, match="cannot be read"):
        load(file)


def test_fragments_are_read_after_the_file_in_order(file, tmp_path):
    file.write_text("[trickle]\ninterval = 10.0\nconcurrency = 3")
    fragments = tmp_path / "conf.d"
    fragments.mkdir()
    (fragments / "20.toml").write_text("[trickle]\ninterval = 30.0")
    (fragments / "10.toml").write_text("[trickle]\ninterval = 20.0")
    settings = load(file)
    assert (settings.trickle.interval, settings.trickle.concurrency) == (30.0, 3)
    (fragments / "30.toml").write_text("[trickle]\nintervall = 30.0")
    with pytest.raises(ConfigError, match=r"30\.toml: there is no key"):
        load(file)


def test_the_environment_wins(file, monkeypatch):
    file.write_text("[trickle]\ninterval = 10.0\nconcurrency = 3")
    monkeypatch.setenv("MAILSHAPER_TRICKLE__INTERVAL", "40")
    settings = load(file)
    assert (settings.trickle.interval, settings.trickle.concurrency) == (40.0, 3)
    monkeypatch.setenv("MAILSHAPER_TRICKLE__INTERVAL", "fast")
    with pytest.raises(ConfigError, match="variable MAILSHAPER_TRICKLE__INTERVAL"):
        load(file)


def test_a_reload_knows_what_it_can_apply(file):
    old = load(None)
    file.write_text(
        "[daemon]\nenforce = false\n[trickle]\ninterval = 10.0\n"
        '[hop]\nlisten = ["127.0.0.1:25"]'
    )
    applied, restart = changed(old, load(file))
    assert applied == ["daemon.enforce", "trickle.interval"]
    assert restart == ["hop.listen"]
