"""Lines from others into the store: every check, in order, one code for each line.

The order is that of PROTOCOL.md 6: what costs little comes first, the id
is looked up before the signature is verified, and each signature is verified once.
A batch is one transaction; what could not be stored is told by its code:
``ok``, ``dup``, ``parked`` (no grant yet), ``future`` (parked, too), or a refusal.

``PEERS_FAULT`` codes mean that the peer sent what no honest node passes on. Forks
are recorded here; ``own.OwnLog.publish_proofs`` tells the others.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from federation.format.errors import PEERS_FAULT, Refused
from federation.format.event import Event, Stub, authentic, parse
from federation.format.signing import event_id
from federation.log.chain import END, Log, LogKey, Step, judge, late, live, room
from federation.log.derive import derive, make_proof
from federation.log.quota import Buckets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from federation.format.limits import Limits
    from federation.log.store import Row, Store

__all__ = ["Admission"]

# What a step that stores nothing is called on the wire; "" depends on the log.
_REFUSALS = {Step.ENDED: "", Step.GONE: "gone", Step.BAD: "bad-chain"}
_SIGNATURE = 87  # characters of the signature with its space


class Admission:
    """The one way in. ``counts`` is by code, ``faults`` by peer."""

    def __init__(self, store: Store, net: str, limits: Limits) -> None:
        self.store = store
        self.net = net
        self.limits = limits
        self.counts: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.verified = 0

    def take(self, lines: Sequence[bytes], *, peer: str, now: int) -> list[str]:
        """Store what may be stored; return a code for each line, in order.

        Raises StoreFull, and then nothing of the batch is stored.
        """
        items = self._read(lines)
        codes = _Batch(self, now).run(items)
        self.counts.update(codes)
        if faults := sum(code in PEERS_FAULT for code in codes):
            self.faults[peer] += faults
        return codes

    def retry(self, now: int) -> int:
        """Check parked lines whose time has come again; return how many are in.

        Lines that are parked for too long are dropped.
        """
        with self.store.writing():
            self.store.db.execute(
                "DELETE FROM park WHERE since<?", (now - self.limits.parked_time,)
            )
            due = self.store.rows(
                "SELECT DISTINCT org FROM park WHERE why='future' AND ts<=?",
                now + self.limits.future,
            )
            batch = _Batch(self, now)
            done = sum(batch.retry(org, "future") for (org,) in due)
            batch.quota.save()
        return done

    def _read(self, lines: Sequence[bytes]) -> list[Event | Stub | str]:
        """Do the checks that need no transaction: V1 to V5."""
        self.store.look()
        # The id is a hash of the line's end: a line that is here needs no parsing.
        ids = [event_id(line[_SIGNATURE:].removesuffix(b"\n")) for line in lines]
        known = self.store.known(ids)
        ends: dict[LogKey, int] = {}
        refused = {row.org for row in self.store.trust_rows() if row.level == "refused"}
        met: set[bytes] = set()
        items: list[Event | Stub | str] = []
        for line, ident in zip(lines, ids, strict=True):
            if ident in known or ident in met:
                items.append("dup")
                continue
            item = self._open(line, refused, ends)
            if isinstance(item, Event):
                met.add(ident)  # only now: a forged copy may come before it
            items.append(item)
        return items

    def _open(
        self, line: bytes, refused: set[bytes], ends: dict[LogKey, int]
    ) -> Event | Stub | str:
        try:
            if line.startswith(b"- "):
                return Stub.parse(line)
            event = parse(line, self.net)
        except Refused as refusal:
            return refusal.code
        if event.org in refused:
            return "refused"
        # Behind the end of a log nothing is worth verifying.
        which = LogKey(event.key, event.st, event.inc)
        if which not in ends:
            log = self.store.log(which)
            ends[which] = END if log is None else log.end
        if event.seq > ends[which]:
            return _ended(self.store, which)
        self.verified += 1
        return event if authentic(event) else "bad-sig"


class _Batch:
    """One transaction of checks V6 to V10."""

    def __init__(self, admission: Admission, now: int) -> None:
        self.store = admission.store
        self.limits = admission.limits
        self.net = admission.net
        self.now = now
        self.quota = Buckets(self.store, now)
        self.named: set[bytes] = set()  # ids that somebody takes back
        self.stubs: dict[LogKey, list[tuple[int, Stub]]] = {}

    def run(self, items: Sequence[Event | Stub | str]) -> list[str]:
        codes = [item if isinstance(item, str) else "bad-chain" for item in items]
        if not any(isinstance(item, Event) for item in items):
            return self._only_stubs(items, codes)
        with self.store.writing():
            self.named = self.store.named(
                [item.id for item in items if isinstance(item, Event)]
            )
            below: list[int] = []
            for index, item in enumerate(items):
                if isinstance(item, Stub):
                    self._collect(index, item, codes)
                elif isinstance(item, Event):
                    codes[index] = self._admit(item, codes)
                    if codes[index] == "gone":
                        below.append(index)
            # What lies under a floor is given back from above: the floor's id
            # proves the event under it, and so on downwards.
            for index in reversed(below):
                item = items[index]
                if isinstance(item, Event):
                    codes[index] = self._admit(item, codes)
            self.quota.save()
        return ["dup" if code == "gone" else code for code in codes]

    def _only_stubs(
        self, items: Sequence[Event | Stub | str], codes: list[str]
    ) -> list[str]:
        for index, item in enumerate(items):
            if isinstance(item, Stub):
                self._collect(index, item, codes)
        return codes

    def _collect(self, index: int, stub: Stub, codes: list[str]) -> None:
        """Keep a stub until the event after it proves it."""
        which = LogKey(stub.key, stub.st, stub.inc)
        log = self.store.log(which)
        run = self.stubs.setdefault(which, [])
        last = run[-1][1].seq if run else log.head if log else 0
        if log is not None and stub.seq <= log.head:
            codes[index] = "dup"
        elif (
            stub.seq == last + 1
            and not self.store.holds(stub.id)
            and all(stub.id != other.id for _, other in run)
        ):
            run.append((index, stub))
        else:
            run.clear()

    def _admit(  # noqa: PLR0911 - one return a check
        self, event: Event, codes: list[str]
    ) -> str:
        """Do V6 to V8: who, where in the log, when."""
        which = LogKey(event.key, event.st, event.inc)
        run = self.stubs.pop(which, [])
        if self.quota.admitted(event.org) is None:
            return "unknown-org"
        if not self.store.identity(event.org).allows(event.key):
            return self._park(event, "grant", "parked")
        log = self.store.log(which)
        step = judge(_behind(log, which, event, run), event, self.limits, self.now)
        if log is not None and step is Step.HELD:
            return self._held(event, log)
        if step is Step.BELOW and late(event, self.limits, self.now):
            return "dup"
        if step in _REFUSALS:
            return _REFUSALS[step] or _ended(self.store, which)
        if event.ts > self.now + self.limits.future:
            return self._park(event, "future", "future")
        return self._enter(event, log, step, run, codes)

    def _enter(
        self,
        event: Event,
        log: Log | None,
        step: Step,
        run: list[tuple[int, Stub]],
        codes: list[str],
    ) -> str:
        """Do V10, then store the event and the stubs that it proves."""
        store = self.store
        if log is None:
            which = LogKey(event.key, event.st, event.inc)
            identity = store.identity(event.org)
            if event.seq > identity.end(which):
                return "fork" if which in identity.forks else "bad-chain"
            logs = store.logs_of(event.org)
            held = sum(one.head > one.floor for one in logs)
            others = live(logs, event.key, event.st)
            if held >= self.limits.logs or not room(others, event.st, self.limits):
                return "quota"
        if not self.quota.take(event, 1 + len(run)):
            return "quota"
        if log is None:
            log = store.new_log(which, event.org)
            log.floor = log.head = event.seq - 1 - len(run)
            log.floor_id = log.head_id = b"" if run else event.prev
        for index, stub in run:
            store.insert_stub(stub, log, event.ts, self.now)
            codes[index] = "ok"
        self._store(event, log, step)
        return "ok"

    def _store(self, event: Event, log: Log, step: Step) -> None:
        derived = derive(event)
        self.named.update(derived.takes_back)
        self.store.add(
            event,
            log,
            derived,
            self.now,
            below=step is Step.BELOW,
            blank=event.id in self.named and self.store.is_erased(event),
        )
        if derived.weight and event.k.startswith("ctl."):
            self.quota.forget()
            self.retry(event.org, "grant")

    def _held(self, event: Event, log: Log) -> str:
        """Judge an authentic event for a place that is taken."""
        row = self.store.at(log, event.seq)
        if row is None or row.id == event.id:
            return self._fill(event, row)
        if row.raw is None or row.sig is None:
            # The place is a stub with another id: the chain says which is right,
            # and where it cannot (inside a run of stubs) there is no proof.
            return "bad-chain"
        held = self.store.lines(
            log.which, event.seq, event.seq, most=1, size=self.limits.batch_bytes
        )
        proof = make_proof(parse(held[0], self.net), event) if held else None
        if proof is not None:
            self.store.put_fork(proof, self.now)
        return "fork"

    def _fill(self, event: Event, row: Row | None) -> str:
        """Put an event into the place of its stub, unless it is to be erased."""
        if row is None or row.raw is not None or self.store.is_erased(event):
            return "dup"
        derived = derive(event)
        self.store.db.execute(
            "UPDATE ev SET ts=?, k=?, tag=?, weight=?, raw=?, sig=? WHERE n=?",
            (
                event.ts, event.k, derived.tag, derived.weight, event.raw, event.sig,
                row.n,
            ),
        )  # fmt: skip
        self.store.note(event, derived, row.n)
        self.store.bump_epoch()
        return "ok"

    def _park(self, event: Event, why: str, code: str) -> str:
        """Keep a line aside. It is never shown to others."""
        count = self.store.row("SELECT count(*) FROM park WHERE org=?", event.org)
        if count is None or count[0] >= self.limits.parked_lines:
            return "quota"
        self.store.db.execute(
            "INSERT INTO park VALUES(?,?,?,?,?,?,?,?,?,?)"
            " ON CONFLICT(id) DO UPDATE SET why=excluded.why",
            (
                event.id, event.org, event.key, event.st, event.inc, event.seq,
                event.ts, why, event.line, self.now,
            ),
        )  # fmt: skip
        return code

    def retry(self, org: bytes, why: str) -> int:
        """Admit parked lines of an organisation; their signatures are verified."""
        done = 0
        for ident, line in self.store.rows(
            "SELECT id, line FROM park WHERE org=? AND why=?"
            " ORDER BY key, st, inc, seq",
            org,
            why,
        ):
            self.named |= self.store.named([ident])
            code = self._admit(parse(line, self.net), [])
            if code not in {"parked", "future"}:  # else it has parked itself again
                self.store.db.execute("DELETE FROM park WHERE id=?", (ident,))
            done += code == "ok"
        return done


def _behind(
    log: Log | None, which: LogKey, event: Event, run: list[tuple[int, Stub]]
) -> Log | None:
    """Return the log as it will be when the stubs before an event are stored."""
    if not run or run[-1][1].id != event.prev or run[-1][1].seq != event.seq - 1:
        run.clear()
        return log
    last = run[-1][1]
    if log is None:
        return Log(which, event.org, head=last.seq, head_id=last.id)
    return Log(
        which, log.org, floor=log.floor, floor_id=log.floor_id, head=last.seq,
        head_id=last.id, head_ts=log.head_ts, end=log.end,
    )  # fmt: skip


def _ended(store: Store, which: LogKey) -> str:
    return "bad-chain" if store.fork_lines(which) is None else "fork"
