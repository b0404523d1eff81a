"""The commands and what they share: options, exit codes, late imports.

Help and errors are plain text, because rich takes longer to import than the
daemon to answer. Commands that need much of the engine (``drill``, ``classify``)
are imported when they are used. Other packages add commands of their own by entry
points of the group ``mailshaper.commands``, looked up when a name is none of ours and
for the list of commands.
"""

from __future__ import annotations

import contextlib
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from shaper.cli import change, export, intake, read, route, service, suppress
from shaper.cli.completion import mended
from shaper.cli.failure import IOERR, USAGE, CliError
from shaper.cli.options import Config, Socket
from shaper.cli.output import fail

__all__ = ["app", "run"]

_INTERRUPTED = 130
_LATE = {
    "drill": ("shaper.cli.drill", "Steal accounts in a replay of your own log."),
    "replay": (
        "shaper.cli.replay",
        (
            "Say whom you would have slowed in an old log, and what that would have "
            "spared."
        ),
    ),
    "setup": (
        "shaper.cli.setup",
        "Print what to add on this machine, and what is there; edit nothing.",
    ),
    "doctor": (
        "shaper.cli.doctor",
        "Check the whole chain; name what is wrong, where, and its cure.",
    ),
    "classify": (
        "shaper.cli.classify",
        "Say what bounces, complaints, SMTP replies and log lines mean.",
    ),
}
# typer carries click inside since 0.2x, so click's own classes are only to be
# had through typer's public ones: BadParameter is a UsageError, and that one a
# ClickException.
_UsageError: Any = typer.BadParameter.__mro__[1]
_ClickError: Any = _UsageError.__mro__[1]


class _AsGiven:
    """Takes the place of typer's conversion of a value: none is wanted."""

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:  # noqa: ANN401
        del param, ctx
        return value


def _as_given(parameters: list[Any]) -> list[Any]:
    """Keep typer from loading pydantic, which takes longer than all the rest.

    Since 0.28 typer converts every value by a pydantic adapter that it makes at
    first use. The options here are texts and flags, and commands convert texts
    themselves, so nothing is lost; older versions do not look at this attribute.
    """
    for parameter in parameters:
        parameter._runtime_param = _AsGiven()  # noqa: SLF001
    return parameters


class _Command(TyperCommand):
    """A command whose options come as texts and flags."""

    def get_params(self, ctx: Any) -> Any:  # noqa: ANN401
        return _as_given(super().get_params(ctx))


def _added() -> dict[str, Any]:
    """Return the entry points of commands that other packages bring."""
    from importlib.metadata import entry_points

    return {one.name: one for one in entry_points(group="mailshaper.commands")}


class _Group(TyperGroup):
    """Replaces the stand-in of a late command when it is about to run."""

    def get_params(self, ctx: Any) -> Any:  # noqa: ANN401
        return _as_given(super().get_params(ctx))

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401
        names = super().list_commands(ctx)
        return names if ctx.parent else [*names, *sorted(_added())]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401
        found = super().get_command(ctx, cmd_name)
        if found is None and not ctx.parent and cmd_name in (added := _added()):
            found = typer.main.get_command(added[cmd_name].load())
        return found

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401
        name, found, rest = super().resolve_command(ctx, args)
        if name in _LATE:
            late = typer.Typer(add_completion=False, rich_markup_mode=None)
            late.command(name)(getattr(import_module(_LATE[name][0]), name))
            found = typer.main.get_command(late)
        return name, found, rest


app = typer.Typer(
    name="mailshaper",
    cls=_Group,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _stand_in() -> None:
    """Take the place of a command in the list of commands."""


def _tell_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it so
    if wanted:
        from importlib.metadata import version

        typer.echo(f"mailshaper {version('mailshaper')}")
        raise typer.Exit


@app.callback()
def common(
    context: typer.Context,
    *,
    socket: Socket = "",
    config: Config = "",
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_tell_version,
            is_eager=True,
            help="Print the version and end.",
        ),
    ] = False,
) -> None:
    """Look after outbound mail that does not look like its sender."""
    del version
    context.obj = {"socket": socket, "config": config}


read.register(app)
change.register(app)
service.register(app)
suppress.register(app)
export.register(app)
intake.register(app)
route.register(app)
for _name, (_, _help) in _LATE.items():
    app.command(_name, help=_help)(_stand_in)
for _info in app.registered_commands:
    _info.cls = _Command
for _group in app.registered_groups:
    _group.cls = _Group
    for _info in (
        _group.typer_instance.registered_commands if _group.typer_instance else ()
    ):
        _info.cls = _Command


def run(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    _open_streams()
    try:
        with mended(os.environ):
            code = typer.main.get_command(app).main(
                arguments, prog_name="mailshaper", standalone_mode=False
            )
        sys.stdout.flush()
    except (CliError, _ClickError, typer.Abort, KeyboardInterrupt, OSError) as error:
        return _failed(error)
    return code if isinstance(code, int) else 0


def _open_streams() -> None:
    """Make sure that there are streams, and that they take every character."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the shell: >&-
            nowhere = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
            setattr(sys, name, nowhere)
        # A terminal that lacks a character gets an escape, never a crash.
        getattr(sys, name).reconfigure(errors="backslashreplace")


def _failed(error: Any) -> int:  # noqa: ANN401
    """Tell why the command ended; return its exit status."""
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return _INTERRUPTED
    if isinstance(error, OSError):
        # Nothing more goes there, not even what is left to flush at exit (Python's
        # own advice, library/signal, Note on SIGPIPE).
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return 0  # `| head` has seen enough
        error = _unwritten(error)
    try:
        if isinstance(error, CliError):
            fail(error)
        elif isinstance(error, _UsageError):
            _misused(error)
        else:
            fail(CliError(USAGE, error.format_message()))
        sys.stderr.flush()
    except OSError:  # standard error is no better
        sys.stderr = None
    return error.code if isinstance(error, CliError) else USAGE


def _unwritten(error: OSError) -> CliError:
    what = error.strerror or str(error)
    if error.filename:
        return CliError(IOERR, f"{error.filename}: {what}")
    return CliError(
        IOERR,
        f"the answer cannot be written: {what}",
        "a change that was asked for may have been made: see `mailshaper audit`",
    )


def _misused(error: Any) -> None:  # noqa: ANN401
    """Say how the command line was wrong; a group without its command gets help."""
    text = error.format_message()
    if error.ctx and text == error.ctx.get_help():
        sys.stderr.write(text + "\n")
        return
    where = error.ctx.command_path if error.ctx else "mailshaper"
    fail(CliError(USAGE, text, f"see `{where} --help`"))
