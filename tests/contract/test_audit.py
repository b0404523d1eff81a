"""The audit journal on a real disk."""

import asyncio
import os
import resource
import signal
import stat
import subprocess
import sys
from contextlib import contextmanager

import pytest

from shaper.audit import AuditJournal
from shaper.core.ports import SpoolFullError
from shaper.durable.files import DirectoryInUseError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "audit"


@pytest.fixture
async def journal(path):
    ticks = iter(range(10**6))
    journal = await AuditJournal.open(path, lambda: float(next(ticks)))
    yield journal
    await journal.close()


async def reopened(journal, path, **options):
    await journal.close()
    return await AuditJournal.open(path, lambda: 1e6, **options)


def events(journal):
    return [record["event"] for record in journal.replay()]


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


async def test_records_come_back_in_order_with_number_and_time(journal, path):
    await journal.append("sender", sender="login:é\udcff\x00", plans=[[1.5, None]])
    await journal.append("order", order='{"id":"o1"}')
    again = await reopened(journal, path)
    await again.append("third")
    assert list(again.replay()) == [
        {"seq": 1, "at": 0.0, "event": "sender", "sender": "login:é\udcff\x00",
         "plans": [[1.5, None]]},
        {"seq": 2, "at": 1.0, "event": "order", "order": '{"id":"o1"}'},
        {"seq": 3, "at": 1e6, "event": "third"},
    ]  # fmt: skip
    assert again.damage == []
    (file,) = path.glob("*.jsonl")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    await again.close()


async def test_many_waiters_share_an_fsync(journal, monkeypatch):
    syncs = []
    real = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda fd: (syncs.append(fd), real(fd)))
    await asyncio.gather(*(journal.append("e", n=n) for n in range(500)))
    assert len(syncs) <= 2
    records = list(journal.replay())
    assert [r["n"] for r in records] == list(range(500))
    assert [r["seq"] for r in records] == list(range(1, 501))


@pytest.mark.parametrize("fields", [{"seq": 1}, {"at": 1}, {"crc": ""}])
async def test_the_journals_own_fields_are_refused(journal, fields):
    with pytest.raises(ValueError, match="the journal itself writes"):
        await journal.append("e", **fields)


async def test_a_value_that_is_no_json_spoils_nothing(journal):
    results = await asyncio.gather(
        journal.append("a"),
        journal.append("b", x=float("nan")),
        journal.append("c", x=object()),
        journal.append("d"),
        return_exceptions=True,
    )
    assert [type(r) for r in results] == [type(None), ValueError, TypeError, type(None)]
    assert events(journal) == ["a", "d"]


async def test_a_full_disk_refuses_and_leaves_the_journal_whole(journal, path):
    await journal.append("first")
    with disk_full_at(200), pytest.raises(SpoolFullError):
        await journal.append("too-much", text="x" * 500)
    await journal.append("second")
    again = await reopened(journal, path)
    assert events(again) == ["first", "second"]
    assert [r["seq"] for r in again.replay()] == [1, 2]
    assert again.damage == []
    await again.close()


async def test_files_rotate_by_size_and_numbers_go_on(journal, path):
    again = await reopened(journal, path, file_octets=200)
    for n in range(20):
        await again.append("e", n=n)
    assert len(list(path.glob("*.jsonl"))) > 3
    third = await reopened(again, path, file_octets=200)
    await third.append("e", n=20)
    records = list(third.replay())
    assert [r["n"] for r in records] == list(range(21))
    assert [r["seq"] for r in records] == list(range(1, 22))
    await third.close()


async def test_damage_is_reported_and_costs_no_other_record(journal, path):
    for n in range(5):
        await journal.append("e", n=n)
    await journal.close()
    (file,) = path.glob("*.jsonl")
    lines = file.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b'"n":1', b'"n":7')
    lines.append(b'{"seq":6,"at":1,"ev')
    file.write_bytes(b"".join(lines))
    again = await AuditJournal.open(path)
    await again.append("after")
    assert [r.get("n") for r in again.replay()] == [0, 2, 3, 4, None]
    ((name, start, end),) = again.damage
    assert (name, file.read_bytes()[start:end]) == (file.name, lines[1].rstrip(b"\n"))
    assert [r["seq"] for r in again.replay()] == [1, 3, 4, 5, 6]
    await again.close()


