"""The commands and what they share: the node, failures, exit statuses.

Commands import what they need when they run, so that ``--help`` is quick. What
fails for a known reason is told in one line with its cure, under the statuses of
sysexits.h; help and errors are plain text.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from federation.cli import act, identity, look, people, privacy, service, start
from federation.cli.output import USAGE, Failure, fail

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["app", "main"]

_INTERRUPTED = 130
_IOERR = 74
_ClickError: Any = typer.BadParameter.__mro__[2]


class _Command(TyperCommand):
    """A command whose known failures become a line and an exit status."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401
        with _told():
            return super().invoke(ctx)


class _Group(TyperGroup):
    """A group: its own callback may fail like a command."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401
        with _told():
            return super().invoke(ctx)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except Failure as error:
        fail(error)
        raise typer.Exit(error.code) from None


app = typer.Typer(
    name="federation",
    cls=_Group,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Exchange signed signals with other mail hosts.",
)


@app.callback()
def common(
    context: typer.Context,
    *,
    config: Annotated[
        str,
        typer.Option(
            "--config",
            metavar="FILE",
            help="Configuration file, else $MAILSHAPER_FEDERATION_CONFIG, else "
            "/etc/mailshaper/federation.toml.",
        ),
    ] = "",
) -> None:
    """Exchange signed signals with other mail hosts."""
    context.obj = config


for _part in (start, people, look, act, privacy, identity, service):
    _part.register(app)
for _info in app.registered_commands:
    _info.cls = _Command
for _group in app.registered_groups:
    _group.cls = _Group
    for _info in (
        _group.typer_instance.registered_commands if _group.typer_instance else ()
    ):
        _info.cls = _Command


def main() -> None:
    """Run the command line alone and exit."""
    raise SystemExit(run())


def run(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that lacks a character gets an escape, never a crash.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        code = typer.main.get_command(app).main(
            arguments, prog_name="mailshaper-federation", standalone_mode=False
        )
        sys.stdout.flush()
    except _ClickError as error:
        fail(Failure(USAGE, error.format_message(), "see --help"))
        return USAGE
    except (typer.Abort, KeyboardInterrupt):
        return _INTERRUPTED
    except BrokenPipeError:  # `| head` has seen enough
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        fail(Failure(_IOERR, f"{error.filename or 'output'}: {error.strerror}"))
        return _IOERR
    return code if isinstance(code, int) else 0
