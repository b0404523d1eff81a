"""Arguments and options that several commands share, and what they stand for."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer

from shaper.cli.client import Client, socket_path
from shaper.cli.completion import offered
from shaper.cli.failure import TEMPFAIL, USAGE, CliError
from shaper.cli.output import shell

__all__ = [
    "Config",
    "DryRun",
    "Filter",
    "Id",
    "Json",
    "Name",
    "OfSender",
    "Reason",
    "Sender",
    "Socket",
    "client",
    "send",
    "words",
]

_COMPLETION_TIMEOUT = 0.5  # seconds; nobody waits longer for a tab key


def _known(kind: str, incomplete: str) -> list[str]:
    """Return names from the daemon; a tab key never shows an error."""
    try:
        found = Client(socket_path("", ""), _COMPLETION_TIMEOUT).ask("complete")
        return offered(found[kind], incomplete)
    except (CliError, OSError, KeyError, TypeError, AttributeError):
        return []


def _senders(incomplete: str) -> list[str]:
    return _known("senders", incomplete)


def _names(incomplete: str) -> list[str]:
    return _known("cases", incomplete) + _known("senders", incomplete)


Sender = Annotated[
    str,
    typer.Argument(
        metavar="SENDER",
        help="login:NAME, uid:NUMBER or from:ADDRESS.",
        autocompletion=_senders,
    ),
]
Name = Annotated[
    str,
    typer.Argument(
        metavar="CASE|SENDER",
        help="A case, or a sender (login:NAME, uid:NUMBER, from:ADDRESS).",
        autocompletion=_names,
    ),
]
OfSender = Annotated[
    str,
    typer.Option(
        "--sender",
        metavar="SENDER",
        help="Only mail of this sender.",
        autocompletion=_senders,
    ),
]
Filter = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="FILTER",
        help="Such as 'rcpt-domain=example.org subject~invoice age>2h'; "
        "see `mailshaper queue list --help`.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Plain JSON, one object per line.")]
Reason = Annotated[
    str,
    typer.Option(
        "--reason", metavar="TEXT", help="Why; kept in the audit journal. Required."
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what would happen; change nothing.")
]
Id = Annotated[
    str,
    typer.Option(
        "--id",
        metavar="ID",
        help="Name of this change. The same id twice is one change: "
        "repeat it after a crash. Made up unless given.",
    ),
]
# Paths and numbers are texts here too: see ``shaper.cli.app``.
Config = Annotated[
    str,
    typer.Option(
        "--config", metavar="FILE", help="Configuration file, else $MAILSHAPER_CONFIG."
    ),
]
Socket = Annotated[
    str,
    typer.Option(
        "--socket",
        metavar="PATH",
        help="The daemon's admin socket, else $MAILSHAPER_SOCKET, else the "
        "configuration's.",
    ),
]


def words(terms: list[str] | None) -> str:
    """Return a filter that came as one argument or, without blanks, as several.

    Quoted parts are refused, because 'a or b' beside c would mean a or (b and c).
    """
    given = terms or ()
    if len(given) > 1 and any(" " in term for term in given):
        raise CliError(
            USAGE,
            "a filter of several quoted parts is ambiguous",
            "put the whole filter into one pair of single quotes",
        )
    return " ".join(given)


def client(context: typer.Context) -> Client:
    """Return the client for the socket that the command line names."""
    given: dict[str, str] = context.obj or {}
    return Client(socket_path(given.get("socket", ""), given.get("config", "")))


def send(
    context: typer.Context,
    command: str,
    *,
    reason: str,
    dry_run: bool,
    change_id: str,
    again: str = "",
    **arguments: Any,  # noqa: ANN401
) -> tuple[Any, str]:
    """Ask for a change; return its result and its id. Raises CliError.

    A change that may or may not have happened names its id, so that the operator
    can repeat it without harm; ``again`` are options that must not be worked out
    anew then, such as the end of two hours from now.
    """
    if not reason.strip():
        raise CliError(
            USAGE,
            "a change needs a reason",
            "add --reason '...': it is kept in the audit journal with your name",
        )
    change_id = change_id or os.urandom(8).hex()
    options = f"--id {shell(change_id)} {again}".rstrip()
    repeat = f"repeat the same command with {options}; twice is once"
    try:
        result = client(context).ask(
            command, reason=reason, dry_run=dry_run, id=change_id, **arguments
        )
    except CliError as error:
        if error.code == TEMPFAIL and not dry_run:
            error.hint = f"{error.hint}\n{repeat}" if error.hint else repeat
        raise
    except KeyboardInterrupt:
        raise CliError(
            TEMPFAIL, "interrupted; the change may have been made", repeat
        ) from None
    return result, change_id
