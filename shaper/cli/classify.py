"""``mailshaper classify``: say what a mail, a reply or a log line means.

Prints one block per outcome for people, or one JSON object per line with
``--json``. Texts from outside are escaped. Heavy imports happen inside, so that
other commands do not pay for them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shaper.cli.output import console, print_json
from shaper.core.text import bland

if TYPE_CHECKING:
    from shaper.core.meaning import Table
    from shaper.feedback.classify import Told

__all__ = ["classify"]

NOTHING_UNDERSTOOD = 65  # EX_DATAERR of sysexits.h
NO_INPUT = 66  # EX_NOINPUT
BAD_CONFIG = 78  # EX_CONFIG

_COLOURS = {
    "dead_address": "bold red",
    "temporary": "yellow",
    "message_refused": "magenta",
    "host_refused": "bold magenta",
    "delivered": "green",
    "complaint": "bold red",
    "unknown": "dim",
}


def classify(
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILE]...",
            help="Mails, mboxes, replies or log lines; '-' or nothing: standard input.",
        ),
    ] = None,
    *,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object per line and outcome.")
    ] = False,
    table: Annotated[
        Path | None,
        typer.Option("--table", help="Your own table of meanings, asked first."),
    ] = None,
) -> None:
    """Say what bounces, complaints, SMTP replies and log lines mean.

    Exits with 0, or with 65 when nothing could be understood.
    """
    rules = _load(table)
    understood = False
    missing = False
    for name in files or ["-"]:
        try:
            data = _read(name)
        except OSError as error:
            typer.echo(f"{bland(name)}: {error.strerror or error}", err=True)
            missing = True
            continue
        understood |= _tell(name, data, rules, as_json=as_json)
    if not understood:
        raise typer.Exit(NO_INPUT if missing else NOTHING_UNDERSTOOD)


def _load(path: Path | None) -> Table:
    from shaper.core.meaning import TableError
    from shaper.feedback.table import load_table

    try:
        return load_table(path)
    except (OSError, TableError) as error:
        typer.echo(f"table of meanings: {bland(str(error))}", err=True)
        raise typer.Exit(BAD_CONFIG) from None


def _read(name: str) -> bytes:
    if name == "-":
        return sys.stdin.buffer.read()
    path = Path(name)
    with path.open("rb") as file:
        magic = file.read(6)
    if magic[:2] == b"\x1f\x8b" or magic == b"\xfd7zXZ\x00":
        from shaper.feedback.history import open_text, read_lines

        with path.open("rb") as raw, open_text(raw) as text:
            return "\n".join(read_lines(text)).encode("utf-8", "replace")
    return path.read_bytes()


def _tell(name: str, data: bytes, rules: Table, *, as_json: bool) -> bool:
    """Print what one input tells; return whether anything was understood."""
    from shaper.feedback.classify import classify_bytes

    understood = False
    show = _print_json if as_json else _printer()
    try:
        for told in classify_bytes(data, rules):
            understood |= told.understood
            show(name, told)
        sys.stdout.flush()
    except BrokenPipeError:
        # "| head" has seen enough; keep Python from complaining at exit.
        sys.stdout = open("/dev/null", "w", encoding="utf-8")  # noqa: PTH123, SIM115
        return True
    if not understood:
        typer.echo(f"{bland(name)}: nothing understood", err=True)
    return understood


def _print_json(name: str, told: Told) -> None:
    row: dict[str, Any] = told.outcome.to_json()
    row["file"] = name
    row["line"] = told.line
    print_json(row)


def _printer() -> Any:  # noqa: ANN401 - a function that is printed with
    from rich.text import Text

    screen = console()

    def show(name: str, told: Told) -> None:
        outcome = told.outcome
        where = name if told.line is None else f"{name}:{told.line}"
        head = Text()
        head.append(outcome.meaning.value, style=_COLOURS[outcome.meaning.value])
        head.append(f"  {bland(outcome.recipient or '(no recipient told)')}")
        codes = " ".join(c for c in (outcome.code, outcome.status) if c)
        if codes:
            head.append(f"  {codes}")
        head.append("  given up" if outcome.permanent else "")
        head.append(f"  [{outcome.kind.value}] {bland(where)}", style="dim")
        screen.print(head)
        for label, value in (
            ("because", outcome.reason),
            ("it said", outcome.diagnostic),
            ("sender", outcome.sender),
            ("message", outcome.message_id),
        ):
            if value:
                screen.print(Text(f"    {label}: {bland(value)[:400]}"))

    return show


if __name__ == "__main__":
    typer.run(classify)
