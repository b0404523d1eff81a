"""Writing on the terminal: harmless text, tables of 80 columns, JSON, failures.

Every text from outside goes through ``bland`` before it is written; nothing else
stands between a stranger's name and the terminal.
"""

from __future__ import annotations

import json
import shlex
import sys
import textwrap
import time
import unicodedata
from datetime import datetime
from typing import TYPE_CHECKING, Any

from federation.text import bland

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "CONFIG",
    "NOINPUT",
    "SOFTWARE",
    "TEMPFAIL",
    "USAGE",
    "Failure",
    "ago",
    "fail",
    "folded",
    "moment",
    "percent",
    "print_json",
    "say",
    "shorten",
    "table",
]

WIDTH = 80
USAGE, NOINPUT, SOFTWARE, TEMPFAIL, CONFIG = 64, 66, 70, 75, 78  # sysexits.h
_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


class Failure(Exception):  # noqa: N818 - it ends a command
    """Ends the command: what is wrong, what to do, and an exit status."""

    def __init__(self, code: int, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint


def say(text: str = "") -> None:
    """Write a line on standard output."""
    sys.stdout.write(text + "\n")


def print_json(data: Any) -> None:  # noqa: ANN401
    """Write one line of JSON in ASCII."""
    say(json.dumps(data, ensure_ascii=True))


def fail(error: Failure) -> None:
    """Write a failure and the way on to standard error."""
    lines = str(error).splitlines() or [""]
    sys.stderr.write("mailshaper federation: " + "\n".join(map(bland, lines)) + "\n")
    for line in error.hint.splitlines():
        sys.stderr.write(f"  {bland(line)}\n")


def folded(text: str, indent: str = "  ") -> str:
    """Return harmless text in lines of at most 80 columns."""
    return textwrap.fill(
        bland(text),
        WIDTH,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def typed(*words: str) -> str:
    """Return a command to type."""
    return " ".join(("mailshaper federation", *map(shlex.quote, words)))


def shorten(text: str, cells: int) -> str:
    """Return harmless text that takes at most so many columns."""
    shown = bland(text)
    if sum(map(_cells, shown)) <= cells:
        return shown
    kept, used = "", 1  # the ellipsis
    for char in shown:
        used += _cells(char)
        if used > cells:
            break
        kept += char
    return kept + "…"


def _cells(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], flexible: int) -> None:
    """Write a table; the ``flexible`` column takes what the others leave of 80.

    Columns whose head begins with ``>`` stand to the right.
    """
    lines = [[bland(cell) for cell in row] for row in rows]
    names = [head.removeprefix(">") for head in heads]
    widths = [
        max([len(name), *(sum(map(_cells, line[at])) for line in lines)])
        for at, name in enumerate(names)
    ]
    rest = WIDTH - 2 * (len(heads) - 1) - sum(widths) + widths[flexible]
    widths[flexible] = max(8, min(widths[flexible], rest))
    for line in (names, *lines):
        cells = [shorten(cell, width) for cell, width in zip(line, widths, strict=True)]
        padded = [
            " " * (width - sum(map(_cells, cell))) + cell
            if head.startswith(">")
            else cell + " " * (width - sum(map(_cells, cell)))
            for head, cell, width in zip(heads, cells, widths, strict=True)
        ]
        say("  ".join(padded).rstrip())


def ago(at: int, now: int) -> str:
    """Return how long ago a time is, in its largest unit; "-" for never."""
    if not at:
        return "-"
    left = max(0, now - at)
    for unit, seconds in _UNITS:
        if left >= seconds:
            return f"{left // seconds}{unit}"
    return "0s"


def clock(at: int) -> str:
    """Return a time in the local zone, which is named."""
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M %Z")


def percent(share: float | None) -> str:
    """Return a share, or n/a where there is too little to tell."""
    return "n/a" if share is None else f"{100 * share:.2f} %"


def moment(text: str, option: str, *, ahead: bool = False) -> int:
    """Return the Unix time that ``text`` means: now, 2h, 7d, or a date of ISO 8601.

    Raises Failure.
    """
    now = int(time.time())
    seconds = dict(_UNITS).get(text[-1:], 0)
    if text == "now":
        return now
    if seconds and text[:-1].isascii() and text[:-1].isdecimal() and len(text) < 8:  # noqa: PLR2004
        span = int(text[:-1]) * seconds
        return now + span if ahead else max(0, now - span)
    try:
        return int(datetime.fromisoformat(text).timestamp())
    except (ValueError, OverflowError, OSError):
        raise Failure(
            USAGE,
            f"{option}: {text!r} is no time",
            "write 2h, 7d, or a date such as 2026-03-03T10:00",
        ) from None
