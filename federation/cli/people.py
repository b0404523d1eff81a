"""Whom this host talks to, and whom it believes: peers, trust, refuse, clear."""

from __future__ import annotations

from typing import Annotated

import typer

from federation.cli.context import Force, Json, failing, node, now, writing
from federation.cli.output import (
    USAGE,
    Failure,
    ago,
    clock,
    folded,
    print_json,
    say,
    table,
    typed,
)

__all__ = ["register"]

Org = Annotated[
    str,
    typer.Argument(
        metavar="ORG", help="Name of an organisation, or the start of its key."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(rich_markup_mode=None, no_args_is_help=False)
    group.callback(invoke_without_command=True)(peers)
    group.command("add")(add)
    group.command("remove")(remove)
    app.add_typer(group, name="peers")
    app.command()(trust)
    app.command()(refuse)
    app.command()(clear)


def peers(context: typer.Context, *, as_json: Json = False) -> None:
    """Show the hosts that this one talks to, and how they were last met."""
    if context.invoked_subcommand:
        return
    from federation import views

    with node(context) as opened:
        rows = list(views.peers(opened))
    if as_json:
        for row in rows:
            print_json(row)
        return
    if not rows:
        say("There are no peers yet.")
        say(f"Next: {typed('invite')}, or {typed('join', 'INVITATION')}")
        return
    table(
        ("name", "level", ">heard", "address", "problem"),
        [
            (
                row["name"],
                row["level"],
                ago(row["heard"], now()),
                row["url"] or "asks us",
                row["problem"],
            )
            for row in rows
        ],
        flexible=4 if any(row["problem"] for row in rows) else 3,
    )


def add(
    context: typer.Context,
    org: Annotated[str, typer.Argument(metavar="KEY", help="Their public root key.")],
    url: Annotated[
        str, typer.Argument(metavar="URL", help="https://fed.example.org:8641")
    ],
    *,
    pin: Annotated[
        str, typer.Option("--pin", metavar="PIN", help="Pin of their own certificate.")
    ] = "",
    name: Annotated[
        str, typer.Option("--name", metavar="NAME", help="What to call them here.")
    ] = "",
) -> None:
    """Talk to a host whose key and address you have; it must add this one too.

    An invitation does all of it, and hands the network's pepper over.
    """
    from federation.exchange.client import Target
    from federation.format.errors import Refused
    from federation.format.profile import unb64
    from federation.log.tables import Peer

    with node(context) as opened:
        try:
            key = unb64(org, 32)
            if pin:
                unb64(pin, 32)
        except Refused as error:
            raise Failure(
                USAGE, f"key and pin are 43 characters: {error.why}"
            ) from None
        try:
            _ = Target(url, pin).authority
        except ValueError as error:
            raise Failure(USAGE, f"{url!r}: {error}") from None
        if key == opened.org:
            raise Failure(USAGE, "that is this organisation's own key")
        opened.store.put_peer(Peer(key, url, pin, name, now()))
        if opened.store.level(key) is None:
            opened.store.set_trust(key, "seen", now=now())
        say(folded(f"{name or org[:12]} is a peer at {url}."))
        say(f"Next: {typed('trust', name or org, 'known')}")


def remove(context: typer.Context, org: Org) -> None:
    """Talk to a host no more. What it said keeps its weight: see trust."""
    with node(context) as opened, failing():
        key = opened.org_of(org)
        called = opened.name_of(key)
        if not opened.store.drop_peer(key):
            raise Failure(USAGE, f"{called} is no peer")
        say(folded(f"{called} is no peer any more. Its level stays."))
        say(f"Next: {typed('trust', called, 'seen')}")


def trust(
    context: typer.Context,
    org: Annotated[
        str,
        typer.Argument(
            metavar="[ORG]", help="Name of an organisation, or the start of its key."
        ),
    ] = "",
    level: Annotated[
        str, typer.Argument(metavar="[LEVEL]", help="seen, known, trusted or sole.")
    ] = "",
    *,
    group: Annotated[
        str,
        typer.Option(
            "--group",
            metavar="NAME",
            help="Counts once with others of this group: one owner, several hosts.",
        ),
    ] = "",
    note: Annotated[
        str, typer.Option("--note", metavar="TEXT", help="Why; for yourself.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Show whom this host believes, or set the level of an organisation.

    seen: stored and passed on, believed in nothing. known: weighs 40, counts beside
    others. trusted: weighs 100, one alone has bulk mail held. sole: weighs 200 and
    suppresses alone; for your own second site. Setting a level forgives what the
    audit found before.
    """
    from federation import views

    with node(context) as opened, failing():
        if not org:
            _table(list(views.trust(opened)), as_json=as_json)
            return
        key = opened.org_of(org)
        if not level:
            rows = [row for row in views.trust(opened) if _is(row, key)]
            _table(rows, as_json=as_json)
            return
        if level not in {"seen", "known", "trusted", "sole"}:
            hint = "to have nothing of it: " + typed("refuse", org)
            raise Failure(
                USAGE, f"{level!r} is none of seen, known, trusted, sole", hint
            )
        if key == opened.org:
            raise Failure(USAGE, "one's own evidence goes before every level")
        opened.store.set_trust(key, level, now=now(), group=group, note=note)
        result = views.organisation(opened, key)
    if as_json:
        print_json(result)
        return
    say(folded(f"{result['name']} is {level} here from now on."))
    if level == "sole":
        say("It suppresses recipients alone: meant for a site of your own.")


def _is(row: dict[str, object], key: bytes) -> bool:
    from federation.format.profile import b64

    return row["org"] == b64(key)


def _table(rows: list[dict[str, object]], *, as_json: bool) -> None:
    if as_json:
        for row in rows:
            print_json(row)
        return
    table(
        ("name", "level", "group", ">events", "key", "remark"),
        [
            (
                str(row["name"]),
                str(row["level"]),
                str(row["group"]),
                f"{row['events']:,}",
                str(row["org"])[:12],
                _remark(row),
            )
            for row in rows
        ],
        flexible=5,
    )


def _remark(row: dict[str, object]) -> str:
    if row["frozen"]:
        return f"counts nothing: {row['frozen']}"
    if isinstance(row["share"], int) and row["share"] < 1000:  # noqa: PLR2004
        return f"audit leaves {row['share'] / 10:.0f} %"
    if row["note"]:
        return str(row["note"])
    return f"introduced by {row['by']}" if row["by"] else ""


def refuse(
    context: typer.Context,
    org: Org,
    *,
    public: Annotated[
        str,
        typer.Option(
            "--public",
            metavar="WHY",
            help="Tell the others, too: abuse, lies, fork or other.",
        ),
    ] = "",
    force: Force = False,
) -> None:
    """Have nothing of an organisation: what is stored goes, nothing is passed on."""
    from federation.format.profile import b64

    with node(context) as opened, failing():
        key = opened.org_of(org)
        called = opened.name_of(key)
        if key == opened.org:
            raise Failure(USAGE, "a host cannot refuse itself")
        if public:
            writing(opened, force=force)
            # First: a word that no event can hold changes nothing.
            opened.own.append("ctl.refuse", {"peer": b64(key), "why": public}, now())
        opened.store.drop_peer(key)
        opened.store.set_trust(key, "refused", now=now())
    say(folded(f"{called} is refused: nothing of it is kept here or passed on."))
    start = b64(key)[:12]
    # A key may begin like an option.
    dashes = ("--",) if start.startswith("-") else ()
    say(f"Back again: {typed('trust', *dashes, start, 'seen')}")


def clear(context: typer.Context, org: Org) -> None:
    """Let an organisation count again whose forks you have looked at.

    Events after a fork stay without weight; what it wrote in new logs counts.
    """
    from federation import views

    with node(context) as opened, failing():
        key = opened.org_of(org)
        before = opened.store.identity(key)
        if not before.forks and not before.conflict:
            raise Failure(USAGE, f"nothing of {opened.name_of(key)} is forked")
        opened.store.clear(key, now=now())
        row = next(row for row in views.trust(opened) if _is(row, key))
    if row["frozen"]:
        raise Failure(
            USAGE,
            f"{row['name']} still counts nothing: {row['frozen']}",
            "that cannot be cleared: it needs a new organisation",
        )
    say(folded(f"{row['name']} counts again, forks up to {clock(now())} are seen."))
