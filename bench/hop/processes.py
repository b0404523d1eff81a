"""Servers that a measurement starts, and the CPU time they have used."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_TICK = os.sysconf("SC_CLK_TCK")
_START = 15.0  # seconds for a server to listen


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def server(command: list[str], port: int) -> Iterator[int]:
    """Run a server until the block ends; yield its pid once it listens."""
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for_port(port)
            yield process.pid
        finally:
            process.terminate()


def wait_for_port(port: int) -> None:
    """Return when something listens; raises TimeoutError."""
    end = time.monotonic() + _START
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if time.monotonic() > end:
            raise TimeoutError(f"nothing listens on port {port}")
        time.sleep(0.02)


def cpu_seconds(pid: int) -> float:
    """Return user and system time of a process and of all below it."""
    total = 0.0
    children: dict[int, list[int]] = {}
    spent: dict[int, float] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # ended meanwhile
        children.setdefault(int(fields[1]), []).append(int(entry.name))
        # utime, stime, and those of children that have ended: proc(5) 14 to 17
        spent[int(entry.name)] = sum(map(int, fields[11:15])) / _TICK
    todo = [pid]
    while todo:
        one = todo.pop()
        total += spent.get(one, 0.0)
        todo.extend(children.get(one, ()))
    return total


def memory_peak(pid: int) -> float:
    """Return the largest resident size so far, in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0
