"""The table of routes in Redis: one value, changed by compare and set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shaper.ledger.scripts import SUPPRESS

if TYPE_CHECKING:
    from shaper.ledger.connection import Connection
    from shaper.ledger.keys import Keys

__all__ = ["Routes"]


class Routes:
    """Every method may raise StateUnavailableError."""

    def __init__(self, connection: Connection, keys: Keys) -> None:
        """Work on a ledger's connection."""
        self._connection = connection
        self._key = keys.routes

    async def get(self) -> bytes:
        """Return the table, b"" when there is none."""
        return bytes(await self._connection.command("GET", self._key) or b"")

    async def swap(self, expected: bytes, new: bytes) -> tuple[bool, bytes]:
        """Replace the table if it is still ``expected``; b"" means none.

        Returns (True, b"") or (False, the current one). Idempotent.
        """
        # The same compare and set as that of a suppressed address, kept for ever.
        done, current = await self._connection.run(
            SUPPRESS, (self._key,), expected, new, "0"
        )
        return bool(done), bytes(current)
