"""The exchange of a running node: sessions out, the listener, the long polls.

Owns the only thread in which the exchange touches the store, so that a large
import never blocks the event loop; everything else is asyncio. What is due is
decided by ``schedule``, what is said by ``session`` and ``service``. Changes made
by other processes on the same file (the command line, the intake of facts) are
noticed within a second.

A node without an address of its own keeps a question open at each of its peers
(long poll), which is how it hears of news as fast as the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from random import SystemRandom
from typing import TYPE_CHECKING, Any, Final, TypeVar

from federation.exchange import joining
from federation.exchange.client import Client, Target, Unreachable
from federation.exchange.schedule import Schedule
from federation.exchange.server import Server
from federation.exchange.service import Service
from federation.exchange.session import (
    VECTOR,
    Ask,
    Memory,
    PeerFault,
    Report,
    Unavailable,
    session,
)
from federation.exchange.skew import Skew
from federation.format.errors import Refused
from federation.format.profile import b64, decode, encode
from federation.log.database import StoreFull

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from federation.exchange.replica import Replica
    from federation.exchange.session import Answer
    from federation.format.signing import Signer
    from federation.log.own import OwnLog
    from federation.log.tables import Peer

__all__ = ["Exchange", "PeerState"]

POLL: Final = 1.0
"""Seconds after which changes of other processes are noticed."""
_NOTE_EVERY = 30
_OK, _UNAUTHORISED, _FORBIDDEN = 200, 401, 403

T = TypeVar("T")
_log = logging.getLogger("mailshaper.federation.exchange")


@dataclass(slots=True)
class PeerState:
    """What is known of the exchange with a peer; also in its row, as JSON."""

    seen: int = 0  # last good session, or request of it
    tried: int = 0
    problem: str = ""
    behind: int = 0  # events that it has and we do not
    offset: int = 0  # its clock, relative to ours
    pulled: int = 0  # in all sessions
    pushed: int = 0
    sessions: int = 0


class Exchange:
    """Everything between this node's store and its peers.

    ``replica`` is used in a thread of its own: its store has a connection of its
    own, too. ``clock`` gives Unix time. ``own`` is asked once for each peer whether
    it knows more of us than we do. ``settled`` is set when every peer was tried and
    one was heard: own events should wait for it.
    """

    def __init__(
        self,
        replica: Replica,
        signer: Signer,
        *,
        own: OwnLog | None = None,
        url: str = "",
        clock: Callable[[], int] = lambda: int(time.time()),
        schedule: Schedule | None = None,
        join: Callable[[bytes, bytes, int], Answer] | None = None,
    ) -> None:
        self.replica = replica
        self.peers: dict[bytes, PeerState] = {}
        self.skew = Skew()
        self.settled = asyncio.Event()
        self.client = Client(signer, replica.limits, clock)
        self.service = Service(replica, self.stopped)
        self._own = own
        self._url = url
        self._clock = clock
        self._join = join
        self._schedule = schedule or Schedule()
        self._random = SystemRandom()
        self._memory: dict[bytes, Memory] = {}
        self._targets: dict[bytes, Peer] = {}
        self._tried: set[bytes] = set()
        self._heard: set[bytes] = set()
        self._noted: dict[bytes, tuple[int, str]] = {}
        self._counter = -1
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._polls: dict[bytes, asyncio.Task[None]] = {}
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="federation-store")
        self.server: Server | None = None

    def stopped(self) -> str:
        """Return why nothing is taken from others, or ""."""
        return self.skew.stopped(time.monotonic())

    async def inside(self, function: Callable[[], T]) -> T:
        """Run a function in the thread of the store."""
        return await asyncio.get_running_loop().run_in_executor(self._worker, function)

    async def listen(self, host: str, port: int, tls: ssl.SSLContext | None) -> int:
        """Open the listener and return its port."""
        self.server = Server(
            self.service,
            authority=Target(self._url).authority,
            clock=self._clock,
            inside=self.inside,
            join=self._join,
            spoken=self._spoken,
        )
        return await self.server.start(host, port, tls)

    async def run(self) -> None:
        """Talk to the peers until cancelled."""
        try:
            while True:
                await self._look()
                now = time.monotonic()
                for org in self._schedule.due(now, self._random):
                    self._start(self._talk(org))
                pause = min(POLL, self._schedule.next(now) - now)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(max(0.02, pause)):
                        await self._wake.wait()
                self._wake.clear()
        finally:
            await self._stop()

    async def _stop(self) -> None:
        tasks = [*self._tasks, *self._polls.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self.server is not None:
            await self.server.stop()
        self._worker.shutdown()

    def _start(self, work: Any) -> None:  # noqa: ANN401 - a coroutine
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _look(self) -> None:
        """See what other processes did: events, peers."""
        counter, peers = await self.inside(
            lambda: (self.replica.store.counter(), self.replica.store.peers())
        )
        self._targets = {peer.org: peer for peer in peers if peer.url}
        self._schedule.set_peers(self._targets)
        for org in [one for one in self._polls if one not in self._targets]:
            self._polls.pop(org).cancel()
        if not self._url:
            for org in self._targets:
                if org not in self._polls or self._polls[org].done():
                    self._polls[org] = asyncio.create_task(self._poll(org))
        self._noticed(counter, None)
        if set(self._targets) <= self._tried and (self._heard or not peers):
            self.settled.set()

    def _noticed(self, counter: int, source: bytes | None) -> None:
        if counter == self._counter:
            return
        self._counter = counter
        self._schedule.news(source)
        if self.server is not None:
            self.server.news()
        self._wake.set()

    def _state(self, org: bytes) -> PeerState:
        return self.peers.setdefault(org, PeerState())

    def _spoken(self, peer: bytes, counter: int, same: bool) -> None:  # noqa: FBT001
        """A peer has asked something of us."""
        state = self._state(peer)
        state.seen = self._clock()
        self._noticed(counter, peer)
        if peer not in self._heard:
            self._schedule.awake(peer, time.monotonic())
            self._wake.set()
        elif same and counter == self._counter:
            self._schedule.equal(peer)
        if same:
            # It knows no more of us than we do. For who has no address the only way.
            self._heard.add(peer)

    async def _talk(self, org: bytes) -> None:
        """One session with a peer, whatever becomes of it."""
        state, peer = self._state(org), self._targets.get(org)
        state.tried = self._clock()
        report = None
        try:
            if peer is not None:
                report = await self._session(org, peer)
                state.problem = ""
        except StoreFull as problem:
            state.problem = f"this host's disk is full: {problem}"
        except (Unreachable, Unavailable, PeerFault, Refused, ValueError) as problem:
            state.problem = str(problem)
            if isinstance(problem, Unavailable) and problem.now is not None:
                self._clocks(org, problem.now)
        except Exception:  # noqa: BLE001 - the catch-all of a session
            _log.exception("session with %s", b64(org))
            state.problem = "an error of this program: see the log"
        if report is not None:
            self._good(org, state, report)
        self._tried.add(org)
        self._schedule.done(
            org,
            time.monotonic(),
            good=report is not None,
            more=report is not None and report.behind > 0 and report.pulled > 0,
        )
        await self._note(org, state)
        self._wake.set()

    async def _session(self, org: bytes, peer: Peer) -> Report:
        target = Target(peer.url, peer.pin)
        if self.stopped():
            # Signed requests would be stale: only ask what time it is there.
            answer = await self.client.well_known(target)
            now = decode(answer.body).get("now") if answer.status == _OK else None
            if type(now) is int:
                self._clocks(org, now)
            # This answer may have shown that it was the other peer who is wrong.
            if why := self.stopped():
                raise Unavailable(_UNAUTHORISED, why)
        try:
            return await self._dialogue(org, target)
        except Unavailable as refusal:
            if refusal.status != _FORBIDDEN or self._own is None:
                raise
        # It may only not know our key yet: it is told, and so are we.
        own, now = self._own, self._clock()
        greeting = await self.inside(lambda: joining.greeting(self.replica, own))
        async with self.client.connect(target) as http:
            answer = await self.client.ask(http, target, greeting)
        await self.inside(lambda: joining.greeted(self.replica, org, answer, now))
        return await self._dialogue(org, target)

    async def _dialogue(self, org: bytes, target: Target) -> Report:
        memory = self._memory.setdefault(org, Memory())
        dialogue = session(self.replica, org, memory, self._clock)
        report = await self.client.converse(target, dialogue, self.inside)
        if (own := self._own) is not None and org not in self._heard:
            # What it had of us and we had not has come back, and is continued. If
            # not all came, our log is not; what it only claimed to have is forgotten.
            theirs, now = list(memory.theirs.values()), self._clock()
            await self.inside(lambda: own.check(theirs, now))
        self._heard.add(org)
        return report

    def _good(self, org: bytes, state: PeerState, report: Report) -> None:
        state.seen = self._clock()
        state.behind = report.behind
        state.pulled += report.pulled
        state.pushed += report.pushed
        state.sessions += 1
        self._clocks(org, report.peer_now)
        if report.pulled:
            self._noticed(report.counter, org)

    def _clocks(self, org: bytes, now: int) -> None:
        offset = now - self._clock()
        self._state(org).offset = offset
        self.skew.note(org, offset, time.monotonic())

    async def _note(self, org: bytes, state: PeerState) -> None:
        """Write a peer's state where the command line sees it, now and then."""
        at, problem = self._noted.get(org, (0, ""))
        if state.tried < at + _NOTE_EVERY and state.problem == problem:
            return
        self._noted[org] = (state.tried, state.problem)
        with contextlib.suppress(StoreFull):
            await self.inside(partial(self._write, org, json.dumps(asdict(state))))

    def _write(self, org: bytes, data: str) -> None:
        store = self.replica.store
        with store.writing():
            peer = store.peer(org)
            if peer is not None:
                store.put_peer(peer._replace(data=data))

    async def _poll(self, org: bytes) -> None:
        """Keep a question open at a peer; a session follows when it has news."""
        wait = self.replica.limits.poll
        while True:
            peer, memory = self._targets.get(org), self._memory.get(org)
            if peer is None or memory is None or not memory.token:
                await asyncio.sleep(POLL)  # after the first session
                continue
            try:
                await self._question(org, Target(peer.url, peer.pin), memory, wait)
            except (Unreachable, Unavailable, PeerFault, Refused, ValueError):
                # The sessions tell what is wrong; here it is only too early.
                await asyncio.sleep(10 * POLL)

    async def _question(
        self, org: bytes, target: Target, memory: Memory, wait: int
    ) -> None:
        mine = await self.inside(lambda: self.replica.whole().digest)
        body = encode({"digest": b64(mine), "since": memory.token, "wait": wait})
        async with self.client.connect(target) as http:
            answer = await self.client.ask(http, target, Ask(VECTOR, body), wait=wait)
        if answer.status != _OK:
            raise Unavailable(answer.status, "a long poll")
        value = decode(answer.body)
        if value.get("same") is not True and "vec" in value:
            self._schedule.want(org)
            self._wake.set()
            await asyncio.sleep(POLL)
