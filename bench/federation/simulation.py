"""Many nodes in one process: real codec, store, session and schedule, fake network.

    python -m bench.federation.simulation --nodes 200 --seed 1

Everything that a node does is the program's own code; only time and the network are
made here. A session costs two round trips to connect (TCP, TLS 1.3) and one for each
request, with a one-way delay of 50 to 150 ms; a request is lost with a given chance,
which its sender learns after ten seconds. Work in a node takes no time. Nodes behind
NAT cannot be connected to: they hold a long poll open at each of their peers.

Own events are noticed by the exchange up to a second late, as in the daemon (poll of
the store). Fixed seeds: the same numbers on every machine.
"""

from __future__ import annotations

import argparse
import heapq
import json
import sys
import time
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import TYPE_CHECKING

from federation.exchange.schedule import Schedule
from federation.exchange.session import Report, Unavailable
from federation.format.event import parse
from federation.format.limits import Limits
from federation.format.profile import b64
from federation.format.signing import event_id
from tests.support.exchanging import NET, NOW, Member, packed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from federation.exchange.session import Answer, Ask, Dialogue
    from federation.format.event import Event

__all__ = ["Network", "Result"]

HEADERS = 620
"""Octets of the header fields of a signed request and its answer, measured."""
_LOST_AFTER = 10.0


@dataclass(slots=True)
class Node:
    """A member in the simulated network."""

    member: Member
    schedule: Schedule
    reach: list[int] = field(default_factory=list)  # whom it can connect to
    behind_nat: bool = False
    side: int = 0  # of a partition
    wake: float = float("inf")
    seen: int = -1  # counter of the store


