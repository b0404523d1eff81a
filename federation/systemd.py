"""Telling systemd how the daemon is (sd_notify(3)), if it asked to be told."""

from __future__ import annotations

import os
import socket

__all__ = ["notify", "watchdog_interval"]


def notify(state: str) -> None:
    """Send a state such as ``READY=1``; do nothing where nobody listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]  # the abstract name space, unix(7)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        try:
            channel.connect(address)
            channel.sendall(state.encode())
        except OSError:
            return  # a manager that is gone needs no news


def watchdog_interval() -> float:
    """Return how often to say ``WATCHDOG=1``, in seconds; 0 for never."""
    micro = os.environ.get("WATCHDOG_USEC", "")
    pid = os.environ.get("WATCHDOG_PID", str(os.getpid()))
    if not micro.isdigit() or pid != str(os.getpid()):
        return 0.0
    return int(micro) / 2e6
