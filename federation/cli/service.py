"""The daemon, and the check of other implementations."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from federation.cli.context import become_owner, failing, settings
from federation.cli.output import CONFIG, USAGE, Failure

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(daemon)
    app.command(context_settings={"ignore_unknown_options": True})(conformance)


def daemon(
    context: typer.Context,
    *,
    config: Annotated[
        str, typer.Option("--config", metavar="FILE", help="Configuration file.")
    ] = "",
) -> None:
    """Run the node in the foreground."""
    if config:
        context.obj = config
    chosen = settings(context)
    become_owner(chosen.node.state_directory)
    with failing():
        from federation.daemon import run
        from federation.node import NodeError

        try:
            code = run(chosen)
        except NodeError as error:
            raise Failure(CONFIG, str(error), error.hint) from None
    raise typer.Exit(code)


def conformance(
    command: Annotated[
        list[str] | None,
        typer.Argument(metavar="[-- COMMAND...]", help="The program to check."),
    ] = None,
    *,
    group: Annotated[
        list[str] | None,
        typer.Option("--group", metavar="GROUP", help="Only this group; repeatable."),
    ] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="Answer instead: our own side of it.")
    ] = False,
) -> None:
    """Check any implementation of the protocol against the test vectors.

    The program reads one JSON object a line and answers each with one:
    federation/PROTOCOL.md 14.
    """
    from federation import conformance as checks

    if serve:
        checks.serve(sys.stdin, sys.stdout)
        return
    if not command:
        raise Failure(USAGE, "name the program: mailshaper federation conformance -- X")
    try:
        good = checks.run(command, group or (), sys.stdout)
    except ValueError as error:
        raise Failure(USAGE, str(error)) from None
    raise typer.Exit(0 if good else 1)
