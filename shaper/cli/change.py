"""Commands that change something: each with a reason, an id and ``--dry-run``.

Each says what happened in messages and recipients, and what to type next.
"""

from __future__ import annotations

import re
import time
from typing import Annotated

import typer

from shaper.cli.failure import USAGE, CliError
from shaper.cli.options import (
    DryRun,
    Filter,
    Id,
    Json,
    OfSender,
    Reason,
    Sender,
    send,
    words,
)
from shaper.cli.output import changed, command, counts
from shaper.cli.times import age, clock, iso, moment, rate
from shaper.core.text import bland

__all__ = ["register"]

Rate = Annotated[
    str,
    typer.Option(
        "--rate",
        metavar="RATE",
        help="Let it out paced: 20/m or 100/h. Default: at once.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(release)
    app.command()(block)
    app.command()(exempt)
    app.command()(plan)
    app.command()(forget)


def register_queue(queue: typer.Typer) -> None:
    """Add the commands about held mail to the group ``queue``."""
    queue.command("release")(queue_release)
    queue.command("drop")(queue_drop)
    queue.command("bounce")(queue_bounce)


def _would(verb: str, *, dry_run: bool) -> str:
    return f"Would be {verb}" if dry_run else verb.capitalize()


def release(
    context: typer.Context,
    sender: Sender,
    *,
    filter: Annotated[  # noqa: A002 - the word of the grammar
        str,
        typer.Option(
            "--filter",
            metavar="FILTER",
            help="Only held mail that matches; the sender stays as it is.",
        ),
    ] = "",
    paced: Rate = "",
    reason: Reason = "",
    dry_run: DryRun = False,
    change_id: Id = "",
    as_json: Json = False,
) -> None:
    """Find a sender innocent: back to normal, its held mail goes out.

    With --filter only the matching mail goes out, and the sender is judged on.
    """
    if filter:
        _order(
            context, "release", filter, sender,
            paced=paced, reason=reason, dry_run=dry_run, change_id=change_id,
            as_json=as_json,
        )  # fmt: skip
        return
    result, change_id = send(
        context, "release", reason=reason, dry_run=dry_run, change_id=change_id,
        sender=sender, rate=rate(paced),
    )  # fmt: skip
    sender = str(result["sender"])
    pace = f", {paced}" if paced else ""
    state = "is" if dry_run else "is now"
    changed(
        result,
        [
            f"{_would('released', dry_run=dry_run)}: {counts(result)}{pace}.",
            f"{bland(sender)} {state} {bland(str(result['state']))}.",
        ],
        change_id=change_id, dry_run=dry_run, as_json=as_json,
        then=(command("queue", "list", "--sender", sender),),
    )  # fmt: skip


_NEVER_SEEN = "No mail of this sender was seen yet: is the name right"


def _never_seen(sender: str) -> str:
    return _NEVER_SEEN + (", as it logs in?" if sender.startswith("login:") else "?")


def block(
    context: typer.Context,
    sender: Sender,
    *,
    reason: Reason = "",
    dry_run: DryRun = False,
    change_id: Id = "",
    as_json: Json = False,
) -> None:
    """Hold everything of a sender until a person releases it."""
    result, change_id = send(
        context, "block", reason=reason, dry_run=dry_run, change_id=change_id,
        sender=sender,
    )  # fmt: skip
    sender = str(result["sender"])
    state = (
        f"{bland(sender)} is {bland(str(result['state']))} and would be blocked"
        if dry_run
        else f"{bland(sender)} is blocked: its mail waits for you"
        if result.get("enforce", True)
        else f"{bland(sender)} is noted as blocked, but nothing of it is held: this "
        "daemon observes. Stop it at the MTA (`mailshaper export blocked`)"
    )
    changed(
        result,
        [
            f"{state}.",
            *([] if result.get("seen", True) else [_never_seen(sender)]),
            f"Waiting: {counts(result)}.",
        ],
        change_id=change_id, dry_run=dry_run, as_json=as_json,
        then=(
            command("show", sender),
            command("queue", "drop", "--sender", sender, reason=True),
            command("release", sender, reason=True),
        ),
    )  # fmt: skip


def exempt(
    context: typer.Context,
    sender: Sender,
    *,
    until: Annotated[
        str,
        typer.Option(
            "--until", metavar="WHEN", help="When it ends: 2h, 7d, or a date."
        ),
    ] = "",
    end: Annotated[bool, typer.Option("--end", help="End it now.")] = False,
    reason: Reason = "",
    dry_run: DryRun = False,
    change_id: Id = "",
    as_json: Json = False,
) -> None:
    """Let a sender's mail pass unjudged for a while."""
    if bool(until) == end:
        raise CliError(
            USAGE, "an exemption needs its end", "add --until 2h, or --end to end it"
        )
    at = moment(until, "--until") if until else 0.0
    result, change_id = send(
        context, "exempt", reason=reason, dry_run=dry_run, change_id=change_id,
        again=f"--until {iso(at)}" if until else "", sender=sender, until=at,
    )  # fmt: skip
    sender = str(result["sender"])
    would = "would be" if dry_run else "is"
    line = (
        f"{bland(sender)} {would} exempt until {clock(at)} "
        f"({age(at - time.time())} from now)."
        if until
        else f"{bland(sender)} {would} judged again as any other."
    )
    then = (command("exempt", sender, "--end", reason=True),) if until else ()
    changed(
        result, [line], change_id=change_id, dry_run=dry_run, as_json=as_json,
        then=(*then, command("show", sender)),
    )  # fmt: skip


def plan(
    context: typer.Context,
    sender: Sender,
    *,
    start: Annotated[
        str, typer.Option("--from", metavar="WHEN", help="Start: now, 2h, or a date.")
    ] = "now",
    end: Annotated[
        str, typer.Option("--to", metavar="WHEN", help="End: 4h, or a date.")
    ],
    messages: Annotated[
        str, typer.Option("--messages", metavar="N", help="How many at most.")
    ],
    reason: Reason = "",
    dry_run: DryRun = False,
    change_id: Id = "",
    as_json: Json = False,
) -> None:
    """Expect a burst of a sender, such as Tuesday's newsletter."""
    if not re.fullmatch(r"[1-9]\d{0,8}", messages):
        raise CliError(USAGE, f"--messages: {messages!r} is no number from 1 on")
    since, to = moment(start, "--from"), moment(end, "--to")
    result, change_id = send(
        context, "plan", reason=reason, dry_run=dry_run, change_id=change_id,
        again=f"--from {iso(since)} --to {iso(to)}", sender=sender, to=to,
        messages=int(messages), **{"from": since},
    )  # fmt: skip
    sender = str(result["sender"])
    would = "would be" if dry_run else "are"
    changed(
        result,
        [
            f"Up to {int(messages):,} messages of {bland(sender)} {would} expected",
            f"from {clock(since)} to {clock(to)}.",
        ],
        change_id=change_id, dry_run=dry_run, as_json=as_json,
        then=(command("show", sender),),
    )  # fmt: skip


def forget(
    context: typer.Context,
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="A mail address.")],
    *,
    reason: Reason = "",
    dry_run: DryRun = False,
    change_id: Id = "",
    as_json: Json = False,
) -> None:
    """Remove what is stored about a person. Held mail stays until it is delivered."""
    result, change_id = send(
        context, "forget", reason=reason, dry_run=dry_run, change_id=change_id,
        address=address,
    )  # fmt: skip
    found = result["found"]
    cases, held = found["cases"], found["held"]
    lines = [f"{bland(address)}: {cases} cases as sender, {held} held messages."]
    if not dry_run:
        removed = [
            f"{bland(name).replace('_', ' ')} {value}"
            for name, value in result.items()
            if name not in {"found", "address"}
        ]
        lines.append(f"Done: {', '.join(removed) or 'nothing is stored any more'}.")
        if held:
            lines.append("Held mail still names the address until it has left.")
    changed(result, lines, change_id=change_id, dry_run=dry_run, as_json=as_json)


