"""What time does to the store: expiry, erasure.

Expiry cuts the beginning off a log, so that what remains is still a chain. Erasure
empties an event and leaves its place and its id. Both work in small steps, so that
a call never holds the file for long; call again while they return a number.

PROTOCOL.md 11 and 13. Not to be run with a clock that differs much
from the peers': the caller knows that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from federation.format.event import parse
from federation.log.chain import Log, LogKey
from federation.log.derive import derive
from federation.log.store import line_of

if TYPE_CHECKING:
    from federation.log.store import Store

__all__ = ["erase", "expire", "rebuild"]

_STEP = 2000  # events in one transaction


def expire(store: Store, now: int, *, step: int = _STEP) -> int:
    """Delete events that are older than their stream is kept; return how many."""
    done = 0
    with store.writing():
        for st, kept in store.limits.retention.items():
            # The first event that is held tells whether there is anything to do.
            for place in store.rows(
                "SELECT key, st, inc FROM log JOIN ev ON ev.log=log.id"
                " AND seq=floor+1 WHERE st=? AND ts<?",
                st,
                now - kept,
            ):
                log = store.log(LogKey(*place))
                if log is not None:
                    done += _truncate(store, log, now - kept, step)
                if done >= step:
                    return done
    return done


def _truncate(store: Store, log: Log, before: int, step: int) -> int:
    """Cut at most ``step`` events older than ``before`` off a log."""
    last = store.row(
        "SELECT seq, id FROM ev WHERE log=? AND seq<=? AND ts<?"
        " ORDER BY seq DESC LIMIT 1",
        log.rowid,
        log.floor + step,
        before,
    )
    if last is None:
        return 0
    gone = "SELECT n FROM ev WHERE log=? AND seq<=?"
    for sql in (
        f"DELETE FROM retract WHERE n IN ({gone})",  # noqa: S608
        f"DELETE FROM intro WHERE n IN ({gone})",  # noqa: S608
    ):
        store.db.execute(sql, (log.rowid, last[0]))
    done = store.db.execute(
        "DELETE FROM ev WHERE log=? AND seq<=?", (log.rowid, last[0])
    )
    log.floor, log.floor_id = last
    store.save(log)
    return done.rowcount


def erase(store: Store, *, step: int = _STEP) -> int:
    """Empty the events whose origin asks to erase them; return how many."""
    gone: list[tuple[int]] = []
    last = b""
    with store.writing():
        # Demands that do not count stay for ever: they are walked past.
        while not gone:
            rows = store.rows(
                "SELECT ev.n, ev.id, org FROM retract JOIN ev ON ev.id=retract.target"
                " JOIN log ON log.id=ev.log WHERE target>? AND erase"
                " AND raw IS NOT NULL AND st<>'c' AND k<>'fix.retract'"
                " ORDER BY target LIMIT ?",
                last,
                step,
            )
            if not rows:
                break
            last = rows[-1][1]
            due = store.erasures([ident for _, ident, _ in rows])
            gone = [(n,) for n, ident, org in rows if (ident, org) in due]
        store.db.executemany(
            "UPDATE ev SET raw=NULL, sig=NULL, tag=NULL, k=NULL, weight=0 WHERE n=?",
            gone,
        )
        if gone:
            store.bump_epoch()
    return len(gone)


def rebuild(store: Store) -> int:
    """Derive everything again from the stored lines; return how many there are.

    For a version that gives weight to kinds which the one before did not know.
    """
    done, last = 0, 0
    with store.writing():
        for table in ("retract", "intro"):
            store.db.execute(f"DELETE FROM {table}")  # noqa: S608
        while True:
            rows = store.rows(
                "SELECT n, raw, sig FROM ev WHERE n>? AND raw IS NOT NULL"
                " ORDER BY n LIMIT ?",
                last,
                _STEP,
            )
            if not rows:
                break
            for n, raw, sig in rows:
                event = parse(line_of(sig, raw), store.net)
                derived = derive(event)
                store.db.execute(
                    "UPDATE ev SET tag=?, weight=?, k=? WHERE n=?",
                    (derived.tag, derived.weight, event.k, n),
                )
                store.note(event, derived, n)
                if derived.proof is not None:
                    store.put_fork(derived.proof, event.ts, told=True)
                done += 1
            last = rows[-1][0]
        store.forget()
        for (org,) in store.rows("SELECT DISTINCT org FROM log"):
            store.refresh(org)
        store.bump_epoch()
    return done
