"""``mailshaper drill``: what a theft would have reached in this very history.

Presentation only: reads a log or a trace, runs the drill, prints it for people,
as JSON or as a page. Needs no daemon and changes nothing. Heavy imports happen
inside, so that other commands do not pay for them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from shaper.replay.attacks import Attack
    from shaper.replay.drill import Settings
    from shaper.replay.trace import Trace

__all__ = ["drill"]

_USAGE = 64  # EX_USAGE of sysexits.h
_NO_DATA = 65  # EX_DATAERR
_NO_INPUT = 66  # EX_NOINPUT
_CANNOT_WRITE = 73  # EX_CANTCREAT


def drill(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="LOG|TRACE...",
            help="Postfix or Exim logs, or one file of lines 'sender recipient "
            "seconds'; compressed or not.",
        ),
    ],
    *,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the figures as JSON.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Draws the same thefts again.")] = 1,
    attacks: Annotated[
        int, typer.Option(min=1, max=100_000, help="Thefts per attack profile.")
    ] = 300,
    start_day: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Days of history to learn from before judging. "
            "Not given: until a third of the messages was sent.",
        ),
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Also write a self-contained page here.")
    ] = None,
    profile: Annotated[
        list[str] | None,
        typer.Option(help="Attack profile to plant; may be repeated. Not given: all."),
    ] = None,
    busy: Annotated[
        bool,
        typer.Option(
            "--busy",
            help="Plant thefts at times of real messages, when they are harder to "
            "see, rather than at any time of day and night.",
        ),
    ] = False,
) -> None:
    """Plant stolen accounts in your own history and see how soon they are stopped."""
    from shaper.replay.attacks import PROFILES
    from shaper.replay.drill import Settings, run
    from shaper.replay.report import figures

    chosen: tuple[Attack, ...] = PROFILES
    if profile:
        chosen = tuple(a for a in PROFILES if a.name in profile)
        unknown = sorted(set(profile) - {a.name for a in PROFILES})
        if unknown:
            names = ", ".join(a.name for a in PROFILES)
            _fail(f"no attack profile {unknown[0]!r}; there are: {names}", _USAGE)
    trace = _read(sources)
    if not trace.mails:
        _fail(
            f"{sources[0]}: no mail found in it ({trace.corrupt} lines not "
            "understood); give MTA logs or lines 'sender recipient seconds'",
            _NO_DATA,
        )
    settings = Settings(
        seed=seed, attacks=attacks, start_day=start_day, profiles=chosen, busy=busy
    )
    if as_json or not sys.stderr.isatty():
        found = figures(run(trace, settings))
    else:
        found = _with_progress(trace, settings)
    if html is not None:
        from shaper.replay.page import page

        try:
            html.write_text(page(found), encoding="utf-8")
        except OSError as error:
            _fail(f"{html}: cannot write the page: {error.strerror}", _CANNOT_WRITE)
    if as_json:
        print(json.dumps(found, indent=2, allow_nan=False))  # noqa: T201
    else:
        _show(found)


def _read(sources: list[Path]) -> Trace:
    from shaper.replay.trace import Mail, collect, looks_like_trace, read_trace

    try:
        if len(sources) == 1 and looks_like_trace(sources[0]):
            return read_trace(sources[0])
        from shaper.feedback.history import read_history

        return collect(
            ", ".join(path.name for path in sources),
            (Mail(s.time, s.sender, s.recipients) for s in read_history(sources)),
        )
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        _fail(f"{sources[0]}: cannot read it: {reason}", _NO_INPUT)


def _fail(message: str, code: int) -> NoReturn:
    print(f"mailshaper drill: {message}", file=sys.stderr)  # noqa: T201
    raise typer.Exit(code)


def _with_progress(trace: Trace, settings: Settings) -> dict[str, Any]:
    from rich.console import Console
    from rich.progress import Progress

    from shaper.replay.drill import run
    from shaper.replay.report import figures

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("replaying", total=1.0)
        return figures(run(trace, settings, lambda f: bar.update(task, completed=f)))


def _show(found: dict[str, Any]) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from shaper.replay.words import conclusions

    console = Console()
    detectors = found["detectors"]
    console.print(
        f"[bold]Fire drill on {escape(found['trace'])}[/bold]: "
        f"{found['senders']} senders, {found['active_sender_days']} active "
        f"sender-days after day {found['start_day']}, "
        f"{found['attacks_per_profile']} thefts per profile {found['planted']}"
    )
    if found["corrupt_lines"]:
        console.print(f"{found['corrupt_lines']} lines were not understood.")
    table = Table(
        title="Recipients reached before the alarm, median / 90 %",
        caption="alarm: after the theft; block: after the alarm; leak: messages "
        "let out between the two",
        box=SIMPLE,
        padding=(0, 1, 0, 0),
    )
    table.add_column("", no_wrap=True)
    for name in detectors:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("alarm", justify="right", no_wrap=True)
    table.add_column("block", justify="right", no_wrap=True)
    table.add_column("leak", justify="right", no_wrap=True, min_width=4)
    for profile, ours in detectors["mailshaper"]["profiles"].items():
        table.add_row(
            profile,
            *(_cell(d["profiles"][profile]) for d in detectors.values()),
            _span(ours["seconds_to_alarm_median"]),
            _span(ours["seconds_alarm_to_block_median"]),
            str(ours["messages_leaked_until_block_median"] or 0),
        )
    table.add_section()
    table.add_row("false alarms", *(str(d["false_alarms"]) for d in detectors.values()))
    table.add_row(
        "per 10,000",
        *(f"{d['false_alarms_per_10k_sender_days']:.1f}" for d in detectors.values()),
    )
    table.add_row(
        "delayed",
        *(
            f"{d['legitimate_recipients_delayed_ratio']:.3%}"
            for d in detectors.values()
        ),
    )
    console.print(table)
    for line in conclusions(found):
        console.print(f"- {line}", markup=False, highlight=False)


def _cell(found: dict[str, Any]) -> str:
    if found["missed_ratio"] > 0.5:  # noqa: PLR2004 - then the median is no escape
        return "not seen"
    return f"{found['escaped_median']} / {found['escaped_p90']}"


def _span(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    if seconds < 120:  # noqa: PLR2004 - two minutes read better in seconds
        return f"{seconds:.0f} s"
    if seconds < 7200:  # noqa: PLR2004
        return f"{seconds / 60:.0f} min"
    hours = seconds / 3600
    return f"{hours:.0f} h" if hours < 72 else f"{hours / 24:.0f} d"  # noqa: PLR2004


if __name__ == "__main__":
    typer.run(drill)