def queue_release(
    context: typer.Context,
    terms: Filter = None,
    *,
    sender: OfSender = "",
    paced: Rate = "",
    reason: Reason = "",
    dry_run: DryRun = False,
    change_id: Id = "",
    as_json: Json = False,
) -> None:
    """Let held mail go out; its senders stay as they are."""
    _order(
        context, "release", words(terms), sender, paced=paced, reason=reason,
        dry_run=dry_run, change_id=change_id, as_json=as_json,
    )  # fmt: skip


def queue_drop(
    context: typer.Context,
    terms: Filter = None,
    *,
    sender: OfSender = "",
    reason: Reason = "",
    dry_run: DryRun = False,
    change_id: Id = "",
    as_json: Json = False,
) -> None:
    """Throw held mail away; nobody is told. Try --dry-run first."""
    _order(
        context, "drop", words(terms), sender, reason=reason,
        dry_run=dry_run, change_id=change_id, as_json=as_json,
    )  # fmt: skip


def queue_bounce(
    context: typer.Context,
    terms: Filter = None,
    *,
    sender: OfSender = "",
    reason: Reason = "",
    dry_run: DryRun = False,
    change_id: Id = "",
    as_json: Json = False,
) -> None:
    """Return held mail to its senders with a bounce (DSN). Try --dry-run first."""
    _order(
        context, "bounce", words(terms), sender, reason=reason,
        dry_run=dry_run, change_id=change_id, as_json=as_json,
    )  # fmt: skip


_VERBS = {
    "release": "released",
    "drop": "thrown away",
    "bounce": "returned to their senders",
}


def _order(
    context: typer.Context,
    action: str,
    text: str,
    sender: str,
    *,
    paced: str = "",
    reason: str,
    dry_run: bool,
    change_id: str,
    as_json: bool,
) -> None:
    result, change_id = send(
        context, "queue.order", reason=reason, dry_run=dry_run, change_id=change_id,
        action=action, filter=text, sender=sender, rate=rate(paced),
    )  # fmt: skip
    pace = f", {paced}" if paced else ""
    left = ("--sender", sender) if sender else ()
    changed(
        result,
        [f"{_would(_VERBS[action], dry_run=dry_run)}: {counts(result)}{pace}."],
        change_id=change_id, dry_run=dry_run, as_json=as_json,
        then=(command("queue", "list", *left),),
    )  # fmt: skip
