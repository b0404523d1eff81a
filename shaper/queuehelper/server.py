"""Hears one request at a time, checks who asks and what, answers one line.

The protocol is in the package's docstring. One connection after the other, each
with a short time limit: a mute client cannot keep the daemon from its mail for
long, and only one user id is heard at all.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from typing import TYPE_CHECKING

from shaper.queuehelper.queues import FailedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from shaper.queuehelper.queues import Queue

__all__ = ["MOST_IDS", "answer", "serve"]

MOST_IDS = 50  # bounded work for one request
_LONGEST_REQUEST = 2048  # octets: 50 ids of 32 and a verb are fewer
_PATIENCE = 5.0  # seconds for the request to come and the answer to go


def serve(
    listener: socket.socket,
    queue: Queue,
    allowed: int,
    say: Callable[[str], None],
    idle: float | None = None,
) -> None:
    """Serve for ever, or until nobody has asked for ``idle`` seconds.

    ``allowed`` is the only user id that is heard. ``say`` gets a line for the
    journal about each request that is refused or changes something.
    """
    listener.settimeout(idle)
    while True:
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            return
        with connection, contextlib.suppress(OSError):
            _serve_one(connection, queue, allowed, say)


def _serve_one(
    connection: socket.socket, queue: Queue, allowed: int, say: Callable[[str], None]
) -> None:
    connection.settimeout(_PATIENCE)
    # struct ucred: pid, uid, gid (unix(7)); the kernel filled it at connect().
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    pid, uid, _ = struct.unpack("3i", credentials)
    if uid != allowed:
        say(f"refused: user id {uid}, process {pid}")
        return
    line, ends = b"", time.monotonic() + _PATIENCE
    while not line.endswith(b"\n"):
        connection.settimeout(max(ends - time.monotonic(), 0.01))
        chunk = connection.recv(_LONGEST_REQUEST)
        line += chunk
        if not chunk or len(line) > _LONGEST_REQUEST:
            connection.sendall(b"refused: not one short line\n")
            return
    connection.settimeout(_PATIENCE)
    request = line[:-1].decode("ascii", "replace")
    said = answer(request, queue)
    if not request.startswith("state "):
        say(f"{request!a}: {said!a}")
    connection.sendall(f"{said}\n".encode("ascii", "replace"))


def answer(request: str, queue: Queue) -> str:
    """Do what a request asks and return the answer, without the last line end."""
    verb, *ids = request.split(" ")
    deeds = {
        "release": queue.release,
        "requeue": queue.requeue,
        "drop": queue.drop,
        "return": queue.give_back,
    }
    if verb != "state" and verb not in deeds:
        return "refused unknown request"
    if why := _refusal(ids, queue):
        return f"refused {why}"
    try:
        if verb == "state":
            found = queue.states(ids)
            return "\n".join([*(f"{one} {found[one]}" for one in ids), "done"])
        done = deeds[verb](ids)
        left = [one for one in ids if one not in done]
        found = queue.states(left) if left else {}
    except (FailedError, OSError) as error:  # OSError: the queue cannot be looked at
        return "failed " + " ".join(str(error).split())
    said = ["done" if one in done else f"not-held {found[one]}" for one in ids]
    if len(ids) == 1:
        return said[0]
    return "\n".join([*map(" ".join, zip(ids, said, strict=True)), "done"])


def _refusal(ids: list[str], queue: Queue) -> str:
    if not 1 <= len(ids) <= MOST_IDS or len(set(ids)) < len(ids):
        return "number of queue ids"
    return "" if all(map(queue.well_formed, ids)) else "not a queue id"
