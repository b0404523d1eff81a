"""One session with a peer: ask for its vector, pull, push; as a generator.

``session()`` yields what to ask and is sent the answer, so that the same code runs
over HTTPS, in the simulation and against the test vectors. It reads and writes the
store itself; who runs it keeps that off the event loop.

Logs that the other side does not deliver, or that one side does not take now, go
on a shelf for a while: a lie about a head, a quota or a missing introduction costs
one request, and nothing of the rest waits for it. Lines that no honest node passes
on end the session (PeerFault).

PROTOCOL.md 9.7. No network, no clock but the one that is passed in.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

from federation.exchange.sync import (
    Difference,
    Place,
    Want,
    compare,
    read_push,
    read_vector,
    refusals,
    where,
    write_wants,
)
from federation.format.errors import PEERS_FAULT, Refused
from federation.format.event import LONGEST_PROOF, Stub
from federation.format.limits import DAY
from federation.format.profile import Value, b64, decode, encode
from federation.format.signing import event_id
from federation.log.chain import Entry, LogKey

if TYPE_CHECKING:
    from federation.exchange.replica import Replica

__all__ = [
    "PULL",
    "PUSH",
    "VECTOR",
    "Answer",
    "Ask",
    "Memory",
    "PeerFault",
    "Report",
    "Unavailable",
    "session",
    "split",
]

VECTOR: Final = "/fed/v1/vector"
PULL: Final = "/fed/v1/pull"
PUSH: Final = "/fed/v1/push"

ROUNDS = 64
"""Requests of one kind in a session: 64,000 events, then the next one goes on."""
_WANTS = 1000
_OK = 200
_PAUSE = {"quota": 600, "future": 3600, "refused": 3600, "unknown-org": 3600}
_ELSE = 600
_WANTED = 600
"""Seconds between two questions to a peer for lines that others call erased."""
LOGS: Final = 50_000
"""Logs of a peer that are remembered: five times what one full vector holds."""

Clock: TypeAlias = Callable[[], int]


class PeerFault(Exception):  # noqa: N818 - the name says whose
    """The peer sent what no honest node sends."""


class Unavailable(Exception):  # noqa: N818 - the name says what it is
    """The peer answered a request with an error status."""

    def __init__(self, status: int, why: str, now: int | None = None) -> None:
        super().__init__(f"status {status}: {why}")
        self.status = status
        self.now = now


@dataclass(frozen=True, slots=True)
class Ask:
    """A request: a path and the body before compression."""

    path: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, decompressed."""

    status: int
    body: bytes
    same: bool = False  # to a vector: it is ours; only for the side that answers
    cost: int = 0  # requests that this one counts for in addition


@dataclass(slots=True)
class Memory:
    """What is remembered of a peer between sessions; losing it costs a full vector."""

    token: str = ""
    whole: int = 0  # when its whole vector was asked for
    theirs: dict[LogKey, Entry] = field(default_factory=dict)
    refuse: set[bytes] = field(default_factory=set)
    shelf: dict[LogKey, int] = field(default_factory=dict)  # until when
    below: dict[LogKey, int] = field(default_factory=dict)
    wanted: int = 0  # when to ask again for what others call erased
    admissible: set[LogKey] = field(default_factory=set)
    """Logs on the shelf that may be admitted when the store's epoch changes."""
    epoch: int = -1


@dataclass(slots=True)
class Report:
    """What a session did."""

    same: bool = False
    rounds: int = 0
    pulled: int = 0  # events that were new here
    pushed: int = 0  # events that were new there
    sent: int = 0  # bytes of bodies before compression
    received: int = 0
    behind: int = 0  # events that we still lack
    peer_now: int = 0
    codes: dict[str, int] = field(default_factory=dict)
    shelved: int = 0
    counter: int = 0  # of our store, at the end

    def count(self, code: str) -> None:
        """Count what became of a line."""
        self.codes[code] = self.codes.get(code, 0) + 1


Dialogue: TypeAlias = Generator[Ask, Answer, Report]
_Step: TypeAlias = Generator[Ask, Answer, None]


