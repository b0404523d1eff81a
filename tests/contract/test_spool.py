"""The spool on a real disk: durability, limits, damage, several owners."""

import asyncio
import os
import resource
import signal
import stat
import subprocess
import sys
from contextlib import contextmanager

import pytest

from shaper.core.envelope import Client, Envelope, Recipient
from shaper.core.message import HeldMessage, RecipientFate, Submission
from shaper.core.ports import SpoolCorruptError, SpoolFullError
from shaper.core.reply import Reply
from shaper.spool import DirectoryInUseError, FileSpool, Limits
from shaper.spool.format import HEADER

ROOMY = Limits(free=0)


def held(name="m1", *, received=1.0, recipients=("a@x.test", "b@x.test"), **more):
    envelope = Envelope(
        "me@home.test",
        tuple(Recipient(r, ("NOTIFY=FAILURE",)) for r in recipients),
        ("BODY=8BITMIME", "ENVID=Q\udcff"),
    )
    submission = Submission(
        name, "login:me", envelope, Client("192.0.2.1"), received, "s\x00\udc80", "<i>"
    )
    return HeldMessage(submission, 0, case="c1", **more)


async def put(spool, message, *chunks):
    writer = spool.begin(message)
    for chunk in chunks:
        writer.write(chunk)
        await writer.drain()
    return await writer.commit()


async def content(spool, name):
    return b"".join([chunk async for chunk in spool.read(name)])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "spool"


@pytest.fixture
async def spool(path):
    spool = await FileSpool.open(path, ROOMY, clock=lambda: 5.0)
    yield spool
    await spool.close()


async def reopened(spool, path):
    await spool.close()
    return await FileSpool.open(path, ROOMY)


