"""Commands about the daemon itself: run it, check what it would read."""

from __future__ import annotations

from pathlib import Path

import typer

from shaper.cli.client import config_path
from shaper.cli.failure import CONFIG, CliError
from shaper.cli.options import Config
from shaper.cli.output import say, shell

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("check-config")(check_config)
    app.command()(daemon)


def _path(context: typer.Context, given: str) -> Path | None:
    return config_path(given or (context.obj or {}).get("config", ""))


def check_config(context: typer.Context, *, config: Config = "") -> None:
    """Read the configuration as the daemon would; exit with 78 when it is wrong."""
    from shaper.config import ConfigError, load

    path = _path(context, config)
    try:
        load(path)
    except ConfigError as error:
        raise CliError(CONFIG, str(error)) from error
    except OSError as error:
        raise CliError(CONFIG, f"{path}: {error.strerror or error}") from error
    if path is None:
        say("There is no configuration file; the defaults are valid.")
    else:
        say(f"{shell(str(path))} is valid.")


def daemon(context: typer.Context, *, config: Config = "") -> None:
    """Run the shaper in the foreground until it is told to stop."""
    from shaper.daemon import main

    raise typer.Exit(main(_path(context, config)))