async def test_a_file_without_any_readable_record_is_not_written_over(journal, path):
    await journal.append("e")
    await journal.close()
    (file,) = path.glob("*.jsonl")
    damaged = file.read_bytes().replace(b"e", b"f")
    file.write_bytes(damaged)
    again = await AuditJournal.open(path)
    await again.append("after")
    await again.prune(0.0, lambda _: False)
    await again.append("later")
    assert events(again) == ["after", "later"]
    assert len(again.damage) == 1
    await again.close()


async def test_retention_keeps_what_is_young_or_wanted(journal, path):
    for n in range(10):
        await journal.append("e" if n % 3 else "block", n=n)
    assert await journal.prune(7.0, lambda r: r["event"] == "block") == 4
    assert [r["n"] for r in journal.replay()] == [0, 3, 6, 7, 8, 9]
    assert await journal.prune(7.0, lambda r: r["event"] == "block") == 0
    await journal.append("e", n=10)
    assert await journal.prune(1e9, lambda _: False) == 7
    assert events(journal) == []
    again = await reopened(journal, path)
    await again.append("e")
    assert [r["seq"] for r in again.replay()] == [12]
    await again.close()


async def test_appends_go_on_while_old_records_are_pruned(journal):
    for n in range(50):
        await journal.append("old", n=n)
    await asyncio.gather(
        journal.prune(50.0, lambda _: False),
        *(journal.append("new", n=n) for n in range(50)),
    )
    assert sorted(r["n"] for r in journal.replay()) == list(range(50))


async def test_forgetting_removes_each_line_that_names_the_address(journal):
    await journal.append("a", sender="login:Ann@x.test")
    await journal.append("b", why={"by ann@x.test": [1]})
    await journal.append("c", order='{"filter":"to:ann@x.test","by":"root"}')
    await journal.append("d", text="write to ann@x.test.")
    await journal.append("keep", sender="joann@x.test")
    await journal.append("keep", sender="ann@x.test.example")
    await journal.append("keep", sender="ann@x-test")
    await journal.append("e", order='{"by":"\\u00e9@x.test"}')
    assert await journal.forget("ann@x.test") == 4
    assert await journal.forget("é@x.test") == 1
    assert events(journal) == ["keep", "keep", "keep"]


async def test_a_full_disk_while_rewriting_loses_nothing(journal, path):
    for n in range(20):
        await journal.append("e", n=n)
    with disk_full_at(100), pytest.raises(SpoolFullError):
        await journal.prune(5.0, lambda _: False)
    assert [r["n"] for r in journal.replay()] == list(range(20))
    assert list(path.glob("*.new")) == []


async def test_a_second_owner_is_refused(journal, path):
    with pytest.raises(DirectoryInUseError, match="in use by process"):
        await AuditJournal.open(path)


@pytest.mark.parametrize("wait", [1, 30])
async def test_what_was_acknowledged_survives_sigkill(path, wait):
    program = """
import asyncio, sys
from pathlib import Path
from shaper.audit import AuditJournal
async def main():
    journal = await AuditJournal.open(Path(sys.argv[1]), file_octets=2000)
    async def one(n):
        await journal.append("e", n=n)
        print(n, flush=True)
    for n in range(0, 100_000, 10):
        await asyncio.gather(*(one(n + k) for k in range(10)))
asyncio.run(main())
"""
    command = [sys.executable, "-c", program, str(path)]
    said = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        for line in child.stdout:
            said.append(int(line))
            if len(said) == wait:
                child.kill()
    journal = await AuditJournal.open(path)
    assert set(said) <= {record["n"] for record in journal.replay()}
    assert journal.damage == []
    await journal.close()
