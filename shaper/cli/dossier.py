"""The long views, for the operator at three in the morning.

Who, since when, why (a sentence, numbers, bars), what got out, samples, the
story, and last, where the eye ends, the exact commands to type.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from shaper.cli.output import command, console, counts
from shaper.cli.times import age, clock, size
from shaper.core.text import bland

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["print_dossier", "print_evidence", "print_message"]

_BAR = 16  # cells
_ROOM = 74  # columns that the table of parts with its bars takes
_MOST_PARTS = 5
_NOT_HELD = (
    "Nothing of it is held: enforce = false, every message goes its way.",
    (
        "Nothing of it is held: in placement watch mail does not pass here. Stop it at "
        "the MTA: change the password, or `mailshaper export blocked --slowed`."
    ),
)
_STYLES = {"normal": "green", "slowed": "yellow", "blocked": "bold red"}


def print_dossier(data: dict[str, Any]) -> None:
    """Print what ``show`` knows of a sender and its latest case."""
    out = console()
    sender, case = data["sender"], data.get("case")
    _head(out, sender)
    if case:
        _case(out, case, enforce=bool(sender.get("enforce", True)))
    _now(out, sender)
    if case:
        _samples(out, case)
        _story(out, case["steps"])
    _commands(out, sender, case)


def print_evidence(sender: dict[str, Any]) -> None:
    """Print every part of the evidence about a sender."""
    out = console()
    _head(out, sender)
    _now(out, sender)
    _parts(out, sender["evidence"], everything=True)
    watch, slow, block = sender["evidence"]["limits"]
    _wrapped(
        out,
        f"Early notice at {watch:.1f} nats, slowed at {slow:.1f}, "
        f"blocked at {block:.1f}.",
    )
    _typed(out, [command("show", sender["sender"])])


def print_message(message: dict[str, Any]) -> None:
    """Print a held message: envelope, origin, and the start of its content."""
    out = console()
    envelope, client = message["envelope"], message["client"]
    facts = [
        ("message", message["id"]),
        ("sender", message["sender"]),
        ("subject", message["subject"]),
        ("From", message["author"]),
        ("MAIL FROM", f"<{envelope['sender']}> {' '.join(envelope['parameters'])}"),
        ("received", f"{_when(message['received'])}, {size(message['size'])}"),
        ("client", " ".join(filter(None, (client.get("address"), client.get("name"))))),
        ("case", message["case"]),
        ("attempts", str(message["attempts"] or "")),
        ("released by", f"order {message['order']}" if message["order"] else ""),
    ]
    _facts(out, facts)
    recipients = [row[0] for row in envelope["recipients"]]
    out.print(Text(f"{message['waiting']} of {len(recipients)} recipients wait:"))
    for address in recipients[:20]:
        _line(out, f"  <{bland(address)}>")
    if len(recipients) > 20:  # noqa: PLR2004
        out.print(Text(f"  and {len(recipients) - 20} more (--json shows all)"))
    out.print(Text("-" * min(out.width, 80), style="dim"))
    for line in message["content"].expandtabs().split("\n"):
        _line(out, bland(line.removesuffix("\r")))
    if message["truncated"]:
        out.print(Text("(the content goes on)", style="dim"))
    chosen = f"id={message['id']}"
    _typed(
        out,
        [
            command("queue", "release", chosen, reason=True),
            command("queue", "drop", chosen, reason=True),
            command("queue", "bounce", chosen, reason=True),
        ],
    )


def _head(out: Console, sender: dict[str, Any]) -> None:
    state = sender["state"]
    line = Text(bland(sender["sender"]), style="bold")
    would = not sender.get("enforce", True) and state != "normal"
    line.append(" would be " if would else " is ", style="not bold")
    line.append(bland(state.upper()), style=_STYLES.get(state, "bold"))
    line.append(f" since {_when(sender['since'])}", style="not bold")
    out.print(line)
    if would:
        _wrapped(out, _NOT_HELD[sender.get("placement") == "watch"])
    if exemption := sender.get("exemption"):
        until, by, reason = exemption
        _wrapped(out, f"Exempt until {clock(until)} by {by}: {reason}")
    for start, end, messages, by, reason, used in sender.get("plans", ()):
        _wrapped(
            out,
            f"Planned: {used:,} of {messages:,} messages used, {clock(start)} to "
            f"{clock(end)}, by {by}: {reason}",
        )


def _case(out: Console, case: dict[str, Any], *, enforce: bool) -> None:
    out.print()
    line = Text(f"Case {bland(case['id'])}", style="bold")
    if case["closed"]:
        line.append(
            f", closed {_when(case['closed'])}: {bland(case['outcome'])}",
            style="not bold",
        )
    out.print(line)
    if case["why"]:
        _wrapped(out, case["why"])
    evidence = next(
        (step["evidence"] for step in reversed(case["steps"]) if step.get("evidence")),
        None,
    )
    if evidence:
        _parts(out, evidence)
    _facts(
        out,
        [
            ("began", _when(case["onset"]) if case["onset"] else ""),
            ("noticed", _when(case["opened"])),
            ("escaped", f"{counts(case['escaped'])} left before the alarm"),
            (("held" if enforce else "would hold"), counts(case["held"])),
            ("waiting", counts(case["waiting"])),
            ("delivered", f"{counts(case['delivered'])} since"),
            ("told", _told(case)),
        ],
    )


def _told(case: dict[str, Any]) -> str:
    """Return what came back of the run, "" when nothing did."""
    if not (case["bounces"] or case["complaints"]):
        return ""
    return f"{case['bounces']} bounced, {case['complaints']} complaints"


def _now(out: Console, sender: dict[str, Any]) -> None:
    out.print()
    evidence = sender["evidence"]
    slow = evidence["limits"][1]
    share = evidence["total"] / slow if slow else 0.0
    _wrapped(
        out,
        f"Evidence now: {evidence['total']:.1f} nats, {share:.0%} of the slow limit "
        f"({evidence['level']}). {sender['sentence']}",
    )


def _parts(out: Console, evidence: dict[str, Any], *, everything: bool = False) -> None:
    """Print parts as value, limit and bar, the nearest to its limit first."""
    parts = sorted(evidence["parts"], key=_share, reverse=True)
    if not everything:
        parts = [part for part in parts if _share(part) >= 0.01][:_MOST_PARTS]  # noqa: PLR2004
    if out.width < _ROOM:
        _parts_in_words(out, parts)
        return
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    table.add_column("  measure", overflow="fold")
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("limit", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    unicode = (out.encoding or "").lower().startswith("utf")
    full, empty = ("█", "░") if unicode else ("#", ".")
    for part in parts:
        name, value, limit, note = part
        share = _share(part)
        filled = min(round(share * _BAR), _BAR)
        bar = Text(full * filled, style=_heat(share))
        bar.append(empty * (_BAR - filled), style="dim")
        bar.append(f" {share:.0%}", style="")
        table.add_row(
            Text(f"  {bland(name)}"), f"{value:.1f}", f"{limit:.1f} {bland(note)}", bar
        )
    if parts:
        out.print(table)


def _parts_in_words(out: Console, parts: list[list[Any]]) -> None:
    """Print parts where there is no room for a table: two lines each."""
    for part in parts:
        name, value, limit, note = part
        share = _share(part)
        line = Text(f"  {share:>4.0%} ", style=_heat(share))
        line.append(bland(name), style="not bold default")
        out.print(line)
        _wrapped(out, f"{value:.1f} of {limit:.1f} {note}", indent="       ")


def _heat(share: float) -> str:
    return "red" if share >= 1 else "yellow" if share >= 0.5 else "green"  # noqa: PLR2004


def _share(part: list[Any]) -> float:
    _, value, limit, _ = part
    return float(value) / float(limit) if limit else 0.0


def _samples(out: Console, case: dict[str, Any]) -> None:
    if case["subjects"]:
        out.print()
        out.print(Text("Subjects", style="bold"))
        for subject in case["subjects"]:
            _wrapped(out, subject, indent="  ")
    for title, pairs in (
        ("Recipient domains", case["domains"]),
        ("Client addresses", case["clients"]),
    ):
        if pairs:
            out.print(Text(title, style="bold"))
            listed = ", ".join(f"{bland(name)} {count:,}" for name, count in pairs)
            _wrapped(out, listed, indent="  ")


def _story(out: Console, steps: list[dict[str, Any]]) -> None:
    if not steps:
        return
    out.print()
    out.print(Text("Story", style="bold"))
    for step in steps:
        line = f"{clock(step['at'])}  {step['event']} -> {step['state']}"
        if step.get("by"):
            line += f"  by {step['by']}"
        if step.get("reason"):
            line += f": {step['reason']}"
        _wrapped(out, line, indent="  ")


def _commands(
    out: Console, sender: dict[str, Any], case: dict[str, Any] | None
) -> None:
    name, state = sender["sender"], sender["state"]
    waiting = sender["waiting"]["messages"]
    lines = []
    if waiting:
        lines.append(command("queue", "list", "--sender", name))
    if state != "normal" and not sender.get("enforce", True):
        lines += [
            command("export", "blocked", "--format", "postfix", "--slowed"),
            command("release", name, reason=True),
        ]
    elif state != "normal":
        lines += [
            command("release", name, reason=True),
            command("release", name, "--rate", "20/m", reason=True),
        ]
    if waiting:
        lines.append(command("queue", "drop", "--sender", name, reason=True))
    if state != "blocked" or not sender.get("confirmed"):
        # On a sender that blocked itself it confirms the theft: nothing is learned.
        lines.append(command("block", name, reason=True))
    if state == "normal":
        lines.append(command("explain", name))
    lines.append(command("audit", "--sender", name))
    _typed(out, lines, "Innocent, or not? Type:" if case and state != "normal" else "")


def _typed(out: Console, lines: list[str], title: str = "") -> None:
    out.print()
    out.print(Text(title or "Next", style="bold"))
    for line in lines:
        _line(out, f"  {line}", style="cyan")


def _facts(out: Console, facts: list[tuple[str, str]]) -> None:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        if value.strip():
            table.add_row(f"  {name}", Text(bland(value)))
    out.print(table)


def _wrapped(out: Console, text: str, indent: str = "") -> None:
    """Print harmless text, folded at the width behind an indent."""
    for line in Text(bland(text)).wrap(out, out.width - len(indent)):
        out.print(Text(indent) + line)


def _line(out: Console, text: str, style: str = "") -> None:
    """Print one line that is never folded, so that it can be copied."""
    out.print(Text(text, style=style), soft_wrap=True)


def _when(at: float) -> str:
    return f"{clock(at)} ({age(time.time() - at)} ago)"
