"""What to do on this machine, as text: the committed snippet, our addresses in it.

Pure. The snippets are the files of conf/ (the package has them in
/usr/share/mailshaper), which the end-to-end tests run.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shaper.config import Settings

__all__ = [
    "exim_macros",
    "exim_policy_macros",
    "filled",
    "postfix_script",
    "prometheus",
]


def filled(snippet: str, **values: str) -> str:
    """Return a script with its ``name=value`` lines given other values.

    Raises ValueError for a name that the script does not set exactly once.
    """
    for name, value in values.items():
        text = f'"{value}"' if " " in value else value
        snippet, count = re.subn(
            rf'(?m)^{name}=("[^"]*"|\S*)',
            lambda _, line=f"{name}={text}": line,  # type: ignore[misc]
            snippet,
        )
        if count != 1:
            raise ValueError(f"the snippet sets {name} {count} times, not once")
    return snippet


def postfix_script(
    snippet: str, settings: Settings, services: list[str], queue: str = ""
) -> str:
    """Return a script for these addresses and these services of master.cf.

    Only what the script has of them: reinject.sh all, next-hop.sh no services.
    ``queue`` is Postfix' queue directory, below which a chroot sees a socket.
    Raises ValueError where no service takes mail, or policy.listen is empty.
    """
    if not services or not settings.policy.listen:
        raise ValueError(
            "no service of master.cf takes users' mail (postconf -M), or policy.listen "
            "of mailshaper.toml is empty"
        )
    values = {
        "shaper": settings.hop.listen[0],
        "back": settings.hop.next_hop,
        "policy": _asked(settings.policy.listen[0], queue),
        "services": " ".join(services),
    }
    wanted = {k: v for k, v in values.items() if re.search(rf"(?m)^{k}=", snippet)}
    return filled(snippet, **wanted)


def _asked(address: str, queue: str) -> str:
    """Return an address as check_policy_service names it."""
    if not address.startswith("/"):
        return f"inet:{address}"
    below = address.removeprefix(f"{queue}/") if queue else address
    return f"unix:{below}"


def exim_macros(snippet: str, settings: Settings) -> str:
    """Return conf.d/main/01_mailshaper with these ports. Raises ValueError."""
    return _macros(
        snippet,
        MAILSHAPER_PORT=settings.hop.listen[0].rpartition(":")[2],
        MAILSHAPER_BACK=settings.hop.next_hop.rpartition(":")[2],
    )


def exim_policy_macros(snippet: str, settings: Settings) -> str:
    """Return conf.d/main/01_mailshaper_policy likewise. Raises ValueError."""
    if not settings.policy.listen:
        raise ValueError("policy.listen of mailshaper.toml is empty: Exim asks there")
    address = settings.policy.listen[0]
    return _macros(
        snippet,
        MAILSHAPER_ASK=address if address.startswith("/") else f"inet:{address}",
        MAILSHAPER_BACK=settings.hop.next_hop.rpartition(":")[2],
    )


def _macros(snippet: str, **values: str) -> str:
    for macro, value in values.items():
        snippet, count = re.subn(
            rf"(?m)^{macro} = \S+$",
            lambda _, line=f"{macro} = {value}": line,  # type: ignore[misc]
            snippet,
        )
        if count != 1:
            raise ValueError(f"the snippet sets {macro} {count} times, not once")
    return snippet


def prometheus(settings: Settings, share: str) -> str:
    """Return what to add to prometheus.yml."""
    return f"""\
rule_files:
  - {share}/grafana/prometheus/rules.yml
  - {share}/grafana/prometheus/alerts.yml
scrape_configs:
  - job_name: mailshaper
    static_configs:
      - targets: ["{settings.metrics.listen}"]
"""
