"""An answer that cannot be written is an error with a status, not a traceback."""

import asyncio
import shlex
import sys

import pytest

from tests.support.office import office


@pytest.fixture
async def place(redis_url, tmp_path):
    async with office(redis_url, tmp_path) as found:
        await found.steal("login:bob")
        yield found


async def shell(place, line):
    """Run a shell line in which ``mailshaper`` is ours; return status and output."""
    ours = shlex.join([sys.executable, "-c", "from shaper.cli import main; main()"])
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-c",
        f'mailshaper() {{ {ours} "$@"; }}; {line}',
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": "/usr/bin:/bin", "MAILSHAPER_SOCKET": str(place.path)},
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


@pytest.mark.parametrize(
    "words",
    ["status", "show login:bob", "queue list --json", "block login:bob --reason x"],
)
async def test_a_full_disk(place, words):
    code, _, err = await shell(place, f"mailshaper {words} >/dev/full")
    assert code == 74
    assert err.startswith("mailshaper: the answer cannot be written: No space left")
    assert "mailshaper audit" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("mailshaper status >&-", 0),
        ("mailshaper status 2>&-", 0),
        ("mailshaper nonsense 2>/dev/full", 64),
        ("mailshaper nonsense 2>&-", 64),
        ("mailshaper --help >/dev/full 2>&1", 74),
    ],
)
async def test_streams_that_are_closed_or_full(place, line, status):
    code, _, err = await shell(place, line)
    assert code == status, err
    assert "Traceback" not in err
