"""What Exim's configuration says about the way through mailshaper.

Pure over what ``exim4 -bP`` printed; ``read`` is the probe. Reasons: docs/exim.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shaper.doctor.finding import Finding, fail, ok, warn
from shaper.doctor.probes import run

if TYPE_CHECKING:
    from shaper.config import Settings

__all__ = ["check", "read"]


def read() -> str:
    """Return main options and the names of routers. Raises ProbeError."""
    options = run("exim4", "-bP", "auto_thaw", "timeout_frozen_after")
    return options + run("exim4", "-bP", "router_list")


def check(printed: str, settings: Settings) -> list[Finding]:
    """Return what is right and wrong in the configuration of Exim."""
    found = []
    lines = [line.strip() for line in printed.splitlines()]
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
    for line in lines:
        name, _, value = line.partition("=")
        if name.strip() == "auto_thaw" and value.strip() not in ("", "0s"):
            found.append(
                warn(
                    f"frozen mail is sent again by itself after {value.strip()}",
                    "auto_thaw",
                    "take auto_thaw out of Exim's main section",
                )
            )
    return found or [ok("the way to mailshaper is there", "Exim's configuration")]
