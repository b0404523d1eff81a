"""The tab key in a real bash on a pseudo terminal, in front of a real engine."""

import asyncio
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.office import office

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
_PATIENCE = 30.0  # seconds; a busy machine starts Python slowly


class Bash:
    """An interactive bash; what it shows is read as it comes."""

    def __init__(self, rc, environment):
        self.shown = ""
        self.fd, inside = pty.openpty()
        # Not pty.fork: this process has threads (Python 3.12 warns of that).
        self.process = subprocess.Popen(
            ["setsid", "--ctty", "bash", "--rcfile", str(rc), "-i"],
            stdin=inside,
            stdout=inside,
            stderr=inside,
            env=environment,
        )
        os.close(inside)

    async def see(self, text):
        """Wait until the terminal shows a text."""
        async with asyncio.timeout(_PATIENCE):
            while text not in self.shown:
                chunk = await asyncio.to_thread(os.read, self.fd, 4096)
                # readline goes back with BS, and writes over what stood there.
                for char in chunk.decode(errors="replace").replace("\a", ""):
                    self.shown = self.shown[:-1] if char == "\b" else self.shown + char

    async def type(self, keys, expect):
        self.shown = ""
        os.write(self.fd, keys.encode())
        await self.see(expect)

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.fd)


@pytest.fixture
async def place(redis_url, tmp_path):
    async with office(redis_url, tmp_path) as found:
        yield found


@pytest.fixture
async def bash(place, tmp_path):
    program = tmp_path / "bin" / "mailshaper"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\nfrom shaper.cli import main\nmain()\n", encoding="utf-8"
    )
    program.chmod(0o755)
    script = await place.cli(env={"_MAILSHAPER_COMPLETE": "source_bash"})
    rc = tmp_path / "rc"
    rc.write_text(
        f"PS1='ready> '\nbind 'set enable-bracketed-paste off'\n{script.out}\n"
    )
    shell = Bash(
        rc,
        {
            "PATH": f"{program.parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(Path.cwd()),
            "HOME": str(tmp_path),
            "TERM": "dumb",
            "COLUMNS": "200",
            "LC_ALL": "C.UTF-8",
            "MAILSHAPER_SOCKET": str(place.path),
        },
    )
    await shell.see("ready> ")
    yield shell
    shell.close()


async def test_a_sender_is_completed_in_spite_of_its_colon(place, bash):
    await place.steal("login:alice@example.org")
    await place.steal("login:bob@example.org")
    await bash.type("mailshaper show lo\t", "show login:")
    await bash.type("b\t", "bob@example.org ")
    await bash.type(
        "\x15mailshaper show login:alice@ex\t", "show login:alice@example.org "
    )


async def test_an_option_with_its_value_is_completed(place, bash):
    await place.steal("login:bob@example.org")
    await bash.type(
        "mailshaper queue list --sender=login:b\t", "--sender=login:bob@example.org "
    )


async def test_a_strangers_address_cannot_reach_the_command_line(place, bash, tmp_path):
    trap = tmp_path / "sprung"
    # The local part is valid: RFC 5322 3.2.3 has the backquote in atext.
    await place.steal(f"from:`touch${{IFS}}{trap}`@example.org")
    await place.steal("from:ann@example.org")
    await bash.type("mailshaper show from:\t", "from:ann@example.org ")
    await bash.type("\n", "from:ann@example.org is SLOWED")
    assert not trap.exists()
