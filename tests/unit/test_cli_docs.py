"""docs/cli.md names every command, every option and every field of a filter."""

import re
from pathlib import Path

import typer

from shaper.cli.app import app
from shaper.core.filter import FIELDS

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()


def commands(command, path=()):
    for name, part in getattr(command, "commands", {}).items():
        if hasattr(part, "commands"):
            yield from commands(part, (*path, name))
        else:
            yield " ".join((*path, name)), part


def test_every_command_and_option_is_on_the_page():
    names = dict(commands(typer.main.get_command(app)))
    assert len(names) > 15
    for name, command in names.items():
        group, _, last = name.rpartition(" ")
        assert re.search(rf"`{group}.*\b{last}\b", PAGE), name
        for option in command.params:
            for word in option.opts:
                assert not word.startswith("--") or word in PAGE, (name, word)


def test_every_field_of_a_filter_is_on_the_page():
    assert not [field for field in FIELDS if f"`{field}`" not in PAGE]
