"""The daemon's own redis-server: started, watched, restarted, stopped.

It listens on a unix socket in a directory that only this user may enter, keeps an
append-only file beside it, and ends with the daemon. The directory's lock is
inherited by the child: a new daemon cannot start a second server on the same
file while one is alive, even when its parent was killed. A damaged append-only
file is moved aside and the server starts empty; journal and spool put back what
must not be lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import time
from collections import deque
from typing import TYPE_CHECKING

from shaper.core.ports import ShaperError, StateUnavailableError
from shaper.durable.files import DirectoryInUseError, lock, private_directory
from shaper.ledger.ledger import RedisLedger

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["RedisChild", "RedisChildError"]

log = logging.getLogger(__name__)

_PROGRAMS = ("redis-server", "valkey-server")
# Linux limits a socket's path to 107 octets (unix(7)).
_LONGEST_PATH = 107
_STARTING = 120.0  # seconds; a big append-only file takes a while to load
_STOPPING = 15.0
_LEAVING = 20.0  # how long a predecessor's server may take to end
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 30.0
_STEADY = 60.0  # seconds alive after which a crash counts as the first again
# What the server says when it cannot read its append-only file.
_DAMAGE = (
    "Bad file format reading the append only file",
    "Unexpected end of file reading the append only file",
    "Error reading the RDB preamble",
    "Wrong signature trying to load DB",
    "Can't handle RDB format version",
    "Internal error in RDB reading",
    "Invalid AOF manifest file format",
    "RDB CRC error",
    "AOF file doesn't exist",
)


class RedisChildError(ShaperError):
    """The server cannot be run; the text says why and what to do."""


class RedisChild:
    """A redis-server child on a unix socket."""

    def __init__(self, directory: Path, socket: Path | None = None) -> None:
        """``directory`` keeps lock and data; ``socket`` is there unless given."""
        self._directory = directory
        self._socket = socket or directory / "redis.sock"
        self._lock_fd = -1
        self._process: asyncio.subprocess.Process | None = None
        self._said: deque[str] = deque(maxlen=50)
        self._listener: asyncio.Task[None] | None = None
        self._watcher: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where it is reached."""
        return f"unix://{self._socket}"

    @property
    def pid(self) -> int:
        """Process id of the running server, 0 while there is none."""
        process = self._process
        return process.pid if process and process.returncode is None else 0

    async def start(self) -> None:
        """Start it and watch it from now on. Raises RedisChildError."""
        if len(os.fsencode(self._socket)) > _LONGEST_PATH:
            raise RedisChildError(
                f"the socket path {self._socket} is longer than {_LONGEST_PATH} octets"
            )
        try:
            await asyncio.to_thread(private_directory, self._directory)
            # Others may have sockets there too; ours has mode 0700 itself.
            self._socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            await self._own()
        except OSError as error:
            raise RedisChildError(f"redis directory: {error}") from error
        try:
            await self._launch()
        except BaseException:
            await self.stop()
            raise
        self._watcher = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """End it; what it knows is on disk then. Idempotent."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait([self._watcher])
            self._watcher = None
        await self._end()
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    async def _own(self) -> None:
        end = time.monotonic() + _LEAVING
        while True:
            try:
                self._lock_fd = lock(self._directory)
            except DirectoryInUseError as error:
                # Killed, a daemon leaves a server that is just saving.
                if time.monotonic() > end:
                    raise RedisChildError(str(error)) from error
                await asyncio.sleep(0.1)
            else:
                return

    async def _launch(self) -> None:
        """Start the server and wait until it answers; repair once."""
        try:
            await self._launch_once()
        except RedisChildError:
            if not any(sign in line for line in self._said for sign in _DAMAGE):
                raise
            if not await asyncio.to_thread(self._move_data_aside):
                raise
            await self._launch_once()

    async def _launch_once(self) -> None:
        program = next(filter(None, map(shutil.which, _PROGRAMS)), None)
        if program is None:
            raise RedisChildError(
                "neither redis-server nor valkey-server is installed: "
                "apt install redis-server, or set redis.url"
            )
        self._said.clear()
        os.set_inheritable(self._lock_fd, True)  # noqa: FBT003  (positional only)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *_dying_with_parent(),
                program,
                *self._options(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                # Ctrl-C is for the daemon, which needs Redis while it drains.
                start_new_session=True,
                pass_fds=(self._lock_fd,),
            )
        except OSError as error:
            raise RedisChildError(f"{program} cannot be started: {error}") from error
        finally:
            os.set_inheritable(self._lock_fd, False)  # noqa: FBT003
        self._listener = asyncio.create_task(self._listen(self._process))
        await self._answers(self._process)
        log.info("redis-server %d listens on %s", self._process.pid, self._socket)

    def _options(self) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "dir": str(self._directory),
            "databases": "1",
            "save": "",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "aof-load-truncated": "yes",
            "auto-aof-rewrite-percentage": "100",
            "auto-aof-rewrite-min-size": "64mb",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
            "logfile": "",
        }
        return [
            part for name, value in options.items() for part in (f"--{name}", value)
        ]

    async def _answers(self, process: asyncio.subprocess.Process) -> None:
        end = time.monotonic() + _STARTING
        while True:
            ledger = RedisLedger.connect(self.url)
            try:
                await ledger.ping()
            except StateUnavailableError as error:
                if process.returncode is not None:
                    await self._heard()
                    raise RedisChildError(
                        f"redis-server ended with status {process.returncode}: "
                        + " | ".join(list(self._said)[-5:])
                    ) from error
                if time.monotonic() > end:
                    raise RedisChildError(
                        f"redis-server stays mute: {error}"
                    ) from error
                await asyncio.sleep(0.02)
            else:
                return
            finally:
                await ledger.close()

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        if process.stdout is None:
            return
        async for raw in process.stdout:
            line = raw.decode("utf-8", "replace").rstrip()
            self._said.append(line)
            # The server marks warnings with a number sign.
            log.log(logging.INFO if " # " in line else logging.DEBUG, "redis: %s", line)

    async def _heard(self) -> None:
        """Wait for the last words of a process that has ended."""
        if self._listener is not None:
            await asyncio.wait([self._listener], timeout=1.0)

    async def _watch(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            began = time.monotonic()
            if self._process is not None:
                status = await self._process.wait()
                if time.monotonic() - began > _STEADY:
                    pause = _FIRST_PAUSE
                log.error("redis-server ended with status %d; restarting it", status)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
            try:
                await self._launch()
            except RedisChildError as error:
                log.error("%s; next try in %.1f s", error, pause)
                await self._end()

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(_STOPPING):
                    await process.wait()
            except TimeoutError:
                log.error("redis-server %d does not end, killing it", process.pid)
                process.kill()
                await process.wait()
        await self._heard()

    def _move_data_aside(self) -> bool:
        """Rename the append-only files; False when there are none."""
        mark = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        moved = False
        for name in ("appendonlydir", "appendonly.aof"):
            path = self._directory / name
            if path.exists():
                target = path.with_name(f"{name}.damaged-{mark}")
                path.rename(target)
                moved = True
                log.error(
                    "redis-server cannot read %s; moved to %s and started empty. "
                    "Blocks, orders and held mail come back from journal and spool",
                    path,
                    target,
                )
        return moved


def _dying_with_parent() -> list[str]:
    """Return the words that make a command end with this process (prctl(2)).

    None under systemd, which ends what a dead unit leaves: the unit's filter of
    system calls refuses capset(2), with which setpriv begins.
    """
    if os.environ.get("NOTIFY_SOCKET"):
        return []
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM", "--"] if setpriv else []
