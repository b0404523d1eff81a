"""The command ``doctor``: look at the whole chain, name each fault and its cure."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from shaper.cli.client import config_path, socket_path
from shaper.cli.failure import USAGE, CliError
from shaper.cli.options import Json
from shaper.cli.output import print_json, say
from shaper.config import ConfigError, load
from shaper.core.text import bland
from shaper.doctor import chain, exim, host, onhold, postconf, postfix
from shaper.doctor.finding import Finding, Level, fail, ok, unknown
from shaper.doctor.probes import NotInstalledError, ProbeError

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
    mta: Annotated[
        str,
        typer.Option(
            "--mta", metavar="NAME", help="postfix or exim, where both are installed."
        ),
    ] = "",
    send: Annotated[
        str,
        typer.Option(
            "--send", metavar="ADDRESS", help="Send a test mail there, the whole way."
        ),
    ] = "",
    as_json: Json = False,
) -> None:
    """Check the whole chain; name what is wrong, where, and its cure.

    Exit status: 0 nothing wrong, 1 warnings, 2 failures.
    """
    if mta not in {"", "postfix", "exim"}:
        raise CliError(USAGE, f"--mta: {mta} is neither postfix nor exim")
    given = context.find_root().obj or {}
    found = _found(given, postfix_config, mta, send)
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


def _found(
    given: dict[str, str], postfix_config: str, mta: str, recipient: str
) -> list[Finding]:
    config = given.get("config", "")
    path = config_path(config)
    try:
        settings = load(path)
    except (ConfigError, OSError) as error:
        return [fail(str(error), str(path), "mend it; mailshaper check-config")]
    found = [ok("the configuration is valid", str(path or "(defaults)"))]
    admin = socket_path(given.get("socket", ""), config)
    found += examine(settings, admin, postfix_config, mta)
    return found + (_sent(settings, recipient) if recipient else [])


def examine(
    settings: Settings, admin: Path, postfix_config: str, mta: str = ""
) -> list[Finding]:
    """Return every finding about daemon, MTA and host."""
    found = chain.check(settings, admin) + host.check(settings)
    return found + _mta(settings, admin, postfix_config, mta)


def _mta(
    settings: Settings, admin: Path, postfix_config: str, mta: str
) -> list[Finding]:
    missing = []
    keeps = settings.daemon.placement == "policy"
    if mta != "exim":
        try:
            found = postfix.check(postconf.read(postfix_config), settings)
            return found + (onhold.postfix(admin, postfix_config) if keeps else [])
        except NotInstalledError as error:
            missing.append(str(error))
        except ProbeError as error:
            return [_unreadable("Postfix", error, "postfix check")]
    if mta != "postfix":
        try:
            found = exim.check(exim.read(), settings)
            return found + (onhold.exim(admin) if keeps else [])
        except NotInstalledError as error:
            missing.append(str(error))
        except ProbeError as error:
            return [_unreadable("Exim", error, "exim4 -bV")]
    if settings.daemon.placement == "watch":
        return []  # the MTA whose logs are read may be on another host
    return [unknown("; ".join(missing), f"MTA {mta}".strip())]


def _unreadable(name: str, error: ProbeError, cure: str) -> Finding:
    what = f"its configuration cannot be read: {error}"
    if os.geteuid() != 0:
        return unknown(what, name, "use sudo")
    return fail(what, name, f"{cure} shows it, too; mend what it names")


def _sent(settings: Settings, recipient: str) -> list[Finding]:
    if settings.daemon.placement != "hop":
        cure = "send a mail with a login, then mailshaper explain login:NAME"
        return [unknown("no mail goes through the daemon here", "--send", cure)]
    return chain.send(settings, recipient)
