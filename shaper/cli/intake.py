"""``mailshaper intake``: hand mail that came back to the daemon.

Made for a pipe of the MTA: whatever hinders the daemon now is EX_TEMPFAIL, on which
Postfix and Exim keep the mail and come again.
"""

from __future__ import annotations

import base64
import sys
from pathlib import Path
from typing import IO, Annotated, Any

import typer

from shaper.cli.failure import NOPERM, TEMPFAIL, UNAVAILABLE, CliError
from shaper.cli.options import Json, client
from shaper.cli.output import fail, print_json, say
from shaper.core.text import bland

__all__ = ["register"]

_DATAERR = 65  # EX_DATAERR: nothing understood
_NOINPUT = 66
# Octets handed on: a request of the admin socket has 1 MiB. Reports stand before
# what they return.
_MOST = 720_000
_CHUNK = 3 * 16 * 1024

_RESULTS = {
    "taken": "counted",
    "repeated": "known already",
    "unmatched": "about no message of ours that is known now",
    "nobody": "names no message",
}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(intake)


def intake(
    context: typer.Context,
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILE]...",
            help="Mails, one in each file; '-' or nothing: standard input.",
        ),
    ] = None,
    *,
    recipient: Annotated[
        str,
        typer.Option(
            "--recipient",
            metavar="ADDRESS",
            help="To whom the mail was delivered; it may carry VERP.",
        ),
    ] = "",
    take_all: Annotated[
        bool,
        typer.Option("--take-all", help="Exit with 0 when nothing is understood."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Hand a bounce or a complaint to the daemon.

    Exits with 0; 65 when no mail was understood; 75 when the daemon cannot take it
    now, so that an MTA tries again.
    """
    understood = missing = False
    for name in files or ["-"]:
        try:
            data = _read(name)
        except OSError as error:
            fail(CliError(_NOINPUT, f"{name}: {error.strerror or error}"))
            missing = True
            continue
        found = _hand_in(context, data, recipient, as_json=as_json)
        if not found and not take_all:
            fail(CliError(_DATAERR, f"{name}: no bounce and no complaint"))
        understood |= found
    if missing:
        raise typer.Exit(_NOINPUT)
    if not understood and not take_all:
        raise typer.Exit(_DATAERR)


def _hand_in(
    context: typer.Context, data: bytes, recipient: str, *, as_json: bool
) -> bool:
    """Give one mail to the daemon; return whether it was understood."""
    rows = [
        [base64.b64encode(data[i : i + _CHUNK]).decode("ascii")]
        for i in range(0, len(data), _CHUNK)
    ]
    show = print_json if as_json else _show
    try:
        result = client(context).ask("intake", show, mail=rows, recipient=recipient)
    except CliError as error:
        if error.code in (UNAVAILABLE, NOPERM):
            # Either would have an MTA return the bounce to nobody.
            raise CliError(TEMPFAIL, str(error), error.hint) from error
        raise
    return bool(result["outcomes"])


def _show(row: dict[str, Any]) -> None:
    result = _RESULTS.get(row["result"], row["result"])
    recipient = bland(row["recipient"] or "(no recipient told)")
    say(f"{row['meaning']}  {recipient}  {bland(row['status'])}: {result}")


def _read(name: str) -> bytes:
    if name == "-":
        return _bounded(sys.stdin.buffer)
    with Path(name).open("rb") as file:
        return file.read(_MOST)


def _bounded(stream: IO[bytes]) -> bytes:
    """Return the beginning, and take the rest: an MTA must not meet a closed pipe."""
    data = stream.read(_MOST)
    while stream.read(_CHUNK):
        pass
    return data
