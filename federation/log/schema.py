"""The tables of the one SQLite file, and how it is opened.

``ev`` holds every event as received; a row without ``raw`` is a stub. ``n`` is the
order of arrival, never used twice. ``log`` sums up each log; ``stop`` is the last
number that counts. What is derived from events (``tag``, ``retract``, ``intro``,
``fork``, ``stop``) can be computed again from the lines.

WAL: readers never wait. Own events are committed with synchronous=FULL, others
with NORMAL, since they can be had again from those who sent them.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["VERSION", "connect"]

VERSION = 1

_TABLES = """
CREATE TABLE meta(k TEXT PRIMARY KEY, v) WITHOUT ROWID;
CREATE TABLE log(
  id INTEGER PRIMARY KEY, key BLOB NOT NULL, st TEXT NOT NULL, inc INTEGER NOT NULL,
  org BLOB NOT NULL, floor INTEGER NOT NULL, floor_id BLOB NOT NULL,
  head INTEGER NOT NULL, head_id BLOB NOT NULL, head_ts INTEGER NOT NULL,
  stop INTEGER NOT NULL, changed INTEGER NOT NULL, UNIQUE(key, st, inc));
CREATE INDEX log_org ON log(org);
CREATE INDEX log_changed ON log(changed);
CREATE TABLE ev(
  n INTEGER PRIMARY KEY AUTOINCREMENT, log INTEGER NOT NULL, seq INTEGER NOT NULL,
  id BLOB NOT NULL, ts INTEGER NOT NULL, recv INTEGER NOT NULL, k TEXT, tag BLOB,
  weight INTEGER NOT NULL, raw BLOB, sig BLOB);
CREATE UNIQUE INDEX ev_id ON ev(id);
CREATE UNIQUE INDEX ev_place ON ev(log, seq);
CREATE INDEX ev_tag ON ev(tag) WHERE tag IS NOT NULL;
CREATE INDEX ev_kind ON ev(k, ts) WHERE (k<'rcpt' OR k>'rcpt/');
CREATE INDEX ev_stub ON ev(log) WHERE raw IS NULL;
CREATE TABLE retract(
  target BLOB, n INTEGER, erase INTEGER, PRIMARY KEY(target, n)) WITHOUT ROWID;
CREATE INDEX retract_n ON retract(n);
CREATE TABLE intro(
  peer BLOB, n INTEGER, by BLOB, ts INTEGER, PRIMARY KEY(peer, n)) WITHOUT ROWID;
CREATE INDEX intro_by ON intro(by, ts);
CREATE TABLE fork(
  key BLOB, st TEXT, inc INTEGER, seq INTEGER NOT NULL, org BLOB NOT NULL,
  other BLOB NOT NULL, a BLOB NOT NULL, b BLOB NOT NULL, seen INTEGER NOT NULL,
  told INTEGER NOT NULL,
  PRIMARY KEY(key, st, inc));
CREATE TABLE cleared(org BLOB PRIMARY KEY, at INTEGER NOT NULL);
CREATE TABLE trust(
  org BLOB PRIMARY KEY, level TEXT NOT NULL, grp TEXT NOT NULL,
  since INTEGER NOT NULL, note TEXT NOT NULL);
CREATE TABLE peer(
  org BLOB PRIMARY KEY, url TEXT NOT NULL, pin TEXT NOT NULL, name TEXT NOT NULL,
  added INTEGER NOT NULL, data TEXT NOT NULL);
CREATE TABLE invite(secret BLOB PRIMARY KEY, expires INTEGER, data TEXT NOT NULL);
CREATE TABLE park(
  id BLOB PRIMARY KEY, org BLOB NOT NULL, key BLOB NOT NULL, st TEXT NOT NULL,
  inc INTEGER NOT NULL, seq INTEGER NOT NULL, ts INTEGER NOT NULL,
  why TEXT NOT NULL, line BLOB NOT NULL, since INTEGER NOT NULL);
CREATE INDEX park_org ON park(org, why);
CREATE TABLE quota(
  org BLOB, bucket TEXT, used REAL, at INTEGER, PRIMARY KEY(org, bucket));
"""


def connect(path: Path | str) -> sqlite3.Connection:
    """Open the file, with its tables. A file of a later version is refused."""
    db = sqlite3.connect(
        path, timeout=30, isolation_level=None, check_same_thread=False
    )
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=NORMAL")
    db.execute("PRAGMA cache_size=-32768")
    # Ids and tags are random, so a batch touches pages all over the indexes: written
    # back every 16 MB of the log, most pages have gathered several changes. Others'
    # events of these 16 MB may be lost with the power, and are fetched again.
    db.execute("PRAGMA wal_autocheckpoint=4000")
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version == 0:
        # Two processes may open a new file at once: only one makes the tables.
        db.execute("BEGIN IMMEDIATE")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version == 0:
            for statement in _TABLES.split(";\n"):
                if statement.strip():
                    db.execute(statement)
            db.execute(f"PRAGMA user_version={VERSION}")
            version = VERSION
        db.execute("COMMIT")
    if version != VERSION:
        db.close()
        raise ValueError(
            f"{path}: written by another version ({version}, this one knows "
            f"{VERSION}); install the version of mailshaper that wrote it"
        )
    return db
