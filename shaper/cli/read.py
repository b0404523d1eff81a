"""Commands that only look: each with ``--json`` for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from shaper.cli.change import register_queue
from shaper.cli.options import Filter, Json, Name, OfSender, Sender, client, words
from shaper.cli.output import print_json, say
from shaper.cli.times import moment

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["register"]

_GRAMMAR = """\
List held mail.

A filter is made of terms, all of which must hold: rcpt-domain=example.org
subject~invoice age>2h size>1M recipients>=20 sender=login:alice id=... and
also from, rcpt, client, case, order, message-id, attempts. `=` compares whole
values, `*` stands for anything, `~` looks for a part; `or`, `not` and
parentheses work as one reads them. Put the whole in single quotes: a shell takes
< > and parentheses for itself.
"""


def register(app: typer.Typer) -> None:
    """Add the commands, and the group ``queue``."""
    app.command()(status)
    app.command()(cases)
    app.command()(receivers)
    app.command()(friends)
    app.command()(show)
    app.command()(explain)
    queue = typer.Typer(
        help="Look at held mail; release, drop or bounce it.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    queue.command("list", help=_GRAMMAR)(queue_list)
    queue.command("show")(queue_show)
    register_queue(queue)
    app.add_typer(queue, name="queue")
    app.command()(audit)


def status(context: typer.Context, *, as_json: Json = False) -> None:
    """Say how the daemon is and how much it holds."""
    result = client(context).ask("status")
    if as_json:
        print_json(result)
        return
    from shaper.cli.lists import status_lines

    for line in status_lines(result):
        say(line)


def cases(
    context: typer.Context,
    *,
    closed: Annotated[bool, typer.Option("--all", help="Closed cases too.")] = False,
    as_json: Json = False,
) -> None:
    """List open cases, oldest first."""
    result = client(context).ask("cases", closed=closed)
    if as_json:
        for case in result:
            print_json(case)
        return
    from shaper.cli.lists import case_lines

    for line in case_lines(result, closed=closed):
        say(line)


def receivers(context: typer.Context, *, as_json: Json = False) -> None:
    """List receivers that refuse this host as a whole."""
    result = client(context).ask("receivers")
    if as_json:
        for trouble in result:
            print_json(trouble)
        return
    from shaper.cli.lists import receiver_lines

    for line in receiver_lines(result):
        say(line)


def friends(context: typer.Context, *, as_json: Json = False) -> None:
    """List friendly hosts whose mail we deliver: today's recipients, who sent most."""
    result = client(context).ask("friends")
    if as_json:
        for one in result:
            print_json(one)
        return
    from shaper.cli.lists import friend_lines

    for line in friend_lines(result):
        say(line)


def show(context: typer.Context, name: Name, *, as_json: Json = False) -> None:
    """Tell a case: who, since when, why, and what to type."""
    result = client(context).ask("show", name=name)
    if as_json:
        print_json(result)
        return
    from shaper.cli.dossier import print_dossier

    print_dossier(result)


def explain(context: typer.Context, sender: Sender, *, as_json: Json = False) -> None:
    """Show every part of the evidence about a sender as it stands now."""
    result = client(context).ask("explain", sender=sender)
    if as_json:
        print_json(result)
        return
    from shaper.cli.dossier import print_evidence

    print_evidence(result)


def queue_list(
    context: typer.Context,
    terms: Filter = None,
    *,
    sender: OfSender = "",
    as_json: Json = False,
) -> None:
    ask, text = client(context).ask, words(terms)
    if as_json:
        ask("queue.list", print_json, filter=text, sender=sender)
        return
    from shaper.cli.lists import message_lines, queue_total

    def row(message: dict[str, Any]) -> None:
        for line in message_lines(message):
            say(line)

    total = ask("queue.list", row, filter=text, sender=sender)
    for line in queue_total(total, narrowed=bool(text or sender)):
        say(line)


def queue_show(
    context: typer.Context,
    message_id: Annotated[str, typer.Argument(metavar="ID")],
    *,
    as_json: Json = False,
) -> None:
    """Show a held message: envelope, origin and the start of its content."""
    result = client(context).ask("queue.show", id=message_id)
    if as_json:
        print_json(result)
        return
    from shaper.cli.dossier import print_message

    print_message(result)


def audit(
    context: typer.Context,
    *,
    since: Annotated[
        str,
        typer.Option(
            "--since", metavar="WHEN", help="From when: 2h, 7d ago, or a date."
        ),
    ] = "",
    sender: Annotated[
        str,
        typer.Option("--sender", metavar="SENDER", help="Only this sender (or case)."),
    ] = "",
    verify: Annotated[
        bool,
        typer.Option(
            "--verify", help="Compute the evidence of every alarm again; 1: differs."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Show the audit journal: what changed, who did it, and why."""
    at = moment(since, "--since", past=True) if since else 0.0
    ask = client(context).ask
    if verify:
        _verify(ask, at, sender, as_json=as_json)
        return
    if as_json:
        ask("audit", print_json, since=at, sender=sender)
        return
    from shaper.cli.lists import audit_line

    def row(line: dict[str, Any]) -> None:
        say(audit_line(line))

    total = ask("audit", row, since=at, sender=sender)
    say(f"{total['lines']:,} lines.")


def _verify(
    ask: Callable[..., Any], since: float, sender: str, *, as_json: bool
) -> None:
    from shaper.cli.lists import verified_line

    def row(line: dict[str, Any]) -> None:
        if as_json:
            print_json(line)
        else:
            say(verified_line(line))

    total = ask("audit.verify", row, since=since, sender=sender)
    if not as_json:
        say(f"Alarms: {total['alarms']:,}, computed the same: {total['same']:,}.")
    if total["same"] != total["alarms"]:
        raise typer.Exit(1)
