"""Keys and peppers: a second machine, a stolen key, a restored copy, a new secret."""

from __future__ import annotations

from typing import Annotated

import typer

from federation.cli.context import Force, Json, failing, node, now, writing
from federation.cli.output import USAGE, Failure, folded, print_json, say, table

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(rich_markup_mode=None, no_args_is_help=False)
    group.callback(invoke_without_command=True)(keys)
    group.command("grant")(grant)
    group.command("revoke")(revoke)
    group.command("rotate")(rotate)
    app.add_typer(group, name="keys")
    app.command()(reopen)
    app.command()(pepper)


def keys(context: typer.Context, *, as_json: Json = False) -> None:
    """Show the keys of this organisation: root, granted, revoked."""
    if context.invoked_subcommand:
        return
    from federation.format.profile import b64

    with node(context) as opened, failing():
        identity = opened.store.identity(opened.org)
        rows: list[dict[str, object]] = [
            {"key": b64(key), "is": "root" if key == identity.root else "old root"}
            for key in identity.roots
        ]
        labels = {
            str(event.body["key"]): str(event.body["label"])
            for event in opened.store.events("ctl.grant")
            if event.org == opened.org
        }
        rows += [
            {
                "key": b64(key),
                "is": "revoked" if key in identity.cuts else "machine",
                "label": labels.get(b64(key), ""),
                "here": key == opened.signer.public,
            }
            for key in sorted(identity.keys)
        ]
    if as_json:
        for row in rows:
            print_json(row)
        return
    table(
        ("key", "is", "label"),
        [
            (
                str(row["key"]),
                str(row["is"]) + (", this one" if row.get("here") else ""),
                str(row.get("label", "")),
            )
            for row in rows
        ],
        flexible=2,
    )


def grant(
    context: typer.Context,
    key: Annotated[str, typer.Argument(metavar="KEY", help="Of the other machine.")],
    label: Annotated[str, typer.Argument(metavar="LABEL", help="Such as mx2.")],
    *,
    force: Force = False,
) -> None:
    """Let another machine speak for this organisation. Needs the root key."""
    with node(context) as opened, failing():
        writing(opened, force=force)
        opened.own.append("ctl.grant", {"key": key, "label": label}, now())
    say(folded(f"{label} may speak for this organisation."))


def revoke(
    context: typer.Context,
    key: Annotated[str, typer.Argument(metavar="KEY", help="Or its beginning.")],
    why: Annotated[str, typer.Argument(metavar="WHY", help="lost, stolen or retired.")],
    *,
    everything: Annotated[
        bool,
        typer.Option(
            "--everything", help="What it said before counts no more, either."
        ),
    ] = False,
    force: Force = False,
) -> None:
    """Take a machine's right to speak away, for ever. Needs the root key.

    What it said until now keeps its weight, unless --everything.
    """
    from federation.format.profile import Value, b64

    with node(context) as opened, failing():
        writing(opened, force=force)
        granted = opened.store.identity(opened.org).keys
        found = [one for one in granted if b64(one).startswith(key) and len(key) > 3]  # noqa: PLR2004
        if len(found) != 1:
            raise Failure(
                USAGE, f"{key!r} is no key of a machine here", "write more of it"
            )
        body: dict[str, Value] = {"key": b64(found[0]), "why": why}
        cut = opened.own.cut(found[0])
        if cut and not everything:
            body["cut"] = cut
        opened.own.append("ctl.revoke", body, now())
    say("The key is revoked. Whoever has it can say nothing for you any more.")


def rotate(context: typer.Context, *, force: Force = False) -> None:
    """Let next-root.key take the place of the root key, and make its successor.

    For a root key that is lost or stolen, or every few years. Both files must be in
    the node's directory; the old root key is kept as root.key.old.
    """
    with node(context) as opened, failing():
        writing(opened, force=force)
        opened.rotate(now())
    say("The next root key rules now. Copy root.key and next-root.key elsewhere.")


def reopen(context: typer.Context) -> None:
    """Go on after a fork of our own log: a copy was restored, or ran twice.

    Stop the other copy first. Needs the root key.
    """
    with node(context) as opened, failing():
        opened_logs = opened.own.reopen(now())
    if not opened_logs:
        raise Failure(USAGE, "no log of this host is forked; nothing was changed")
    say(f"{len(opened_logs)} logs go on in a new incarnation.")


def pepper(
    context: typer.Context,
    *,
    new: Annotated[
        bool, typer.Option("--new", help="Make a new one, and tag with it from now on.")
    ] = False,
    show: Annotated[
        bool, typer.Option("--show", help="Show the secrets, to hand them over.")
    ] = False,
    add: Annotated[
        str,
        typer.Option("--add", metavar="SECRET", help="Take one that was handed over."),
    ] = "",
) -> None:
    """Show the network's peppers, make a new one, or take one.

    Every half year one member makes a new one and hands it to all. Old ones stay
    until nothing is tagged with them.
    """
    import os

    from federation.format.errors import Refused
    from federation.format.profile import b64, unb64

    with node(context) as opened, failing():
        if new:
            opened.add_pepper(os.urandom(32))
        if add:
            try:
                secret = unb64(add, 32)
            except Refused as error:
                raise Failure(USAGE, f"--add: {error.why}") from None
            if not opened.add_pepper(secret):
                say("That pepper is here already.")
        held = opened.peppers()
    for at, one in enumerate(held):
        use = "tags are made with it" if at == 0 else "looked up"
        say(f"{b64(one.id)}  {use}" + (f"  {b64(one.secret)}" if show else ""))
    if not held:
        say("There is none yet: join a network.")
    if show:
        say("Who has a pepper can ask for every address. Hand it over in person.")
