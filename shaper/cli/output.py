"""Writing on the terminal: harmless text, counts, commands to type, failures.

Every text from outside goes through ``bland`` before it is written, here and in
the views; nothing else stands between a stranger's subject and the terminal.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import unicodedata
from typing import TYPE_CHECKING, Any

from shaper.core.quote import shell
from shaper.core.text import bland

if TYPE_CHECKING:
    from rich.console import Console

    from shaper.cli.failure import CliError

__all__ = [
    "changed",
    "command",
    "console",
    "counts",
    "fail",
    "folded",
    "print_json",
    "say",
    "shell",
    "shorten",
    "width",
]


def say(text: str = "") -> None:
    """Write a line on standard output."""
    sys.stdout.write(text + "\n")


def print_json(data: Any) -> None:  # noqa: ANN401
    """Write one line of plain JSON in ASCII."""
    say(json.dumps(data, ensure_ascii=True))


def fail(error: CliError) -> None:
    """Write a failure and the way on to standard error."""
    lines = [*str(error).splitlines()] or [""]
    # The places that a message points at keep their lines.
    text = "\n".join(map(bland, lines))
    sys.stderr.write(f"mailshaper: {text}\n")
    if error.hint:
        sys.stderr.write(f"  {bland(error.hint)}\n")


def folded(text: str, indent: str = "    ") -> str:
    """Return harmless text with its later lines indented, as wide as there is room.

    Commands to type do not belong in it: those are never broken.
    """
    import textwrap

    return textwrap.fill(
        text,
        width(),
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def console() -> Console:
    """Return a console that interprets nothing in what it prints."""
    from rich.console import Console

    return Console(
        highlight=False, markup=False, emoji=False, width=width(), soft_wrap=False
    )


def width() -> int:
    """Return the columns to fill, 80 where there is no terminal."""
    if sys.stdout.isatty() or os.environ.get("COLUMNS"):
        return max(shutil.get_terminal_size((80, 24)).columns, 40)
    return 80


def counts(pair: dict[str, Any]) -> str:
    """Return messages and recipients, always both."""
    messages, recipients = int(pair["messages"]), int(pair["recipients"])
    return (
        f"{messages:,} message{'' if messages == 1 else 's'} "
        f"({recipients:,} recipient{'' if recipients == 1 else 's'})"
    )


def command(*words: str, reason: bool = False) -> str:
    """Return a command to type; ``reason`` adds the placeholder to fill in."""
    typed = " ".join(map(shell, ("mailshaper", *words)))
    return f"{typed} --reason '...'" if reason else typed


def shorten(text: str, cells: int) -> str:
    """Return harmless text that takes at most so many columns."""
    shown = bland(text)
    if sum(map(_cells, shown)) <= cells:
        return shown
    kept, used = 0, 1  # the ellipsis
    for char in shown:
        used += _cells(char)
        if used > cells:
            break
        kept += 1
    return shown[:kept] + "…"


def _cells(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def changed(
    result: Any,  # noqa: ANN401
    lines: list[str],
    *,
    change_id: str,
    dry_run: bool,
    as_json: bool,
    then: tuple[str, ...] = (),
) -> None:
    """Say what a change did, under which id, and what to type next (``then``)."""
    if as_json:
        print_json({"id": change_id, "dry_run": dry_run, "result": result})
        return
    for line in lines:
        say(line)
    if dry_run:
        say("Nothing was changed. The same command without --dry-run does it.")
        return
    say(f"Change {bland(change_id)}: given again with --id it has no further effect.")
    for text in then:
        say(f"Next: {text}")
