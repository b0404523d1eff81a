"""The command ``setup``: print the snippet for this machine, and edit nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shaper.cli.client import config_path
from shaper.cli.failure import CONFIG, USAGE, CliError
from shaper.cli.options import Json
from shaper.cli.output import print_json, say
from shaper.config import ConfigError, Settings, load
from shaper.core.text import bland
from shaper.doctor import exim, postfix
from shaper.doctor.finding import Finding
from shaper.doctor.probes import ProbeError
from shaper.setup import render

__all__ = ["setup"]

_PLACES = (Path("/usr/share/mailshaper"), Path(__file__).parents[2] / "conf")
_SHARE = "/usr/share/mailshaper"
_USUAL = ("submission/inet", "submissions/inet", "smtps/inet", "pickup/unix")


def setup(
    context: typer.Context,
    part: Annotated[str, typer.Argument(metavar="postfix|exim|prometheus|grafana")],
    *,
    as_json: Json = False,
) -> None:
    """Print what to add on this machine, and what is there; edit nothing."""
    path = config_path((context.find_root().obj or {}).get("config", ""))
    try:
        settings = load(path)
        there, text = _part(part, settings)
    except (ConfigError, OSError, ValueError) as error:
        raise CliError(CONFIG, str(error)) from error
    if as_json:
        rows = [{"what": one.what, "where": one.where} for one in there]
        print_json({"part": part, "there": rows, "snippet": text})
        return
    for one in there:
        say(f"# {one.level}: {bland(one.where)}: {bland(one.what)}")
    say(text)


def _part(part: str, settings: Settings) -> tuple[list[Finding], str]:
    if part == "postfix":
        try:
            known = postfix.read()
        except ProbeError as error:
            raise CliError(USAGE, str(error), "install Postfix first") from error
        services = [name for name in _USUAL if name in known.services]
        text = render.postfix_script(_file("postfix/reinject.sh"), settings, services)
        return postfix.check(known, settings), text
    if part == "exim":
        try:
            there = exim.check(exim.read(), settings)
        except ProbeError as error:
            raise CliError(USAGE, str(error), "install Exim first") from error
        text = _file("exim/conf.d/main/01_mailshaper")
        return there, render.exim_macros(text, settings)
    if part == "prometheus":
        return [], render.prometheus(settings, _SHARE)
    if part == "grafana":
        return [], (
            f"cp -r {_SHARE}/grafana/provisioning/* /etc/grafana/provisioning/\n"
            f"install -d /etc/grafana/mailshaper\n"
            f"cp -r {_SHARE}/grafana/dashboards /etc/grafana/mailshaper/\n"
            "systemctl restart grafana-server"
        )
    raise CliError(USAGE, f"{part} is none of postfix, exim, prometheus, grafana")


def _file(name: str) -> str:
    for place in _PLACES:
        if (place / name).is_file():
            return (place / name).read_text(encoding="utf-8")
    raise CliError(CONFIG, f"{name} is not in {_SHARE}", "reinstall the package")