@contextmanager
def disk_full_at(octets):
    """No file may grow beyond this (EFBIG), as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (octets, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


async def test_a_message_and_its_history_come_back_after_a_restart(spool, path):
    body = b"Subject: x\r\n\r\n..dot\r\n\xff\x00\r\n"
    stored = await put(spool, held(), body)
    assert stored.size == len(body)
    await spool.note_attempt("m1", not_before=60.0)
    refused = Reply(550, ("5.1.1 no",))
    fates = {1: RecipientFate.REFUSED}
    await spool.note_fates("m1", fates, {1: refused}, not_before=90.0)
    await spool.note_told("m1", [1])
    last = await spool.note_order("m1", "o7")
    assert (last.attempts, last.not_before, last.waiting) == (1, 90.0, (0,))
    again = await reopened(spool, path)
    assert again.get("m1") == last
    assert await content(again, "m1") == body
    log = await again.history("m1")
    assert [line["event"] for line in log] == ["attempt", "fates", "told", "order"]
    assert Reply.from_json(log[1]["replies"]["1"]) == refused
    await again.close()


@pytest.mark.parametrize("size", [0, 1, 256 * 1024 - 1, 256 * 1024, 3_000_001])
async def test_contents_of_every_size_survive_whole(spool, size):
    body = os.urandom(size)
    parts = [body[at : at + 65_536] for at in range(0, size, 65_536)]
    assert (await put(spool, held(), *parts)).size == size
    assert await content(spool, "m1") == body
    assert list(spool.directory.tmp.iterdir()) == []


async def test_order_of_arrival_survives_a_restart(spool, path):
    for name, at in [("late", 9.0), ("early", 1.0), ("middle", 5.0)]:
        await put(spool, held(name, received=at), b"x")
    again = await reopened(spool, path)
    assert [m.id for m in again.all()] == ["early", "middle", "late"]
    await again.close()


async def test_nobody_else_may_read_held_mail(spool, path):
    await put(spool, held(), b"x")
    assert stat.S_IMODE((path / "held" / "m1").stat().st_mode) == 0o600
    for directory in (path, path / "held", path / "tmp", path / "corrupt"):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700


async def test_a_second_owner_is_told_who_owns_the_directory(spool, path):
    with pytest.raises(DirectoryInUseError, match=f"in use by process {os.getpid()}"):
        await FileSpool.open(path)


async def test_nothing_is_left_of_an_aborted_message(spool):
    for size in (10, 2_000_000):
        writer = spool.begin(held())
        for at in range(0, size, 50_000):
            writer.write(b"x" * min(50_000, size - at))
        writer.abort()
        writer.abort()
        await asyncio.sleep(0)
    while spool._tasks:
        await asyncio.wait(spool._tasks)
    assert spool.octets == len(spool) == 0
    assert list(spool.directory.tmp.iterdir()) == []
    assert list(spool.directory.held.iterdir()) == []


async def test_abort_after_commit_changes_nothing(spool):
    writer = spool.begin(held())
    writer.write(b"x")
    await writer.commit()
    writer.abort()
    assert await content(spool, "m1") == b"x"


async def test_a_caller_who_goes_away_before_the_answer_leaves_no_message(spool):
    writer = spool.begin(held())
    writer.write(b"x")
    task = asyncio.create_task(writer.commit())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    writer.abort()
    await spool._batcher.idle()
    while spool._tasks:
        await asyncio.wait(spool._tasks)
    assert spool.octets == len(spool) == spool._writers == 0
    assert list(spool.directory.held.iterdir()) == []


async def test_many_at_once_share_directory_syncs(spool, monkeypatch):
    syncs = []
    monkeypatch.setattr(spool.directory, "sync", lambda: syncs.append(1))
    await asyncio.gather(*(put(spool, held(f"m{i}"), b"x") for i in range(300)))
    assert len(spool) == 300
    assert len(syncs) <= 4


async def test_limits_refuse_before_anything_is_written(path):
    spool = await FileSpool.open(path, Limits(messages=1, octets=5000, free=0))
    try:
        writer = spool.begin(held("big"))
        writer.write(b"x" * 6000)
        with pytest.raises(SpoolFullError, match="limit of 5000 octets"):
            await writer.commit()
        await put(spool, held("fits"), b"x")
        with pytest.raises(SpoolFullError, match="limit of 1 messages"):
            spool.begin(held("second"))
        await put(spool, held("dsn", notice=True), b"x" * 6000)
        spool.limits = Limits(free=10**18)
        with pytest.raises(SpoolFullError, match="octets are free"):
            spool.begin(held("third"))
    finally:
        await spool.close()


@pytest.mark.parametrize("size", [5_000, 700_000])
async def test_a_full_disk_refuses_and_leaves_nothing(spool, size):
    with disk_full_at(4096):
        writer = spool.begin(held())
        for _ in range(0, size, 5_000):
            writer.write(b"x" * 5_000)
        with pytest.raises(SpoolFullError, match="File too large"):
            await writer.commit()
    while spool._tasks:
        await asyncio.wait(spool._tasks)
    assert list(spool.directory.tmp.iterdir()) == []
    assert spool.octets == len(spool) == 0
    await put(spool, held(), b"x")  # and it goes on when there is room


async def test_a_full_disk_while_noting_keeps_the_log_as_it_was(spool, path):
    await put(spool, held(), b"x" * 100)
    await spool.note_attempt("m1", not_before=1.0)
    size = (path / "held" / "m1").stat().st_size
    with disk_full_at(size + 10), pytest.raises(SpoolFullError):
        await spool.note_order("m1", "o1")
    assert spool.get("m1").order == ""
    await spool.note_order("m1", "o2")
    again = await reopened(spool, path)
    assert (again.get("m1").order, again.damaged()) == ("o2", [])
    await again.close()


async def test_a_torn_log_line_is_reported_and_cut_at_the_next_note(spool, path):
    await put(spool, held(), b"x")
    await spool.note_attempt("m1", not_before=1.0)
    with (path / "held" / "m1").open("ab") as file:
        file.write(b'{"at":9,"event":"fa')
    again = await reopened(spool, path)
    assert again.get("m1").attempts == 1
    assert "unfinished log line of 19 octets" in again.damaged()[0][1]
    await again.note_attempt("m1", not_before=2.0)
    third = await reopened(again, path)
    assert third.get("m1").attempts == 2
    assert third.damaged() == []
    await third.close()


async def test_damage_of_the_metadata_sets_the_file_aside_at_start(spool, path):
    await put(spool, held(), b"x" * 50)
    await put(spool, held("m2"), b"x" * 50)
    file = path / "held" / "m1"
    data = bytearray(file.read_bytes())
    data[HEADER + 20] ^= 1
    file.write_bytes(data)
    again = await reopened(spool, path)
    assert [m.id for m in again.all()] == ["m2"]
    assert again.corrupt() == [("m1", "the metadata is damaged")]
    assert (path / "corrupt" / "m1").read_bytes() == data
    third = await reopened(again, path)
    assert third.corrupt() == [("m1", "the metadata is damaged")]
    await third.close()


@pytest.mark.parametrize("size", [50, 1_000_000])
async def test_damage_of_the_content_is_found_before_anything_is_read(
    spool, path, size
):
    stored = await put(spool, held(), b"x" * size)
    file = path / "held" / "m1"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    again = await reopened(spool, path)
    assert again.get("m1") == stored
    with pytest.raises(SpoolCorruptError, match="m1: the content is damaged"):
        await anext(again.read("m1"))
    assert again.get("m1") is None
    assert again.octets == 0
    with pytest.raises(KeyError):
        await again.note_attempt("m1", not_before=0.0)
    assert again.corrupt() == [("m1", "the content is damaged")]
    await again.close()


async def test_files_that_are_no_messages_are_set_aside_with_a_reason(spool, path):
    await put(spool, held(), b"x")
    (path / "held" / "copy").write_bytes((path / "held" / "m1").read_bytes())
    (path / "held" / "short").write_bytes((path / "held" / "m1").read_bytes()[:-1])
    (path / "held" / "empty").touch()
    (path / "held" / "link").symlink_to("/etc/passwd")
    (path / "held" / "folder").mkdir()
    os.mkfifo(path / "held" / "pipe")
    (path / "held" / ".b\udcff").touch()
    (path / "corrupt" / "empty").write_text("an older one")
    again = await reopened(spool, path)
    assert [m.id for m in again.all()] == ["m1"]
    reasons = dict(again.corrupt())
    assert set(reasons) == {
        "copy", "short", "empty", "empty.1", "link", "folder", "pipe", ".b\udcff"
    }  # fmt: skip
    assert reasons["copy"] == "the file holds message 'm1'"
    assert reasons["short"] == "1 octets of the content are missing"
    assert reasons["link"] == "a symbolic link is no message"
    assert reasons["pipe"] == "not a regular file"
    await again.close()


async def test_a_file_that_vanished_is_reported_not_skipped(spool, path):
    await put(spool, held(), b"x")
    (path / "held" / "m1").unlink()
    with pytest.raises(SpoolCorruptError, match="No such file"):
        await spool.note_attempt("m1", not_before=0.0)
    assert spool.get("m1") is None
    assert len(spool.corrupt()) == 1


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a\n", "é", "x" * 300])
async def test_an_id_that_is_no_file_name_is_refused(spool, name):
    with pytest.raises(ValueError, match="cannot name a spool file"):
        spool.begin(held(name))


async def test_removing_is_idempotent(spool, path):
    await put(spool, held(), b"x")
    await spool.remove("m1")
    await spool.remove("m1")
    assert spool.get("m1") is None
    assert spool.octets == 0
    assert list((path / "held").iterdir()) == []


async def test_a_note_under_way_survives_its_callers_end(spool, path):
    await put(spool, held(), b"x")
    task = asyncio.create_task(
        spool.note_fates("m1", {0: RecipientFate.DELIVERED}, {}, not_before=0.0)
    )
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await spool.note_attempt("m1", not_before=2.0)
    again = await reopened(spool, path)
    assert again.get("m1").waiting == (1,)
    assert again.get("m1").attempts == 1
    await again.close()


@pytest.mark.parametrize("wait", [3, 40, 150])
async def test_what_was_acknowledged_survives_sigkill(path, wait):
    program = """
