"""The command ``setup``: print the snippet for this machine, and edit nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from shaper.addresses import split_address
from shaper.cli.client import Client, config_path, socket_path
from shaper.cli.failure import CONFIG, USAGE, CliError
from shaper.cli.options import Json
from shaper.cli.output import print_json, say
from shaper.config import ConfigError, Settings, load
from shaper.core.text import bland
from shaper.doctor import exim, postconf, postfix
from shaper.doctor.finding import Finding, ok, unknown, warn
from shaper.doctor.probes import ProbeError, run
from shaper.setup import exim as exim_parts
from shaper.setup import machine, render
from shaper.setup.pieces import Piece, State

__all__ = ["setup"]

_PLACES = (
    Path("/usr/share/mailshaper"),
    Path(__file__).parents[1] / "share",  # of a wheel
    Path(__file__).parents[2] / "conf",  # of a checkout
)
_SHARE = "/usr/share/mailshaper"
_USUAL = ("submission/inet", "submissions/inet", "smtps/inet", "pickup/unix")
_OURS = ("postfix/shaped", "postfix/shaper-notice")  # in the snippets
_WAYS = ("reinject", "next-hop", "policy")


def setup(
    context: typer.Context,
    part: Annotated[str, typer.Argument(metavar="postfix|exim|prometheus|grafana")],
    *,
    way: Annotated[
        str,
        typer.Option(
            "--way",
            metavar="WAY",
            help="Postfix: reinject, next-hop or policy (default: as configured).",
        ),
    ] = "",
    as_json: Json = False,
) -> None:
    """Print what to add on this machine, and what is there; edit nothing."""
    given = context.find_root().obj or {}
    path = config_path(given.get("config", ""))
    try:
        settings = load(path)
        there = _ports(settings, part, _serving(given))
        found, text = _part(part, settings, way)
    except (ConfigError, OSError, ValueError) as error:
        raise CliError(CONFIG, str(error)) from error
    there += found
    if as_json:
        rows = [{"level": f.level, "what": f.what, "where": f.where} for f in there]
        print_json({"part": part, "there": rows, "snippet": text})
        return
    for one in there:
        where = f"{bland(one.where)}: " if one.where else ""
        say(f"# {one.level}: {where}{bland(one.what)}")
    say(text)


def _serving(given: dict[str, Any]) -> bool:
    try:
        admin = socket_path(given.get("socket", ""), given.get("config", ""))
        Client(admin, 1.0).ask("status")
    except CliError:
        return False
    return True


def _ports(settings: Settings, part: str, serving: bool) -> list[Finding]:  # noqa: FBT001
    if part not in {"postfix", "exim"}:
        return []
    wanted = [("policy.listen", one) for one in settings.policy.listen]
    if settings.daemon.placement == "hop":
        wanted += [("hop.listen", one) for one in settings.hop.listen]
    return machine.ports(wanted, serving=serving)


def _part(part: str, settings: Settings, way: str) -> tuple[list[Finding], str]:
    if way and part != "postfix":
        raise CliError(USAGE, "--way is for postfix only")
    if part == "postfix":
        return _postfix(settings, way)
    if part == "exim":
        return _exim(settings)
    share = _SHARE if Path(_SHARE).is_dir() else str(_PLACES[1])
    if part == "prometheus":
        return [], render.prometheus(settings, share)
    if part == "grafana":
        return [], (
            f"cp -r {share}/grafana/provisioning/* /etc/grafana/provisioning/\n"
            f"install -d /etc/grafana/mailshaper\n"
            f"cp -r {share}/grafana/dashboards /etc/grafana/mailshaper/\n"
            "systemctl restart grafana-server"
        )
    raise CliError(USAGE, f"{part} is none of postfix, exim, prometheus, grafana")


def _postfix(settings: Settings, way: str) -> tuple[list[Finding], str]:
    if way and way not in _WAYS:
        raise CliError(USAGE, f"--way is one of {', '.join(_WAYS)}")
    try:
        known = postconf.read()
    except ProbeError as error:
        raise CliError(USAGE, str(error), "install Postfix first") from error
    way = way or _way(settings)
    services = _services(known, way)
    queue = known.main.get("queue_directory", "")
    text = render.postfix_script(_file(f"postfix/{way}.sh"), settings, services, queue)
    there = [machine.postfix_version(), *_back(known, settings, way)]
    there += _filters(known, services) if way == "reinject" else []
    return [*there, *postfix.check(known, settings)], text


def _filters(known: postconf.Postfix, services: list[str]) -> list[Finding]:
    """Say where reinject.sh will stop, and what else there is."""
    instead = (
        "Give --way next-hop, or the placement policy: docs/postfix.md, Other filters"
    )
    return [
        warn(
            f"mail goes to {other}: the script stops. {instead}",
            f"master.cf {name}",
            "",
        )
        for name in services
        if (other := known.filter_of(name))
    ]


def _back(known: postconf.Postfix, settings: Settings, way: str) -> list[Finding]:
    """Look at the port where Postfix is to take mail back, before it is ours."""
    address = settings.hop.next_hop
    ours = known.value(f"{address}/inet", "syslog_name").startswith(_OURS)
    if way == "next-hop" or ours:
        return []
    return [machine.port("hop.next_hop", address, serving=False)]


def _services(known: postconf.Postfix, way: str) -> list[str]:
    """Return the services of master.cf that take users' mail."""
    found = [name for name in _USUAL if name in known.services]
    every = dict.fromkeys([*found, *filter(None, known.takers())])
    # pickup asks nobody.
    return [name for name in every if (name, way) != ("pickup/unix", "policy")]


def _way(settings: Settings) -> str:
    """Choose by the configuration: who keeps held mail, and what the next hop is."""
    if settings.daemon.placement == "policy":
        return "policy"
    hop = settings.hop.next_hop
    near = hop.startswith("/") or split_address(hop)[0] in {"127.0.0.1", "::1"}
    return "reinject" if near else "next-hop"


def _exim(settings: Settings) -> tuple[list[Finding], str]:
    try:
        version = machine.exim_version(run("exim4", "-bV"))
        there = exim.check(exim.read(), settings)
    except ProbeError as error:
        raise CliError(USAGE, str(error), "install Exim first") from error
    split = machine.exim_split()
    if split is None:
        how = unknown("the configuration is not Debian's: written by hand", "Exim")
    else:
        how = ok(f"the configuration is {'split' if split else 'not split'}", "Exim")
    directory = machine.EXIM
    found = exim_parts.pieces(settings, _file, directory, split=split)
    there = [version, how, *map(_seen, found), *there]
    return there, exim_parts.script(found, directory, split=split)


def _seen(piece: Piece) -> Finding:
    where = str(piece.path)
    if piece.state is State.PRESENT:
        return ok("present", where)
    return warn(piece.state.value, where, "the script below writes it")


def _file(name: str) -> str:
    for place in _PLACES:
        if (place / name).is_file():
            return (place / name).read_text(encoding="utf-8")
    raise CliError(CONFIG, f"{name} is not in {_SHARE}", "reinstall the package")
