"""The suppression list in Redis: one key per address, and a stream of changes.

An entry is one key, changed by compare and set, named by the BLAKE2b digest of the
folded address; the value is the engine's. Each change leaves the digest on a capped
stream, so that other instances refresh their index; whoever was away for longer
than the stream reaches reads all names again. The stream is written after the
entry: a crash between the two costs the others an address until their next reload.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shaper.core.ports import SuppressedChanges
from shaper.ledger.keys import text
from shaper.ledger.scripts import SUPPRESS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from typing import Any

    from shaper.ledger.address import Client
    from shaper.ledger.connection import Connection
    from shaper.ledger.keys import Keys

__all__ = ["Suppressed"]

_PAGE = 1_000
_BATCH = 500  # entries of one round trip of an import
_STREAM = 100_000  # changes that are remembered
_ALL = b"*"  # stands for "read everything again"


class Suppressed:
    """Entries by digest. Every method may raise StateUnavailableError."""

    def __init__(self, connection: Connection, keys: Keys) -> None:
        """Work on a ledger's connection."""
        self._connection = connection
        self._keys = keys

    async def get(self, name: str) -> bytes:
        """Return an entry, b"" when there is none."""
        return bytes(
            await self._connection.hot("GET", self._keys.suppressed(name)) or b""
        )

    async def swap(
        self, name: str, expected: bytes, new: bytes, ttl: int = 0
    ) -> tuple[bool, bytes]:
        """Replace an entry if it is still ``expected``; b"" means none.

        ``ttl`` in seconds, 0 for ever. Returns (True, b"") or (False, the current
        one). Idempotent.
        """
        key = self._keys.suppressed(name)
        done, current = await self._connection.run(
            SUPPRESS, (key,), expected, new, str(ttl)
        )
        if done:
            await self._tell(name.encode())
        return bool(done), bytes(current)

    async def put_new(self, entries: Mapping[str, bytes]) -> list[str]:
        """Store entries of addresses without one; return the names that have one.

        Tell the others with ``announce`` after the last batch.
        """
        names = list(entries)
        taken: list[str] = []
        for at in range(0, len(names), _BATCH):
            page = names[at : at + _BATCH]

            async def work(client: Client, page: list[str] = page) -> list[Any]:
                pipeline = client.pipeline(transaction=False)
                for name in page:
                    key = self._keys.suppressed(name)
                    pipeline.execute_command("SET", key, entries[name], "NX")
                return list(await pipeline.execute())

            answers = await self._connection.call(work, "imported entries")
            taken += [n for n, done in zip(page, answers, strict=True) if not done]
        return taken

    async def announce(self) -> None:
        """Have every instance read all names again."""
        await self._tell(_ALL)

    async def _tell(self, name: bytes) -> None:
        key = self._keys.suppressed_stream
        await self._connection.command(
            "XADD", key, "MAXLEN", "~", _STREAM, "*", "d", name
        )

    async def changes(self, after: str) -> SuppressedChanges:
        """Return what changed behind a position ("" asks only for the position)."""
        key = self._keys.suppressed_stream
        newest = await self._connection.command("XREVRANGE", key, "+", "-", "COUNT", 1)
        if not newest:
            return SuppressedChanges("", [], bool(after))
        last = text(newest[0][0])
        if not after or last == after:
            return SuppressedChanges(last, [], not after)
        # From the position itself: if it is there, nothing in between was trimmed.
        found: list[str] = []
        start, first = after, True
        while True:
            page = await self._connection.command(
                "XRANGE", key, start, "+", "COUNT", _PAGE
            )
            if first and (not page or text(page[0][0]) != after):
                return SuppressedChanges(last, [], reload=True)
            names = [bytes(fields.get(b"d", b"")) for _, fields in page]
            names = names[1:] if first else names
            if _ALL in names:
                return SuppressedChanges(last, [], reload=True)
            found += [name.decode("ascii", "replace") for name in names]
            if len(page) < _PAGE:
                position = text(page[-1][0]) if page else last
                return SuppressedChanges(position, found, reload=False)
            start, first = f"({text(page[-1][0])}", False

    async def names(self) -> AsyncIterator[list[str]]:
        """Yield the digests of all entries in pages; one may come twice."""
        async for page in self._scan():
            yield [text(key).rpartition(":")[2] for key in page]

    async def entries(self) -> AsyncIterator[Sequence[tuple[str, bytes]]]:
        """Yield digest and value of all entries in pages; one may come twice."""
        async for page in self._scan():

            async def work(client: Client, page: list[bytes] = page) -> list[Any]:
                pipeline = client.pipeline(transaction=False)
                for key in page:
                    pipeline.execute_command("GET", key)
                return list(await pipeline.execute())

            values = await self._connection.call(work, "suppression list")
            yield [
                (text(key).rpartition(":")[2], bytes(value))
                for key, value in zip(page, values, strict=True)
                if value
            ]

    async def _scan(self) -> AsyncIterator[list[bytes]]:
        keys: AsyncIterator[bytes] | None = None

        async def page(client: Client) -> list[bytes]:
            nonlocal keys
            if keys is None:
                keys = client.scan_iter(match=self._keys.all_suppressed, count=_PAGE)
            found = []
            async for key in keys:
                found.append(key)
                if len(found) >= _PAGE:
                    break
            return found

        while found := await self._connection.call(page, "suppression list"):
            yield found
