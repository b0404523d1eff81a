"""Start the queue helper: ``mailshaper-queue``, or python -m shaper.queuehelper.

Under systemd it takes the socket that systemd opened (sd_listen_fds(3)) and ends
when nothing was asked for a while; systemd starts it again at the next request.
By hand, ``--socket PATH`` makes one. Sees to itself that it is root.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pwd
import socket
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from shaper.queuehelper.queues import Exim, FailedError, Postfix
from shaper.queuehelper.server import serve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shaper.queuehelper.queues import Queue

__all__ = ["main"]

_FIRST_SOCKET = 3  # SD_LISTEN_FDS_START
_IDLE = 300.0  # seconds without a request after which a started-on-demand helper ends
_BACKLOG = 128
_SBIN = Path("/usr/sbin")
_EX_CONFIG = 78  # sysexits.h


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until ended; return 78 when it cannot begin, and say why."""
    options = _parser().parse_args(arguments)
    if os.geteuid() != 0:
        return _fail("must run as root: only root may change the mail server's queue")
    try:
        allowed = pwd.getpwnam(options.user).pw_uid
    except KeyError:
        return _fail(f"there is no user {options.user} (--user)")
    try:
        listener, idle = _listener(options.socket, allowed)
        queue = _queue(options)
    except (FailedError, OSError) as error:
        return _fail(str(error))
    try:
        serve(listener, queue, allowed, _say, idle)
    except KeyboardInterrupt:
        return 0
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mailshaper-queue",
        description="Release, drop or return mail that the mail server holds, for the"
        " mailshaper daemon (placement policy).",
    )
    parser.add_argument(
        "--mta",
        choices=("auto", "postfix", "exim"),
        default="auto",
        help="whose queue (auto: Postfix if /usr/sbin/postsuper is there)",
    )
    parser.add_argument("--user", default="mailshaper", help="who may ask")
    parser.add_argument("--socket", type=Path, help="make this unix socket")
    parser.add_argument(
        "--config", type=Path, help="postfix -c DIRECTORY, or exim -C FILE"
    )
    parser.add_argument("--exim", type=Path, help="Exim's program")
    return parser


def _queue(options: argparse.Namespace) -> Queue:
    exim = options.exim or next(
        (one for one in (_SBIN / "exim4", _SBIN / "exim") if one.exists()), None
    )
    if options.mta == "postfix" or (
        options.mta == "auto" and (_SBIN / "postsuper").exists()
    ):
        return Postfix(_SBIN, options.config)
    if exim is None:
        raise FailedError("neither Postfix nor Exim is in /usr/sbin")
    return Exim(exim, options.config)


def _listener(path: Path | None, owner: int) -> tuple[socket.socket, float | None]:
    """Return the socket to listen on, and after how long an idle helper ends."""
    if path is None:
        if os.environ.get("LISTEN_PID") != str(os.getpid()):
            raise FailedError("no socket: give --socket PATH, or start it by systemd")
        return socket.socket(fileno=_FIRST_SOCKET), _IDLE
    # Who can rename things in there could have us give away another file below.
    parent = path.absolute().parent.stat()
    shared = parent.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if parent.st_uid != 0 or (shared and not parent.st_mode & stat.S_ISVTX):
        raise FailedError(f"{path.parent}: must belong to root, and be root's to write")
    if path.exists() and stat.S_ISSOCK(path.lstat().st_mode):
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    os.chown(path, owner, -1, follow_symlinks=False)
    listener.listen(_BACKLOG)
    return listener, None


def _say(line: str) -> None:
    # A journal that is full or away is no reason to owe somebody an answer.
    with contextlib.suppress(OSError):
        os.write(sys.stderr.fileno(), f"mailshaper-queue: {line}\n".encode())


def _fail(why: str) -> int:
    _say(why)
    return _EX_CONFIG


if __name__ == "__main__":
    raise SystemExit(main())
