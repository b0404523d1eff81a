"""The configuration: its sample is true, its errors name file, key and reason."""

import os
import re
from pathlib import Path

import pytest

from shaper.config import ConfigError, Settings, changed, load, sections
from shaper.config_sample import sample
from shaper.settings import Relay

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


@pytest.mark.parametrize(
    "name", ["postfix/bounces.transport", "exim/bounces-transport.conf"]
)
def test_the_address_that_the_bounce_files_name_is_free_beside_the_defaults(file, name):
    text = (SAMPLE.parent / name).read_text()
    (line,) = re.findall(r"lmtp = \[.*?\]", text)
    file.write_text(f"[feedback]\n{line}\n")
    assert load(file).feedback.lmtp


def test_the_sample_uncommented_gives_the_defaults(file):
    file.write_text(re.sub(r"^#(\w+ = )", r"\1", sample(), flags=re.MULTILINE))
    assert "\n#instance" not in file.read_text()
    assert load(file) == load(None)


def test_every_key_is_explained():
    for name, kind in (sections() | {"relays": Relay}).items():
        for key, item in kind.model_fields.items():
            assert item.description, f"{name}.{key}"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[hop]\nlisten_ = 1", "no key 'hop.listen_'; did you mean 'hop.listen'?"),
        ("[hopp]\nlisten = 1", "did you mean 'hop"),
        ("listen = 1", "'listen' stands outside a [section]; did you mean"),
        ('[hop]\nnext_hop = "127.0.0.1:10025"', "in circles"),
        ('[hop]\nlisten = ["0.0.0.0:10026"]', "in circles"),
        ('[hop]\nlisten = ["[::]:10026"]', "in circles"),
        ('[hop]\nlisten = ["/run/x"]\nnext_hop = "/run/x"', "in circles"),
        ('[hop]\nnext_hop = "127.0.0.1"', "hop.next_hop: write host:port"),
        ('[hop]\nlisten = ["127.0.0.1:10027"]', "policy.listen and hop.listen both"),
        ('[metrics]\nlisten = "0.0.0.0:10025"', "metrics.listen and hop.listen both"),
        ('[hop]\nallow = ["0.0.0.0/0"]', "this is everybody"),
        ('[hop]\nxclient = ["::/0"]', "this is everybody"),
        ('[hop]\nnext_hop_user = "u"', "go together"),
        (
            """
            [hop]
            next_hop = "mx.example:587"
            next_hop_user = "u"
            next_hop_password_file = "/p"
            """,
            "only over TLS",
        ),
        ("[states]\nblock_at = 99", "states.block_at"),
        ('[trickle]\ninterval = "fast"', "trickle.interval"),
        ("[trickle]\ninterval = nan", "trickle.interval"),
        ("[trickle]\ninterval = 7200.0", "longest_interval is below"),
        ("[trickle]\nretry_first = 9000.0", "retry_longest is below"),
        ("[spool]\nmax_bytes = 1000", "spool.max_bytes is below"),
        ('[hop]\nallow = ["everybody"]', "hop.allow"),
        ('[notify]\nmail_to = ["a b@c"]', "plain mail address"),
        ('[notify]\nmail_to = ["root@"]', "plain mail address"),
        ('[notify]\nmail_to = ["a@b@c"]', "plain mail address"),
        ('[notify]\nlanguage = "de"', "notify.language"),
        ("[hop", "not TOML"),
        ("[hop]\nx = 1\n[hop]\ny = 1", "a file of its own in conf.d/"),
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


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("MAILSHAPER_HOP__LISTEN", "127.0.0.1:25", 'such as ["127.0.0.1:10025"]'),
        ("MAILSHAPER_HOP__LISTEN", "", "write a list"),
        ("MAILSHAPER_NOTIFY__MAIL_TO", '"a@example.org"', "write a list"),
        ("MAILSHAPER_HOPP__LISTEN", "[]", "did you mean 'hop.listen'?"),
        ("MAILSHAPER_HOP__LISTN", "[]", "did you mean 'hop.listen'?"),
        ("MAILSHAPER_HOP__", "x", "there is no key"),
        ("mailshaper_trickle__intervall", "3", "did you mean 'trickle.interval'?"),
        ("MAILSHAPER_HOP", "x", "environment"),
    ],
)
def test_a_wrong_variable_is_named_not_overlooked(monkeypatch, name, value, says):
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as caught:
        load(None)
    assert says in str(caught.value)
    assert name in str(caught.value) or name == "MAILSHAPER_HOP"


def test_variables_of_others_are_left_alone(monkeypatch):
    # Kubernetes sets such for a service of that name; the CLI has its own two.
    monkeypatch.setenv("MAILSHAPER_PORT", "tcp://192.0.2.1:25")
    monkeypatch.setenv("MAILSHAPER_SOCKET", "/run/x")
    assert load(None) == Settings()


def test_addresses_that_do_not_meet_are_fine(file):
    file.write_text(
        '[hop]\nlisten = ["0.0.0.0:10025", "127.0.0.1:0", "127.0.0.1:0"]\n'
        'next_hop = "mx.example.org:10025"\n'
        'next_hop_tls = "starttls"\nnext_hop_user = "u"\n'
        'next_hop_password_file = "/etc/mailshaper/password"\n'
        '[metrics]\nlisten = ""'
    )
    assert load(file).hop.next_hop == "mx.example.org:10025"
