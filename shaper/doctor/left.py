"""What the MTA kept of another placement. Pure over what the MTAs printed.

Where nothing is left, nothing is said: each placement has its own checks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shaper.doctor import asking, eximacl
from shaper.doctor.finding import Finding, fail, warn

if TYPE_CHECKING:
    from shaper.config import Settings
    from shaper.doctor.exim import Exim
    from shaper.doctor.postconf import Postfix

__all__ = ["exim", "postfix"]

_SNIPPETS = "/usr/share/mailshaper/postfix"
_TAKES_NONE = "mail still goes through mailshaper, which takes none in this placement"


def postfix(known: Postfix, settings: Settings) -> list[Finding]:
    """Return which ways to mailshaper lead nowhere now."""
    placement = settings.daemon.placement
    found = []
    if placement != "hop" and (ways := known.ways()):
        where = ", ".join(ways)
        found.append(fail(_TAKES_NONE, where, f"sh {_SNIPPETS}/off.sh"))
    if placement == "watch" and (asked := asking.places(known, settings)):
        found.append(
            warn(
                "mail is asked about, and nobody listens in this placement: each "
                "question is a delay and a warning in the log",
                ", ".join(asked),
                f"set policy= in a copy of {_SNIPPETS}/policy-off.sh (where mail went "
                "through: off.sh) to what is asked, run it, postfix reload",
            )
        )
    return found


def exim(known: Exim, settings: Settings) -> list[Finding]:
    """Return the same of Exim."""
    placement = settings.daemon.placement
    found = []
    if placement != "hop" and "mailshaper" in known.routers:
        cure = (
            "rm /etc/exim4/conf.d/router/190_mailshaper && update-exim4.conf && "
            "systemctl reload exim4; not split: docs/exim.md, Undo"
        )
        found.append(fail(_TAKES_NONE, "Exim, router mailshaper", cure))
    asking_stages = eximacl.asking(known.options, known.config)
    if placement != "policy" and asking_stages:
        found.append(
            warn(
                "Exim asks about mail, and this placement answers no such question",
                f"Exim {', '.join(asking_stages)}",
                "rm /etc/exim4/conf.d/main/01_mailshaper_policy "
                "/etc/exim4/conf.d/main/95_mailshaper_local "
                "/etc/exim4/conf.d/acl/10_mailshaper_policy && update-exim4.conf && "
                "systemctl reload exim4; not split: docs/placement-policy-exim.md, "
                "Undo",
            )
        )
    return found
