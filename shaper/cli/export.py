"""``mailshaper export``: blocked senders as maps that Postfix or Exim look up.

For placements in which nothing is held (``watch``, ``enforce = false``): the admin
stops a sender at the MTA. A name that a map could take for something else, such as
a domain, is left out and named on standard error.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shaper.cli.failure import USAGE, CliError
from shaper.cli.options import client
from shaper.cli.output import say
from shaper.core.text import bland

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["register"]

# A whole address: a bare domain or "user@" would match many senders (access(5)).
_ADDRESS = re.compile(r"[^\s@\"#:,\\]{1,200}@[^\s@\"#:,\\]{1,255}")
_LOGIN = re.compile(r"[^\s@\"#:,\\]{1,200}(@[^\s@\"#:,\\]{1,255})?")
_HOW = {
    ("postfix", "login"): "# smtpd_sender_restrictions = check_sasl_access hash:THIS",
    ("postfix", "from"): "# smtpd_sender_restrictions = check_sender_access hash:THIS",
    ("exim", "login"): "# deny authenticated = * "
    "condition = ${lookup{$authenticated_id}lsearch{THIS}{1}{0}}",
    ("exim", "from"): "# deny senders = lsearch;THIS",
}


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(
        help="What the MTA may look up, where mailshaper holds nothing itself.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    group.command("blocked")(blocked)
    group.callback()(_group)
    app.add_typer(group, name="export")


def _group() -> None:
    """Keep ``blocked`` a command of its own though it is the only one."""


def blocked(
    context: typer.Context,
    *,
    form: Annotated[
        str, typer.Option("--format", metavar="postfix|exim", help="Of which MTA.")
    ] = "postfix",
    of: Annotated[
        str,
        typer.Option(
            "--of",
            metavar="login|from",
            help="Logins (check_sasl_access), or envelope senders "
            "(check_sender_access).",
        ),
    ] = "login",
    slowed: Annotated[
        bool, typer.Option("--slowed", help="Also senders that are only slowed.")
    ] = False,
) -> None:
    """Write the blocked senders as a map for the MTA, on standard output."""
    if (form, of) not in _HOW:
        raise CliError(USAGE, "write --format postfix or exim, --of login or from")
    states = {"blocked", "slowed"} if slowed else {"blocked"}
    rows: list[dict[str, Any]] = client(context).ask("cases", closed=False)
    senders = {row["sender"]: row for row in rows if row["state"] in states}
    say(_HOW[form, of])
    for name in _names(senders, of):
        if form == "postfix":
            say(f"{name} REJECT 5.7.1 This account is suspended, ask your postmaster")
        else:
            say(f"{name}: suspended")


def _names(senders: dict[str, Any], of: str) -> Iterator[str]:
    allowed = _LOGIN if of == "login" else _ADDRESS
    for sender in sorted(senders):
        kind, _, name = sender.partition(":")
        if kind == of and allowed.fullmatch(name) and name.isprintable():
            yield name
        elif kind in {of, "uid"}:
            text = (
                "a local user is stopped on the host"
                if kind == "uid"
                else "a map could take it for something else"
            )
            sys.stderr.write(f"mailshaper: {bland(sender)} is left out: {text}\n")
