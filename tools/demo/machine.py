"""The daemon under demonstration: the real one, in a directory of its own.

Starts `mailshaper daemon` as an operator would, with its own Redis child, loads
the learned past into that Redis, asks over the admin socket, runs the command
line as typed. Everything ends by the process ids that were started here.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shaper.cli.client import Client
from shaper.cli.failure import CliError
from shaper.ledger.ledger import RedisLedger

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shaper.core.record import Record

__all__ = ["MINUTE", "DemoError", "Machine"]

MINUTE = 1.0  # seconds that the trickle's minute lasts here
MAILBOX = "postmaster@hoster.example"
_STARTING = 30.0
_STOPPING = 15.0


class DemoError(Exception):
    """Why the demonstration cannot go on, and what to do."""


class Machine:
    """One daemon. `start` first; `stop` always."""

    def __init__(self, language: str, key: bytes) -> None:
        # Not below $TMPDIR: a socket's path is short (unix(7)).
        self.directory = Path(tempfile.mkdtemp(prefix="mailshaper-demo-", dir="/tmp"))
        self.config = self.directory / "mailshaper.toml"
        self.log = self.directory / "daemon.log"
        self._state = self.directory / "state"
        self._runtime = self.directory / "run"
        self._language = language
        self._child: asyncio.subprocess.Process | None = None
        self.hop_port, self.policy_port = _free_ports(2)
        self._state.mkdir(mode=0o700)
        (self._state / "contact.key").write_bytes(key)

    async def start(self, next_hop: int) -> None:
        """Start it; return when it is ready. Raises DemoError."""
        self.config.write_text(
            f"""\
[daemon]
hostname = "shaper.example"
state_directory = "{self._state}"
runtime_directory = "{self._runtime}"
grace = 2

[hop]
listen = ["127.0.0.1:{self.hop_port}"]
next_hop = "127.0.0.1:{next_hop}"

[policy]
listen = ["127.0.0.1:{self.policy_port}"]

[trickle]  # shipped: 60 and 3600; the show's minute lasts {MINUTE:g} s
interval = {MINUTE:g}
longest_interval = {60 * MINUTE:g}

[notify]
mail_to = ["{MAILBOX}"]
language = "{self._language}"

[metrics]
listen = ""

[spool]  # whatever this machine has left is enough for a show
min_free_bytes = 0
""",
            encoding="utf-8",
        )
        with self.log.open("wb") as sink:
            self._child = await asyncio.create_subprocess_exec(
                str(_program()),
                "daemon",
                "--config",
                str(self.config),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                env=self._environment(),
                start_new_session=True,  # Ctrl-C is for us; it gets a SIGTERM
            )
        try:
            async with asyncio.timeout(_STARTING):
                while "event=daemon.started" not in self._said():
                    if self._child.returncode is not None:
                        raise DemoError(f"the daemon ended:\n{self._last_words()}")
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise DemoError(
                f"the daemon does not get ready:\n{self._last_words()}"
            ) from None

    @property
    def pid(self) -> int:
        """The daemon's process id."""
        return self._child.pid if self._child else 0

    def _said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def _last_words(self) -> str:
        return "\n".join(self._said().splitlines()[-5:]) or "(it said nothing)"

    def complaints(self) -> list[str]:
        """Return what the daemon logged as an error."""
        return [one for one in self._said().splitlines() if one.startswith("ERROR")]

    async def load(self, records: Iterable[Record]) -> None:
        """Store the senders' past where the daemon keeps it, before it meets them."""
        ledger = RedisLedger.connect(f"unix://{self._runtime / 'redis.sock'}")
        try:
            for record in records:
                raw = record.encode()
                await ledger.save(record.sender, 0, raw, record.state.value)
        finally:
            await ledger.close()

    async def ask(self, command: str, **arguments: Any) -> Any:  # noqa: ANN401
        """Ask over the admin socket. Raises DemoError."""
        client = Client(self._runtime / "admin.sock", 20.0)
        rows: list[Any] = []
        try:
            result = await asyncio.to_thread(
                client.ask, command, rows.append, **arguments
            )
        except CliError as error:
            raise DemoError(f"the daemon: {error}") from error
        return rows or result

    async def type(self, line: str, *, columns: int, colour: bool) -> tuple[str, int]:
        """Run a command line through the shell; return output and exit status."""
        environment = self._environment() | {"COLUMNS": str(columns)}
        if colour:
            environment["FORCE_COLOR"] = "1"
        process = await asyncio.create_subprocess_exec(
            "/bin/sh",
            "-c",
            line,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=environment,
        )
        try:
            output, _ = await process.communicate()
        except asyncio.CancelledError:
            if process.returncode is None:
                process.kill()
                await process.wait()
            raise
        return output.decode("utf-8", "replace").rstrip("\n"), process.returncode or 0

    async def stop(self) -> int:
        """End the daemon in order (its Redis ends with it); return its status."""
        child, self._child = self._child, None
        if child is None:
            return 0
        if child.returncode is None:
            child.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(_STOPPING):
                return await child.wait()
        except TimeoutError:
            child.kill()
            await child.wait()
            return -signal.SIGKILL

    def clean(self) -> None:
        """Remove the directory."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def _environment(self) -> dict[str, str]:
        clean = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("MAILSHAPER_")
        }
        path = f"{_program().parent}{os.pathsep}{clean.get('PATH', os.defpath)}"
        return clean | {"MAILSHAPER_CONFIG": str(self.config), "PATH": path}


def _program() -> Path:
    """Return the installed command. Raises DemoError."""
    beside = Path(sys.executable).with_name("mailshaper")
    found = str(beside) if beside.exists() else shutil.which("mailshaper")
    if not found:
        raise DemoError("there is no `mailshaper` to run: type `make setup` first")
    return Path(found)


def _free_ports(count: int) -> list[int]:
    """Return ports of the loopback that nobody listens on right now."""
    taken = [socket.socket() for _ in range(count)]
    try:
        for one in taken:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in taken]
    finally:
        for one in taken:
            one.close()
