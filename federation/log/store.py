"""All events of all organisations, as received, with the state of their logs.

Keeps lines and what is derived from them; decides nothing. Checks are done in
``admission``, own events are written in ``own``, expiry and erasure happen in
``housekeeping``. Ranges and vectors show what counts: a log that has an end shows
nothing behind it.

PROTOCOL.md 7. One connection, safe for the threads of one process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from federation.format.event import LONGEST, Event, Stub, parse
from federation.format.profile import b64
from federation.log.chain import Entry, Log, LogKey
from federation.log.claims import Claims
from federation.log.identity import Fork, Identity, identify

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from federation.format.limits import Limits
    from federation.log.derive import Derived, Proof

__all__ = ["Row", "Store", "line_of"]

_LOG = "org, floor, floor_id, head, head_id, head_ts, stop, id"


class Row(NamedTuple):
    """A stored place in a log; without ``raw`` it is a stub."""

    n: int
    id: bytes
    raw: bytes | None
    sig: bytes | None


class Store(Claims):
    """The store of one node of one network."""

    def __init__(self, path: Path | str, net: str, limits: Limits) -> None:
        self.net = net
        self.limits = limits
        self._logs: dict[LogKey, Log] = {}
        self._dirty: dict[LogKey, Log] = {}
        self._identities: dict[bytes, Identity] = {}
        super().__init__(path)
        with self.writing():
            if self.meta("net") not in {None, net}:
                raise ValueError(f"{path} is of network {self.meta('net')}, not {net}")
            self.set_meta("net", net)

    def forget(self) -> None:
        """Drop the caches."""
        self._logs.clear()
        self._dirty.clear()
        self._identities.clear()

    def flush(self) -> None:
        """Write the logs that changed, all with the next number of change."""
        if not self._dirty:
            return
        counter = self.counter() + 1
        self.set_meta("counter", counter)
        self.db.executemany(
            "UPDATE log SET floor=?, floor_id=?, head=?, head_id=?, head_ts=?, stop=?,"
            " changed=? WHERE id=?",
            [
                (
                    log.floor, log.floor_id, log.head, log.head_id, log.head_ts,
                    log.end, counter, log.rowid,
                )
                for log in self._dirty.values()
            ],
        )  # fmt: skip
        self._dirty.clear()

    # -- logs

    def log(self, which: LogKey) -> Log | None:
        """Return the state of a log. It is the store's own object: see ``save``."""
        with self.lock:
            self.look()
            if found := self._logs.get(which):
                return found
            row = self.row(
                f"SELECT {_LOG} FROM log WHERE key=? AND st=? AND inc=?",  # noqa: S608
                *which,
            )
            if row is None:
                return None
            log = self._logs[which] = Log(which, *row)
            return log

    def logs_of(self, org: bytes) -> list[Log]:
        """Return all logs of an organisation, in order."""
        places = self.rows(
            "SELECT key, st, inc FROM log WHERE org=? ORDER BY key, st, inc", org
        )
        found = (self.log(LogKey(*place)) for place in places)
        return [log for log in found if log is not None]

    def new_log(self, which: LogKey, org: bytes) -> Log:
        """Add an empty log."""
        log = Log(which, org, end=self.identity(org).end(which))
        log.rowid = int(
            self.db.execute(
                "INSERT INTO log VALUES(NULL,?,?,?,?,0,x'',0,x'',0,?,0)",
                (*which, org, log.end),
            ).lastrowid
            or 0
        )
        self._logs[which] = log
        return log

    def save(self, log: Log) -> None:
        """Note that a log's state was changed, inside a transaction."""
        self._dirty[log.which] = log

    # -- events

    def known(self, ids: Sequence[bytes]) -> set[bytes]:
        """Return which of these ids need no look: stored, parked, or erased."""
        listed = list(ids)
        found = set()
        stubs = {}
        for ident, log, whole in self.among(
            "SELECT id, log, raw IS NOT NULL FROM ev WHERE id IN (?)", listed
        ):
            if whole:
                found.add(ident)
            else:
                stubs[ident] = log
        for ident, org in self.erasures(list(stubs)):
            if self.row("SELECT 1 FROM log WHERE id=? AND org=?", stubs[ident], org):
                found.add(ident)
        parked = self.among("SELECT id FROM park WHERE id IN (?)", listed)
        return found | {row[0] for row in parked}

    def holds(self, ident: bytes) -> bool:
        """Return whether an id has a place in any log, its event or a stub."""
        return self.row("SELECT 1 FROM ev WHERE id=?", ident) is not None

    def at(self, log: Log, seq: int) -> Row | None:
        """Return what is held at a place."""
        found = self.row(
            "SELECT n, id, raw, sig FROM ev WHERE log=? AND seq=?", log.rowid, seq
        )
        return None if found is None else Row(*found)

    def _insert(
        self, event: Event, log: Log, derived: Derived, now: int, *, blank: bool
    ) -> None:
        done = self.db.execute(
            "INSERT INTO ev VALUES(NULL,?,?,?,?,?,?,?,?,?,?)",
            (
                log.rowid, event.seq, event.id, event.ts, now, event.k,
                None if blank else derived.tag, derived.weight,
                None if blank else event.raw, None if blank else event.sig,
            ),
        )  # fmt: skip
        self.note(event, derived, int(done.lastrowid or 0))

    def add(
        self,
        event: Event,
        log: Log,
        derived: Derived,
        now: int,
        *,
        below: bool = False,
        blank: bool = False,
    ) -> None:
        """Store an event that was checked, and move its log's head or floor.

        ``blank``: only its place, because it is to be erased.
        """
        self._insert(event, log, derived, now, blank=blank)
        if below:
            log.floor, log.floor_id = event.seq - 1, event.prev
        else:
            log.head, log.head_id, log.head_ts = event.seq, event.id, event.ts
        self.save(log)
        if derived.proof is not None:
            self.put_fork(derived.proof, now, told=True)
        if derived.weight and event.k.startswith("ctl."):
            self.refresh(event.org)

    def note(self, event: Event, derived: Derived, n: int) -> None:
        """Store what is derived from event ``n``, its tag aside."""
        if derived.takes_back:
            self.db.executemany(
                "INSERT OR IGNORE INTO retract VALUES(?,?,?)",
                [(one, n, derived.erases) for one in derived.takes_back],
            )
        if derived.introduces:
            self.db.execute(
                "INSERT OR IGNORE INTO intro VALUES(?,?,?,?)",
                (derived.introduces, n, event.org, event.ts),
            )

    def insert_stub(self, stub: Stub, log: Log, ts: int, now: int) -> None:
        """Store a place whose event is erased elsewhere, as old as ``ts``."""
        self.db.execute(
            "INSERT INTO ev VALUES(NULL,?,?,?,?,?,NULL,NULL,0,NULL,NULL)",
            (log.rowid, stub.seq, stub.id, ts, now),
        )

    def lines(
        self, which: LogKey, first: int, last: int, *, most: int, size: int
    ) -> list[bytes]:
        """Return the lines ``first`` to ``last`` of a log that are held and count.

        At most ``most`` lines and ``size`` octets, but one line if there is one.
        """
        log = self.log(which)
        if log is None:
            return []
        found: list[bytes] = []
        for seq, ident, raw, sig in self.rows(
            "SELECT seq, id, raw, sig FROM ev WHERE log=? AND seq BETWEEN ? AND ?"
            " ORDER BY seq LIMIT ?",
            log.rowid, first, min(last, log.end), most,
        ):  # fmt: skip
            line = Stub(*which, seq, ident).line if raw is None else line_of(sig, raw)
            size -= len(line)
            if size < 0 and found:
                break
            found.append(line)
        return found

    # -- what others are told

    def counter(self) -> int:
        """Return the number of the last change."""
        return int(self.meta("counter") or 0)

    def token(self) -> str:
        """Return where ``vector`` stands: ``<store id>:<counter>``."""
        return f"{self.id}:{self.counter()}"

    def since(self, token: str) -> int:
        """Return the counter of a token of this store, 0 for any other text."""
        store, _, count = token.partition(":")
        digits = count.isascii() and count.isdigit() and len(count) <= 16  # noqa: PLR2004
        if store != self.id or not digits or int(count) > self.counter():
            return 0
        return int(count)

    def vector(self, since: int = 0, org: bytes | None = None) -> list[Entry]:
        """Return the logs that changed after ``since``, all of one or every org.

        Logs that hold nothing are left out, whatever they once held.
        """
        with self.lock:
            return list(self._entries(since, org))

    def _entries(self, since: int, org: bytes | None) -> Iterable[Entry]:
        where = "changed>?"
        parameters: tuple[object, ...] = (since,)
        if org is not None:
            where, parameters = "changed>? AND org=?", (since, org)
        for key, st, inc, floor, head, head_id, stop, rowid in self.rows(
            "SELECT key, st, inc, floor, head, head_id, stop, id FROM log"  # noqa: S608
            f" WHERE {where} ORDER BY key, st, inc",
            *parameters,
        ):
            if stop >= head > floor:
                yield Entry(key, st, inc, floor, head, head_id)
            elif head > stop > floor:
                found = self.row("SELECT id FROM ev WHERE log=? AND seq=?", rowid, stop)
                if found is not None:
                    yield Entry(key, st, inc, floor, stop, found[0])

    # -- who counts

    def identity(self, org: bytes) -> Identity:
        """Return the identity of an organisation as its stored events make it."""
        with self.lock:
            self.look()
            return self.fresh_identity(org)

    def fresh_identity(self, org: bytes) -> Identity:
        """Return an identity, where the caller has looked for changes."""
        return self._identities.get(org) or self._identify(org)

    def _identify(self, org: bytes) -> Identity:
        controls = [
            parse(line_of(sig, raw), self.net)
            for raw, sig in self.rows(
                "SELECT raw, sig FROM log JOIN ev ON ev.log=log.id"
                " WHERE org=? AND st='c' AND weight AND k LIKE 'ctl.%'",
                org,
            )
        ]
        cleared = self.row("SELECT at FROM cleared WHERE org=?", org)
        identity = self._identities[org] = identify(
            org, controls, self.forks(org), self.limits, cleared[0] if cleared else 0
        )
        return identity

    def forks(self, org: bytes) -> dict[LogKey, Fork]:
        """Return the proven forks of logs of an organisation."""
        return {
            LogKey(key, st, inc): Fork(seq, seen)
            for key, st, inc, seq, seen in self.rows(
                "SELECT key, st, inc, seq, seen FROM fork WHERE org=? OR other=?",
                org,
                org,
            )
        }

    def fork_lines(self, which: LogKey) -> tuple[int, bytes, bytes] | None:
        """Return number and the two lines of a proven fork."""
        return self.row(
            "SELECT seq, a, b FROM fork WHERE key=? AND st=? AND inc=?", *which
        )

    def put_fork(self, proof: Proof, now: int, *, told: bool = False) -> None:
        """Keep a proof unless one with a lower number is kept.

        ``told``: it comes from an event, so the others know or will know.
        """
        kept = self.fork_lines(proof.which)
        if kept is not None and kept[0] <= proof.seq:
            if told and kept[0] == proof.seq:
                self.db.execute(
                    "UPDATE fork SET told=1 WHERE key=? AND st=? AND inc=?", proof.which
                )
            return
        # The first sighting stays: else each lower proof would undo a clearing.
        seen = self.row(
            "SELECT seen FROM fork WHERE key=? AND st=? AND inc=?", *proof.which
        )
        self.db.execute(
            "INSERT OR REPLACE INTO fork VALUES(?,?,?,?,?,?,?,?,?,?)",
            (
                *proof.which, proof.seq, *proof.orgs, *proof.lines,
                now if seen is None else seen[0], told,
            ),
        )  # fmt: skip
        for org in set(proof.orgs):
            self.refresh(org)

    def untold_fork(self, since: int) -> tuple[bytes, bytes] | None:
        """Return a fork, seen after ``since``, that only this host knows to be proven.

        Not of an organisation of which several are known since then: it counts
        nothing any more, and everybody keeps proofs for ever. Nor of lines that fit
        into no proof.
        """
        return self.row(
            "SELECT a, b FROM fork WHERE NOT told AND seen>?"
            " AND max(length(a), length(b))<=? AND (SELECT count(*) FROM fork AS known"
            " WHERE known.org=fork.org AND known.told AND known.seen>?)<?"
            " ORDER BY seen LIMIT 1",
            since,
            LONGEST,
            since,
            self.limits.proofs,
        )

    def refresh(self, org: bytes) -> None:
        """Compute an organisation's identity anew, and where its logs end."""
        self._identities.pop(org, None)
        identity = self.identity(org)
        for log in self.logs_of(org):
            end = identity.end(log.which)
            if end != log.end:
                log.end = end
                self.save(log)
        self.bump_epoch()


def line_of(sig: bytes, raw: bytes) -> bytes:
    """Return the line that was stored in two parts."""
    return b"%s %s\n" % (b64(sig).encode("ascii"), raw)
