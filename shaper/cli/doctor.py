"""The command ``doctor``: look at the whole chain, name each fault and its cure."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from shaper.cli.client import config_path, socket_path
from shaper.cli.options import Json
from shaper.cli.output import print_json, say
from shaper.config import ConfigError, load
from shaper.core.text import bland
from shaper.doctor import chain, exim, host, postfix
from shaper.doctor.finding import Finding, Level, fail, ok, unknown
from shaper.doctor.probes import ProbeError

if TYPE_CHECKING:
    from pathlib import Path

    from shaper.config import Settings

__all__ = ["doctor", "examine"]

_WARNED, _FAILED = 1, 2
_WELL = (Level.OK, Level.UNKNOWN)


def doctor(
    context: typer.Context,
    *,
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", help="Only what is wrong.")
    ] = False,
    postfix_config: Annotated[
        str,
        typer.Option(
            "--postfix-config",
            metavar="DIR",
            help="Configuration of another Postfix instance.",
        ),
    ] = "",
    as_json: Json = False,
) -> None:
    """Check the whole chain; name what is wrong, where, and its cure.

    Exit status: 0 nothing wrong, 1 warnings, 2 failures.
    """
    given = context.find_root().obj or {}
    config = given.get("config", "")
    path = config_path(config)
    try:
        settings = load(path)
    except (ConfigError, OSError) as error:
        found = [fail(str(error), str(path), "mend it; mailshaper check-config")]
    else:
        found = [ok("the configuration is valid", str(path or "(defaults)"))]
        admin = socket_path(given.get("socket", ""), config)
        found += examine(settings, admin, postfix_config)
    for one in found:
        if quiet and one.level in _WELL:
            continue
        if as_json:
            print_json(asdict(one))
            continue
        say(f"{one.level:7} {bland(one.where)}: {bland(one.what)}")
        if one.cure:
            say(f"        cure: {bland(one.cure)}")
    levels = {one.level for one in found}
    if Level.FAIL in levels:
        raise typer.Exit(_FAILED)
    if Level.WARN in levels:
        raise typer.Exit(_WARNED)


def examine(settings: Settings, admin: Path, postfix_config: str) -> list[Finding]:
    """Return every finding about daemon, MTA and host."""
    found = chain.check(settings, admin) + host.check(settings)
    if settings.daemon.placement == "hop":
        found += _mta(settings, postfix_config)
    return found


def _mta(settings: Settings, postfix_config: str) -> list[Finding]:
    try:
        return postfix.check(postfix.read(postfix_config), settings)
    except ProbeError as error:
        no_postfix = str(error)
    try:
        return exim.check(exim.read(), settings)
    except ProbeError as error:
        return [unknown(f"neither Postfix nor Exim: {no_postfix}; {error}", "MTA")]
