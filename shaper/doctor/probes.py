"""Looking at this machine: programs and sockets, each with a time limit.

Nothing is changed and no mail is sent. Every failure is ProbeError with a text.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING, TypeVar

from shaper.addresses import split_address

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["NotInstalledError", "ProbeError", "bounded", "run", "talk"]

T = TypeVar("T")

_TIMEOUT = 5.0  # seconds for one answer
_WHOLE = 15.0  # seconds for a whole conversation
_MOST = 65536  # octets of one answer


class ProbeError(Exception):
    """Why something could not be looked at."""


class NotInstalledError(ProbeError):
    """The program is not there."""


def run(*words: str) -> str:
    """Return what a program prints. Raises ProbeError."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    program = shutil.which(words[0], path=path)
    if program is None:
        raise NotInstalledError(f"{words[0]} is not installed")
    try:
        done = subprocess.run(  # noqa: S603 - no shell, words of our own
            [program, *words[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT,
            check=False,
            env=dict(os.environ) | {"LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired as error:
        raise ProbeError(f"{words[0]} gave no answer in {_TIMEOUT:g} s") from error
    except OSError as error:
        raise ProbeError(f"{words[0]}: {error.strerror}") from error
    if done.returncode:
        text = done.stderr.decode(errors="replace").strip()
        raise ProbeError(f"{words[0]}: {text or f'status {done.returncode}'}")
    return done.stdout.decode(errors="replace")


def bounded(work: Callable[[], T], what: str) -> T:
    """Return what ``work`` gets, whatever its own patience. Raises ProbeError.

    For the resolver of the C library, which knows no time limit of ours.
    """
    answer: Future[T] = Future()

    def carry() -> None:
        try:
            answer.set_result(work())
        except BaseException as error:  # noqa: BLE001 - raised by result() below
            answer.set_exception(error)

    # A daemon's thread: it may outlast its answer, and must not delay our end.
    threading.Thread(target=carry, daemon=True).start()
    try:
        return answer.result(_TIMEOUT)
    except FutureTimeoutError as error:
        raise ProbeError(f"{what} gave no answer in {_TIMEOUT:g} s") from error


def talk(address: str, *steps: tuple[bytes, bytes]) -> list[str]:
    """Connect; for each (text to send, end of answer) return what came.

    Raises ProbeError.
    """
    answers: list[str] = []
    deadline = time.monotonic() + _WHOLE
    try:
        with _connect(address) as peer:
            for text, end in steps:
                if text:
                    peer.sendall(text)
                answers.append(_until(peer, end, deadline))
    except OSError as error:
        raise ProbeError(error.strerror or str(error)) from error
    return answers


def _connect(address: str) -> socket.socket:
    if not address.startswith("/"):
        return socket.create_connection(split_address(address), _TIMEOUT)
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    peer.settimeout(_TIMEOUT)
    try:
        peer.connect(address)
    except OSError:
        peer.close()
        raise
    return peer


def _until(peer: socket.socket, end: bytes, deadline: float) -> str:
    """Read up to ``end``; an SMTP reply ends with the line "NNN " (RFC 5321 4.2.1)."""
    data = b""
    while len(data) < _MOST:
        if time.monotonic() > deadline:  # an octet now and then
            raise TimeoutError("it answers too slowly")
        piece = peer.recv(4096)
        if not piece:
            break
        data += piece
        last = data.rstrip(b"\r\n").rpartition(b"\n")[2]
        if end == b"smtp":
            if data.endswith(b"\n") and last[3:4] != b"-":
                break
        elif data.endswith(end):
            break
    return data.decode(errors="replace")
