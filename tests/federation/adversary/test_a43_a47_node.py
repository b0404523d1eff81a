"""Attacks and accidents 43 to 47: numbers, crashes, full disks, partitions."""

import itertools
import json
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from federation.format.event import parse
from federation.format.profile import LARGEST, b64
from federation.log.chain import END, LogKey
from federation.log.database import StoreFull
from tests.support.federation_store import NOW, Node, exchange, facts
from tools.federation_vectors.case import NET, T0
from tools.federation_vectors.writer import Writer, hard, seeded

A, B = seeded(1), seeded(2)
DAY = 86400
LOG = LogKey(A.public, "h", T0)


def _whole(store):
    """Check that what is stored is a chain of whole events, and its log says so."""
    assert store.row("PRAGMA integrity_check") == ("ok",)
    for key, st, inc, floor, head, head_id, rowid in store.rows(
        "SELECT key, st, inc, floor, head, head_id, id FROM log"
    ):
        rows = store.rows(
            "SELECT seq, id, raw, sig FROM ev WHERE log=? ORDER BY seq", rowid
        )
        assert [row[0] for row in rows] == list(range(floor + 1, head + 1))
        assert rows[-1][1] == head_id
        lines = store.lines(LogKey(key, st, inc), 1, END, most=10**6, size=1 << 40)
        events = [parse(line, NET) for line in lines]
        for one, other in itertools.pairwise(events):
            assert other.prev == one.id
        assert {event.id for event in events} == {row[1] for row in rows}


def test_a43_numbers_at_their_bounds_and_wildcards(tmp_path):
    node = Node(1, tmp_path / "log.db").admit(A.public)
    log = Writer(A, "h")
    kind, body = hard(1)
    log.add((kind, body | {"prov": "100%_or'1'='1"}))
    log.add((kind, body | {"smtp": LARGEST, "cnt": LARGEST, "last": LARGEST}))
    log.add(("xdrop.table", {"a": "'); DROP TABLE ev; --"}))
    latest = 253_402_300_799
    assert node.take(log.events) == ["ok"] * 3
    ahead = Writer(A, "s", inc=latest)
    assert node.take([ahead.add(("xa.b", {"a": LARGEST}), ts=latest)]) == ["future"]
    for first, last in ((1, LARGEST), (LARGEST, LARGEST), (LARGEST, 1), (2, 1)):
        assert len(node.store.lines(LOG, first, last, most=9, size=9999)) <= 3
    for text in (f"{node.store.id}:{LARGEST}", f"{node.store.id}:-1", ":", "%:_", ""):
        assert node.store.since(text) == 0
    assert node.store.since(node.store.token()) == node.store.counter()
    cut = [["h", latest, LARGEST, b64(bytes(32))], ["s", 0, 1, b64(bytes(32))]]
    control = Writer(A, "c")
    control.add(("ctl.revoke", {"key": b64(B.public), "why": "lost", "cut": cut}))
    control.add(("ctl.open", {"key": b64(B.public), "st": "h", "inc": latest}))
    assert node.take(control.events) == ["ok", "ok"]
    _whole(node.store)


def test_a43_many_parameters_in_one_question(tmp_path):
    node = Node(1, tmp_path / "log.db")
    tags = [number.to_bytes(16) for number in range(100_000)]
    assert node.store.claims(tags) == []
    assert node.store.known([tag * 2 for tag in tags]) == set()


_IMPORTING = """
import sys
from pathlib import Path
from tests.support.federation_store import NOW, Node
node = Node(1, sys.argv[1]).admit(bytes.fromhex(sys.argv[3]))
lines = Path(sys.argv[2]).read_bytes().splitlines(keepends=True)
print("ready", flush=True)
for start in range(0, len(lines), 50):
    codes = node.admission.take(lines[start:start + 50], peer="p", now=NOW + 3 * 86400)
    print(start + len(codes), flush=True)
"""

_APPENDING = """
import sys
from tests.support.federation_store import NOW, Node
from tools.federation_vectors.writer import hard
node = Node(1, sys.argv[1])
print("ready", flush=True)
for number in range(100_000):
    event = node.own.append(*hard(number), NOW + number)
    sys.stdout.buffer.write(event.line)
    sys.stdout.buffer.flush()
"""


def _killed(code, *arguments, after):
    """Run a program, kill -9 it after so many seconds of work, return its lines."""
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    ) as process:
        assert process.stdout.readline() == b"ready\n"
        time.sleep(after)
        process.send_signal(signal.SIGKILL)
        said = process.stdout.read().splitlines(keepends=True)
    assert process.returncode == -signal.SIGKILL
    return [line for line in said if line.endswith(b"\n")]


@pytest.mark.parametrize("seed", range(3))
def test_a44_killed_during_import(tmp_path, seed):
    log = facts(A, range(8_000), A.public)
    lines = tmp_path / "lines"
    lines.write_bytes(b"".join(event.line for event in log))
    path = tmp_path / "log.db"
    after = random.Random(seed).uniform(0.05, 0.4)
    said = _killed(_IMPORTING, str(path), str(lines), A.public.hex(), after=after)
    node = Node(1, path)
    _whole(node.store)
    held = node.store.log(LOG)
    told = int(said[-1]) if said else 0
    # Whole batches, and none that was reported is missing: the kernel kept it.
    assert held is None or held.head % 50 == 0
    assert told <= (held.head if held else 0) <= told + 50
    # It goes on where it stopped.
    # (Days later: none of the thousands is dated ahead, or over a day's quota.)
    later = NOW + 3 * 86_400
    assert set(node.take(log[told : told + 100], later)) <= {"ok", "dup"}
    _whole(node.store)


