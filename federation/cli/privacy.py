"""A person's rights: what is stored about an address, and its erasure."""

from __future__ import annotations

from typing import Annotated

import typer

from federation.cli.context import DryRun, Force, Json, failing, node, now, writing
from federation.cli.output import clock, folded, print_json, say, typed

__all__ = ["register"]

Address = Annotated[str, typer.Argument(metavar="ADDRESS", help="A mail address.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("subject-access")(subject_access)
    app.command()(erase)


def subject_access(
    context: typer.Context, address: Address, *, as_json: Json = False
) -> None:
    """Show everything that is stored about an address, and who said it.

    For the answer to a person who asks (GDPR art. 15): docs/privacy-federation.md.
    """
    from federation import views

    with node(context) as opened, failing():
        found = views.about(opened, address)
    if as_json:
        print_json(found)
        return
    say(folded(f"Stored about {address} on this host:"))
    say()
    for what, tags in found["tags"].items():
        say(f"tags as {what}: {' '.join(tags)}")
    for one in found["own"]:
        say(f"own mail: {one['what']}, {clock(one['at'])}")
    for one in found["events"]:
        said = " ".join(f"{key}={value}" for key, value in one["body"].items())
        say()
        say(folded(f"{one['kind']} of {one['name']}, {clock(one['at'])}"))
        say(folded(f"  {said}", "    "))
        say(folded(f"  origin: {one['contact'] or one['org']}"))
    if not found["own"] and not found["events"]:
        say("nothing besides: the tags are computed from the address when asked.")
    else:
        say()
        say(f"Next: {typed('erase', address)}")


def erase(
    context: typer.Context,
    address: Address,
    *,
    dry_run: DryRun = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Erase what this host said and knows about an address, everywhere.

    Own events are taken back with the demand to erase them, which every node does
    within 72 hours. What others said only they can take back: it is listed.
    """
    from federation import views

    with node(context) as opened, failing():
        found = views.about(opened, address)
        others = [one for one in found["events"] if one["level"] != "self"]
        ours = len(found["events"]) - len(others)
        if not dry_run:
            if ours:
                writing(opened, force=force)
            opened.erase(address, now())
    if as_json:
        print_json(
            {
                "address": address,
                "dry_run": dry_run,
                "own_events": ours,
                "own_evidence": len(found["own"]),
                "others": others,
            }
        )
        return
    if dry_run:
        say("Nothing was changed. Without --dry-run:")
    say(f"Own events erased here and, within 72 hours, at the others: {ours}.")
    say(f"Notes of our own mail erased: {len(found['own'])}.")
    for one in others:
        who = f"{one['name']} ({one['contact'] or one['org']})"
        say(folded(f"Said by {who}: {one['kind']}, {clock(one['at'])}. Ask there."))
