"""What is shown agrees with the documents: commands, events, metrics, unit, pages."""

import io
import json
import logging
import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import typer
from hypothesis import given
from hypothesis import strategies as st

from federation import declared, journal
from federation.cli import app
from federation.cli.output import shorten, table
from federation.metrics import Figures
from tools.federation_page import page

ROOT = Path(__file__).parents[3]
CLI = (ROOT / "docs" / "federation-cli.md").read_text()


def commands(command, path=()):
    for name, part in getattr(command, "commands", {}).items():
        yield " ".join((*path, name)), part
        yield from commands(part, (*path, name))


def test_every_command_and_option_is_on_the_page():
    names = dict(commands(typer.main.get_command(app)))
    assert len(names) > 25
    for name, command in names.items():
        assert f"`{name}" in CLI, name
        for option in command.params:
            for word in option.opts:
                assert not word.startswith("--") or word in CLI, (name, word)


def test_the_page_names_no_command_that_does_not_exist():
    names = dict(commands(typer.main.get_command(app)))
    rows = re.findall(r"^\| `([a-z-]+)", CLI, re.MULTILINE)
    assert set(rows) <= {name.split()[0] for name in names}


def test_every_help_fits_a_terminal():
    for name, command in commands(typer.main.get_command(app)):
        text = command.get_help(typer.Context(command, info_name=name))
        assert max(map(len, text.splitlines())) <= 80, name


def test_the_command_is_found_by_its_entry_point():
    (found,) = entry_points(group="mailshaper.commands", name="federation")
    assert found.value == "federation.cli:app"
    (script,) = entry_points(group="console_scripts", name="mailshaper-federation")
    assert script.value == "federation.cli:main"


def test_the_command_line_begins_without_what_only_the_daemon_needs():
    program = (
        "import sys; from federation.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print(sorted({'aiohttp', 'nacl', 'redis', 'numpy', 'shaper', 'sqlite3'}"
        " & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "--help"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert done.stdout.splitlines()[-1] in {"[]", "['sqlite3']"}


def shaper(*words):
    program = (
        "import sys; from shaper.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print('federation.cli' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return done.stdout


def test_the_shaper_lists_the_command_and_loads_it_only_then():
    assert re.search(r"^ +federation +Exchange", shaper("--help"), re.MULTILINE)
    assert shaper("--socket", "/nowhere", "status").endswith("False\n")
    assert "--quiet" in shaper("federation", "lookup", "--help")


def test_monitoring_page_is_written_from_the_declarations():
    written = (ROOT / "docs" / "federation-monitoring.md").read_text()
    assert written == page(), "python -m tools.federation_page"


def test_events_have_unique_names_and_each_is_written_somewhere():
    names = [event.name for event in journal.EVENTS]
    assert len(names) == len(set(names))
    sources = "".join(
        path.read_text()
        for path in (ROOT / "federation").rglob("*.py")
        if path.name != "journal.py"
    )
    for name, value in vars(journal).items():
        if isinstance(value, journal.Event):
            assert f"journal.{name}" in sources, name


@given(text=st.text())
def test_a42_no_text_from_outside_makes_a_second_line_or_acts(text):
    for kind in ("text", "json"):
        out = io.StringIO()
        handler = logging.StreamHandler(out)
        if kind == "json":
            handler.setFormatter(journal.JsonFormatter())
        journal.log.addHandler(handler)
        journal.log.setLevel(logging.INFO)
        try:
            journal.peer_lost(text, text)
        finally:
            journal.log.removeHandler(handler)
            journal.log.setLevel(logging.NOTSET)
        line = out.getvalue()
        assert line.endswith("\n")
        assert len(line.splitlines()) == 1
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", line)
        if kind == "json":
            assert json.loads(line)["peer"] == text


@given(text=st.text(), other=st.text())
def test_a42_a_table_is_lines_of_80_columns_whatever_is_in_it(text, other):
    out = io.StringIO()
    before, sys.stdout = sys.stdout, out
    try:
        table(("name", ">n", "what"), [(text[:20], "1", other)], flexible=2)
    finally:
        sys.stdout = before
    lines = out.getvalue().split("\n")
    assert len(lines) == 3  # heads, one row, nothing
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202e\u2028]", "".join(lines))


def test_a_wide_text_is_cut_to_its_columns():
    assert shorten("漢字漢字", 5) == "漢字…"
    assert shorten("a\x1b[2Jb", 20) == "a\\x1b[2Jb"


def test_every_metric_has_its_form():
    names = [one.name for one in declared.ALL]
    assert len(names) == len(set(names))
    for one in declared.ALL:
        assert one.name.startswith("mailshaper_federation_")
        assert (one.kind == "counter") == one.name.endswith("_total")
        assert bool(one.labels) == bool(one.values)
        for path in re.findall(r"docs/[\w/-]+\.md", one.act):
            assert (ROOT / path).exists(), path


def test_counters_are_there_before_anything_happened():
    counters = {
        one.name.removeprefix("mailshaper_federation_")
        for one in declared.ALL
        if one.kind == "counter"
    }
    assert counters == set(Figures().values)
