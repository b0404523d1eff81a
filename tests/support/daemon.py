"""The real daemon as a child process: own directories, free ports, its admin socket.

    with Daemon(hop.port, {"trickle": {"interval": 1}}) as daemon:
        await submit(daemon.port)                      # the MTA's side
        await daemon.wait_for_state("login:alice", "slowed")
        await daemon.change("release", sender="login:alice")
        daemon.kill(); daemon.start()                  # the power cut
        daemon.restart()                               # in order
        daemon.log(); daemon.held()

Settings are those of the configuration file, section by section, on top of
defaults that keep the daemon to itself: its own Redis child, no metrics port,
small grace. What ``ask`` raises is ``shaper.cli.failure.CliError``, as the command
line would show it.

``Daemon(..., stepping=True)`` runs the same daemon on a clock that `step` moves, so
that hours pass without waiting; its timers stay real, but upkeep comes often.
"""

import asyncio
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from shaper.cli.client import Client
from shaper.cli.failure import CliError
from shaper.core.contacts import contact_hash
from shaper.core.evidence import learn, weigh
from shaper.core.model import Model
from shaper.core.record import Record
from shaper.ledger.ledger import RedisLedger
from tests.support import clock, needs
from tests.support.waiting import poll, poll_async

Sections = Mapping[str, Mapping[str, object]]

_STARTING = 30.0  # seconds; numpy and a Redis on a machine that is busy
_KEY = b"k" * 32


