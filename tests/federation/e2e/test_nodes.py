"""Several real nodes as processes, over HTTPS.

In network namespaces, or on loopback addresses where these cannot be made. The chain
runs on both, so that the second way is known to work where nobody needs it.
"""

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from federation.exchange import tls
from federation.log.tables import Peer
from tests.support.ending import end
from tests.support.exchanging import Member, hard
from tests.support.loopback import Loopback
from tests.support.namespaces import Namespaces, Place, available
from tests.support.waiting import poll

ROOT = Path(__file__).parents[3]
WHY = available()
IN_NAMESPACES = pytest.param(
    Namespaces,
    id="namespaces",
    marks=[
        pytest.mark.skipif(bool(WHY), reason=WHY),
        pytest.mark.skipif(shutil.which("nft") is None, reason="NAT needs nft"),
    ],
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


class Node:
    """A node: its file, seen as the command line sees it, and its process."""

    def __init__(self, name: str, directory: Path, place: Place):
        self.place = place
        self.directory = directory
        directory.mkdir(exist_ok=True)
        self.pin = ""
        if place.listen:
            self.pin = tls.pin_of_file(tls.self_made(directory, name)[0])
        self.now = int(time.time())
        self.member = Member(name, directory / "fed.sqlite", now=self.now)
        self.child: subprocess.Popen[bytes] | None = None
        self.options: dict[str, object] = {}

    def start(self, **options) -> None:
        self.options = options or self.options
        said = {
            "path": str(self.directory / "fed.sqlite"),
            "state": str(self.directory),
            "name": self.member.name,
            "listen": self.place.listen,
            "url": self.place.url,
            "period": 3.0,
            **self.place.options,
            **self.options,
        }
        command = [sys.executable, "-m", "tests.support.exchange_node"]
        errors = (self.directory / "stderr").open("ab")
        self.child = subprocess.Popen(
            [*self.place.command, *command, json.dumps(said)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
        errors.close()

    def ready(self) -> None:
        assert self.child is not None
        assert self.child.stdout is not None
        line = self.child.stdout.readline()
        assert line == b"ready\n", (self.directory / "stderr").read_text()

    def kill(self) -> None:
        assert self.child is not None
        self.child.send_signal(signal.SIGKILL)
        self.child.wait(10)
        self.child.stdout.close()

    def stop(self) -> None:
        if self.child is not None and self.child.poll() is None:
            end(self.child)
            self.child.stdout.close()

    def close(self) -> None:
        self.stop()
        self.member.store.close()

    def say(self, count: int = 1, ago: int = 0) -> None:
        self.member.say(count, first=os.getpid(), now=int(time.time()) - ago)

    def heads(self, other: "Node") -> int:
        """How many events of another node's organisation are here."""
        row = self.member.store.row(
            "SELECT coalesce(sum(head), 0) FROM log WHERE org=?", other.member.org
        )
        return row[0] if row else 0

    def digest(self) -> bytes:
        return self.member.replica.whole().digest

    def problem_with(self, other: "Node") -> str:
        peer = self.member.store.peer(other.member.org)
        return json.loads(peer.data).get("problem", "") if peer else ""


def knows(one: Node, other: Node) -> None:
    """Put ``other`` among the peers of ``one``."""
    peer = Peer(other.member.org, other.place.url, other.pin, other.member.name, 0)
    one.member.store.put_peer(peer)


def trusting(*nodes: Node) -> None:
    for one in nodes:
        for other in nodes:
            if one is not other:
                one.member.store.set_trust(other.member.org, "sole", now=0)


@contextlib.contextmanager
def running(nodes: list[Node]):
    for one in nodes:
        one.start()
    try:
        for one in nodes:
            one.ready()
        yield
    finally:
        for one in nodes:
            one.close()


@pytest.fixture
def net(request):
    with getattr(request, "param", Loopback if WHY else Namespaces)() as made:
        yield made


def hosts(net: Namespaces | Loopback, tmp_path: Path, count: int) -> list[Node]:
    found = [
        Node(f"c{number}", tmp_path / f"c{number}", net.host(number))
        for number in range(1, count + 1)
    ]
    trusting(*found)
    return found


def equal(nodes: list[Node]) -> bool:
    return len({one.digest() for one in nodes}) == 1


@pytest.mark.parametrize("net", [IN_NAMESPACES, Loopback], indirect=True)
def test_a_chain_of_seven_then_a_partition_that_heals(net, tmp_path):
    chain = hosts(net, tmp_path, 7)
    for one, other in pairwise(chain):
        knows(one, other)
        knows(other, one)
    with running(chain):
        poll(lambda: equal(chain), "equal vectors at the start", 30)

        began = time.monotonic()
        chain[0].say()
        poll(lambda: chain[6].heads(chain[0]) == 2, "the event at C7", 15)
        took = time.monotonic() - began
        print(f"C1 to C7: {took:.2f} s")  # noqa: T201 - docs/performance.md has it

        net.split([one.place.name for one in chain[4:]])
        chain[0].say(3)
        chain[6].say(5)
        poll(lambda: chain[3].heads(chain[0]) == 5, "C1's events at C4", 15)
        poll(lambda: chain[4].heads(chain[6]) == 6, "C7's events at C5", 15)
        assert chain[4].heads(chain[0]) == 2
        assert chain[3].heads(chain[6]) == 1

        net.heal()
        poll(lambda: equal(chain), "equal vectors after the partition", 40)
        assert chain[6].heads(chain[0]) == 5
        assert chain[0].heads(chain[6]) == 6


@pytest.mark.parametrize("net", [IN_NAMESPACES, Loopback], indirect=True)
def test_a_node_behind_nat_hears_by_long_poll_and_is_heard(net, tmp_path):
    relay = Node("relay", tmp_path / "relay", net.host(1))
    inner = Node("inner", tmp_path / "inner", net.behind_nat(2))
    trusting(relay, inner)
    knows(inner, relay)
    knows(relay, inner)
    for one in (relay, inner):
        one.options = {"period": 1000.0}  # what comes, comes by poll and news
    with running([relay, inner]):
        poll(lambda: equal([relay, inner]), "equal vectors at the start", 20)
        relay.say()
        poll(lambda: inner.heads(relay) == 2, "the event behind the NAT", 15)
        inner.say()
        poll(lambda: relay.heads(inner) == 2, "the event from behind the NAT", 15)


def test_a_node_killed_during_import_goes_on(net, tmp_path):
    source, target = hosts(net, tmp_path, 2)
    knows(target, source)
    knows(source, target)
    with source.member.store.writing(durable=True):
        for number in range(6000):
            source.member.own.append(
                "rcpt.hard", hard(number), int(time.time()) - 3 * 86400
            )
    with running([source, target]):
        poll(lambda: target.heads(source) > 0, "the first batch", 30)
        target.kill()
        at = target.heads(source)
        assert 0 < at < 6001

        file = sqlite3.connect(target.directory / "fed.sqlite")
        assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        rows = file.execute(
            "SELECT count(*) FROM ev JOIN log ON log.id=ev.log WHERE org=?",
            (source.member.org,),
        ).fetchone()
        assert rows == (at,)  # no half batch: what the head says is there
        file.close()

        target.start()
        target.ready()
        poll(lambda: equal([source, target]), "the whole import", 40)
        assert target.heads(source) == 6001


def test_a_clock_that_is_off_by_a_day_takes_nothing_and_says_so(net, tmp_path):
    right, other, wrong = hosts(net, tmp_path, 3)
    for one in (right, other):
        knows(one, wrong)
        knows(wrong, one)
    knows(right, other)
    knows(other, right)
    wrong.options = {"clock": 86400}
    with running([right, other, wrong]):
        poll(
            lambda: "ahead of its peers" in wrong.problem_with(right),
            "the reason at the node whose clock is wrong",
            60,
        )
        right.say()
        # The two others go on as if nothing were.
        poll(lambda: other.heads(right) == 2, "the event at the other node", 60)
        assert wrong.heads(right) == 0

        wrong.stop()
        wrong.start(clock=0)
        wrong.ready()
        poll(lambda: wrong.heads(right) == 2, "the event after the repair", 60)


def test_a_full_disk_stops_accepting_and_nothing_else(net, tmp_path):
    place = tmp_path / "c2"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("a small file system cannot be mounted here")
    try:
        full_disk(net, tmp_path)
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False)


def full_disk(net, tmp_path):
    source, target = hosts(net, tmp_path, 2)
    target.say(3)
    knows(target, source)
    knows(source, target)
    with source.member.store.writing(durable=True):
        for number in range(3000):
            source.member.own.append(
                "rcpt.hard", hard(number), int(time.time()) - 3 * 86400
            )
    with running([source, target]):
        poll(
            lambda: (
                target.child.poll() is not None
                or "disk" in (source.problem_with(target) + target.problem_with(source))
            ),
            "the reason at either side",
            30,
        )
        assert target.child.poll() is None  # it lives
        # It still answers: its own events reach the other side.
        poll(lambda: source.heads(target) == 4, "its own events", 15)
        held = target.heads(source)
        rows = target.member.store.row(
            "SELECT count(*) FROM ev JOIN log ON log.id=ev.log WHERE org=?",
            source.member.org,
        )
        assert rows == (held,)