@pytest.mark.parametrize("seed", range(3))
def test_a44_killed_during_own_appends(tmp_path, seed):
    path = tmp_path / "log.db"
    after = random.Random(seed).uniform(0.02, 0.3)
    published = _killed(_APPENDING, str(path), after=after)
    node = Node(1, path)
    _whole(node.store)
    # The own head is never behind what somebody may have seen.
    mine = [line for line in node.lines() if b'"st":"h"' in line]
    assert mine[: len(published)] == published
    assert len(mine) <= len(published) + 1
    peer = Node(2).admit(node)
    peer.take([parse(line, NET) for line in (*node.lines(), *published)])
    node.own.append(*hard(1), NOW + 10**6)
    exchange(node, peer, NOW + 10**6)
    assert peer.store.forks(node.org) == {}
    assert not node.own.behind(peer.store.vector())


def test_a44_two_processes_never_fork(tmp_path):
    path = tmp_path / "log.db"
    one, other = Node(1, path), Node(1, path)
    for number in range(20):
        for writer in (one, other):
            writer.own.append(*hard(number), NOW + number)
    _whole(one.store)
    assert one.shown() == other.shown()
    assert max(entry.head for entry in one.shown()) == 40


def _write(node, count):
    for number in range(count):
        node.own.append(*hard(number), NOW + number)


def _fill(node, log):
    for start in range(0, len(log), 200):
        node.take(log[start : start + 200])


def test_a45_a_full_file(tmp_path):
    node = Node(1, tmp_path / "log.db").admit(A.public, B.public)
    log = facts(A, range(2000), A.public)
    node.take(log[:500])
    (pages,) = node.store.row("PRAGMA page_count")
    node.store.db.execute(f"PRAGMA max_page_count={pages + 20}")
    counting, vector = node.counting(), node.shown()
    with pytest.raises(StoreFull, match=r"log\.db"):
        node.take(log[500:])
    # Nothing of the batch is there, and questions are answered.
    assert (node.counting(), node.shown()) == (counting, vector)
    assert node.store.claims([(3).to_bytes(16)])
    _whole(node.store)
    with pytest.raises(StoreFull):
        _write(node, 1000)
    _whole(node.store)
    # With room again it goes on, and no number was used twice.
    node.store.db.execute(f"PRAGMA max_page_count={2**31}")
    assert set(node.take(log[500:1000])) == {"ok"}
    node.own.append(*hard(1), NOW + 5000)
    _whole(node.store)


def test_a45_a_full_disk(tmp_path):
    """A real file system of 2 MiB, where it may be mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a tmpfs is not allowed here")
    try:
        node = Node(1, disk / "log.db").admit(A.public)
        log = facts(A, range(4000), A.public)
        with pytest.raises(StoreFull):
            _fill(node, log)
        held = node.store.log(LOG).head
        assert held % 200 == 0
        assert held > 0
        assert node.store.claims([(3).to_bytes(16)])
        _whole(node.store)
        node.store.close()
        again = Node(1, disk / "log.db")
        assert again.store.log(LOG).head == held
        again.store.close()
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a46_twenty_days_apart():
    one, two = Node(1), Node(2)
    for node, other in ((one, two), (two, one)):
        node.admit(other, A.public)
    exchange(one, two)
    for day in range(20):
        at = NOW + day * DAY
        one.own.append(*hard(day), at)
        two.own.append(*hard(1000 + day), at)
    shared = facts(A, range(6), A.public)
    one.take(shared[:4])
    two.take(shared)
    later = NOW + 20 * DAY
    exchange(one, two, later)
    assert one.shown() == two.shown()
    assert one.counting() == two.counting()
    tags = [number.to_bytes(16) for number in (*range(20), *range(1000, 1020))]
    claims = [
        sorted((claim.id, claim.k, json.dumps(claim.body)) for claim in found)
        for found in (one.store.claims(tags), two.store.claims(tags))
    ]
    assert claims[0] == claims[1]
    assert len(claims[0]) == 40 + 6


def test_a47_a_refused_organisation_comes_by_a_third_one():
    node, relay = Node(1), Node(2)
    node.admit(relay, A.public, B.public)
    relay.admit(node, A.public, B.public)
    node.take(facts(A, range(3), A.public))
    node.store.set_trust(A.public, "refused", now=NOW)
    # What was there is gone, with everything that was derived from it.
    assert node.store.vector(org=A.public) == []
    assert not any(claim.org == A.public for claim in node.store.counting())
    relay.take([*facts(A, range(5), A.public), *facts(B, range(5), B.public)])
    codes = node.admission.take(relay.lines(), peer="relay", now=NOW)
    assert codes.count("refused") == 5
    assert codes.count("ok") == len(codes) - 5
    assert node.store.vector(org=A.public) == []
    assert not any(b64(A.public).encode() in line for line in node.lines())
    # Let in again it is copied anew.
    node.store.set_trust(A.public, "known", now=NOW)
    codes = node.admission.take(relay.lines(), peer="relay", now=NOW)
    assert codes.count("ok") == 5


def test_a_file_of_a_later_version_is_refused(tmp_path):
    path = tmp_path / "log.db"
    Node(1, path).store.close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version=99")
    db.close()
    with pytest.raises(ValueError, match="written by another version"):
        Node(1, path)
