"""Where the federation daemon meets us in Redis: facts out, verdicts in.

The layout is told in docs/federation.md, "How shaper and federation meet". Facts
carry plain addresses; the federation daemon deletes each as soon as it is in its
own log, and what nobody fetches is bounded in number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shaper.core.ports import StateUnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from shaper.ledger.address import Client
    from shaper.ledger.connection import Connection
    from shaper.ledger.keys import Keys

__all__ = ["FederationLedger"]

_MOST_FACTS = 100_000
_MOST_SENDERS = 100_000
_DAYS_KEPT = 10 * 86400  # seconds


class FederationLedger:
    """Every method may raise StateUnavailableError."""

    def __init__(self, connection: Connection, keys: Keys) -> None:
        """Work on a ledger's connection."""
        self._connection = connection
        self._keys = keys

    async def put_facts(self, facts: Sequence[bytes]) -> None:
        """Append facts (JSON objects) to the stream, the oldest of too many lost."""
        key = self._keys.federation("facts")

        async def work(client: Client) -> None:
            pipeline = client.pipeline(transaction=False)
            for fact in facts:
                pipeline.execute_command(
                    "XADD", key, "MAXLEN", "~", str(_MOST_FACTS), "*", "f", fact
                )
            await pipeline.execute()

        await self._connection.call(work, key)

    async def alive(self) -> bool:
        """Whether the federation daemon was there within the last minutes."""
        key = self._keys.federation("alive")
        return bool(await self._connection.command("EXISTS", key))

    async def peppers(self) -> list[bytes]:
        """Return the peppers under which tags are made, as base64url text."""
        key = self._keys.federation("peppers")
        found = await self._connection.command("HVALS", key)
        return [bytes(one) for one in found]

    async def recipients(self, tags: Sequence[str]) -> list[bytes]:
        """Return the verdict on each tag, b"" where there is none."""
        key = self._keys.federation("recipients")
        found = await self._connection.hot("HMGET", key, *tags)
        return [bytes(one or b"") for one in found]

    async def senders(self) -> dict[str, bytes]:
        """Return the signals about senders by tag. Raises when they are too many."""
        key = self._keys.federation("senders")
        if int(await self._connection.command("HLEN", key)) > _MOST_SENDERS:
            raise StateUnavailableError(f"{key} is longer than any federation")
        found = await self._all(key)
        return {tag.decode("ascii", "replace"): raw for tag, raw in found.items()}

    async def count(self, day: str, counts: Mapping[str, int]) -> None:
        """Add to the host's numbers of a UTC day."""
        key = self._keys.federation(f"day:{day}")

        async def work(client: Client) -> None:
            pipeline = client.pipeline(transaction=True)
            for name, number in counts.items():
                pipeline.execute_command("HINCRBY", key, name, str(number))
            pipeline.execute_command("EXPIRE", key, str(_DAYS_KEPT))
            await pipeline.execute()

        await self._connection.call(work, key)

    async def counted(self, day: str) -> dict[str, int]:
        """Return the host's numbers of a UTC day."""
        key = self._keys.federation(f"day:{day}")
        found = await self._all(key)
        try:
            return {name.decode(): int(number) for name, number in found.items()}
        except ValueError as error:
            raise StateUnavailableError(f"Redis key {key} is damaged") from error

    async def _all(self, key: str) -> dict[bytes, bytes]:
        """Return a whole hash; RESP2 and RESP3 give it in different forms."""
        found: Any = await self._connection.command("HGETALL", key)
        if isinstance(found, dict):
            return found
        return dict(zip(found[::2], found[1::2], strict=True))
