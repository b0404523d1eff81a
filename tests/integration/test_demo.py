"""`make demo` itself: the real daemon, real mail, and a balance that must hold."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import needs
from tests.support.waiting import poll

pytestmark = [pytest.mark.slow, pytest.mark.timeout(75)]


def demo(*options):
    needs.program("redis-server", "valkey-server")
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("MAILSHAPER_")
    }
    return subprocess.Popen(
        # A shell's background job ignores SIGINT, and so would all it starts.
        ["env", "--default-signal=INT", sys.executable, "-m", "tools.demo", *options],
        cwd=needs.REPOSITORY,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_every_message_of_the_demonstration_is_accounted_for():
    with demo("--lang", "fr") as process:
        output, _ = process.communicate(timeout=70)
    assert process.returncode == 0, output
    assert "The balance holds: every message is accounted for." in output
    assert "lost: 0 · delivered twice: 0 · still held: 0" in output
    assert "SLOWED after" in output
    assert "BLOCKED" in output
    assert "est bloqué" in output  # the notice, in the language asked for
    assert "hung up" not in output  # `queue list | head` is typed too


def test_an_interrupted_demonstration_leaves_nothing_behind():
    with demo() as process:
        said = []
        for line in process.stdout:
            said.append(line)
            if line.startswith("== 1"):
                break
        words = next(line for line in said if "daemon    process" in line).split()
        daemon = int(words[2].rstrip(","))
        command = Path(f"/proc/{daemon}/cmdline").read_bytes().split(b"\0")
        directory = Path(os.fsdecode(command[command.index(b"--config") + 1])).parent
        assert directory.is_dir()
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=30)
    assert process.returncode == 130, "".join(said) + rest
    assert "Traceback" not in rest
    poll(lambda: not Path(f"/proc/{daemon}").exists(), "end of the daemon")
    assert not directory.exists()
