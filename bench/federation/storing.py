"""Checks, import, look-up and own appends, each beside its reference."""

from __future__ import annotations

import random
import sqlite3
import statistics
import time
from contextlib import closing
from typing import TYPE_CHECKING

from bench.federation.events import NET, NOW, batches, orgs, tag
from federation.format.event import Event, authentic, parse
from federation.format.limits import Limits
from federation.format.profile import b64
from federation.format.signing import EVENT, Signer, verify
from federation.log.admission import Admission
from federation.log.own import OwnLog
from federation.log.schema import connect
from federation.log.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["append", "checks", "copy", "lookup"]

_CHECKED = 20_000
_ROUNDS = 5
_ASKED = 20_000
_APPENDED = 2_000
_MILLION = 1_000_000


def _open(path: Path) -> Store:
    return Store(path, NET, Limits())


def checks() -> None:  # noqa: C901 - three small jobs in turn
    """Print events a second of one core, the median of rounds in turn."""
    lines = [line for batch in batches(_CHECKED) for line in batch]
    events = [parse(line, NET) for line in lines]

    def whole() -> None:
        for line in lines:
            if not authentic(parse(line, NET)):
                raise AssertionError("a valid line is refused")

    def form() -> None:
        for line in lines:
            parse(line, NET)

    def signature() -> None:
        for event in events:
            verify(event.key, EVENT, event.raw, event.sig)

    jobs = {"form and id": form, "signature alone": signature, "whole check": whole}
    rates: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(_ROUNDS):
        for name, job in jobs.items():
            rates[name].append(_CHECKED / _cpu(job))
    print(f"\nchecks of a line of {len(lines[0])} octets, one core")
    for name, several in rates.items():
        print(
            f"{name:20} {statistics.median(several):8,.0f}/s"
            f"  ({min(several):,.0f} to {max(several):,.0f})"
        )


def copy(directory: Path, count: int, *, plain: bool) -> None:
    """Import ``count`` events of a hundred organisations; print time and size."""
    store = _open(directory / "log.db")
    admission = Admission(store, NET, store.limits)
    for signer in orgs():
        store.set_trust(signer.public, "trusted", now=NOW)
    reference = _Plain(directory / "plain.db") if plain else None
    wall = cpu = bare = 0.0
    for batch in batches(count):
        begin, used = time.perf_counter(), time.process_time()
        codes = admission.take(batch, peer="bench", now=NOW)
        wall += time.perf_counter() - begin
        cpu += time.process_time() - used
        if set(codes) != {"ok"}:
            raise AssertionError(f"not all were taken: {set(codes)}")
        if reference is not None:
            bare += reference.take(batch)
    store.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    size = (directory / "log.db").stat().st_size
    store.close()
    print(f"\nfirst copy of {count:,} events, batches of 1,000, SQLite on the disk")
    print(f"{'admission':20} {count / wall:8,.0f}/s   {wall:7.1f} s, CPU {cpu:.1f} s")
    if reference is not None:
        reference.close()
        print(f"{'rows alone':20} {count / bare:8,.0f}/s   {bare:7.1f} s")
    print(f"{'file':20} {size / count:8.0f} octets an event, {size / 1e9:.2f} GB")
    print(f"{'verified':20} {admission.verified / count:8.3f} times an event")
    if count != _MILLION:
        scale = _MILLION / count
        print(
            f"{_MILLION:,} by extrapolation: {wall * scale:.0f} s,"
            f" {size * scale / 1e9:.2f} GB"
        )


class _Plain:
    """The same rows into the same tables, nothing checked."""

    def __init__(self, path: Path) -> None:
        self._db = connect(path)
        self._logs: dict[bytes, int] = {}

    def take(self, lines: list[bytes]) -> float:
        """Insert a batch; return the seconds that SQLite took."""
        rows = [self._row(parse(line, NET)) for line in lines]
        begin = time.perf_counter()
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany(
            "INSERT INTO ev VALUES(NULL,?,?,?,?,?,?,?,1,?,?)",
            rows,
        )
        self._db.execute("COMMIT")
        return time.perf_counter() - begin

    def close(self) -> None:
        self._db.close()

    def _row(self, event: Event) -> tuple[object, ...]:
        log = self._logs.setdefault(event.key, len(self._logs))
        name = str(event.b["r"])
        return (
            log, event.seq, event.id, event.ts, NOW, event.k, name.encode()[:16],
            event.raw, event.sig,
        )  # fmt: skip


def lookup(directory: Path, count: int) -> None:  # noqa: C901 - jobs in turn
    """Print look-ups a second: tags with two claims, tags without, many at once."""
    dice = random.Random(1)  # noqa: S311
    there = [tag(dice.randrange(count // 2)) for _ in range(_ASKED)]
    missing = [dice.randbytes(16) for _ in range(_ASKED)]
    store = _open(directory / "log.db")

    def one_by_one(tags: list[bytes]) -> Callable[[], None]:
        def job() -> None:
            for one in tags:
                store.claims([one])

        return job

    def together() -> None:
        for start in range(0, _ASKED, 100):
            store.claims(there[start : start + 100])

    with closing(sqlite3.connect(directory / "log.db")) as db:

        def bare() -> None:
            for one in there:
                db.execute("SELECT raw FROM ev WHERE tag=?", (one,)).fetchall()

        jobs = {
            "not there": one_by_one(missing),
            "two claims": one_by_one(there),
            "100 tags at once": together,
            "bare SELECT": bare,
        }
        rates: dict[str, list[float]] = {name: [] for name in jobs}
        for _ in range(_ROUNDS):
            for name, job in jobs.items():
                rates[name].append(_ASKED / _cpu(job))
    store.close()
    print(f"\nlook-up of a tag among {count:,} events, one core")
    for name, several in rates.items():
        print(
            f"{name:20} {statistics.median(several):8,.0f}/s"
            f"  ({min(several):,.0f} to {max(several):,.0f})"
        )


def append(directory: Path) -> None:
    """Print what an own event takes, flushed to the disk; beside it a bare row."""
    store = _open(directory / "own.db")
    signer = Signer(bytes(range(32)))
    own = OwnLog(
        store, org=signer.public, node=signer, root=signer, limits=store.limits
    )
    body = {
        "pk": "uwBm6_w3", "code": "5.1.1", "smtp": 550, "cnt": 1, "last": 1_799_996_400,
        "via": "smtp",
    }  # fmt: skip
    taken, rows = [], []
    with closing(sqlite3.connect(directory / "bare.db", isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute("CREATE TABLE t(a BLOB)")
        for number in range(_APPENDED):
            begin = time.perf_counter()
            own.append("rcpt.hard", {**body, "r": b64(tag(number))}, NOW + number)
            middle = time.perf_counter()
            db.execute("INSERT INTO t VALUES(?)", (bytes(450),))
            rows.append(time.perf_counter() - middle)
            taken.append(middle - begin)
    store.close()
    print(f"\n{_APPENDED:,} own events, each flushed to the disk")
    for name, several in (("append", taken), ("bare row", rows)):
        several.sort()
        middle, late = several[len(several) // 2], several[len(several) * 99 // 100]
        print(f"{name:20} p50 {middle * 1e3:6.2f} ms  p99 {late * 1e3:6.2f} ms")


def _cpu(job: Callable[[], None]) -> float:
    begin = time.process_time()
    job()
    return time.process_time() - begin
