"""What the operator decides and arranges: trust, peers, invitations, clearings.

Plain rows without meaning of their own: levels are ``trust.Level``'s, the JSON in
``data`` belongs to whoever wrote it. Only refusing an organisation acts at once,
because its data is neither stored nor relayed from then on.
"""

from __future__ import annotations

from typing import NamedTuple

from federation.log.database import Database

__all__ = ["Peer", "Tables", "TrustRow"]


class TrustRow(NamedTuple):
    """A row of the trust table; ``group`` is "" for an organisation on its own."""

    org: bytes
    level: str
    group: str
    since: int
    note: str


class Peer(NamedTuple):
    """A host that is talked to. ``pin``: SHA-256 of its SPKI, "" for a public CA."""

    org: bytes
    url: str
    pin: str
    name: str
    added: int
    data: str = "{}"


class Tables(Database):
    """The operator's tables."""

    def trust_rows(self) -> list[TrustRow]:
        """Return the trust table in order of the organisations' keys."""
        return [
            TrustRow(*row)
            for row in self.rows(
                "SELECT org, level, grp, since, note FROM trust ORDER BY org"
            )
        ]

    def level(self, org: bytes) -> str | None:
        """Return the level of an organisation, None if it is not in the table."""
        found = self.row("SELECT level FROM trust WHERE org=?", org)
        return None if found is None else str(found[0])

    def set_trust(
        self, org: bytes, level: str, *, now: int, group: str = "", note: str = ""
    ) -> None:
        """Set the level of an organisation; ``refused`` deletes all it wrote."""
        with self.writing():
            self.db.execute(
                "INSERT OR REPLACE INTO trust VALUES(?,?,?,?,?)",
                (org, level, group, now, note),
            )
            if level == "refused":
                self.drop(org)
            self.bump_epoch()

    def drop(self, org: bytes) -> None:
        """Delete every event of an organisation. Forks stay proven."""
        with self.writing():
            logs = "SELECT id FROM log WHERE org=?"
            events = f"SELECT n FROM ev WHERE log IN ({logs})"  # noqa: S608
            for sql in (
                f"DELETE FROM retract WHERE n IN ({events})",  # noqa: S608
                f"DELETE FROM intro WHERE n IN ({events})",  # noqa: S608
                f"DELETE FROM ev WHERE log IN ({logs})",  # noqa: S608
                "DELETE FROM log WHERE org=?",
                "DELETE FROM park WHERE org=?",
                "DELETE FROM quota WHERE org=?",
            ):
                self.db.execute(sql, (org,))
            self.forget()
            self.bump_epoch()

    def epoch(self) -> int:
        """Return a number that changes when old events may count differently.

        Trust, identities, forks: whoever keeps something computed from claims
        computes all of it again. New events do not change it.
        """
        return int(self.meta("epoch") or 0)

    def bump_epoch(self) -> None:
        """Change the epoch."""
        with self.writing():
            self.set_meta("epoch", self.epoch() + 1)

    def clear(self, org: bytes, *, now: int) -> None:
        """Let an organisation count again whose forks the operator has looked at."""
        with self.writing():
            self.db.execute("INSERT OR REPLACE INTO cleared VALUES(?,?)", (org, now))
            self.forget()
            self.bump_epoch()

    def peers(self) -> list[Peer]:
        """Return the peers in the order in which they were added."""
        return [
            Peer(*row)
            for row in self.rows(
                "SELECT org, url, pin, name, added, data FROM peer ORDER BY added, org"
            )
        ]

    def peer(self, org: bytes) -> Peer | None:
        """Return one peer."""
        found = self.row(
            "SELECT org, url, pin, name, added, data FROM peer WHERE org=?", org
        )
        return None if found is None else Peer(*found)

    def put_peer(self, peer: Peer) -> None:
        """Add or replace a peer."""
        with self.writing():
            self.db.execute("INSERT OR REPLACE INTO peer VALUES(?,?,?,?,?,?)", peer)

    def drop_peer(self, org: bytes) -> bool:
        """Remove a peer; return whether there was one."""
        with self.writing():
            done = self.db.execute("DELETE FROM peer WHERE org=?", (org,))
            return done.rowcount > 0

    def put_invite(self, secret: bytes, *, expires: int, data: str = "{}") -> None:
        """Remember an invitation under the hash of its one-time secret."""
        with self.writing():
            self.db.execute(
                "INSERT OR REPLACE INTO invite VALUES(?,?,?)", (secret, expires, data)
            )

    def take_invite(self, secret: bytes, *, now: int) -> str | None:
        """Use an invitation up and return its data; None if there is none."""
        with self.writing():
            self.db.execute("DELETE FROM invite WHERE expires<=?", (now,))
            found = self.row("SELECT data FROM invite WHERE secret=?", secret)
            self.db.execute("DELETE FROM invite WHERE secret=?", (secret,))
            return None if found is None else str(found[0])
