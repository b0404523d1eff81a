"""``mailshaper replay``: whom would you have slowed, when and why, in an old log.

Presentation and the way in: reads old logs or a trace, has them judged, prints a
table, JSON or a page, and on request hands the learned senders to the daemon.
Without ``--learn`` it needs no daemon and changes nothing.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shaper.cli.failure import USAGE, CliError
from shaper.cli.options import Id, Json
from shaper.cli.output import console, folded, print_json, say, shorten
from shaper.core.text import bland

if TYPE_CHECKING:
    from collections.abc import Callable

    from shaper.replay.past import Past

__all__ = ["replay"]

_NO_DATA = 65  # EX_DATAERR of sysexits.h
_NO_INPUT = 66  # EX_NOINPUT
_CANNOT_WRITE = 73  # EX_CANTCREAT
_TOLD = 40  # sentences under the table
_ANY_KEY = b"replay without learning"  # hashes are compared with each other only


def replay(
    context: typer.Context,
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="LOG...",
            help="Postfix or Exim logs, plain or gzip, xz, bzip2, in any order; or "
            "one file of lines 'sender recipient seconds'; - is standard input.",
        ),
    ],
    *,
    as_json: Json = False,
    html: Annotated[
        str, typer.Option(metavar="FILE", help="Also write a self-contained page.")
    ] = "",
    language: Annotated[
        str, typer.Option(metavar="en|fr", help="Language of the page.")
    ] = "en",
    start_day: Annotated[
        str,
        typer.Option(
            metavar="DAYS",
            help="The first DAYS of the log only teach, and what is unusual there is "
            "not shown: at first everybody is a stranger. Not given: a third of the "
            "time that the log covers, at most 14 days.",
        ),
    ] = "",
    year: Annotated[
        str,
        typer.Option(
            metavar="YEAR",
            help="Year of the first line of logs that tell none. Not given: by when "
            "each file was written.",
        ),
    ] = "",
    learn: Annotated[
        bool,
        typer.Option(
            "--learn",
            help="Give what was learned to the running daemon. It takes senders that "
            "it does not know, or has seen on fewer days.",
        ),
    ] = False,
    reason: Annotated[
        str,
        typer.Option(
            metavar="TEXT",
            help="Why; kept in the audit journal. --learn requires it.",
        ),
    ] = "",
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="With --learn: say how many; change nothing."),
    ] = False,
    change_id: Id = "",
) -> None:
    """Say whom you would have slowed in an old log, and what that would have spared."""
    from shaper.replay.answer import answer
    from shaper.replay.answer import replay as judge_all
    from shaper.replay.past import Past

    days = _number(start_day, "--start-day")
    if language not in {"en", "fr"}:
        raise CliError(USAGE, f"--language: {language!r} is neither en nor fr")
    key = _ANY_KEY
    if learn:
        if not reason.strip():
            raise CliError(USAGE, "--learn needs --reason '...', kept in the audit")
        from shaper.cli.learning import contact_key

        key = contact_key(context)
    past = Past(key)
    with tempfile.TemporaryDirectory() as directory:
        paths = [_path(source, Path(directory)) for source in sources]
        try:
            read = _judged(
                lambda progress: judge_all(
                    past, paths, year=_year(year), progress=progress
                ),
                quiet=as_json,
            )
        except (OSError, EOFError) as error:
            what = getattr(error, "strerror", None) or str(error)
            name = getattr(error, "filename", None) or sources[0]
            hint = (
                "name the files in it" if isinstance(error, IsADirectoryError) else ""
            )
            raise CliError(
                _NO_INPUT, f"{name}: cannot read it: {what}", hint
            ) from error
    if not past.messages:
        raise CliError(
            _NO_DATA,
            f"{sources[0]}: no mail found in it ({read['corrupt_lines']:,} lines not "
            "understood)",
            "give logs of Postfix or Exim, or lines 'sender recipient seconds'",
        )
    name = ", ".join(Path(s).name if s != "-" else "standard input" for s in sources)
    found = answer(name, past, read, days)
    if html:
        _write(Path(html), found, language)
    if as_json:
        print_json(found)
    else:
        _show(found, html)
    if learn:
        _learn(
            context, past, reason, dry_run=dry_run, change_id=change_id, quiet=as_json
        )


def _number(text: str, option: str) -> float | None:
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < 1e5:  # noqa: PLR2004 - days
        raise CliError(USAGE, f"{option}: {text!r} is no number from 0 on")
    return number


def _year(text: str) -> int | None:
    if text and not (text.isascii() and text.isdigit() and len(text) == 4):  # noqa: PLR2004
        raise CliError(USAGE, f"--year: {text!r} is no year")
    return int(text) if text else None


def _path(source: str, directory: Path) -> Path:
    """Return a file to read; standard input is copied, since it is read twice."""
    if source != "-":
        return Path(source)
    copy = directory / "standard input"
    with copy.open("wb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
    return copy


def _judged(
    work: Callable[[Callable[[float], None] | None], dict[str, Any]], *, quiet: bool
) -> dict[str, Any]:
    """Do it, with a bar where somebody looks on."""
    if quiet or not sys.stderr.isatty():
        return work(None)
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("replaying", total=1.0)
        return work(lambda share: bar.update(task, completed=share))


def _write(path: Path, found: dict[str, Any], language: str) -> None:
    from shaper.replay.story import page

    try:
        path.write_text(page(found, language), encoding="utf-8")
    except OSError as error:
        raise CliError(
            _CANNOT_WRITE, f"{path}: cannot write the page: {error.strerror}"
        ) from error


def _learn(
    context: typer.Context,
    past: Past,
    reason: str,
    *,
    dry_run: bool,
    change_id: str,
    quiet: bool,
) -> None:
    from shaper.cli.learning import hand_over

    done = hand_over(context, past, reason, dry_run=dry_run, change_id=change_id)
    if quiet:
        print_json(done)
        return
    verb = "would take" if dry_run else "took"
    say(
        f"The daemon {verb} {done['taken']:,} of {done['given']:,} senders; of the "
        f"others it knows more already."
    )


def _show(found: dict[str, Any], html: str) -> None:
    from rich.box import SIMPLE
    from rich.table import Table

    summary, read = found["summary"], found["read"]
    say(
        folded(
            f"{found['source']}: {found['messages']:,} messages "
            f"({found['recipients']:,} recipients) of {found['senders']:,} senders, "
            f"{_time(found['first'])} to {_time(found['last'])}.",
            "",
        )
    )
    if read["corrupt_lines"]:
        say(f"Corrupt lines, skipped: {read['corrupt_lines']:,}.")
    if read.get("damaged_files"):
        say(f"{read['damaged_files']} compressed files end too early.")
    say(
        folded(
            f"Learned until {_time(found['learned_until'])}. Cases before that, not "
            f"shown: {found['cases_while_learning']}.",
            "",
        )
    )
    if not found["cases"]:
        say("Nobody would have been slowed.")
        return
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("slowed", no_wrap=True)
    table.add_column("sender", overflow="fold")
    for title in ("before", "held", "spared", "dead"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("ending", overflow="fold")
    for case in found["cases"]:
        table.add_row(
            _time(case["slowed_at"]),
            shorten(case["sender"], 60),
            f"{case['reached']['recipients']:,}",
            f"{case['held']['recipients']:,}",
            f"{case['spared_recipients']:,}",
            f"{case['held_outcomes']['dead']:,}",
            _ending(case),
        )
    console().print(table)
    for case in found["cases"][:_TOLD]:
        say(
            folded(f"{_time(case['slowed_at'])} {bland(case['sender'])}: {case['why']}")
        )
    say()
    say(
        folded(
            f"Cases: {summary['cases']}, of {_plural(summary['senders'], 'sender')}; "
            f"blocked: {summary['blocked']}. Recipients spared: "
            f"{summary['spared_recipients']:,}; written to later: "
            f"{summary['delayed_recipients']:,}.",
            "",
        )
    )
    say("All are counts of recipients: before the alarm; held; spared: held back for")
    say("a person's verdict; dead: held ones that turned out not to exist. Ending: how")
    say("long after the alarm the sender was blocked or the evidence had faded.")
    if html:
        say(f"The page is {bland(html)}.")


def _plural(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def _ending(case: dict[str, Any]) -> str:
    if case["ending"] == "blocked":
        return f"blocked {_span(case['blocked_at'] - case['slowed_at'])}"
    if case["ending"] == "faded":
        return f"faded {_span(case['ended_at'] - case['slowed_at'])}"
    return "open"


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _span(seconds: float) -> str:
    if seconds < 120:  # noqa: PLR2004 - two minutes read better in seconds
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"  # noqa: PLR2004
