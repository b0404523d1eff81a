"""The store as an exchange sees it: vectors, ranges, and lines to take.

A thin view of store and admission, shared by the asking side (session) and the
answering side (service), so that both see the same things: what is refused is not
offered, and nothing behind the end of a log exists.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from federation.exchange.sync import digest, where
from federation.log.chain import LogKey
from federation.trust.levels import Level

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from federation.exchange.sync import Want
    from federation.log.admission import Admission
    from federation.log.chain import Entry
    from federation.log.store import Store

__all__ = ["Replica", "Whole"]


class Whole(NamedTuple):
    """A whole vector; not to be changed."""

    entries: list[Entry]
    logs: dict[LogKey, Entry]
    digest: bytes


class Replica:
    """One node's copy of the logs."""

    def __init__(self, store: Store, admission: Admission) -> None:
        self.store = store
        self.limits = store.limits
        self.take = admission.take
        self._whole: tuple[list[tuple[Any, ...]], Whole] | None = None

    def whole(self) -> Whole:
        """Return the whole vector, read once for each change of the store."""
        # The epoch, too: to refuse an organisation deletes logs and changes none.
        state = self.store.rows(
            "SELECT k, v FROM meta WHERE k IN ('counter', 'epoch') ORDER BY k"
        )
        if self._whole is None or self._whole[0] != state:
            entries = self.store.vector()
            logs = {LogKey(*one[:3]): one for one in entries}
            self._whole = (state, Whole(entries, logs, digest(entries)))
        return self._whole[1]

    def vector(self, since: int = 0, org: bytes | None = None) -> list[Entry]:
        """Return the entries of logs that changed after ``since``."""
        if not since and org is None:
            return self.whole().entries
        return self.store.vector(since, org)

    def lines(self, want: Want, most: int, room: int) -> list[bytes]:
        """Return lines of a range, as many as there is room for."""
        if most <= 0 or room <= 0:
            return []
        return self.store.lines(want.log, want.first, want.last, most=most, size=room)

    def batches(
        self, wants: Sequence[Want], stopped: Collection[LogKey]
    ) -> Iterator[tuple[list[bytes], list[LogKey]]]:
        """Yield what one request may carry: lines, and the log of each.

        ``stopped`` may grow between two of them: those logs are left out from then on.
        """
        limits = self.limits
        lines: list[bytes] = []
        logs: list[LogKey] = []
        for want in wants:
            first = want.first
            while first <= want.last and want.log not in stopped:
                some = self.lines(
                    want._replace(first=first),
                    limits.batch_lines - len(lines),
                    limits.batch_bytes - sum(map(len, lines)),
                )
                place = where(some[-1]) if some else None
                if place is not None:
                    lines += some
                    logs += [want.log] * len(some)
                    first = place.seq + 1
                elif lines:  # no room left
                    yield lines, logs
                    lines, logs = [], []
                else:
                    break  # expired meanwhile
        if lines:
            yield lines, logs

    def org_of(self, log: LogKey) -> bytes:
        """Return whose log it is, b"" for one that is not here."""
        found = self.store.log(log)
        return b"" if found is None else found.org

    def floor(self, log: LogKey) -> int:
        """Return the number before the first event of a log that is here."""
        found = self.store.log(log)
        return 0 if found is None else found.floor

    def head(self, log: LogKey) -> int:
        """Return the number of the last event of a log that counts."""
        found = self.store.log(log)
        return 0 if found is None else min(found.head, found.end)

    def id_at(self, log: LogKey, seq: int) -> bytes:
        """Return the id at a place, b"" if nothing is there."""
        found = self.store.log(log)
        row = None if found is None else self.store.at(found, seq)
        return b"" if row is None else row.id

    def refused(self) -> set[bytes]:
        """Return the organisations that this host does not want to hear of."""
        rows = self.store.rows("SELECT org FROM trust WHERE level=?", Level.REFUSED)
        return {org for (org,) in rows}

    def knows(self, key: bytes, orgs: Sequence[bytes]) -> bytes | None:
        """Return which of these organisations a key may speak for now."""
        for org in orgs:
            identity = self.store.identity(org)
            # A revoked key speaks for nobody, whatever it may have signed before.
            if identity.allows(key) and key not in identity.cuts:
                return org
        return None