def session(
    replica: Replica,
    peer: bytes,
    memory: Memory,
    clock: Clock,
) -> Dialogue:
    """Make both sides equal, as far as one session goes.

    Raises PeerFault, Unavailable, Refused (an answer of wrong form), and what
    the store raises.
    """
    one = _Session(replica, peer, memory, clock)
    yield from one.ask_vector()
    return (yield from one.run())


def split(body: bytes, lines: int) -> list[bytes]:
    """Return the lines of a body, each with its LF. PeerFault: it has no such form."""
    if body and not body.endswith(b"\n"):
        raise PeerFault("a body of lines does not end with one")
    found = body.splitlines(keepends=True) if body.isascii() else None
    # splitlines also divides at CR and the like, which no line contains.
    if found is None or len(found) > lines or body.count(b"\n") != len(found):
        raise PeerFault("a body that is not made of lines, or of too many")
    return found


class _Session:
    def __init__(
        self, replica: Replica, peer: bytes, memory: Memory, clock: Clock
    ) -> None:
        self.replica = replica
        self.name = b64(peer)
        self.memory = memory
        self.clock = clock
        self.report = Report()
        self._parted: list[LogKey] = []

    def run(self) -> Dialogue:
        """Pull and push what the vectors differ in."""
        report, memory = self.report, self.memory
        now = self.clock()
        memory.shelf = {log: end for log, end in memory.shelf.items() if end > now}
        memory.below = {log: end for log, end in memory.below.items() if end > now}
        self._reopen()
        report.counter = self.replica.store.counter()
        if report.same:
            yield from self._wanted()
            return report
        # A second turn when control events arrived: they may admit what was not.
        for _turn in range(2):
            todo = self._compare()
            for log in todo.odd:
                yield from self._fork(log, memory.theirs[log].head)
            yield from self._pull(todo.pull)
            for want in todo.below:
                yield from self._below(want)
            if not self._reopen():
                break
        yield from self._wanted()
        yield from self._push(self._compare().push)
        left = compare(self.replica.whole().logs, memory.theirs).pull
        report.behind = sum(want.last - want.first + 1 for want in left)
        report.shelved = len(memory.shelf)
        report.counter = self.replica.store.counter()
        return report

    def _reopen(self) -> bool:
        """Take logs off the shelf that a grant, introduction or operator admitted."""
        epoch, memory = self.replica.store.epoch(), self.memory
        changed = epoch != memory.epoch
        memory.epoch = epoch
        while changed and memory.admissible:
            memory.shelf.pop(memory.admissible.pop(), None)
        return changed

    def _compare(self) -> Difference:
        memory = self.memory
        found = compare(self.replica.whole().logs, memory.theirs, memory.shelf)
        found.below = [one for one in found.below if one.log not in memory.below]
        return found

    def _ask(self, path: str, body: bytes) -> Generator[Ask, Answer, bytes]:
        self.report.rounds += 1
        self.report.sent += len(body)
        answer = yield Ask(path, body)
        self.report.received += len(answer.body)
        if answer.status != _OK:
            raise _unavailable(answer)
        return answer.body

    def ask_vector(self) -> _Step:
        """Learn what the peer has."""
        memory = self.memory
        ours = self.replica.whole()
        ask: dict[str, Value] = {"digest": b64(ours.digest)}
        # Once a day everything, also where the digests are equal: they say nothing
        # of beginnings that somebody holds back.
        whole = bool(memory.token) and self.clock() >= memory.whole + DAY
        if whole:
            ask["digest"] = b64(bytes(32))
        elif memory.token:
            ask["since"] = memory.token
        if whole or not memory.token:
            memory.whole = self.clock()
        if refused := self.replica.refused():
            ask["refuse"] = [b64(org) for org in sorted(refused)]
        value = decode((yield from self._ask(VECTOR, encode(ask))))
        self.report.peer_now = _integer(value, "now")
        token = value.get("token")
        if type(token) is not str:
            raise Refused("bad-form", "the answer to a vector has no token")
        if value.get("same") is True:
            self.report.same = True
            memory.theirs = dict(ours.logs)
        else:
            if value.get("full") is True:
                memory.theirs.clear()
            for entry in read_vector(value.get("vec", [])):
                memory.theirs[LogKey(*entry[:3])] = entry
        if len(memory.theirs) > LOGS:
            memory.theirs.clear()
            memory.token = ""
            raise PeerFault(f"a peer with more than {LOGS} logs")
        memory.refuse = refusals(value.get("refuse", []))
        memory.token = token

    def _pull(self, wants: list[Want]) -> _Step:
        pending = {want.log: want for want in wants}
        for _round in range(ROUNDS):
            if not pending:
                break
            asked = list(pending.values())[:_WANTS]
            lines, more = yield from self._lines(asked)
            if more and not lines:
                raise PeerFault("an answer without lines announces more")
            self._take(lines, {want.log: want for want in asked}, pending)
            # `# end` says that all was sent: what is missing was only promised.
            for want in () if more else asked:
                if pending.pop(want.log, None):
                    self._shelve(want.log, "not delivered")
                    self._forget(want.log)
            # Their next event does not continue our log: look where they part.
            for log in self._parted:
                yield from self._fork(log, self.replica.head(log))
            self._parted.clear()

    def _lines(
        self, wants: list[Want]
    ) -> Generator[Ask, Answer, tuple[list[bytes], bool]]:
        """Ask for ranges; return the lines and whether there are more."""
        body = yield from self._ask(PULL, encode({"want": write_wants(wants)}))
        limits = self.replica.limits
        if len(body) > limits.batch_bytes + LONGEST_PROOF:
            raise PeerFault("an answer of more bytes than a batch has")
        lines = split(body, limits.batch_lines + 1)
        last = lines.pop() if lines else b""
        if last not in {b"# more\n", b"# end\n"}:
            raise PeerFault("an answer of lines without an end")
        return lines, last == b"# more\n"

    def _take(
        self,
        lines: list[bytes],
        asked: dict[LogKey, Want],
        pending: dict[LogKey, Want],
    ) -> None:
        """Store lines that were asked for, and move what is pending on."""
        places = [self._asked_for(line, asked) for line in lines]
        reached: dict[LogKey, int] = {}
        stopped: dict[LogKey, str] = {}
        codes = self.replica.take(lines, peer=self.name, now=self.clock())
        for place, code in zip(places, codes, strict=True):
            self.report.count(code)
            if code in PEERS_FAULT:
                raise PeerFault(f"a line that no honest node sends: {code}")
            if code not in {"ok", "dup"}:
                stopped.setdefault(place.log, code)
                continue
            self.report.pulled += code == "ok"
            if place.log not in stopped:
                reached[place.log] = place.seq
        for log, seq in reached.items():
            want = asked[log]
            if seq < want.last:
                pending[log] = want._replace(first=seq + 1)
            else:
                pending.pop(log, None)
        for log, code in stopped.items():
            pending.pop(log, None)
            if code in {"unknown-org", "parked", "refused"}:
                self.memory.admissible.add(log)
            if code == "bad-chain":
                self._parted.append(log)
            else:
                self._shelve(log, code)

    def _asked_for(self, line: bytes, asked: dict[LogKey, Want]) -> Place:
        place = where(line)
        want = None if place is None else asked.get(place.log)
        if place is None or want is None or not want.first <= place.seq <= want.last:
            raise PeerFault("a line that was not asked for")
        return place

    def _fork(self, log: LogKey, last: int) -> _Step:
        """Find the lowest number at which a log differs there, and take it.

        Each step halves the range and asks for one line. The log is left alone
        for a while, whatever comes out.
        """
        self._shelve(log, "fork")
        theirs = self.memory.theirs[log]
        same, other = max(self.replica.floor(log), theirs.floor), last
        if last <= same:
            return
        line = yield from self._one(log, last)
        if line is None or _id_of(line) == self.replica.id_at(log, last):
            return  # they agree: the log has an end here that is not known there
        while other - same > 1:
            middle = (same + other) // 2
            found = yield from self._one(log, middle)
            if found is None:
                return
            if _id_of(found) == self.replica.id_at(log, middle):
                same = middle
            else:
                other, line = middle, found
        codes = self.replica.take([line], peer=self.name, now=self.clock())
        self.report.count(codes[0])

    def _one(self, log: LogKey, seq: int) -> Generator[Ask, Answer, bytes | None]:
        want = Want(log, seq, seq)
        lines, _more = yield from self._lines([want])
        for line in lines:
            self._asked_for(line, {log: want})
        return lines[0] if lines else None

    def _below(self, want: Want) -> _Step:
        """Take the beginning that is missing here, from its end backwards."""
        size = self.replica.limits.batch_lines
        last = want.last
        for _round in range(ROUNDS):
            part = Want(want.log, max(want.first, last - size + 1), last)
            lines, _more = yield from self._lines([part])
            for line in lines:
                self._asked_for(line, {want.log: part})
            codes = self._stored(lines[::-1])
            last = part.first - 1
            if not codes or codes[-1] != "ok" or last < want.first:
                break
        self.memory.below[want.log] = self.clock() + DAY

    def _wanted(self) -> _Step:
        """Ask for events that somebody called erased and their origin did not."""
        memory, now = self.memory, self.clock()
        if now < memory.wanted:
            return
        memory.wanted = now + _WANTED
        wants = []
        for log, seq in self.replica.store.wanted(_WANTS):
            their = memory.theirs.get(log)
            if their is not None and their.floor < seq <= their.head:
                wants.append(Want(log, seq, seq))
        if not wants:
            return
        lines, _more = yield from self._lines(wants)
        for line in lines:
            place = where(line)
            if place is None or Want(*place, place.seq) not in wants:
                raise PeerFault("a line that was not asked for")
        self._stored(lines)

    def _stored(self, lines: list[bytes]) -> list[str]:
        """Take lines that no answer depends on; return and count their codes."""
        codes = self.replica.take(lines, peer=self.name, now=self.clock())
        for code in codes:
            self.report.count(code)
        self.report.pulled += codes.count("ok")
        return codes

    def _push(self, wants: list[Want]) -> _Step:
        """Push ranges, as far as the peer wants the organisation's events."""
        replica, memory = self.replica, self.memory
        wanted = [one for one in wants if replica.org_of(one.log) not in memory.refuse]
        ours = replica.whole().logs
        batches = replica.batches(wanted, memory.shelf)
        for _round, (lines, logs) in zip(range(ROUNDS), batches, strict=False):
            value = decode((yield from self._ask(PUSH, b"".join(lines))))
            codes = read_push(value, len(lines))
            self.report.pushed += len(lines) - len(codes)
            stopped = {
                logs[number]: code for number, code in codes.items() if code != "dup"
            }
            for log in dict.fromkeys(logs):
                if log in stopped:
                    self._shelve(log, stopped[log])
                elif log in ours:
                    memory.theirs[log] = ours[log]

    def _forget(self, log: LogKey) -> None:
        """Believe that a peer has no more of a log than we have."""
        ours = self.replica.whole().logs.get(log)
        if ours is not None:
            self.memory.theirs[log] = ours
        else:
            del self.memory.theirs[log]

    def _shelve(self, log: LogKey, code: str) -> None:
        self.memory.shelf[log] = self.clock() + _PAUSE.get(code, _ELSE)


def _id_of(line: bytes) -> bytes:
    if line.startswith(b"- "):
        return Stub.parse(line).id
    return event_id(line.partition(b" ")[2][:-1])


def _unavailable(answer: Answer) -> Unavailable:
    """Read an error answer: why, and the peer's clock."""
    try:
        value = decode(answer.body)
    except Refused:
        return Unavailable(answer.status, "no reason given")
    why, now = value.get("err"), value.get("now")
    return Unavailable(
        answer.status,
        why if type(why) is str else "no reason given",
        now if type(now) is int else None,
    )


def _integer(value: dict[str, Value], name: str) -> int:
    found = value.get(name)
    if type(found) is not int:
        raise Refused("bad-form", f"{name} is no integer")
    return found
