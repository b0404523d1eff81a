"""What Exim's configuration says about the way through mailshaper.

Pure over what ``exim4 -bP`` printed; ``read`` is the probe. Reasons: docs/exim.md.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from shaper.doctor.finding import Finding, Level, fail, ok, warn
from shaper.doctor.probes import run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shaper.config import Settings

__all__ = ["check", "read", "seconds"]

_OPTIONS = ("auto_thaw", "timeout_frozen_after")
_UNITS = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1}


def read(command: Sequence[str] = ("exim4",)) -> str:
    """Return main options and the names of routers. Raises ProbeError.

    ``command`` is how Exim is called, with the options that choose its file.
    """
    options = run(*command, "-bP", *_OPTIONS)
    return options + run(*command, "-bP", "router_list")


def seconds(value: str) -> float:
    """Return Exim's way to write times, such as ``1w2d3h``, in seconds."""
    parts = re.findall(r"(\d+)([wdhms])", value)
    return float(sum(int(number) * _UNITS[unit] for number, unit in parts))


def check(printed: str, settings: Settings) -> list[Finding]:
    """Return what is right and wrong in the configuration of Exim."""
    found = []
    lines = [line.strip() for line in printed.splitlines()]
    options = {
        name.strip(): value.strip()
        for name, _, value in (line.partition("=") for line in lines)
    }
    found += _frozen(options, settings)
    if settings.daemon.placement == "policy":
        return found
    if "mailshaper" not in lines:
        found.append(
            fail(
                "no router sends mail to mailshaper",
                "conf.d/router/190_mailshaper",
                "cp -r /usr/share/mailshaper/exim/conf.d /etc/exim4/ && "
                "update-exim4.conf && systemctl reload exim4",
            )
        )
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


def _frozen(options: dict[str, str], settings: Settings) -> list[Finding]:
    """Judge what Exim does with frozen mail by itself.

    In the placement ``policy`` that is the mail that we hold; otherwise only
    bounces that nobody wants.
    """
    ours = settings.daemon.placement == "policy"
    found = []
    thaw, kept = (options.get(name, "") for name in _OPTIONS)
    if seconds(thaw):
        make = fail if ours else warn
        found.append(
            make(
                f"frozen mail is sent again by itself after {thaw}"
                + (": held spam leaves" if ours else ""),
                "auto_thaw",
                "take auto_thaw out of Exim's main section",
            )
        )
    gone = seconds(kept)
    hold = settings.trickle.longest_hold
    if ours and 0 < gone <= hold:
        found.append(
            fail(
                f"frozen mail is thrown away after {kept}, and mail may be held "
                f"for {hold:.0f} s",
                "timeout_frozen_after",
                "make it longer than trickle.longest_hold, say timeout_frozen_after = "
                f"{int(hold // 86400) + 2}d (Debian: MAIN_TIMEOUT_FROZEN_AFTER)",
            )
        )
    elif gone:
        found.append(ok(f"frozen mail is kept for {kept}", "timeout_frozen_after"))
    return found
