"""Times, rates, quoting and cutting as the command line does them."""

import subprocess
import time
from importlib.metadata import version

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shaper.cli.app import run
from shaper.cli.client import socket_path
from shaper.cli.failure import CliError
from shaper.cli.output import shell, shorten
from shaper.cli.times import age, moment, rate, size


@pytest.mark.parametrize(
    ("text", "seconds"), [("30m", 1800), ("2h", 7200), ("7d", 604800), ("now", 0)]
)
def test_a_duration_is_from_now(text, seconds):
    assert moment(text, "--until") == pytest.approx(time.time() + seconds, abs=5)


def test_a_duration_may_look_back():
    assert moment("2h", "--since", past=True) == pytest.approx(
        time.time() - 7200, abs=5
    )


def test_iso_dates_are_read_with_their_zone():
    assert moment("2026-03-03T10:00:00+01:00", "--to") == 1772528400
    assert moment("2026-03-03T09:00:00Z", "--to") == 1772528400


def test_a_date_without_zone_is_local(monkeypatch):
    monkeypatch.setenv("TZ", "UTC-1")  # POSIX: an hour east of Greenwich
    time.tzset()
    try:
        assert moment("2026-03-03T10:00", "--to") == 1772528400
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    "text", ["", "soon", "5", "2x", "-2h", "9" * 30 + "d", "9999999w"]
)
def test_no_time_is_refused_with_an_example(text):
    with pytest.raises(CliError) as caught:
        moment(text, "--until")
    assert caught.value.code == 64
    assert "--until" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "per_minute"),
    [("20/m", 20), ("90/h", 1.5), ("1/s", 60), ("5", 5), ("", 0)],
)
def test_rates_are_messages_a_minute(text, per_minute):
    assert rate(text) == per_minute


@pytest.mark.parametrize("text", ["0/m", "fast", "20/y", "-1/m", "nan", "1e9"])
def test_no_rate_is_refused(text):
    with pytest.raises(CliError):
        rate(text)


def test_ages_and_sizes_are_short():
    assert [age(5), age(3700), age(200000)] == ["5s", "1h 1m", "2d 7h"]
    assert [size(999), size(20_500_000)] == ["999 B", "20.5 MB"]


words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


@given(st.lists(words, min_size=5, max_size=5))
@example(["\u1680", "a\u2003b", "", "'", "$x"])
def test_a_shell_reads_back_what_was_quoted(texts):
    line = "printf '%s\\0' " + " ".join(map(shell, texts))
    done = subprocess.run(["bash", "-c", line], capture_output=True, check=True)
    assert done.stdout.decode().split("\0")[:-1] == texts
    assert line.isprintable()


def test_octets_that_are_no_text_are_quoted_too():
    quoted = shell("from:caf\udce9@example.org")
    assert quoted == r"$'from:caf\351@example.org'"


@given(words, st.integers(1, 30))
def test_shortened_text_fits(text, cells):
    assert len(shorten(text, cells)) <= cells


def test_wide_letters_count_twice():
    assert shorten("日本語日本語", 5) == "日本…"


def test_the_socket_is_found_in_this_order(tmp_path, monkeypatch):
    monkeypatch.delenv("MAILSHAPER_SOCKET", raising=False)
    monkeypatch.delenv("MAILSHAPER_CONFIG", raising=False)
    config = tmp_path / "mailshaper.toml"
    config.write_text('[daemon]\nruntime_directory = "/run/two"\n')
    assert str(socket_path("", str(config))) == "/run/two/admin.sock"
    config.write_text('[admin]\nsocket = "/run/one.sock"\n')
    assert str(socket_path("", str(config))) == "/run/one.sock"
    monkeypatch.setenv("MAILSHAPER_CONFIG", str(config))
    assert str(socket_path("", "")) == "/run/one.sock"
    fragments = tmp_path / "conf.d"
    fragments.mkdir()
    (fragments / "10-admin.toml").write_text('[admin]\nsocket = "/run/later.sock"\n')
    assert str(socket_path("", "")) == "/run/later.sock"
    monkeypatch.setenv("MAILSHAPER_SOCKET", "/run/env.sock")
    assert str(socket_path("", "")) == "/run/env.sock"
    assert str(socket_path("/run/given.sock", "")) == "/run/given.sock"


def test_a_broken_configuration_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv("MAILSHAPER_SOCKET", raising=False)
    config = tmp_path / "broken.toml"
    config.write_bytes(b"[admin\nsocket=\xff")
    with pytest.raises(CliError) as caught:
        socket_path("", str(config))
    assert caught.value.code == 78
    assert "broken.toml" in str(caught.value)


def test_the_version_is_told(capsys):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"mailshaper {version('mailshaper')}\n"
