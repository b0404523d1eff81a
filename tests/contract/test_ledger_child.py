"""The daemon's own redis-server: life, death, damage."""

import asyncio
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from shaper.core.ports import StateUnavailableError
from shaper.ledger import RedisChild, RedisChildError, RedisLedger
from tests.support import needs
from tests.support.waiting import poll, poll_async


@pytest.fixture
def home():
    needs.program("redis-server", "valkey-server")
    # Short, because a socket's path is limited to 107 octets.
    with tempfile.TemporaryDirectory(prefix="child-", dir="/tmp") as path:
        yield Path(path) / "redis"


@pytest.fixture
async def child(home):
    child = RedisChild(home)
    await child.start()
    yield child
    await child.stop()


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "zombie" not in Path(f"/proc/{pid}/status").read_text()


async def stored(child):
    ledger = RedisLedger.connect(child.url)
    try:
        return await ledger.load("s")
    finally:
        await ledger.close()


async def store(child):
    ledger = RedisLedger.connect(child.url)
    try:
        return await ledger.save("s", 0, b"record", "blocked")
    finally:
        await ledger.close()


async def test_data_survives_a_stop_and_a_start(child, home):
    await store(child)
    pid = child.pid
    await child.stop()
    await child.stop()
    assert not alive(pid)
    again = RedisChild(home)
    await again.start()
    try:
        assert (await stored(again))[1] == b"record"
    finally:
        await again.stop()


async def test_only_its_user_may_connect(child, home):
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert stat.S_IMODE((home / "redis.sock").stat().st_mode) == 0o700
    listening = Path(f"/proc/{child.pid}/net/tcp").read_text()
    fds = [str(p.readlink()) for p in Path(f"/proc/{child.pid}/fd").iterdir()]
    for line in listening.splitlines()[1:]:
        assert f"socket:[{line.split()[9]}]" not in fds


async def test_a_killed_server_is_started_again_with_its_data(child):
    await store(child)
    await asyncio.sleep(0)
    pid = child.pid
    os.kill(pid, signal.SIGKILL)
    await poll_async(lambda: child.pid not in {0, pid}, "new server")
    end = time.monotonic() + 10
    while True:
        try:
            version, _record = await stored(child)
        except StateUnavailableError:
            assert time.monotonic() < end
            await asyncio.sleep(0.02)
        else:
            break
    # everysec: the last second may be lost in a crash of the host, not in this.
    assert version > 0


async def test_a_second_daemon_cannot_use_the_same_data(child, home, monkeypatch):
    monkeypatch.setattr("shaper.ledger.child._LEAVING", 0.2)
    second = RedisChild(home)
    with pytest.raises(RedisChildError, match=f"in use by process {os.getpid()}"):
        await second.start()
    assert (await stored(child)) == (0, b"")


_DAEMON = """
import asyncio, sys
from pathlib import Path
from shaper.ledger import RedisChild
async def main():
    child = RedisChild(Path(sys.argv[1]))
    await child.start()
    print(child.pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


async def test_the_server_ends_with_a_killed_daemon(home):
    command = [sys.executable, "-c", _DAEMON, str(home)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as daemon:
        pid = int(daemon.stdout.readline())
        assert alive(pid)
        daemon.kill()
    again = RedisChild(home)
    await again.start()  # waits for the lock that the old server holds
    try:
        poll(lambda: not alive(pid), "end of the orphan")
        assert again.pid != pid
        await store(again)
    finally:
        await again.stop()


async def test_the_lock_lives_as_long_as_the_server(home, monkeypatch):
    monkeypatch.setattr("shaper.ledger.child._dying_with_parent", list)
    command = [sys.executable, "-c", _DAEMON, str(home)]
    command[2] = command[2].replace(
        "async def main", "import shaper.ledger.child as c\n"
        "c._dying_with_parent = list\nasync def main"
    )  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE) as daemon:
        pid = int(daemon.stdout.readline())
        daemon.kill()
    try:
        monkeypatch.setattr("shaper.ledger.child._LEAVING", 0.3)
        with pytest.raises(RedisChildError, match="in use"):
            await RedisChild(home).start()
    finally:
        os.kill(pid, signal.SIGTERM)
    poll(lambda: not alive(pid), "end of the orphan")


def _append_only_files(home):
    return sorted(home.glob("appendonlydir/*.incr.aof"))


async def test_a_torn_append_only_file_is_cut(child, home):
    await store(child)
    await child.stop()
    (file,) = _append_only_files(home)
    with file.open("ab") as appended:
        appended.write(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$100\r\nxx")
    again = RedisChild(home)
    await again.start()
    try:
        assert (await stored(again))[1] == b"record"
        assert list(home.glob("*.damaged-*")) == []
    finally:
        await again.stop()


async def test_a_damaged_append_only_file_is_moved_aside(child, home, caplog):
    await store(child)
    await child.stop()
    (file,) = _append_only_files(home)
    file.write_bytes(b"garbage\r\n" + file.read_bytes())
    again = RedisChild(home)
    await again.start()
    try:
        assert await stored(again) == (0, b"")
        (moved,) = home.glob("appendonlydir.damaged-*")
        assert (moved / file.name).read_bytes().startswith(b"garbage")
        assert "moved to" in caplog.text
    finally:
        await again.stop()


async def test_a_stale_socket_is_no_obstacle(home):
    home.mkdir(mode=0o700, parents=True)
    (home / "redis.sock").touch()
    child = RedisChild(home)
    await child.start()
    await child.stop()


async def test_without_a_server_the_package_is_named(home, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(RedisChildError, match="apt install redis-server"):
        await RedisChild(home).start()


async def test_other_failures_keep_the_data_where_it_is(child, home, monkeypatch):
    await store(child)
    await child.stop()
    broken = RedisChild(home)
    monkeypatch.setattr(broken, "_options", lambda: ["--no-such-option", "1"])
    with pytest.raises(RedisChildError, match=r"ended with status 1: .*no-such-option"):
        await broken.start()
    assert _append_only_files(home)
    assert list(home.glob("*.damaged-*")) == []


async def test_a_socket_path_that_is_too_long_is_named(home):
    child = RedisChild(home, home / ("x" * 100) / "s")
    with pytest.raises(RedisChildError, match="longer than 107"):
        await child.start()
