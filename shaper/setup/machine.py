"""What this machine is: versions, who has our ports, how Exim is configured."""

from __future__ import annotations

import errno
import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from shaper.addresses import split_address
from shaper.doctor.finding import Finding, ok, unknown, warn
from shaper.doctor.probes import ProbeError, run

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["EXIM", "exim_split", "exim_version", "port", "ports", "postfix_version"]

EXIM = Path("/etc/exim4")
# In Debian's template, where routers to other hosts begin.
_ROUTER_MARK = "### router/200_exim4-config_primary"


def postfix_version(config: str = "") -> Finding:
    """Say which Postfix it is."""
    where = ["-c", config] if config else []
    try:
        return ok(
            f"Postfix {run('postconf', *where, '-h', 'mail_version').strip()}", ""
        )
    except ProbeError as error:
        return unknown(str(error), "Postfix")


def exim_version(printed: str) -> Finding:
    """Say which Exim printed that for ``-bV``."""
    found = re.search(r"Exim version (\S+)", printed)
    return ok(f"Exim {found[1]}", "") if found else unknown("not told", "Exim -bV")


def exim_split(directory: Path = EXIM) -> bool | None:
    """Whether Debian's configuration is split; None where it is not Debian's.

    Panels such as HestiaCP put a file of their own in the template's place.
    """
    try:
        text = (directory / "update-exim4.conf.conf").read_text(errors="replace")
        if re.search(r"(?m)^dc_use_split_config=['\"]?true", text):
            return True
        template = (directory / "exim4.conf.template").read_text(errors="replace")
    except OSError:
        return None
    return False if _ROUTER_MARK in template else None


def ports(wanted: Iterable[tuple[str, str]], *, serving: bool) -> list[Finding]:
    """Look at each (key, address): free, ours, or taken by somebody else.

    ``serving`` says that the daemon runs, so its own listeners are taken by it.
    """
    return [port(key, address, serving=serving) for key, address in wanted]


def port(key: str, address: str, *, serving: bool) -> Finding:
    """Say whether a port can be listened on. See ``ports``."""
    where = f"{key} {address}"
    if address.startswith("/"):
        return ok("is a unix socket", where)
    host, number = split_address(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as one:
        # As servers do: what a closed connection left behind is no listener.
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((host, number))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                return unknown(error.strerror or "cannot be tried", where)
            if serving:
                return ok("is taken, by the daemon that runs", where)
            cure = f"ss -ltnp | grep -F :{number} shows who has it; choose another"
            return warn("is taken by another program", where, cure)
    return ok("is free", where)
