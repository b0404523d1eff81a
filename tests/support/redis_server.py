"""A real redis-server (or valkey-server) that one test may mistreat.

    with RedisServer(aof=True) as server:
        ledger = connect(server.url)      # unix:///tmp/.../redis.sock
        server.kill()                     # SIGKILL: the power cut
        server.start()                    # the same data directory again
        server.pause(0.5)                 # answers nobody for half a second
        with server.frozen(): ...         # accepts connections, never answers

It listens on a unix socket only. Starting takes about 20 ms, so a test that
kills its server makes its own; others share the session's through the fixture
`redis_url`, which empties it first.
"""

import contextlib
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import redis

from tests.support import needs
from tests.support.waiting import poll


class RedisServer:
    """A redis-server child; its files vanish when the context ends."""

    def __init__(self, *, aof: bool = False, fsync: str = "always") -> None:
        """Prepare a server; ``aof`` keeps writes across `kill` and `start`.

        ``fsync`` is Redis' appendfsync: "always" or "everysec".
        """
        self._binary = needs.program("redis-server", "valkey-server")
        self.directory = Path(tempfile.mkdtemp(prefix="redis-", dir="/tmp"))
        self.socket = self.directory / "redis.sock"
        self.logfile = self.directory / "redis.log"
        self._aof = aof
        self._fsync = fsync
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"unix://{self.socket}"

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        if self._child is None:
            raise RuntimeError("this redis-server is not running")
        return self._child.pid

    def start(self) -> None:
        """Start on whatever data the directory holds; return when it answers."""
        if self._child is not None:
            raise RuntimeError("this redis-server runs already")
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "dir": str(self.directory),
            "logfile": str(self.logfile),
            "save": "",
            "appendonly": "yes" if self._aof else "no",
            "appendfsync": self._fsync,
            "daemonize": "no",
        }
        arguments = [
            part for key, value in options.items() for part in (f"--{key}", value)
        ]
        self._child = subprocess.Popen(
            [self._binary, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        poll(self._answers, f"answer of redis-server, see {self.logfile}")

    def stop(self) -> None:
        """End politely (SIGTERM); with `aof` nothing is lost."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End at once (SIGKILL), as a crash or an out-of-memory kill does."""
        self._end(signal.SIGKILL)

    def flush(self) -> None:
        """Forget every key, function and cached script."""
        with self.client() as client:
            client.flushall()
            client.script_flush()

    def pause(self, seconds: float) -> None:
        """Answer no client for ``seconds``; their commands wait and then run."""
        with self.client() as client:
            client.client_pause(int(seconds * 1000), all=True)

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop the process (SIGSTOP): connections are accepted, nothing answers."""
        child = self._child
        if child is None:
            raise RuntimeError("this redis-server is not running")
        child.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            child.send_signal(signal.SIGCONT)

    @contextlib.contextmanager
    def client(self) -> Iterator[redis.Redis]:
        """Return a plain synchronous client, for looking and for preparing."""
        client = redis.Redis(unix_socket_path=str(self.socket), socket_timeout=5)
        try:
            yield client
        finally:
            client.close()

    def _answers(self) -> bool:
        if self._child is not None and self._child.poll() is not None:
            self._child = None
            raise RuntimeError(f"redis-server ended: {self.logfile.read_text()[-500:]}")
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.ConnectionError:  # not yet listening, or still loading
            return False

    def _end(self, how: signal.Signals) -> None:
        if self._child is not None:
            self._child.send_signal(how)
            self._child.wait(10)
            self._child = None
        self.socket.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)
