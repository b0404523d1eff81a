"""``mailshaper suppress``: the recipients that are not written to any more."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from shaper.cli.failure import IOERR, USAGE, CliError
from shaper.cli.options import DryRun, Id, Json, Reason, client, send
from shaper.cli.output import (
    changed,
    command,
    fail,
    folded,
    print_json,
    say,
    shorten,
)
from shaper.cli.times import clock
from shaper.core.text import bland

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shaper.core.addresslist import Line

__all__ = ["register"]

_BATCH = 1000  # addresses of one request
_SHOWN = 10  # lines of an import that could not be read
_DATAERR = 65

Address = Annotated[str, typer.Argument(metavar="ADDRESS", help="A mail address.")]
Why = Annotated[
    str,
    typer.Option(
        "--why", metavar="WHY", help="Only dead, soft, manual, import or lifted."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(
        help="Recipients that are not written to: see, change, share the list.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    group.command("list")(suppress_list)
    group.command("explain")(explain)
    group.command("add")(add)
    group.command("remove")(remove)
    group.command("confirm")(confirm)
    group.command("import")(import_)
    group.command("export")(export)
    app.add_typer(group, name="suppress")


def _stamp(at: float | None) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at)) if at else ""


def suppress_list(
    context: typer.Context,
    text: Annotated[
        str, typer.Argument(metavar="[TEXT]", help="Only addresses that contain it.")
    ] = "",
    *,
    why: Why = "",
    everything: Annotated[
        bool,
        typer.Option(
            "--all", help="Also single soft bounces and what was lifted lately."
        ),
    ] = False,
    limit: Annotated[
        str, typer.Option("--limit", metavar="N", help="At most so many.")
    ] = "",
    as_json: Json = False,
) -> None:
    """List suppressed addresses, in no order: the list may be long."""
    if limit and not (limit.isascii() and limit.isdigit() and int(limit)):
        raise CliError(USAGE, f"--limit: {limit!r} is no number from 1 on")

    def row(entry: dict[str, Any]) -> None:
        if as_json:
            print_json(entry)
            return
        since = _stamp(entry["since"])[:10] or "-"
        said = entry["reason"] or entry["text"]
        line = f"{since:<10} {entry['why']:<6} {bland(entry['address'])}"
        say(f"{line}  {shorten(said, 60)}".rstrip())

    total = client(context).ask(
        "suppress.list", row, text=text, why=why, limit=int(limit or 0), all=everything
    )
    if not as_json:
        count = int(total["addresses"])
        say(f"{count:,} address{'' if count == 1 else 'es'}.")


def explain(context: typer.Context, address: Address, *, as_json: Json = False) -> None:
    """Say why mail for an address is refused, since when, and what ends it."""
    found = client(context).ask("suppress.explain", address=address)
    if as_json:
        print_json(found)
        return
    name = str(found["address"])
    if not found["listed"]:
        say(f"{bland(name)}: nothing is known against it here.")
        if found["foreign"]:
            say(folded(_elsewhere(found["foreign"])))
            say(f"Next: {command('suppress', 'remove', name, reason=True)}")
        return
    for line in _explained(found):
        say(folded(line))
    if found["why"] != "lifted":
        say(f"Next: {command('suppress', 'remove', name, reason=True)}")


def _elsewhere(foreign: dict[str, Any]) -> str:
    what = {
        "suppress": "mail for it is refused",
        "caution": "bulk mail for it is refused, but for one message a day",
    }[foreign["says"]]
    by = ", ".join(map(bland, foreign["by"])) or "trusted hosts"
    return f"  Other hosts, since {clock(foreign['since'])}: {what}. Told by {by}."


def _explained(found: dict[str, Any]) -> Iterator[str]:
    what = {
        "dead": "The address does not exist",
        "soft": "Its mailbox took no mail",
        "manual": "Entered by an operator",
        "import": "Imported as dead",
        "lifted": "Nothing is held against it any more",
    }[found["why"]]
    since = f" since {clock(found['since'])}" if found["since"] else ""
    yield f"{bland(found['address'])}: {what}{since}."
    if found["text"]:
        yield f"  Said: {bland(found['text'])}"
    if found["source"]:
        yield f"  Told by: {bland(found['source'])}"
    if found["by"]:
        yield f"  Entered by {bland(found['by'])}: {bland(found['reason'])}"
    if found["soft_bounces"]:
        yield (
            f"  Soft bounces: {len(found['soft_bounces'])}, of bulk mail on "
            f"{found['occasions']} of {found['soft_needed']} separate occasions."
        )
    words = {"refuse": "refused", "pass": "let through", "probe": "let through (probe)"}
    for kind, name in (("bulk", "bulk senders"), ("personal", "other senders")):
        yield f"  Mail of {name}: {words[found['verdict'][kind]['action']]}."
    if found["foreign"]:
        yield _elsewhere(found["foreign"])
    if not found["enforced"]:
        yield "  Nothing is refused now: observing, or [suppression] enabled = false."
    for key, name in (
        ("soft_retry_at", "Other senders may try again"),
        ("last_probe", "Last probe"),
        ("next_probe", "Next message let through as a probe"),
        ("asked", "Asked by mail to confirm"),
        ("confirmed", "Confirmed by the recipient"),
        ("lifted", "Last lifted"),
    ):
        if found[key]:
            by = f" ({bland(found['lifted_by'])})" if key == "lifted" else ""
            yield f"  {name}: {clock(found[key])}{by}"


def add(
    context: typer.Context,
    address: Address,
    *,
    reason: Reason = "",
    dry_run: DryRun = False,
    change_id: Id = "",
    as_json: Json = False,
) -> None:
    """Refuse mail for an address until it is removed again."""
    result, change_id = send(
        context, "suppress.add", reason=reason, dry_run=dry_run, change_id=change_id,
        address=address,
    )  # fmt: skip
    verb = "would be" if dry_run else "is"
    line = f"{bland(result['address'])} {verb} suppressed until you remove it."
    changed(result, [line], change_id=change_id, dry_run=dry_run, as_json=as_json)


def remove(
    context: typer.Context,
    address: Address,
    *,
    reason: Reason = "",
    dry_run: DryRun = False,
    change_id: Id = "",
    as_json: Json = False,
) -> None:
    """Let mail for an address through again."""
    result, change_id = send(
        context, "suppress.remove", reason=reason, dry_run=dry_run,
        change_id=change_id, address=address,
    )  # fmt: skip
    verb = "would be" if dry_run else "is"
    was = bland(str(result["was"]))
    line = f"{bland(result['address'])} {verb} written to again (it was: {was})."
    changed(result, [line], change_id=change_id, dry_run=dry_run, as_json=as_json)


def confirm(
    context: typer.Context,
    address: Address,
    *,
    reason: Reason = "",
    dry_run: DryRun = False,
    change_id: Id = "",
    as_json: Json = False,
) -> None:
    """Mail an address the link with which it can free itself."""
    result, change_id = send(
        context, "suppress.confirm", reason=reason, dry_run=dry_run,
        change_id=change_id, address=address,
    )  # fmt: skip
    name = bland(result["address"])
    if dry_run:
        line = f"{name} would be asked by mail."
    elif result["queued"]:
        line = f"{name} is asked by mail; the link is good for 30 days."
    else:
        line = f"{name} was asked within the last hour and is not asked again now."
    changed(result, [line], change_id=change_id, dry_run=dry_run, as_json=as_json)


def import_(
    context: typer.Context,
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILE]...", help="Lists; - or none reads stdin."),
    ] = None,
    *,
    reason: Reason = "",
    dry_run: DryRun = False,
    change_id: Id = "",
    as_json: Json = False,
) -> None:
    """Take dead addresses from a list: plain, our CSV, or a provider's export.

    SendGrid, Mailgun, Amazon SES, Brevo, Postmark and Mailjet are known by their
    columns. Only hard bounces are taken; complaints, unsubscriptions and soft bounces
    are counted.
    """
    counts: dict[str, int] = {"added": 0, "known": 0, "corrupt": 0}
    skipped: dict[str, int] = {}
    shown: list[str] = []
    batch: list[list[Any]] = []

    def flush(*, last: bool) -> None:
        nonlocal change_id
        result, change_id = send(
            context, "suppress.import", reason=reason, dry_run=dry_run,
            change_id=change_id, rows=batch, last=last,
        )  # fmt: skip
        counts["added"] += int(result["added"])
        counts["known"] += int(result["known"])
        counts["corrupt"] += int(result["bad"])
        batch.clear()

    for name in files or ["-"]:
        for line in _lines(name):
            if not line.skipped:
                fields = (line.address, line.since, line.status, line.text, line.source)
                batch.append(list(fields))
                if len(batch) >= _BATCH:
                    flush(last=False)
            elif line.corrupt:
                counts["corrupt"] += 1
                if len(shown) < _SHOWN:
                    where = f"{name}:{line.number}: {line.skipped}"
                    shown.append(f"{where}: {line.text}"[:200])
            else:
                skipped[line.skipped] = skipped.get(line.skipped, 0) + 1
    flush(last=True)
    result = counts | {"skipped": skipped, "examples": shown}
    verb = "would be added" if dry_run else "added"
    known = f"{counts['known']:,} known already or freed since"
    lines = [f"{counts['added']:,} {verb}, {known}."]
    lines += [f"{n:,} left out: {bland(why)}." for why, n in sorted(skipped.items())]
    if counts["corrupt"]:
        noun = "line" if counts["corrupt"] == 1 else "lines"
        lines.append(f"{counts['corrupt']:,} {noun} could not be read:")
        lines += [f"  {bland(one)}" for one in shown]
    changed(result, lines, change_id=change_id, dry_run=dry_run, as_json=as_json)
    if counts["corrupt"] and not counts["added"] and not counts["known"]:
        raise CliError(_DATAERR, "nothing could be read", "see docs/suppression.md")


def _lines(name: str) -> Iterator[Line]:
    from shaper.core.addresslist import parse

    try:
        with _opened(name) as file:
            yield from parse(file)
    except OSError as error:
        raise CliError(IOERR, f"{name}: {error.strerror or error}") from error


def _opened(name: str) -> IO[str]:
    if name == "-":
        name = f"/dev/fd/{sys.stdin.fileno()}"
    return Path(name).open(encoding="utf-8", errors="surrogateescape", newline="")


def export(
    context: typer.Context,
    *,
    form: Annotated[
        str,
        typer.Option("--format", metavar="FORMAT", help="postfix, exim, plain or csv."),
    ] = "plain",
    why: Why = "",
) -> None:
    """Write what is refused to everybody, in a form for other programs.

    What only bulk senders may not write to is in the CSV with --why soft.
    """
    from shaper.core.addresslist import FORMATS, header, row_of

    if form not in FORMATS:
        raise CliError(USAGE, f"--format: {form!r} is none of {', '.join(FORMATS)}")
    for line in header(form):
        say(line)
    left_out = 0

    def row(entry: dict[str, Any]) -> None:
        nonlocal left_out
        if entry["for"] != "all" and not why:
            return
        fields = {key: str(value or "") for key, value in entry.items()}
        line = row_of(form, fields | {"since": _stamp(entry["since"])})
        if line:
            sys.stdout.write(line.encode("utf-8", "replace").decode() + "\n")
        else:
            left_out += 1

    client(context).ask("suppress.list", row, text="", why=why, limit=0, all=False)
    if left_out:
        fail(CliError(0, f"{left_out} addresses that this form cannot hold left out"))
