"""What a notice says, in pieces, and how it looks as plain text.

``shaper.notify.html`` shows the same pieces in HTML. Texts in a page are harmless
already (``shaper.core.text.bland``), HTML's own characters excepted.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field

__all__ = ["Bar", "Command", "Page", "plain"]

_WIDTH = 76
_BAR = 20


@dataclass(frozen=True, slots=True)
class Bar:
    """One measure: its name, its value in words, and its share of the limit."""

    name: str
    value: str
    share: float


@dataclass(frozen=True, slots=True)
class Command:
    """What to type, and when."""

    line: str
    comment: str


@dataclass(slots=True)
class Page:
    """A notice. ``tone`` is the state that colours it."""

    title: str
    tone: str
    language: str
    lead: list[str] = field(default_factory=list)
    rows: list[tuple[str, str]] = field(default_factory=list)
    bars: tuple[str, list[Bar]] = ("", [])
    lists: list[tuple[str, list[str]]] = field(default_factory=list)
    commands: tuple[str, list[Command]] = ("", [])
    foot: str = ""


def plain(page: Page) -> str:
    """Return a page for a terminal of 80 columns.

    Commands are never broken: they are there to be copied.
    """
    lines = [*_fill(page.title + ".")]
    for text in page.lead:
        lines += ["", *_fill(text)]
    if page.rows:
        lines.append("")
        label = max(len(name) for name, _ in page.rows)
        for name, value in page.rows:
            lines += _fill(f"{name:<{label}}  {value}", " " * (label + 2))
    lines += _bars(*page.bars)
    for heading, items in page.lists:
        lines += ["", heading]
        for item in items:
            lines += _fill("  " + item, "    ")
    heading, commands = page.commands
    if commands:
        lines += ["", heading]
        for command in commands:
            lines += [f"  {command.line}", f"      # {command.comment}"]
    if page.foot:
        lines += ["", *_fill(page.foot)]
    return "\n".join(lines) + "\n"


def _bars(heading: str, bars: list[Bar]) -> list[str]:
    lines = ["", heading] if bars else []
    for bar in bars:
        drawn = "#" * min(round(bar.share * _BAR / 2), _BAR)  # full at twice the limit
        lines += ["  " + bar.name, f"    [{drawn:<{_BAR}}] {bar.value}"]
    return lines


def _fill(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, subsequent_indent=indent, break_on_hyphens=False
    ) or [""]