import asyncio, sys
from pathlib import Path
from shaper.core.envelope import Client, Envelope, Recipient
from shaper.core.message import HeldMessage, Submission
from shaper.spool import FileSpool, Limits

async def one(spool, name):
    envelope = Envelope("me@home.test", (Recipient("you@x.test"),))
    message = HeldMessage(Submission(name, "login:me", envelope, Client(), 1.0), 0)
    writer = spool.begin(message)
    writer.write(name.encode() * 1000)
    await writer.commit()
    print(name, flush=True)
    await spool.note_attempt(name, not_before=9.0)
    print(name, flush=True)

async def main():
    spool = await FileSpool.open(Path(sys.argv[1]), Limits(free=0))
    for i in range(10_000):
        await asyncio.gather(*(one(spool, f"m{i}-{k}") for k in range(5)))

asyncio.run(main())
"""
    command = [sys.executable, "-c", program, str(path)]
    said = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        for line in child.stdout:
            said.append(line.strip())
            if len(said) == wait:
                child.kill()
    spool = await FileSpool.open(path, ROOMY)
    assert len(said) >= wait
    assert spool.corrupt() == []
    for name in set(said):
        assert spool.get(name).attempts >= said.count(name) - 1
        assert await content(spool, name) == name.encode() * 1000
    assert list(spool.directory.tmp.iterdir()) == []
    await spool.close()
