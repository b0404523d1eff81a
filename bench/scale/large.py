"""Large messages at once through the whole daemon: its largest resident size.

Beside it the hop without an engine, which bounds what a message may occupy.
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack

from bench.hop.load import blast, tool
from bench.hop.processes import free_port, memory_peak, server
from tests.support.daemon import Daemon

_COUNT = 50
_SIZE = 20 * 2**20  # octets


def measure() -> None:
    """Send, print MiB."""
    with ExitStack() as stack:
        sink = free_port()
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        command = [tool("smtp-sink"), *user, f"127.0.0.1:{sink}", "500"]
        stack.enter_context(server(command, sink))
        port = free_port()
        bare = [sys.executable, "-m", "bench.hop.server", str(port), str(sink)]
        pid = stack.enter_context(server(bare, port))
        passing = stack.enter_context(Daemon(sink, {"daemon": {"enforce": False}}))
        holding = stack.enter_context(Daemon(sink))
        why = {"reason": "measurement", "id": "bench-1"}
        holding.ask_now("block", sender="from:alice0@example.test", **why)
        print(f"\npeak resident MiB, {_COUNT} messages of {_SIZE >> 20} MiB at once")
        print(f"{'':34} {'before':>7} {'after':>7} {'held':>5}")
        for name, one, where, daemon in (
            ("hop, no engine", pid, port, None),
            ("whole daemon, passing", passing.pid, passing.port, passing),
            ("whole daemon, holding all", holding.pid, holding.port, holding),
        ):
            before = memory_peak(one)
            blast(where, _COUNT, _SIZE, _COUNT)
            held = len(daemon.held()) if daemon else 0
            print(f"{name:34} {before:7.1f} {memory_peak(one):7.1f} {held:5}")