@dataclass(slots=True)
class Result:
    """What a run showed; times in simulated seconds."""

    nodes: int
    events: int
    median: float
    p95: float
    slowest: float
    equal_after: float
    requests_per_session: float
    sessions: int
    sessions_same: int
    body_bytes: int
    bytes_over_optimum: float
    bytes_over_optimum_with_headers: float
    verifications_per_event_and_node: float
    stored_everywhere: bool
    seconds_of_this_machine: float

    def line(self) -> str:
        """Return the result as one JSON object."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return json.dumps(
            {k: round(v, 3) if isinstance(v, float) else v for k, v in values.items()}
        )


class Network:
    """N nodes, each with about ``degree`` peers."""

    def __init__(
        self,
        nodes: int,
        seed: int,
        *,
        degree: int = 6,
        nat: float = 0.0,
        loss: float = 0.0,
        chain: bool = False,
    ) -> None:
        self.random = Random(seed)  # noqa: S311 - the same run each time
        self.loss = loss
        self.now = 0.0
        self.nodes = [self._node(one) for one in range(nodes)]
        self.requests = self.sessions = self.same = 0
        self.body_bytes = 0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._arrivals: dict[bytes, dict[int, float]] = {}
        self._born: dict[bytes, float] = {}
        self._polls: dict[int, list[tuple[int, float]]] = {}
        for one in self.nodes[: int(nodes * nat)]:
            one.behind_nat = True
        self._connect(degree, chain=chain)
        self._acquaint()

    # -- building

    def _node(self, number: int) -> Node:
        # A large control quota: introductions are not what is simulated.
        limits = Limits(control_per_day=100_000)
        member = Member(f"n{number}", limits=limits)
        take = member.admission.take

        def noting(lines: Sequence[bytes], *, peer: str, now: int) -> list[str]:
            codes = take(lines, peer=peer, now=now)
            for line, code in zip(lines, codes, strict=True):
                found = self._arrivals.get(event_id(line[87:-1]))
                if code == "ok" and found is not None:
                    found[number] = self.now
            return codes

        member.replica.take = noting  # type: ignore[method-assign]
        return Node(member, Schedule())

    def _connect(self, degree: int, *, chain: bool) -> None:
        n = len(self.nodes)
        edges: set[tuple[int, int]] = {(one, one + 1) for one in range(n - 1)}
        if not chain:
            open_nodes = [i for i, one in enumerate(self.nodes) if not one.behind_nat]
            # A ring of those that can be reached keeps the network in one piece.
            edges = set(zip(open_nodes, open_nodes[1:] + open_nodes[:1], strict=True))
            for one in range(n):
                others = [other for other in open_nodes if other != one]
                edges |= {(one, x) for x in self.random.sample(others, degree // 2)}
        for one, other in sorted(edges):
            for a, b in ((one, other), (other, one)):
                if not self.nodes[b].behind_nat and b not in self.nodes[a].reach:
                    self.nodes[a].reach.append(b)
        self._by_org = {one.member.org: i for i, one in enumerate(self.nodes)}
        for node in self.nodes:
            node.schedule.set_peers(self.nodes[x].member.org for x in node.reach)

    def _acquaint(self) -> None:
        """Everybody trusts everybody and has everybody's grant.

        Made once and copied: two hundred times two hundred grants are not what is
        measured.
        """
        observer = Member("observer", limits=self.nodes[0].member.limits)
        grants = []
        with observer.store.writing():
            for node in self.nodes:
                member = node.member
                observer.store.set_trust(member.org, "sole", now=NOW)
                (log,) = member.store.logs_of(member.org)
                grants += member.store.lines(log.which, 1, 1, most=1, size=9999)
            observer.admission.take(grants, peer="start", now=NOW)
        for node in self.nodes:
            store = node.member.store
            observer.store.db.backup(store.db)
            store.forget()
            store.set_meta("store", store.id)
            store.set_trust(node.member.org, "self", now=NOW)
            node.seen = store.counter()

    # -- running

    def at(self, when: float, what: Callable[[], None]) -> None:
        """Do something at a time."""
        heapq.heappush(self._heap, (when, next(self._order), what))

    def run(self, until: float, done: Callable[[], bool] | None = None) -> None:
        """Let time pass, until it is over or ``done``."""
        while self._heap and self._heap[0][0] <= until:
            self.now, _, what = heapq.heappop(self._heap)
            what()
            if done is not None and done():
                return
        self.now = until

    def count_from_here(self) -> None:
        """Forget what the beginning cost: first vectors between all neighbours."""
        self.requests = self.sessions = self.same = self.body_bytes = 0

    def clock(self) -> int:
        """Return the Unix time of all nodes."""
        return NOW + int(self.now)

    def start(self) -> None:
        """Begin as nodes do that were restarted over the last minute."""
        for number in range(len(self.nodes)):
            self._wake(number, self.random.uniform(0, 60))
            if self.nodes[number].behind_nat:
                for peer in self.nodes[number].reach:
                    self._polls.setdefault(peer, []).append((number, 0.0))

    def say(self, number: int, events: int = 1) -> None:
        """A node publishes something now."""
        member = self.nodes[number].member
        first = self.random.randrange(10**9)
        for event in member.say(events, first, now=self.clock()):
            self._born[event.id] = self.now
            self._arrivals[event.id] = {number: self.now}
        self.at(self.now + self.random.random(), lambda: self._news(number, None))

    def equal(self) -> bool:
        """Return whether all nodes have the same."""
        first = self.nodes[0].member.replica.whole().digest
        return all(one.member.replica.whole().digest == first for one in self.nodes)

    def _delay(self) -> float:
        return self.random.uniform(0.05, 0.15)

    def _wake(self, number: int, when: float) -> None:
        node = self.nodes[number]
        if when >= node.wake:
            return
        node.wake = when
        self.at(when, lambda: self._due(number, when))

    def _due(self, number: int, when: float) -> None:
        node = self.nodes[number]
        if node.wake != when:
            return  # woken earlier
        node.wake = float("inf")
        for org in node.schedule.due(self.now, self.random):
            self._session(number, self._by_org[org])
        self._wake(number, max(node.schedule.next(self.now), self.now + 0.02))

    def _news(self, number: int, source: int | None) -> None:
        """Something changed in a node: it tells its peers, and who holds a poll."""
        node = self.nodes[number]
        counter = node.member.store.counter()
        if counter == node.seen:
            return
        node.seen = counter
        node.schedule.news(None if source is None else self.nodes[source].member.org)
        self._wake(number, self.now)
        for other, _since in self._polls.get(number, []):
            if other != source and not self._apart(number, other):
                self.at(self.now + self._delay(), lambda o=other: self._want(o, number))  # type: ignore[misc]

    def _want(self, number: int, peer: int) -> None:
        self.nodes[number].schedule.want(self.nodes[peer].member.org)
        self._wake(number, self.now)

    def _apart(self, one: int, other: int) -> bool:
        return self.nodes[one].side != self.nodes[other].side

    def _session(self, number: int, peer: int) -> None:
        asker, other = self.nodes[number], self.nodes[peer]
        memory = asker.member.start(other.member, self.clock())
        self.sessions += 1
        if self._apart(number, peer) or self.random.random() < self.loss:
            self.at(self.now + _LOST_AFTER, lambda: self._end(number, peer, None))
            return
        connecting = 4 * self._delay()
        self.at(self.now + connecting, lambda: self._step(number, peer, memory, None))

    def _step(
        self, number: int, peer: int, dialogue: Dialogue, answer: Answer | None
    ) -> None:
        try:
            ask = next(dialogue) if answer is None else dialogue.send(answer)
        except StopIteration as end:
            self._news(number, peer)
            self._end(number, peer, end.value)
            return
        except Unavailable:
            self._end(number, peer, None)
            return
        self._news(number, peer)
        if self.random.random() < self.loss:
            dialogue.close()
            self.at(self.now + _LOST_AFTER, lambda: self._end(number, peer, None))
            return
        self.at(
            self.now + self._delay(), lambda: self._serve(number, peer, dialogue, ask)
        )

    def _serve(self, number: int, peer: int, dialogue: Dialogue, ask: Ask) -> None:
        asker, other = self.nodes[number], self.nodes[peer]
        answer = other.member.service.answer(
            ask.path, ask.body, peer=asker.member.org, now=self.clock()
        )
        self.requests += 1
        self.body_bytes += packed(ask.body) + packed(answer.body)
        self._news(peer, number)
        if answer.same:
            other.schedule.equal(asker.member.org)
        self.at(
            self.now + self._delay(), lambda: self._step(number, peer, dialogue, answer)
        )

    def _end(self, number: int, peer: int, report: Report | None) -> None:
        node = self.nodes[number]
        if report is not None:
            self.same += report.same
        node.schedule.done(
            self.nodes[peer].member.org,
            self.now,
            good=report is not None,
            more=report is not None and report.behind > 0 and report.pulled > 0,
        )
        self._wake(number, node.schedule.next(self.now))

    # -- measuring

    def result(self, began: float) -> Result:
        """Return what happened since ``began``, a time of this machine's clock."""
        n = len(self.nodes)
        last = sorted(
            max(found.values()) - self._born[ident]
            for ident, found in self._arrivals.items()
        )
        each = sorted(
            when - self._born[ident]
            for ident, found in self._arrivals.items()
            for when in found.values()
            if when > self._born[ident]
        )
        lines = [
            packed(event.line) for ident in self._born for event in [self._event(ident)]
        ]
        optimum = sum(lines) * (n - 1)
        verified = sum(one.member.admission.verified for one in self.nodes)
        foreign = sum(len(found) - 1 for found in self._arrivals.values())
        return Result(
            nodes=n,
            events=len(self._born),
            median=each[len(each) // 2],
            p95=each[int(len(each) * 0.95)],
            slowest=last[-1],
            equal_after=max(max(found.values()) for found in self._arrivals.values())
            - min(self._born.values()),
            requests_per_session=self.requests / max(1, self.sessions),
            sessions=self.sessions,
            sessions_same=self.same,
            body_bytes=self.body_bytes,
            bytes_over_optimum=self.body_bytes / optimum,
            bytes_over_optimum_with_headers=(
                (self.body_bytes + HEADERS * self.requests) / optimum
            ),
            verifications_per_event_and_node=verified / foreign,
            stored_everywhere=all(len(one) == n for one in self._arrivals.values()),
            seconds_of_this_machine=time.monotonic() - began,
        )

    def complete(self) -> bool:
        """Return whether every node has every event."""
        n = len(self.nodes)
        return all(len(one) == n for one in self._arrivals.values())

    def _event(self, ident: bytes) -> Event:
        for node in self.nodes[:1]:
            found = node.member.store.row("SELECT raw, sig FROM ev WHERE id=?", ident)
            if found is not None:
                return parse(b"%s %s\n" % (b64(found[1]).encode(), found[0]), NET)
        raise LookupError("an event did not arrive at node 0")


def spread(network: Network, events: int, over: float, until: float) -> None:
    """Let random nodes publish ``events`` single events ``over`` some seconds."""
    for _ in range(events):
        number = network.random.randrange(len(network.nodes))
        network.at(
            network.now + network.random.uniform(0, over),
            lambda one=number: network.say(one),  # type: ignore[misc]
        )
    network.run(network.now + over)
    network.run(network.now + until, network.complete)


def main() -> int:
    """Run one simulation and print its result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--events", type=int, default=20)
    parser.add_argument("--nat", type=float, default=0.0, help="share behind NAT")
    parser.add_argument("--loss", type=float, default=0.0, help="of each request")
    parser.add_argument("--chain", action="store_true", help="a chain, not a mesh")
    options = parser.parse_args()
    began = time.monotonic()
    network = Network(
        options.nodes,
        options.seed,
        nat=options.nat,
        loss=options.loss,
        chain=options.chain,
    )
    network.start()
    network.run(90)
    network.count_from_here()
    spread(network, options.events, over=60, until=600)
    print(network.result(began).line())
    return 0


if __name__ == "__main__":
    sys.exit(main())
