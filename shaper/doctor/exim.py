"""What Exim's configuration says about the way through mailshaper.

Pure over what ``exim4 -bP`` printed; ``read`` is the probe. Reasons: docs/exim.md,
and for the placement ``policy`` docs/placement-policy-exim.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from shaper.doctor import eximacl, left
from shaper.doctor.finding import Finding, Level, fail, ok, warn
from shaper.doctor.probes import ProbeError, run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shaper.config import Settings

__all__ = ["Exim", "check", "parse", "read", "seconds"]

_FROZEN = ("auto_thaw", "timeout_frozen_after", "ignore_bounce_errors_after")
_UNITS = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1}


@dataclass(frozen=True, slots=True)
class Exim:
    """Main options, names of routers, and the whole configuration.

    ``config`` is "" where it is not known: only administrators of Exim may see it.
    """

    options: dict[str, str] = field(default_factory=dict)
    routers: frozenset[str] = frozenset()
    config: str = ""


def read(command: Sequence[str] = ("exim4",)) -> Exim:
    """Ask Exim. Raises ProbeError.

    ``command`` is how it is called, with the options that choose its file.
    """
    options = run(*command, "-bP", *_FROZEN, *eximacl.STAGES)
    routers = run(*command, "-bP", "router_list")
    try:
        # Macros replaced, included files in their places (spec, 5.2.1).
        config = run(*command, "-bP", "config")
    except ProbeError:
        config = ""
    return parse(options, routers, config)


def parse(options: str, routers: str = "", config: str = "") -> Exim:
    """Return what -bP printed about options, router_list and config."""
    pairs = [line.partition("=") for line in options.splitlines() if "=" in line]
    values = {name.strip(): value.strip() for name, _, value in pairs}
    return Exim(values, frozenset(routers.split()), config)


def seconds(value: str) -> float:
    """Return Exim's way to write times, such as ``1w2d3h``, in seconds."""
    parts = re.findall(r"(\d+)([wdhms])", value)
    return float(sum(int(number) * _UNITS[unit] for number, unit in parts))


def check(exim: Exim, settings: Settings) -> list[Finding]:
    """Return what is right and wrong in the configuration of Exim."""
    kept = left.exim(exim, settings)
    if settings.daemon.placement == "watch":
        return kept
    if settings.daemon.placement == "policy":
        asked = eximacl.check(exim.options, exim.config, settings.policy.listen)
        return [*kept, *_frozen(exim, settings), *asked]
    found = [*kept, *_thawed(exim, "")]
    if "mailshaper" not in exim.routers:
        found.append(
            fail(
                "no router sends mail to mailshaper",
                "conf.d/router/190_mailshaper",
                "mailshaper setup exim; run what it says",
            )
        )
    found += _port(exim, settings)
    if not settings.identity.login_header and not settings.identity.trust_auth:
        found.append(
            fail(
                "the login that Exim tells is not read",
                "mailshaper.toml [identity]",
                'set login_header = "X-Shaper-Login", systemctl reload mailshaper',
            )
        )
    bad = [one for one in found if one.level is not Level.OK]
    return found if bad else [*found, ok("the way to mailshaper is there", "Exim")]


def _port(exim: Exim, settings: Settings) -> list[Finding]:
    """Compare ports only, where Exim's configuration may be seen and names one."""
    listen = settings.hop.listen
    ports = {one.rpartition(":")[2] for one in listen if not one.startswith("/")}
    transport = eximacl.section(exim.config, "transports").get("mailshaper", "")
    named = re.search(r"(?m)^port\s*=\s*(\d+)$", transport)
    if not ports or not named or named[1] in ports:
        return []
    what = f"mail is sent to port {named[1]}, and hop.listen is {', '.join(listen)}"
    cure = "mailshaper setup exim; run what it says"
    return [fail(what, "Exim, transport mailshaper", cure)]


def _thawed(exim: Exim, loss: str) -> list[Finding]:
    """Judge auto_thaw; ``loss`` says what it does to mail that we hold."""
    thaw = exim.options.get("auto_thaw", "")
    if not seconds(thaw):
        return []
    what = f"frozen mail is sent again by itself after {thaw}{loss}"
    make = fail if loss else warn
    return [make(what, "auto_thaw", "take auto_thaw out of Exim's main section")]


def _frozen(exim: Exim, settings: Settings) -> list[Finding]:
    """Judge what Exim does by itself with frozen mail, which is what we hold."""
    hold = settings.trickle.longest_hold
    found = _thawed(exim, ": held spam leaves")
    for name, what in (
        ("timeout_frozen_after", "frozen mail is thrown away"),
        # deliver.c: "Unfrozen by errmsg timer", of mail with the null sender.
        ("ignore_bounce_errors_after", "frozen mail with an empty sender is sent"),
    ):
        kept = exim.options.get(name, "")
        if 0 < seconds(kept) <= hold:
            found.append(
                fail(
                    f"{what} after {kept}, and mail may be held for {hold:.0f} s",
                    name,
                    f"make it longer than trickle.longest_hold, say {name} = "
                    f"{int(hold // 86400) + 2}d (Debian: MAIN_{name.upper()})",
                )
            )
        elif seconds(kept):
            found.append(ok(f"frozen mail is left alone for {kept}", name))
    return found
