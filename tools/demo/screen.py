"""What a stranger sees: a live board on a terminal, plain lines anywhere else.

Owns all layout and no facts. The board fits 80x24 and uses more when there is
more; the review below it is ordinary scrolling text, as in an operator's shell.
Text that came by mail is made harmless before it is shown.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from shaper.core.text import bland
from tools.demo.books import Books, Fate, Letter, Tally, Whose

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["Scene", "Screen", "counted"]

_STATES = {"normal": "bold green", "slowed": "bold yellow", "blocked": "bold red"}
_WHOSE = {Whose.OFFICE: "green", Whose.OWNER: "cyan", Whose.THIEF: "red"}
_GAUGE = 3.0  # times the slow limit at the gauge's right end
_BLOCK = 2.5
_EVERY = 6.0  # seconds between two lines of figures without a terminal
_BOARD = 15  # lines of the board beside the events
_WIDE = 110


@dataclass(slots=True)
class Scene:
    """Everything the board shows."""

    books: Books
    owner: str
    colleagues: int
    minute: float
    started: float = field(default_factory=time.monotonic)
    chapter: str = ""
    status: dict[str, Any] = field(default_factory=dict)
    mail: tuple[str, str] = ("", "")  # subject and text of the latest notice

    @property
    def clock(self) -> str:
        """Time since the start as mm:ss."""
        seconds = int(time.monotonic() - self.started)
        return f"{seconds // 60:02}:{seconds % 60:02}"


def counted(letters: list[Letter]) -> Tally:
    """Count letters and their recipients."""
    return Tally(len(letters), sum(len(letter.recipients) for letter in letters))


class Screen:
    """Writes; `board` and `review` say how, `close` gives the terminal back."""

    def __init__(self, scene: Scene) -> None:
        self.console = Console(highlight=False, markup=False, emoji=False)
        self.live = self.console.is_terminal and not self.console.is_dumb_terminal
        self._scene = scene
        self._events: deque[Text] = deque(maxlen=40)
        self._display: Live | None = None
        self._footer = False
        self._late: list[Text] | None = None  # events while a command runs
        self._told = 0.0

    @property
    def width(self) -> int:
        """Columns to fill."""
        return min(self.console.width, 120) if self.live else 80

    def seconds(self) -> float:
        """Return how long it has taken so far."""
        return time.monotonic() - self._scene.started

    # -- modes -------------------------------------------------------------------

    def board(self) -> None:
        """Show the live board."""
        self._open(footer=False)

    def review(self) -> None:
        """Leave the board where it is; from now on text scrolls above one line."""
        self._open(footer=True)

    def close(self) -> None:
        """Stop drawing."""
        if self._display is not None:
            self._display.stop()
            self._display = None

    def _open(self, *, footer: bool) -> None:
        self.close()
        self._footer = footer
        if self.live:
            self._display = Live(
                self._picture(),
                console=self.console,
                auto_refresh=False,
                transient=footer,
                vertical_overflow="crop",
            )
            self._display.start()

    def draw(self) -> None:
        """Draw the present state of affairs."""
        if self._display is not None:
            self._display.update(self._picture(), refresh=True)
        elif not self.live and not self._footer:
            now = time.monotonic()
            if now - self._told >= _EVERY:
                self._told = now
                self._figures()

    # -- words -------------------------------------------------------------------

    def say(self, text: RenderableType = "", style: str = "") -> None:
        """Print a line that stays."""
        shown = Text(text, style=style) if isinstance(text, str) else text
        self.console.print(shown, soft_wrap=not self.live)

    def chapter(self, text: str) -> None:
        """Say what happens now."""
        self._scene.chapter = text
        if not self.live and not self._footer:
            self.say(f"\n== {text}")
        self.draw()

    def event(self, text: str, style: str = "") -> None:
        """Add a line to the story."""
        line = Text().append(f"{self._scene.clock}  ", "dim")
        line.append(bland(text), style)
        if self._late is not None:
            self._late.append(line)
        elif self._display is not None and not self._footer:
            self._events.append(line)
            self.draw()
        else:
            self.console.print(line, soft_wrap=not self.live)

    def heading(self, text: str) -> None:
        """Begin a part of the review."""
        self.say()
        if self.live:
            self.console.print(Rule(Text(text, style="bold"), align="left"))
        else:
            self.say(f"== {text}")

    def comment(self, text: str) -> None:
        """Say what an operator would think."""
        self.say(f"# {text}", "italic green")

    def typed(self, line: str) -> None:
        """Show a command line as it is typed; `output` must follow."""
        self._late = []
        shown = Text().append("$ ", "bold green").append(line, "bold")
        self.console.print(shown, soft_wrap=True)

    def output(self, text: str) -> None:
        """Show what a command said, colours included."""
        self.console.print(Text.from_ansi(text), soft_wrap=True)
        self.say()
        late, self._late = self._late or [], None
        for line in late:
            self.console.print(line, soft_wrap=not self.live)

    # -- pictures ----------------------------------------------------------------

    def _picture(self) -> RenderableType:
        return self._foot() if self._footer else self._whole()

    def _foot(self) -> RenderableType:
        letters = self._scene.books.of(Whose.OFFICE)
        late = [one for one in letters if one.held]
        line = Text().append("meanwhile ", "dim")
        line.append(f"{self._scene.colleagues} colleagues", style="green")
        line.append(
            f" sent {len(letters):,} messages, {len(late) or 'none'} delayed",
            style="dim",
        )
        return Group(Text(), line)

    def _whole(self) -> RenderableType:
        scene = self._scene
        width, height = self.console.size
        head = Table.grid(expand=True)
        head.add_column()
        head.add_column(justify="right")
        title = Text().append(" mailshaper ", "bold reverse")
        title.append("  a real daemon, real SMTP, one stolen account")
        head.add_row(title, Text(scene.clock, style="bold"))
        room = max(height - _BOARD, 4)
        events: list[Text] = list(self._events)[-room:]
        for line in events:
            line.no_wrap, line.overflow = True, "ellipsis"
        below: RenderableType = Group(*events)
        if width >= _WIDE:
            pair = Table.grid(expand=True, padding=(0, 2))
            pair.add_column(ratio=1)
            pair.add_column(width=46)
            pair.add_row(below, self._mailbox(room))
            below = pair
        return Group(
            head,
            Rule(style="dim"),
            Text(f" {scene.chapter}", style="bold", no_wrap=True, overflow="ellipsis"),
            Text(),
            self._lanes(),
            Text(),
            *self._gauge(min(width, 100)),
            Rule(style="dim"),
            below,
        )

    def _lanes(self) -> Table:
        scene, books = self._scene, self._scene.books
        table = Table(box=None, padding=(0, 1), pad_edge=True)
        table.add_column("messages (recipients)", no_wrap=True)
        for name in ("sent", "at once", "held", "trickled", "waiting"):
            table.add_column(name, justify="right", min_width=9, no_wrap=True)
        names = {
            Whose.OFFICE: f"{scene.colleagues} colleagues",
            Whose.OWNER: f"{scene.owner} herself",
            Whose.THIEF: f"the thief, as {scene.owner}",
        }
        for whose, name in names.items():
            letters = books.of(whose)
            held = [one for one in letters if one.held]
            sets = (
                letters,
                [one for one in letters if one.held is False and one.arrived],
                held,
                [
                    one
                    for one in held
                    if one.arrived and books.way(one) is Fate.TRICKLED
                ],
                [one for one in letters if one.waiting],
            )
            cells = [
                Text(_cell(one), style=_tint(i, one)) for i, one in enumerate(sets)
            ]
            table.add_row(Text(name, style=_WHOSE[whose]), *cells)
        return table

    def _gauge(self, width: int) -> list[Text]:
        """Draw how far the owner's account is from its own normal."""
        sender = self._scene.status.get("sender", {})
        state = str(sender.get("state", "normal"))
        evidence = sender.get("evidence", {"total": 0.0, "limits": [1, 1, 1]})
        share = float(evidence["total"]) / float(evidence["limits"][1])
        label = f" {self._scene.owner} "
        cells = width - len(label) - 20
        slow, block = (round(cells * mark / _GAUGE) for mark in (1.0, _BLOCK))
        filled = min(round(cells * share / _GAUGE), cells)
        bar = Text(no_wrap=True).append(label, "cyan")
        for cell in range(cells):
            zone = "green" if cell < slow else "yellow" if cell < block else "red"
            bar.append("█" if cell < filled else "░", zone if cell < filled else "dim")
        bar.append(f" {share:>4.0%}  ", "bold")
        bar.append(state.upper(), _STATES.get(state, "bold"))
        below = " " * len(label)
        marks = Text(
            f"{below}{'unlike herself →':<{slow}}"
            f"{'▲ slowed from here':<{block - slow}}▲ blocked",
            style="dim",
            no_wrap=True,
        )
        why = str(sender.get("sentence", "")) if share >= 0.05 else ""  # noqa: PLR2004
        words = Text(
            below + bland(why), style="italic", no_wrap=True, overflow="ellipsis"
        )
        return [bar, marks, words]

    def _mailbox(self, room: int) -> RenderableType:
        subject, text = self._scene.mail
        if not subject:
            return Text("postmaster's mailbox: empty", style="dim")
        lines = [Text("postmaster's mailbox", style="bold")]
        lines += [Text(bland(subject), style="bold cyan")]
        lines += [Text(bland(line), style="dim") for line in text.split("\n")]
        body = Group(*lines[: room - 2])
        for line in lines[1:]:
            line.no_wrap, line.overflow = True, "ellipsis"
        return body

    def _figures(self) -> None:
        books = self._scene.books
        parts = []
        for whose in Whose:
            letters = books.of(whose)
            if letters:
                waiting = [one for one in letters if one.waiting]
                parts.append(
                    f"{whose.value}: {counted(letters)} sent, "
                    f"{counted(waiting)} waiting"
                )
        if parts:
            self.say(f"{self._scene.clock}  {'; '.join(parts)}", "dim")

    def balance(self, table: dict[Fate, dict[Whose, Tally]]) -> None:
        """Print what was sent against what became of it."""
        shown = Table(box=None, padding=(0, 1), pad_edge=False)
        shown.add_column("messages (recipients)", no_wrap=True)
        names = {Whose.OFFICE: "colleagues", Whose.OWNER: self._scene.owner}
        for whose in Whose:
            shown.add_column(
                names.get(whose, "thief"), justify="right", style=_WHOSE[whose]
            )
        shown.add_column("all", justify="right", style="bold")
        sent = {whose: counted(self._scene.books.of(whose)) for whose in Whose}
        total = {
            whose: sum((table[fate][whose] for fate in Fate), Tally())
            for whose in Whose
        }
        shown.add_row("sent", *_row(sent))
        for fate in Fate:
            row = table[fate]
            if fate is not Fate.LOST or any(cell != Tally() for cell in row.values()):
                shown.add_row(f"  {fate.value}", *_row(row))
        shown.add_row("accounted for", *_row(total))
        self.console.print(shown)


def _row(cells: dict[Whose, Tally]) -> list[str]:
    listed = [cells[whose] for whose in Whose]
    return [str(cell) for cell in [*listed, sum(listed, Tally())]]


def _cell(letters: list[Letter]) -> str:
    return str(counted(letters)) if letters else "-"


def _tint(column: int, letters: list[Letter]) -> str:
    if not letters:
        return "dim"
    return ("", "green", "yellow", "yellow", "bold red")[column]
