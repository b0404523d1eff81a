"""The admin socket: JSON lines over a unix socket, for the command line.

One request is one line, ``{"command": ..., "arguments": {...}}``; its answer is any
number of ``{"row": ...}`` lines and one last line, ``{"ok": true, "result": ...}`` or
``{"ok": false, "error": {"code", "message", "hint"}}`` with a code of sysexits.h.
The kernel says who asks (SO_PEERCRED, unix(7)); what a client claims beyond that
is recorded as a claim. Whoever may open the socket may do everything.

Owns transport, identity and errors; ``shaper.admin_commands`` owns what each
command means.
"""

from __future__ import annotations

import asyncio
import contextlib
import grp
import json
import logging
import os
import pwd
import socket
import stat
import struct
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from shaper.admin_commands import Answer, Commands, Request
from shaper.core.ports import ShaperError
from shaper.core.text import bland
from shaper.engine.control import RefusedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from pathlib import Path

    from shaper.admin_commands import Command
    from shaper.engine.control import Control

__all__ = ["AdminServer", "AdminSocketError"]

log = logging.getLogger(__name__)

_LONGEST_REQUEST = 1024 * 1024
_IDLE = 30.0  # seconds until the next request line is complete
_STALLED = 60.0  # seconds that a client may leave an answer unread
_GRACE = 5.0  # seconds to finish a request when the daemon stops
_AT_ONCE = 50  # rows written between two turns of the loop
_CLAIM = 64  # characters of a user name that are recorded
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid (unix(7))

_DATAERR = 65
_SOFTWARE = 70
_TEMPFAIL = 75


class AdminSocketError(ShaperError):
    """The socket cannot be opened; the text says why and what to do."""


