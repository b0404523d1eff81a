"""Which stored events count, found by tag, by order of arrival, or to be erased.

An event counts if its form gives it weight, its organisation is not frozen, its
log counts up to that number, and nothing of the same organisation takes it back.
All of this is looked up when asked, so it does not depend on what came first.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from federation.log.chain import LogKey
from federation.log.claim import Claim
from federation.log.tables import Tables

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from federation.format.event import Event
    from federation.log.identity import Identity

__all__ = ["Arrival", "Claims"]

_CLAIM = (
    "SELECT org, key, st, inc, seq, ev.id, k, raw, ts, recv,"
    " EXISTS(SELECT 1 FROM retract WHERE target=ev.id) FROM ev"
    " JOIN log ON log.id=ev.log WHERE weight AND raw IS NOT NULL AND seq<=stop"
)
_DECODER = json.JSONDecoder()
_BODY = len('{"b":')
# Kept although somebody asks to erase them: a retraction names no address, and
# without it what it takes back would be back.
_KEPT = "fix.retract"
_RETRACTING = (
    "SELECT target, org, key, st, inc FROM retract"
    " JOIN ev ON ev.n=retract.n JOIN log ON log.id=ev.log"
    " WHERE seq<=stop AND target IN (?)"
)
_ERASING = f"{_RETRACTING} AND erase"


class Arrival(NamedTuple):
    """An event in order of arrival, for whoever follows the store."""

    n: int
    org: bytes
    k: str
    tag: bytes | None
    takes_back: bool


class Claims(Tables):
    """Look-ups over the stored events."""

    if TYPE_CHECKING:

        def identity(self, org: bytes) -> Identity:
            """Return the identity of an organisation."""

        def fresh_identity(self, org: bytes) -> Identity:
            """Return it, where the caller has looked for changes."""

    def claims(self, tags: Sequence[bytes]) -> list[Claim]:
        """Return the events that count about any of these tags."""
        with self.lock:
            self.look()
            rows = self.among(f"{_CLAIM} AND tag IN (?)", list(tags))
            return self._counting(list(rows))

    def events(self, kind: str, *, after: int = 0) -> list[Claim]:
        """Return the events of a kind that count and are not older than ``after``.

        Not for ``rcpt.*``: these are many, and have no index by kind.
        """
        sql = f"{_CLAIM} AND k=? AND ts>=? AND (k<'rcpt' OR k>'rcpt/')"
        with self.lock:
            self.look()
            return self._counting(self.rows(sql, kind, after))

    def counting(self) -> list[Claim]:
        """Return every event that counts: for an export, not for a decision."""
        with self.lock:
            self.look()
            return self._counting(self.rows(_CLAIM))

    def _counting(self, rows: list[tuple[Any, ...]]) -> list[Claim]:
        if not rows:
            return []
        found = []
        named = [row[5] for row in rows if row[10]]
        back = self._taken_back(named) if named else ()
        for org, key, st, inc, seq, ident, k, raw, ts, recv, _ in rows:
            identity = self.fresh_identity(org)
            if identity.frozen or not identity.counts(LogKey(key, st, inc)):
                continue
            if (ident, org) in back:
                continue
            # Fields are sorted, so the body comes first: the rest is known.
            body, _end = _DECODER.raw_decode(raw.decode("ascii"), _BODY)
            found.append(Claim(org, key, st, inc, seq, ident, k, body, ts, recv))
        return found

    def _taken_back(
        self, ids: list[bytes], *, erase: bool = False
    ) -> set[tuple[bytes, bytes]]:
        """Return which ids are taken back, with the organisation that does.

        ``erase``: only those that it wants to be erased.
        """
        return {
            (target, org)
            for target, org, key, st, inc in self.among(
                _ERASING if erase else _RETRACTING,
                ids,
            )
            if self.identity(org).counts(LogKey(key, st, inc))
        }

    def named(self, ids: Sequence[bytes]) -> set[bytes]:
        """Return which of these ids anybody takes back, whether it counts or not."""
        found = self.among("SELECT target FROM retract WHERE target IN (?)", list(ids))
        return {target for (target,) in found}

    def is_erased(self, event: Event) -> bool:
        """Return whether an event's own organisation has asked to erase it."""
        return (
            event.st != "c"
            and event.k != _KEPT
            and (event.id, event.org) in self.erasures([event.id])
        )

    def erasures(self, ids: list[bytes]) -> set[tuple[bytes, bytes]]:
        """Return which ids are to be erased, with the organisation that asks."""
        return self._taken_back(ids, erase=True)

    def arrivals(self, after: int, limit: int = 1000) -> list[Arrival]:
        """Return what arrived after number ``after``, in order."""
        return [
            Arrival(n, org, k or "", tag, k in {"fix.retract", "send.released"})
            for n, org, k, tag in self.rows(
                "SELECT n, org, k, tag FROM ev JOIN log ON log.id=ev.log"
                " WHERE n>? ORDER BY n LIMIT ?",
                after,
                limit,
            )
        ]

    def tags_taken_back(self, n: int) -> list[bytes]:
        """Return the tags about which event ``n`` takes something back."""
        return [
            cast("bytes", tag)
            for (tag,) in self.rows(
                "SELECT tag FROM retract JOIN ev ON ev.id=retract.target"
                " WHERE retract.n=? AND tag IS NOT NULL",
                n,
            )
        ]

    def tags(self) -> Iterator[bytes]:
        """Yield every tag that any stored event is about, in order."""
        last = b""
        while True:
            rows = self.rows(
                "SELECT DISTINCT tag FROM ev WHERE tag>? ORDER BY tag LIMIT 1000", last
            )
            if not rows:
                return
            yield from (tag for (tag,) in rows)
            last = rows[-1][0]

    def wanted(self, limit: int = 1000) -> list[tuple[LogKey, int]]:
        """Return places whose event somebody called erased without its origin.

        They are asked for from other peers; the chain tells whether the event
        that comes is the right one.
        """
        found: list[tuple[LogKey, int]] = []
        last = 0
        while len(found) < limit:
            stubs = self.rows(
                "SELECT key, st, inc, seq, ev.id, org, n FROM ev"
                " JOIN log ON log.id=ev.log"
                " WHERE raw IS NULL AND seq<=stop AND n>? ORDER BY n LIMIT 1000",
                last,
            )
            if not stubs:
                break
            last = stubs[-1][6]
            erased = self.erasures([row[4] for row in stubs])
            found += [
                (LogKey(key, st, inc), seq)
                for key, st, inc, seq, ident, org, _ in stubs
                if (ident, org) not in erased
            ]
        return found[:limit]
