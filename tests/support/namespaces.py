"""Hosts in network namespaces: an address each, joined by bridges that can be split.

Needs root and ``ip``. A namespace called ``hub`` holds two bridges; every host hangs
on one of them, so that a partition is one command. A host "behind NAT" hangs on a
router of its own that lets connections out (masquerade, where ``nft`` is there) and
none in.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

__all__ = ["Namespaces", "Place", "available"]

PORT = 8641

_numbers = itertools.count()


@dataclass(frozen=True)
class Place:
    """Where a node runs: ``command`` goes before its own, "" in ``listen`` is NAT."""

    name: str
    command: tuple[str, ...] = ()
    listen: str = ""
    url: str = ""
    options: dict[str, Any] = field(default_factory=dict)


def available() -> str:
    """Return why there are no namespaces here, "" if they can be made."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "network namespaces need the ip program (iproute2)"
    # In a chroot `ip netns exec` cannot work, and trying would leave a mount behind.
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    if not any(line.split()[4] == "/" for line in mounts):
        return "network namespaces need a root that is a mount point: no chroot"
    # All of it is tried: a container may allow names and refuse what goes with them.
    try:
        with Namespaces() as hosts:
            _ip("netns", "exec", hosts.host(1).name, "true")
    except (subprocess.CalledProcessError, OSError):
        return "hosts in network namespaces cannot be made here"
    return ""


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def _inside(name: str) -> tuple[str, ...]:
    return ("ip", "netns", "exec", name)


class Namespaces:
    """Hosts 10.77.0.1, .2 ... Use as a context manager."""

    def __init__(self) -> None:
        self._mark = f"f{os.getpid() % 100000}{next(_numbers)}"
        self._hub = f"{self._mark}hub"
        self._made: list[str] = []
        self._ports: dict[str, str] = {}

    def __enter__(self) -> Self:
        try:
            self._add(self._hub)
            for bridge in ("br0", "br1"):
                _ip("-n", self._hub, "link", "add", bridge, "type", "bridge")
                _ip("-n", self._hub, "link", "set", bridge, "up")
        except BaseException:
            self.__exit__()  # Python does not call it when entering fails
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for name in reversed(self._made):
            subprocess.run(
                ["ip", "netns", "del", name], capture_output=True, check=False
            )

    def _add(self, name: str) -> None:
        self._made.append(name)  # first: a try that fails leaves a file and a mount
        _ip("netns", "add", name)
        _ip("-n", name, "link", "set", "lo", "up")

    def host(self, number: int) -> Place:
        """Add a host."""
        name, port = f"{self._mark}h{number}", f"p{number}"
        self._add(name)
        self._join(name, "eth0", port)
        _ip("-n", name, "addr", "add", f"10.77.0.{number}/24", "dev", "eth0")
        self._ports[name] = port
        at = f"10.77.0.{number}:{PORT}"
        return Place(name, _inside(name), listen=at, url=f"https://{at}")

    def behind_nat(self, number: int) -> Place:
        """Add a host that reaches the others and that none of them reaches."""
        router = self.host(number).name
        inner = f"{self._mark}n{number}"
        self._add(inner)
        pair = ["type", "veth", "peer", "name", "eth0", "netns", inner]
        _ip("-n", router, "link", "add", "in0", *pair)
        _ip("-n", router, "addr", "add", "192.168.9.1/24", "dev", "in0")
        _ip("-n", router, "link", "set", "in0", "up")
        _ip("-n", inner, "addr", "add", "192.168.9.2/24", "dev", "eth0")
        _ip("-n", inner, "link", "set", "eth0", "up")
        _ip("-n", inner, "route", "add", "default", "via", "192.168.9.1")
        rules = "add table ip n; add chain ip n p "
        rules += "{ type nat hook postrouting priority 100; }; "
        rules += "add rule ip n p oifname eth0 masquerade"
        for command in (
            ["sysctl", "-qw", "net.ipv4.ip_forward=1"],
            ["nft", rules],
        ):
            subprocess.run(
                ["ip", "netns", "exec", router, *command],
                check=True,
                capture_output=True,
            )
        return Place(inner, _inside(inner))

    def split(self, names: list[str]) -> None:
        """Take these hosts to the other bridge, away from the rest."""
        for name in names:
            _ip("-n", self._hub, "link", "set", self._ports[name], "master", "br1")

    def heal(self) -> None:
        """Join all hosts again."""
        for port in self._ports.values():
            _ip("-n", self._hub, "link", "set", port, "master", "br0")

    def _join(self, name: str, inside: str, port: str) -> None:
        pair = ["type", "veth", "peer", "name", inside, "netns", name]
        _ip("-n", self._hub, "link", "add", port, *pair)
        _ip("-n", self._hub, "link", "set", port, "master", "br0", "up")
        _ip("-n", name, "link", "set", inside, "up")
