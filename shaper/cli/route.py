"""``mailshaper route``: another next hop for the mail to one receiver."""

from __future__ import annotations

from typing import Annotated

import typer

from shaper.cli.client import Client, socket_path
from shaper.cli.completion import offered
from shaper.cli.failure import CliError
from shaper.cli.options import DryRun, Id, Json, Reason, client, send
from shaper.cli.output import changed, print_json, say
from shaper.cli.times import clock
from shaper.core.text import bland

__all__ = ["register"]


def _groups(incomplete: str) -> list[str]:
    from shaper.core.receivers import GROUPS, OTHER

    return offered([name for name in GROUPS if name != OTHER], incomplete)


def _routes(incomplete: str) -> list[str]:
    try:
        found = Client(socket_path("", ""), 0.5).ask("route.list")
        return offered([one["pattern"] for one in found["routes"]], incomplete)
    except (CliError, OSError, KeyError, TypeError):
        return []  # a tab key never shows an error


_HELP = "orange.fr, .orange.fr (also below), a group, or from:ADDRESS|DOMAIN."
Target = Annotated[
    str,
    typer.Argument(metavar="DOMAIN|GROUP", help=_HELP, autocompletion=_groups),
]
Routed = Annotated[
    str,
    typer.Argument(metavar="DOMAIN|GROUP", help=_HELP, autocompletion=_routes),
]


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(
        help="Another next hop for the mail to one receiver.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    group.command("list")(route_list)
    group.command("add")(add)
    group.command("remove")(remove)
    app.add_typer(group, name="route")


def route_list(context: typer.Context, *, as_json: Json = False) -> None:
    """List the routes."""
    found = client(context).ask("route.list")["routes"]
    if as_json:
        for one in found:
            print_json(one)
        return
    for one in found:
        tls = "" if one["tls"] == "none" else f" ({bland(one['tls'])})"
        say(f"{bland(one['pattern'])} -> {bland(one['hop'])}{tls}")
        say(f"    since {clock(one['at'])}, {bland(one['by'])}: {bland(one['reason'])}")
    if not found:
        say("No routes: all mail goes to hop.next_hop.")


def add(
    context: typer.Context,
    route: Target,
    next_hop: Annotated[
        str,
        typer.Argument(
            metavar="NEXTHOP", help="A relay of the configuration, host:port or a path."
        ),
    ],
    *,
    tls: Annotated[
        str,
        typer.Option("--tls", metavar="HOW", help="none, starttls or implicit."),
    ] = "",
    reason: Reason = "",
    dry_run: DryRun = False,
    change_id: Id = "",
    as_json: Json = False,
) -> None:
    """Send the mail for a domain or receiver to another next hop, from now on."""
    result, change_id = send(
        context, "route.add", reason=reason, dry_run=dry_run, change_id=change_id,
        route=route, next_hop=next_hop, tls=tls,
    )  # fmt: skip
    verb = "would go" if dry_run else "goes"
    was = f" (it went to {bland(result['was'])})" if result["was"] else ""
    line = f"Mail for {bland(result['route'])} {verb} to {bland(next_hop)}{was}."
    changed(result, [line], change_id=change_id, dry_run=dry_run, as_json=as_json)


def remove(
    context: typer.Context,
    route: Routed,
    *,
    reason: Reason = "",
    dry_run: DryRun = False,
    change_id: Id = "",
    as_json: Json = False,
) -> None:
    """Let the mail for a domain or receiver go the common way again."""
    result, change_id = send(
        context, "route.remove", reason=reason, dry_run=dry_run, change_id=change_id,
        route=route,
    )  # fmt: skip
    verb = "would go" if dry_run else "goes"
    line = f"Mail for {bland(result['route'])} {verb} the common way again."
    changed(result, [line], change_id=change_id, dry_run=dry_run, as_json=as_json)
