"""One connection to the SQLite file, and its transactions.

Everything that writes does so inside ``writing()``: BEGIN IMMEDIATE, so what is
read inside is true until it is committed, also with another process (the command
line beside the daemon) on the same file. Transactions nest; the outermost commits.
One lock makes a connection safe for several threads of one process.

What is cached between transactions is dropped as soon as another connection has
written (``PRAGMA data_version``) or a transaction failed.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from array import array
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from federation.log.schema import connect

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CHUNK", "Database", "StoreFull"]

CHUNK = 500  # SQL parameters in one statement
# FS_IOC_GETVERSION, _IOR('v', 1, long) of Linux' include/uapi/linux/fs.h.
_GET_GENERATION = 0x80007601 | (array("l").itemsize << 16)


class StoreFull(Exception):  # noqa: N818 - the name says what happened
    """The disk or the file's page limit is full: nothing of the batch was kept."""


class Database:
    """The file, its transactions, and its key-value table."""

    def __init__(self, path: Path | str) -> None:
        self.path = str(path)
        self.db = connect(path)
        self.lock = threading.RLock()
        self._depth = 0
        self._durable = False
        self._looked = False
        self._seen = self._data_version()
        with self.writing():
            self.id = str(self.meta("store") or os.urandom(8).hex())
            self.set_meta("store", self.id)
            self.set_meta("place", self.meta("place") or self._place())

    def close(self) -> None:
        """Close the connection."""
        self.db.close()

    @contextmanager
    def writing(self, *, durable: bool = False) -> Iterator[None]:
        """Do what is inside in one transaction; ``durable``: flushed to the disk.

        Raises StoreFull where the disk is full. After any exception nothing of
        the transaction is stored.
        """
        with self.lock:
            if self._depth:
                if durable and not self._durable:
                    raise RuntimeError("a durable write inside one that is not")
                yield
                return
            self.db.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self.db.execute("BEGIN IMMEDIATE")
            self._depth, self._durable = 1, durable
            try:
                self.look()
                self._looked = True  # inside a transaction nobody else writes
                yield
                self.flush()
                self.db.execute("COMMIT")
            except BaseException as problem:
                if self.db.in_transaction:  # SQLite may have rolled back by itself
                    self.db.execute("ROLLBACK")
                self.forget()
                if _is_full(problem):
                    raise StoreFull(f"{self.path}: {problem}") from problem
                raise
            finally:
                self._depth, self._durable, self._looked = 0, False, False

    def look(self) -> None:
        """Drop caches if another connection has written since the last look."""
        if self._looked:
            return
        version = self._data_version()
        if version != self._seen:
            self._seen = version
            self.forget()

    def forget(self) -> None:
        """Drop what is cached. Subclasses add theirs."""

    def flush(self) -> None:
        """Write what is pending, before a commit. Subclasses add theirs."""

    def rows(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Return all rows of a query."""
        with self.lock:
            return self.db.execute(sql, parameters).fetchall()

    def row(self, sql: str, *parameters: object) -> tuple[Any, ...] | None:
        """Return the first row of a query."""
        with self.lock:
            found: tuple[Any, ...] | None = self.db.execute(sql, parameters).fetchone()
            return found

    def among(self, sql: str, values: list[bytes]) -> Iterator[tuple[Any, ...]]:
        """Yield rows of a query with ``IN (?)``, for any number of values."""
        for start in range(0, len(values), CHUNK):
            part = values[start : start + CHUNK]
            yield from self.rows(_marked(sql, len(part)), *part)

    def meta(self, name: str) -> Any:  # noqa: ANN401 - whatever was put there
        """Return a stored value, None if there is none."""
        found = self.row("SELECT v FROM meta WHERE k=?", name)
        return None if found is None else found[0]

    def set_meta(self, name: str, value: str | int | bytes) -> None:
        """Store a value under a name, in the transaction that is open or its own."""
        with self.writing(durable=self._durable):
            self.db.execute("INSERT OR REPLACE INTO meta VALUES(?,?)", (name, value))

    @property
    def moved(self) -> bool:
        """Whether the file is another one than where it was written: a copy.

        A restored backup and a copied machine differ in the inode. A snapshot of
        a whole disk does not: that is for the peers to tell (own.OwnLog.behind).
        """
        return bool(self.meta("place") != self._place())

    def settle(self) -> None:
        """Call this place the store's own, after the own log was opened anew."""
        self.set_meta("place", self._place())

    def _place(self) -> str:
        if self.path == ":memory:":
            return self.path
        # Not the number of the device: with btrfs, ZFS or LVM each start of the
        # machine may give another, and a log has few incarnations to spend.
        # The number of an inode is used again at once, a generation is not. That of
        # the directory: to open the file and close it would take SQLite's locks away
        # (fcntl(2): the process loses them all), and a restored tree has a new one.
        path = Path(self.path)
        file = f"{path.stat().st_ino}.{_generation(path.parent)}"
        return f"{os.statvfs(path).f_fsid}:{file}"

    def _data_version(self) -> int:
        (version,) = self.db.execute("PRAGMA data_version").fetchone()
        return int(version)


def _generation(path: Path) -> int:
    """Return the generation of an inode, 0 where its file system tells none."""
    number = array("l", [0])
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(descriptor, _GET_GENERATION, number)
    except OSError:
        return 0
    finally:
        os.close(descriptor)
    return number[0] & 0xFFFFFFFF


@cache
def _marked(sql: str, count: int) -> str:
    return sql.replace("(?)", f"({','.join('?' * count)})")


def _is_full(problem: BaseException) -> bool:
    if not isinstance(problem, sqlite3.OperationalError):
        return False
    code = getattr(problem, "sqlite_errorcode", 0)
    # A write error of a full disk shows as SQLITE_FULL, rarely as an I/O error.
    return code == sqlite3.SQLITE_FULL or (code & 0xFF) == sqlite3.SQLITE_IOERR