class Daemon:
    """One instance; everything it wrote vanishes when the context ends."""

    def __init__(
        self, next_hop: int, settings: Sections | None = None, *, stepping: bool = False
    ) -> None:
        """Prepare an instance whose mail goes on to 127.0.0.1:``next_hop``."""
        needs.program("redis-server", "valkey-server")
        # Not pytest's tmp_path: a socket's path is short (unix(7)).
        self.directory = Path(tempfile.mkdtemp(prefix="shaper-", dir="/tmp"))
        self.state = self.directory / "state"
        self.runtime = self.directory / "run"
        self.config = self.directory / "mailshaper.toml"
        self.next_hop = next_hop
        self._clock = clock.SteppedClock(self.directory / "clock") if stepping else None
        # Bound, not listening: nobody else is given these ports meanwhile, and the
        # daemon may share them (SO_REUSEPORT).
        self._reserved = [_reserve(), _reserve()]
        self.port, self.policy_port = (s.getsockname()[1] for s in self._reserved)
        self._ids = itertools.count(1)
        self._child: subprocess.Popen[bytes] | None = None
        self._log = self.directory / "log"
        self.state.mkdir(mode=0o700)
        (self.state / "contact.key").write_bytes(_KEY)
        self.configure(settings or {})

    def configure(self, settings: Sections) -> None:
        """Write the configuration file anew; `reload` or `restart` makes it count."""
        defaults: dict[str, dict[str, object]] = {
            "daemon": {
                "hostname": "shaper.example.test",
                "state_directory": str(self.state),
                "runtime_directory": str(self.runtime),
                "grace": 2,
            },
            "hop": {
                "listen": [f"127.0.0.1:{self.port}"],
                "next_hop": f"127.0.0.1:{self.next_hop}",
            },
            "policy": {"listen": [f"127.0.0.1:{self.policy_port}"]},
            "metrics": {"listen": ""},
            "spool": {"min_free_bytes": 0},
        }
        for section, keys in settings.items():
            defaults[section] = defaults.get(section, {}) | dict(keys)
        lines = []
        for section, keys in defaults.items():
            lines.append(f"[{section}]")
            lines += [f"{key} = {_toml(value)}" for key, value in keys.items()]
        self.config.write_text("\n".join(lines) + "\n")

    # -- its life ----------------------------------------------------------------

    def start(self) -> None:
        """Start on whatever the directories hold; return when it is ready."""
        if self._child is not None:
            raise RuntimeError("this daemon runs already")
        begun = len(self.log())
        command = [str(Path(sys.executable).with_name("mailshaper"))]
        if self._clock:
            command = [sys.executable, "-m", clock.__name__, str(self._clock.path)]
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("MAILSHAPER_")
        }
        with self._log.open("ab") as sink:
            self._child = subprocess.Popen(
                [*command, "daemon", "--config", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                env=environment,
                cwd=needs.REPOSITORY,
                start_new_session=True,
            )

        def ready() -> bool:
            if self._child is not None and self._child.poll() is not None:
                status, self._child = self._child.returncode, None
                raise RuntimeError(
                    f"the daemon ended with status {status}:\n{self.log()[begun:]}"
                )
            return "daemon.started" in self.log()[begun:]

        poll(ready, "start of the daemon", _STARTING)

    def stop(self) -> int:
        """End it in order (SIGTERM); return its exit status."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once (SIGKILL). Its Redis child is told by the kernel to end."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop in order, then start again."""
        self.stop()
        self.start()

    def reload(self) -> None:
        """Have it read its configuration again (SIGHUP); return when it has."""
        begun = len(self.log())
        self._process.send_signal(signal.SIGHUP)
        poll(lambda: "reloaded" in self.log()[begun:], "reload of the configuration")

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self._child is not None and self._child.poll() is None

    @property
    def pid(self) -> int:
        """Its process id. Raises RuntimeError when it does not run."""
        return self._process.pid

    @property
    def redis_pid(self) -> int:
        """Process id of its own Redis, 0 while there is none."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        for word in children.read_text().split():
            name = Path(f"/proc/{word}/comm").read_text().strip()
            if name.startswith(("redis", "valkey")):
                return int(word)
        return 0

    @property
    def redis_url(self) -> str:
        """Where its own Redis listens."""
        return f"unix://{self.runtime / 'redis.sock'}"

    def step(self, seconds: float) -> None:
        """Move its clock, back too; only with ``stepping``."""
        if self._clock is None:
            raise RuntimeError("made without stepping=True")
        self._clock.step(seconds)

    # -- what it says -------------------------------------------------------------

    def log(self) -> str:
        """Return all that it wrote to standard error, over all its lives."""
        if not self._log.exists():
            return ""
        return self._log.read_text(errors="replace")

    def audit(self) -> str:
        """Return the lines of its audit journal as they are on disk."""
        files = sorted((self.state / "audit").glob("*"))
        return "".join(f.read_text(errors="replace") for f in files if f.is_file())

    async def wait_for_log(self, words: str, within: float = 15.0) -> str:
        """Return the first log line that contains ``words``, once it is there."""

        def look() -> str:
            return next((one for one in self.log().splitlines() if words in one), "")

        return await poll_async(look, f"log line with {words!r}", within)

    def ask_now(self, command: str, **arguments: object) -> Any:
        """Ask over the admin socket; this thread waits for the answer."""
        return self._client.ask(command, lambda _row: None, **arguments)

    async def ask(self, command: str, **arguments: object) -> Any:
        """Do the same while the test's own next hop goes on answering."""
        return await asyncio.to_thread(self.ask_now, command, **arguments)

    async def change(
        self, command: str, *, reason: str = "test", **arguments: object
    ) -> Any:
        """Ask for a change, with a reason and an id of its own."""
        return await self.ask(
            command, reason=reason, id=f"test-{next(self._ids)}", **arguments
        )

    def held(self, filter_: str = "") -> list[dict[str, Any]]:
        """Return what it holds (notices apart), as ``queue list`` shows it."""
        rows: list[dict[str, Any]] = []
        self._client.ask("queue.list", rows.append, filter=filter_)
        return rows

    def state_of(self, sender: str) -> str:
        """Return the state of a sender, "" when it was never seen."""
        try:
            return str(self.ask_now("explain", sender=sender)["state"])
        except CliError:
            return ""

    async def wait_for_state(
        self, sender: str, state: str, within: float = 20.0
    ) -> None:
        """Wait until a sender is in this state."""
        what = f"{state} {sender}"
        await poll_async(lambda: self.state_of(sender) == state, what, within)

    async def wait_for_held(self, count: int, within: float = 20.0) -> None:
        """Wait until exactly so many messages are held."""
        what = f"{count} held messages"
        try:
            await poll_async(lambda: len(self.held()) == count, what, within)
        except TimeoutError as error:
            error.add_note(f"held: {self.held()}\n{self.log()[-4000:]}")
            raise

    async def teach(
        self, sender: str, now: float, days: int, per_day: int, friends: list[str]
    ) -> None:
        """Give a sender a history: so many days before ``now``, to its friends.

        Written where the daemon keeps it, before it meets the sender.
        """
        model = Model.default()
        record = Record.new(sender, now - days * 86400.0 - 43200.0)
        whom = itertools.cycle(friends)
        for day in range(days, 0, -1):
            for number in range(per_day):
                # Around this hour, or the mail of now would come at an odd one.
                at = now - day * 86400.0 + (number - per_day // 2) * 900.0
                recipients = [contact_hash(_KEY, next(whom))]
                weigh(record.profile, model, recipients, at)
                learn(record.profile, model, recipients, at)
        ledger = RedisLedger.connect(self.redis_url, timeout=5.0)
        try:
            version, _ = await ledger.load(sender)
            await ledger.save(sender, version, record.encode(), record.state.value)
        finally:
            await ledger.close()

    # -- inside -------------------------------------------------------------------

    @property
    def _process(self) -> subprocess.Popen[bytes]:
        if self._child is None:
            raise RuntimeError("this daemon is not running")
        return self._child

    @property
    def _client(self) -> Client:
        return Client(self.runtime / "admin.sock", 30.0)

    def _end(self, how: signal.Signals) -> int:
        if self._child is None:
            return 0
        child, self._child = self._child, None
        child.send_signal(how)
        try:
            return child.wait(20)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait(10)
            raise

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._clean()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.stop()
        finally:
            self._clean()

    def _clean(self) -> None:
        for reserved in self._reserved:
            reserved.close()
        shutil.rmtree(self.directory, ignore_errors=True)


def _reserve() -> socket.socket:
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    reserved.bind(("127.0.0.1", 0))
    return reserved


def _toml(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return str(value)
        case list() | tuple():
            return "[" + ", ".join(map(_toml, value)) + "]"
        case _:
            return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
