"""A federation node as people run it: own directory, configuration, command line.

    with FederationNode("club", listen=True) as club:
        club("init", "--name", "Our club", "--network", "test")
        club.start()                       # the daemon, a child process
        club("invite", "Asso").stdout
        club.json("status")

Everything it wrote vanishes when the context ends. `mailshaper federation` is run
as a user runs it, in a process of its own; with ``quick`` the same code runs in
this one, which saves a second for each command.
"""

import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import closing, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, Self
from unittest import mock

from federation.cli.program import run
from tests.support import needs
from tests.support.ending import end
from tests.support.waiting import poll

_PROGRAM = "from federation.cli import main; main()"


class FederationNode:
    """One node, at first not yet made."""

    def __init__(
        self,
        name: str,
        *,
        listen: bool = False,
        quick: bool = False,
        settings: Mapping[str, Mapping[str, object]] | None = None,
    ) -> None:
        self.name = name
        self._quick = quick
        self.directory = Path(tempfile.mkdtemp(prefix=f"fed-{name}-", dir="/tmp"))
        self.state = self.directory / "state"
        self.config = self.directory / "federation.toml"
        self.port = needs.free_port()
        self.metrics = needs.free_port()
        self._child: subprocess.Popen[bytes] | None = None
        self._before = 0
        sections: dict[str, dict[str, object]] = {
            "node": {"state_directory": str(self.state)},
            "metrics": {"listen": f"127.0.0.1:{self.metrics}"},
        }
        if listen:
            sections["server"] = {
                "listen": f"127.0.0.1:{self.port}",
                "url": f"https://localhost:{self.port}",
            }
        for section, values in (settings or {}).items():
            sections.setdefault(section, {}).update(values)
        self.config.write_text(
            "".join(
                f"[{section}]\n"
                + "".join(f"{key} = {json.dumps(one)}\n" for key, one in values.items())
                for section, values in sections.items()
            )
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def run(self, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command; whatever becomes of it."""
        if self._quick:
            return self._inside(words, given)
        return subprocess.run(
            [sys.executable, "-c", _PROGRAM, *words],
            input=given,
            capture_output=True,
            text=True,
            env=self._environment(),
            check=False,
            timeout=60,
        )

    def _inside(
        self, words: tuple[str, ...], given: str
    ) -> subprocess.CompletedProcess[str]:
        out, err, source = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(3))
        source.write(given)
        source.seek(0)
        with (
            redirect_stdout(out),
            redirect_stderr(err),
            mock.patch.object(sys, "stdin", source),
            mock.patch.dict(os.environ, self._environment()),
        ):
            code = run(list(words))
        for stream in (out, err):
            stream.seek(0)
        return subprocess.CompletedProcess(words, code, out.read(), err.read())

    def __call__(self, *words: str, given: str = "") -> str:
        """Run a command that must end well; return what it wrote."""
        done = self.run(*words, given=given)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    def json(self, *words: str) -> Any:
        """Return the one object that a command writes."""
        return json.loads(self(*words, "--json"))

    def lines(self, *words: str) -> list[Any]:
        """Return the objects that a command writes, one a line."""
        return [json.loads(line) for line in self(*words, "--json").splitlines()]

    def start(self) -> None:
        """Start the daemon, and wait until it serves."""
        self._before = self.log().count("event=node.started")
        with (self.directory / "log").open("ab") as sink:
            self._child = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, "daemon"],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                env=self._environment(),
                start_new_session=True,
            )
        poll(self._serves, f"start of {self.name}", 30)

    def stop(self) -> None:
        """End the daemon, if it runs."""
        if self._child is not None:
            end(self._child)
            self._child = None

    def kill(self) -> None:
        """Kill the daemon as a power cut would."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None

    def events(self) -> list[tuple[object, ...]]:
        """Return where each log of the node stands, from its file."""
        path = self.state / "federation.sqlite"
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            return db.execute(
                "SELECT key, st, inc, head FROM log ORDER BY key, st, inc"
            ).fetchall()

    def log(self) -> str:
        """Return what the daemon wrote."""
        path = self.directory / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def _serves(self) -> bool:
        if self._child is not None and self._child.poll() is not None:
            raise RuntimeError(f"the daemon ended:\n{self.log()}")
        return self.log().count("event=node.started") > self._before

    def runs(self) -> bool:
        """Whether the daemon was started and not ended."""
        return self._child is not None

    def _environment(self) -> dict[str, str]:
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("MAILSHAPER")
        }
        return environment | {
            "MAILSHAPER_FEDERATION_CONFIG": str(self.config),
            "TZ": "UTC",
            "COLUMNS": "80",
        }
