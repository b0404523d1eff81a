"""What only this host knows: its own evidence, and what it has yet to tell.

``sign``: hard bounces and signs of life, at most one of each a day under a tag.
``stopped``: recipients not written to because of others. ``outbox``: drafts of
events that wait. ``told``: what was published when, for the rule of one a day and
for the event that a release refers to. Only tags, no address.

Everything that writes is called inside ``Database.writing``; none of it leaves this
host but through the outbox. Facts that cannot be computed from the log are exactly
these, and a copy of the file is what saves them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from federation.format.limits import DAY
from federation.trust.audit import Sign
from federation.trust.decision import Own
from federation.trust.emitter import BETWEEN, Draft, joined

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from federation.log.database import Database

__all__ = ["Evidence"]

_TABLES = """
CREATE TABLE IF NOT EXISTS sign(
  tag BLOB, alive INTEGER, day INTEGER, at INTEGER NOT NULL,
  PRIMARY KEY(tag, alive, day)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS stopped(
  at INTEGER, tag BLOB, n INTEGER NOT NULL, PRIMARY KEY(at, tag)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS stopped_tag ON stopped(tag);
CREATE TABLE IF NOT EXISTS outbox(
  kind TEXT, subject BLOB, body TEXT NOT NULL, due INTEGER NOT NULL,
  PRIMARY KEY(kind, subject)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS outbox_due ON outbox(due);
CREATE TABLE IF NOT EXISTS told(
  kind TEXT, subject BLOB, at INTEGER NOT NULL, id BLOB NOT NULL,
  PRIMARY KEY(kind, subject)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS told_at ON told(at)
"""

_KEPT = 187 * DAY  # the life of a hard claim, and the week in which it is met
_TOLD_KEPT = 32 * DAY  # a block lasts 30 days at most


class Evidence:
    """Own evidence and outbox in the database's file."""

    def __init__(self, database: Database) -> None:
        """Make the tables where they are missing."""
        self._database = database
        with database.writing():
            for statement in _TABLES.split(";\n"):
                database.db.execute(statement)

    # -- what we saw

    def see(self, tags: Iterable[bytes], at: int, *, alive: bool) -> None:
        """Remember a hard bounce or a sign of life under each of the tags."""
        self._database.db.executemany(
            "INSERT INTO sign VALUES(?,?,?,?) ON CONFLICT DO UPDATE "
            "SET at=max(at, excluded.at)",
            [(tag, alive, at // DAY, at) for tag in tags],
        )

    def own(self, tags: Sequence[bytes], now: int) -> dict[bytes, Own]:
        """Return the newest signs by tag; tags that we never met are missing."""
        found: dict[bytes, dict[int, int]] = {}
        sql = "SELECT tag, alive, at FROM sign WHERE tag IN (?) ORDER BY at"
        for tag, alive, at in self._database.among(sql, list(tags)):
            found.setdefault(tag, {})[alive] = min(at, now)
        return {
            tag: Own(hard=at.get(False, 0), ok=at.get(True, 0))
            for tag, at in found.items()
        }

    def met(self) -> Iterator[tuple[bytes, list[Sign]]]:
        """Yield each tag that our mail met, with what it met."""
        signs: dict[bytes, list[Sign]] = {}
        for tag, alive, at in self._database.rows("SELECT tag, alive, at FROM sign"):
            signs.setdefault(tag, []).append(Sign(bool(alive), at))
        yield from signs.items()

    def tags(self) -> Iterator[bytes]:
        """Yield each tag that our mail met, in order."""
        last = b""
        while rows := self._database.rows(
            "SELECT DISTINCT tag FROM sign WHERE tag>? ORDER BY tag LIMIT 1000", last
        ):
            yield from (tag for (tag,) in rows)
            last = rows[-1][0]

    def stop(self, tag: bytes, at: int) -> None:
        """Remember a recipient that was not written to because of others."""
        self._database.db.execute(
            "INSERT INTO stopped VALUES(?,?,1) ON CONFLICT DO UPDATE SET n=n+1",
            (at, tag),
        )

    def stops(self, since: int) -> list[tuple[int, bytes]]:
        """Return time and tag of each such recipient."""
        rows = self._database.rows("SELECT at, tag, n FROM stopped WHERE at>=?", since)
        return [(at, tag) for at, tag, n in rows for _ in range(n)]

    # -- what we have yet to tell

    def enqueue(self, draft: Draft, now: int, jitter: int) -> None:
        """Put a draft into the outbox, joined with one that waits there.

        ``jitter`` is its random wait. A day's score is told once.
        """
        key = draft.kind, draft.subject
        old = self._database.row(
            "SELECT body, due FROM outbox WHERE kind=? AND subject=?", *key
        )
        told = self._database.row(
            "SELECT at FROM told WHERE kind=? AND subject=?", *key
        )
        due = now + jitter
        if old is not None:
            draft, due = joined(Draft(*key, json.loads(old[0])), draft), old[1]
        elif told is not None and draft.kind == "stat.score":
            return
        elif told is not None and draft.kind.startswith("rcpt."):
            due = max(due, told[0] + BETWEEN)
        self._database.db.execute(
            "INSERT OR REPLACE INTO outbox VALUES(?,?,?,?)",
            (*key, json.dumps(draft.body), due),
        )

    def withdraw(self, kind: str, subject: bytes) -> bool:
        """Take a draft out of the outbox; whether there was one."""
        found = self._database.db.execute(
            "DELETE FROM outbox WHERE kind=? AND subject=?", (kind, subject)
        )
        return found.rowcount > 0

    def due(self, now: int, most: int) -> list[Draft]:
        """Return drafts whose time has come, the oldest first."""
        rows = self._database.rows(
            "SELECT kind, subject, body FROM outbox WHERE due<=? "
            "ORDER BY due, kind, subject LIMIT ?",
            now,
            most,
        )
        return [Draft(kind, subject, json.loads(body)) for kind, subject, body in rows]

    def publish(self, draft: Draft, now: int, event_id: bytes) -> None:
        """Note that a draft became an event."""
        self.withdraw(draft.kind, draft.subject)
        self._database.db.execute(
            "INSERT OR REPLACE INTO told VALUES(?,?,?,?)",
            (draft.kind, draft.subject, now, event_id),
        )

    def told(self, kind: str, subject: bytes) -> bytes | None:
        """Return the id of the event that was published, None for none."""
        found = self._database.row(
            "SELECT id FROM told WHERE kind=? AND subject=?", kind, subject
        )
        return None if found is None else found[0]

    def waiting(self) -> int:
        """Return how many drafts are in the outbox."""
        found = self._database.row("SELECT count(*) FROM outbox")
        return 0 if found is None else int(found[0])

    # -- the end

    def forget(self, tags: Sequence[bytes]) -> None:
        """Erase all that is known under tags, as a person may ask for."""
        for tag in tags:
            for sql in (
                "DELETE FROM sign WHERE tag=?",
                "DELETE FROM stopped WHERE tag=?",
                "DELETE FROM outbox WHERE subject=?",
                "DELETE FROM told WHERE subject=?",
            ):
                self._database.db.execute(sql, (tag,))

    def known(self, tags: Sequence[bytes]) -> list[tuple[str, int]]:
        """Return what is known under tags: (what, Unix time), for its subject."""
        found: list[tuple[str, int]] = []
        for tag in tags:
            rows = self._database.rows("SELECT alive, at FROM sign WHERE tag=?", tag)
            found += [("alive" if alive else "bounced", at) for alive, at in rows]
            rows = self._database.rows("SELECT at FROM stopped WHERE tag=?", tag)
            found += [("stopped", at) for (at,) in rows]
            rows = self._database.rows(
                "SELECT kind, due FROM outbox WHERE subject=?", tag
            )
            found += [(f"to be told: {kind}", due) for kind, due in rows]
        return sorted(found, key=lambda one: one[1])

    def prune(self, now: int) -> None:
        """Drop what is past its time."""
        for sql, before in (
            ("DELETE FROM sign WHERE at<?", now - _KEPT),
            ("DELETE FROM stopped WHERE at<?", now - _KEPT),
            ("DELETE FROM told WHERE at<?", now - _TOLD_KEPT),
        ):
            self._database.db.execute(sql, (before,))