class AdminServer:
    """Serves operators' requests until stopped."""

    def __init__(
        self,
        control: Control,
        *,
        journal: Callable[[], Iterable[dict[str, Any]]],
        forget: Callable[[str], Awaitable[Any] | Any],
        more: Mapping[str, Command] | None = None,
        idle: float = _IDLE,
    ) -> None:
        """``journal`` yields audit lines, oldest first, and may be called in a thread.

        ``forget`` removes what is stored about an address, and may be a coroutine
        function; a dictionary that it returns is shown to the operator. ``more`` are
        commands of other parts.
        """
        self._commands = Commands(control, journal=journal, forget=forget, more=more)
        self._idle = idle
        self._server: asyncio.Server | None = None
        self._path: Path | None = None
        self._inode = 0
        self._sessions: set[asyncio.Task[None]] = set()
        self._work: set[asyncio.Task[None]] = set()

    async def start(self, path: Path, group: str = "") -> None:
        """Listen on ``path``, mode 0660. Raises AdminSocketError."""
        _clear(path)
        listener, self._inode = _bind(path, group)
        self._path = path
        self._server = await asyncio.start_unix_server(
            self._serve, sock=listener, limit=_LONGEST_REQUEST
        )

    async def stop(self) -> None:
        """Close the socket; requests under way have some seconds to finish."""
        if self._server is None or self._path is None:
            return
        self._server.close()
        if self._work:
            await asyncio.wait(self._work, timeout=_GRACE)
        ending = [*self._work, *self._sessions]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        with contextlib.suppress(FileNotFoundError):
            # Another daemon may have taken the place since.
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()
        self._server = None

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        session = asyncio.current_task()
        if session is not None:
            self._sessions.add(session)
            session.add_done_callback(self._sessions.discard)
        try:
            user = _peer(writer.get_extra_info("socket"))
            while await self._request(user, reader, writer):
                pass
        except (ConnectionError, asyncio.CancelledError):
            pass  # the client went away, or the daemon stops
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _request(
        self, user: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Answer one request; return whether another may follow."""
        try:
            async with asyncio.timeout(self._idle):
                line = await reader.readline()
        except TimeoutError:
            return False
        except ValueError:  # the limit of the reader
            text = f"a request may have {_LONGEST_REQUEST} octets"
            await _write(writer, _failure(_DATAERR, text))
            return False
        if not line.endswith(b"\n"):
            return False
        # A task of its own, so that stopping does not cut a change in two.
        work = asyncio.create_task(self._respond(user, line, writer))
        self._work.add(work)
        work.add_done_callback(self._work.discard)
        await asyncio.shield(work)
        return True

    async def _respond(
        self, user: str, line: bytes, writer: asyncio.StreamWriter
    ) -> None:
        """Do what a line asks for and answer it. Raises ConnectionError."""
        try:
            answer = await self._answer(user, line)
            async for row in _turns(answer.rows):
                await _write(writer, {"row": row})
            result = answer.result() if callable(answer.result) else answer.result
            await _write(writer, {"ok": True, "result": result})
        except RefusedError as error:
            await _write(writer, _failure(error.code, str(error), error.hint))
        except ShaperError as error:
            log.warning("a request of %s failed: %s", user, bland(str(error)))
            await _write(writer, _failure(_TEMPFAIL, _told(error), _TRY_AGAIN))
        except ConnectionError:
            raise
        except Exception:
            # One of the catch-alls: an own bug ends this request, not the daemon.
            log.exception("a request of %s met a bug", user)
            await _write(
                writer,
                _failure(
                    _SOFTWARE,
                    "the daemon met a bug of its own; nothing more is known here",
                    "its log has the details; please report them",
                ),
            )

    async def _answer(self, user: str, line: bytes) -> Answer:
        request = _parsed(line)
        claim = request.claim
        if claim and claim != user:
            user = f"{user} (sudo: {bland(claim)[:_CLAIM]}, claimed)"
        return await self._commands.run(request, user)


_TRY_AGAIN = "nothing is lost; try again, with the same --id for a change"


def _told(error: ShaperError) -> str:
    """Return the text of a failure that is not the operator's."""
    kind = {
        "StateUnavailableError": "Redis is not available",
        "SpoolFullError": "the spool or its disk is full",
        "SpoolCorruptError": "a spool file is damaged and was set aside",
    }.get(type(error).__name__, "the daemon cannot do this now")
    return f"{kind}: {error}" if str(error) else kind


def _parsed(line: bytes) -> Request:
    """Return what a line asks for. Raises RefusedError."""
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RefusedError(
            "the request is no JSON", "one object on one line: {'command': 'status'}"
        ) from error
    if not isinstance(data, dict) or not isinstance(data.get("command"), str):
        raise RefusedError("the request names no command")
    arguments = data.get("arguments", {})
    if not isinstance(arguments, dict):
        raise RefusedError("the arguments of a request are an object")
    claim = data.get("sudo_user", "")
    return Request(data["command"], arguments, claim if isinstance(claim, str) else "")


def _failure(code: int, message: str, hint: str = "") -> dict[str, Any]:
    return {"ok": False, "error": {"code": code, "message": message, "hint": hint}}


async def _turns(rows: AsyncIterator[Any] | Iterable[Any]) -> AsyncIterator[Any]:
    """Give rows; mail passes on the same loop and gets its turn between them."""
    if isinstance(rows, AsyncIterator):
        async for row in rows:
            yield row
        return
    for number, row in enumerate(rows):
        if number % _AT_ONCE == 0:
            await asyncio.sleep(0)
        yield row


async def _write(writer: asyncio.StreamWriter, data: dict[str, Any]) -> None:
    # Never NaN, which is no JSON. Surrogates (octets that are not UTF-8) become
    # \\u escapes, which json keeps apart from real text.
    writer.write(json.dumps(data, allow_nan=False).encode("ascii") + b"\n")
    try:
        async with asyncio.timeout(_STALLED):
            await writer.drain()
    except TimeoutError as error:
        writer.transport.abort()
        raise ConnectionAbortedError("the client does not read") from error


def _peer(connection: socket.socket) -> str:
    """Return the user at the other end, as the kernel knows it."""
    raw = connection.getsockopt(
        socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size
    )
    _pid, uid, _gid = _CREDENTIALS.unpack(raw)
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid:{uid}"


def _clear(path: Path) -> None:
    """Remove a socket that a dead daemon left. Raises AdminSocketError."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise AdminSocketError(f"{path}: {error.strerror}") from error
    if not stat.S_ISSOCK(mode):
        raise AdminSocketError(f"{path} exists and is no socket; remove it")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0)
        try:
            probe.connect(str(path))
        except BlockingIOError:
            pass  # alive, with a full backlog
        except OSError:
            path.unlink(missing_ok=True)
            return
    raise AdminSocketError(
        f"{path} is served already: does another mailshaper daemon run?"
    )


def _bind(path: Path, group: str) -> tuple[socket.socket, int]:
    """Return a bound socket that only owner and group may open, and its inode."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)  # nobody slips in between bind and chmod
    try:
        listener.bind(str(path))
        if group:
            os.chown(path, -1, grp.getgrnam(group).gr_gid)
        path.chmod(0o660)
        inode = path.stat().st_ino
    except KeyError as error:
        listener.close()
        path.unlink()
        raise AdminSocketError(
            f"no group is called {group!r}: create it, or empty [admin] group"
        ) from error
    except OSError as error:
        listener.close()
        raise AdminSocketError(
            f"{path} cannot be opened: {error.strerror or error}; is the directory "
            f"there, and is the daemon's user in group {group or '(its own)'}?"
        ) from error
    finally:
        os.umask(before)
    return listener, inode
