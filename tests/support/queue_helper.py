"""The real queue helper as a process of its own, on a socket of the test.

    with QueueHelperProcess("--mta", "postfix", "--config", postfix.config) as helper:
        client = QueueHelper(helper.socket)

Listens to root, since the tests run as root; ``user`` says who else.
"""

import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from tests.support import needs
from tests.support.ending import end
from tests.support.waiting import poll


class QueueHelperProcess:
    """One helper; its socket is gone when the context ends."""

    def __init__(
        self, *arguments: str | Path, user: str = "root", through: Sequence[str] = ()
    ) -> None:
        """``arguments``: which queue; ``user``: who may ask.

        ``through``: a command that starts it, such as setpriv with fewer rights.
        """
        needs.root("the queue helper changes the mail server's queue")
        self._home = tempfile.TemporaryDirectory(prefix="queue-helper-", dir="/tmp")
        self.socket = Path(self._home.name) / "socket"
        self.journal = Path(self._home.name) / "journal"
        self._through = through
        self._arguments = [*map(str, arguments), "--user", user]
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; return when its socket is there."""
        program = [sys.executable, "-I", "-m", "shaper.queuehelper"]
        command = [*self._through, *program, *self._arguments]
        with self.journal.open("ab") as sink:
            self._child = subprocess.Popen(
                [*command, "--socket", str(self.socket)],
                stdin=subprocess.DEVNULL,
                stderr=sink,
            )

        def ready() -> bool:
            if self._child is not None and self._child.poll() is not None:
                raise RuntimeError(f"no queue helper: {self.journal.read_text()}")
            with socket.socket(socket.AF_UNIX) as knock:
                return knock.connect_ex(str(self.socket)) == 0

        poll(ready, "start of the queue helper")

    def stop(self) -> None:
        """End it, its socket stays, as after a crash."""
        if self._child is not None:
            end(self._child)
            self._child = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._home.cleanup()
