"""How much an organisation may add, and who answers for it.

Each organisation has three buckets: what happens now, what is copied from the past
(a new or long absent node), and control events, so that a flood never keeps a
revocation out. A bucket refills steadily; over quota a log lags and later goes on,
nothing breaks. An organisation that is here only because another one introduced it
draws on the introducer's buckets too: a flood of invented organisations costs the
one who let them in.

PROTOCOL.md 11. ``Buckets`` lives for one batch, inside its transaction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from federation.format.limits import DAY

if TYPE_CHECKING:
    from federation.format.event import Event
    from federation.format.limits import Limits
    from federation.log.store import Store

__all__ = ["Admitted", "Buckets", "admitted", "left"]


class Admitted(NamedTuple):
    """Why an organisation is stored: its level, or its ``sponsor``."""

    level: str
    sponsor: bytes = b""


def left(used: float, since: int, now: int, a_day: float) -> float:
    """Return what is used of a bucket that gets ``a_day`` back in a day.

    A clock that went back refills nothing.
    """
    return max(0.0, used - a_day * max(0, now - since) / DAY)


def admitted(store: Store, org: bytes) -> Admitted | None:
    """Return why an organisation's events are stored, None if they are not."""
    level = store.level(org)
    if level is not None:
        return None if level == "refused" else Admitted(level)
    sponsor = _sponsor(store, org)
    return None if sponsor is None else Admitted("seen", sponsor)


def _sponsor(store: Store, org: bytes) -> bytes | None:
    """Return the first of those we trust who introduced an organisation."""
    for by, ts in store.rows(
        "SELECT by, intro.ts FROM intro JOIN ev USING(n) JOIN log ON log.id=ev.log"
        " JOIN trust ON trust.org=by WHERE peer=? AND seq<=stop"
        " AND level IN ('known', 'trusted', 'sole', 'self') ORDER BY intro.ts, by",
        org,
    ):
        limits = store.limits
        earlier = store.row(
            "SELECT count(DISTINCT peer) FROM intro WHERE by=? AND ts>? AND"
            " (ts<? OR ts=? AND peer<?)",
            by, ts - limits.introduction_period, ts, ts, org,
        )  # fmt: skip
        counts = earlier is not None and earlier[0] < limits.introductions
        if counts and not store.identity(by).frozen:
            return bytes(by)
    return None


class Buckets:
    """The buckets of the organisations in one batch."""

    def __init__(self, store: Store, now: int) -> None:
        self._store = store
        self._limits: Limits = store.limits
        self._now = now
        self._used: dict[tuple[bytes, str], float] = {}
        self._sizes: dict[tuple[bytes, str], float] = {}
        self._admitted: dict[bytes, Admitted | None] = {}

    def admitted(self, org: bytes) -> Admitted | None:
        """Return why an organisation is stored, looked up once a batch."""
        if org not in self._admitted:
            self._admitted[org] = admitted(self._store, org)
        return self._admitted[org]

    def forget(self) -> None:
        """Look admissions up again: an introduction or a revocation was stored."""
        self._admitted.clear()

    def take(self, event: Event, count: int = 1) -> bool:
        """Charge an event to its organisation and sponsor, or return False."""
        found = self.admitted(event.org)
        if found is None:
            return False
        if found.level == "self":
            return True
        bucket = "past" if event.ts < self._now - DAY else "now"
        if event.st == "c":
            bucket = "control"
        charged = [(event.org, bucket)]
        if found.sponsor:
            sponsor = self.admitted(found.sponsor)
            if sponsor is not None and sponsor.level != "self":
                charged.append((found.sponsor, bucket))
        if any(self._level(one) + count > self._sizes[one] for one in charged):
            return False
        for one in charged:
            self._used[one] += count
        return True

    def _level(self, which: tuple[bytes, str]) -> float:
        if which not in self._used:
            org, bucket = which
            size = self._sizes[which] = self._size(org, bucket)
            row = self._store.row(
                "SELECT used, at FROM quota WHERE org=? AND bucket=?", org, bucket
            )
            rate = size
            if bucket == "now":
                rate = size / self._limits.burst
            elif bucket == "past":
                rate = size / self._limits.history
            self._used[which] = (
                0.0 if row is None else left(row[0], row[1], self._now, rate)
            )
        return self._used[which]

    def _size(self, org: bytes, bucket: str) -> float:
        if bucket == "control":
            return self._limits.control_per_day
        found = self.admitted(org)
        day = self._limits.per_day.get("seen" if found is None else found.level, 0)
        return day * (self._limits.burst if bucket == "now" else self._limits.history)

    def save(self) -> None:
        """Store the buckets, before the batch is committed."""
        self._store.db.executemany(
            "INSERT OR REPLACE INTO quota VALUES(?,?,?,?)",
            [(*which, used, self._now) for which, used in self._used.items()],
        )
