"""The ledger as the engine sees it: typed values over keys and scripts.

What Redis holds may be lost, old or damaged at any time; every method then
raises StateUnavailableError and the engine goes on from journal and spool. The
layout of the keys is told in ``shaper.ledger.keys``.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Self

from shaper.core.ports import StateUnavailableError
from shaper.ledger.address import client_for
from shaper.ledger.connection import Connection
from shaper.ledger.federation import FederationLedger
from shaper.ledger.keys import INDEXED, Keys, octets, text
from shaper.ledger.routes import Routes
from shaper.ledger.scripts import CASE, EPOCH, SAVE, SLOT
from shaper.ledger.sent import SentLedger
from shaper.ledger.suppressed import Suppressed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from typing import Any

    from shaper.ledger.address import Client

__all__ = ["RedisLedger"]

_DAY = 86_400
# An instance that was away for more orders than this misses the oldest; its own
# journal has none of them. Facts are read by one daemon within seconds.
_MOST_ORDERS = 10_000
_PAGE = 1_000
_LONGEST_PAUSE = 7.0 * _DAY
_EPOCH_KEPT = 7 * _DAY


class RedisLedger:
    """Implements the port ``Ledger``."""

    def __init__(self, connection: Connection, keys: Keys, case_days: int) -> None:
        """``case_days`` is how long a part of a case is kept after its last change."""
        self.suppressed = Suppressed(connection, keys)
        self.routes = Routes(connection, keys)
        self.federation = FederationLedger(connection, keys)
        self.sent = SentLedger(connection, keys)
        self._connection = connection
        self._keys = keys
        self._case_seconds = case_days * _DAY
        self._epoch = ""  # the mark that was set last

    @classmethod
    def connect(
        cls,
        url: str,
        *,
        prefix: str = "mailshaper",
        timeout: float = 1.0,
        case_days: int = 90,
    ) -> Self:
        """Prepare a ledger; the first call connects. Raises ValueError for the URL."""
        connection = Connection(client_for(url, timeout), timeout)
        return cls(connection, Keys(prefix), case_days)

    async def close(self) -> None:
        """Close all connections."""
        await self._connection.close()

    async def ping(self) -> None:
        """Return when Redis answers. Raises StateUnavailableError."""
        await self._connection.command("PING")

    # -- senders

    async def load(self, sender: str) -> tuple[int, bytes]:
        """Return version and record of a sender, (0, b"") when it is new."""
        key = self._keys.record(sender)
        stored = await self._connection.hot("GET", key)
        if stored is None:
            return 0, b""
        head, newline, record = bytes(stored).partition(b"\n")
        version, _, _state = head.partition(b" ")
        if not newline or not version.isdigit():
            raise StateUnavailableError(
                f"Redis key {key} is damaged; delete it to have the record rebuilt"
            )
        return int(version), record

    async def save(
        self, sender: str, version: int, record: bytes, state: str
    ) -> tuple[bool, int, bytes]:
        """Compare and set, in one round trip; see the port."""
        keys = (self._keys.record(sender), *self._keys.of_state(sender))
        name = octets(sender)
        done, now, current = await self._connection.run(
            SAVE, keys, str(version), record, state, name, *INDEXED
        )
        return bool(done), int(now), bytes(current)

    async def senders(self, state: str) -> list[str]:
        """Return the senders indexed under ``slowed`` or ``blocked``."""
        if state not in INDEXED:
            raise ValueError(f"senders are not indexed by the state {state!r}")

        async def work(client: Client) -> list[Any]:
            pipeline = client.pipeline(transaction=False)
            for key in self._keys.index(state):
                pipeline.execute_command("SMEMBERS", key)
            return list(await pipeline.execute())

        parts = await self._connection.call(work, f"index of {state}")
        return sorted(text(name) for part in parts for name in part)

    async def take_slot(self, sender: str, now: float, pause: float) -> float:
        """Claim the sender's next trickle release over all instances."""
        bounded = min(max(pause, 0.0), _LONGEST_PAUSE)
        wait = await self._connection.run(
            SLOT,
            (self._keys.slot(sender),),
            int(now * 1e6),
            int(bounded * 1e6),
            secrets.token_hex(8),
        )
        return int(wait) / 1e6

    async def forget(self, sender: str) -> None:
        """Remove every key of a sender and its parts of cases."""
        keys = self._keys
        name = octets(sender)
        await self._connection.command("DEL", keys.record(sender), keys.slot(sender))
        for index in keys.of_state(sender):
            await self._connection.command("SREM", index, name)
        own = keys.cases_of(sender)
        for case_id in await self._connection.command("SMEMBERS", own):
            await self._connection.command("DEL", keys.case(text(case_id)))
            await self._connection.command("ZREM", keys.case_index, case_id)
        await self._connection.command("DEL", own)

    async def records(self) -> AsyncIterator[list[bytes]]:
        """Yield the records of all senders in pages, for work in the background.

        A record that changes meanwhile may come in either form.
        """
        keys: AsyncIterator[bytes] | None = None

        async def page(client: Client) -> list[bytes] | None:
            nonlocal keys
            if keys is None:
                keys = client.scan_iter(match=self._keys.all_records, count=_PAGE)
            names = []
            async for name in keys:
                names.append(name)
                if len(names) >= _PAGE:
                    break
            if not names:
                return None
            pipeline = client.pipeline(transaction=False)
            for name in names:
                pipeline.execute_command("GET", name)
            values = await pipeline.execute()
            return [bytes(value).partition(b"\n")[2] for value in values if value]

        while (found := await self._connection.call(page, "records")) is not None:
            yield found

    # -- logins of the MTA's queue ids

    async def put_login(self, queue_id: str, login: str, ttl: float) -> None:
        """Remember which login owns an MTA queue id."""
        milliseconds = max(1, int(ttl * 1000))
        key = self._keys.login(queue_id)
        await self._connection.hot("SET", key, octets(login), "PX", milliseconds)

    async def get_login(self, queue_id: str) -> str | None:
        """Return the login of a queue id."""
        login = await self._connection.hot("GET", self._keys.login(queue_id))
        return None if login is None else text(login)

    # -- cases

    async def put_case(self, case_id: str, sender: str, body: bytes) -> None:
        """Store an instance's part of a case; it expires ``case_days`` later."""
        keys = self._keys
        await self._connection.run(
            CASE,
            (keys.case(case_id), keys.case_index, keys.cases_of(sender)),
            octets(case_id),
            body,
            self._case_seconds,
        )

    async def cases(self) -> list[bytes]:
        """Return all stored parts of cases, the ones changed longest ago first."""
        index = self._keys.case_index
        ids = await self._connection.command("ZRANGE", index, 0, -1)
        bodies: list[bytes] = []
        for at in range(0, len(ids), _PAGE):
            page = [self._keys.case(text(one)) for one in ids[at : at + _PAGE]]
            found = await self._connection.command("MGET", *page)
            bodies += [bytes(body) for body in found if body is not None]
        return bodies

    # -- held mail of all instances

    async def put_held(self, instance: str, message_id: str, body: bytes) -> None:
        """Index a held message for the other instances."""
        key = self._keys.held(instance)

        async def work(client: Client) -> None:
            pipeline = client.pipeline(transaction=False)
            pipeline.execute_command("HSET", key, octets(message_id), body)
            pipeline.execute_command("SADD", self._keys.instances, octets(instance))
            await pipeline.execute()

        await self._connection.call(work, key)

    async def drop_held(self, instance: str, message_id: str) -> None:
        """Take a message out of the index."""
        key = self._keys.held(instance)
        await self._connection.command("HDEL", key, octets(message_id))

    async def held(self, besides: str = "") -> dict[str, dict[str, bytes]]:
        """Return the index of held mail, by instance and id, one left out."""
        found: dict[str, dict[str, bytes]] = {}
        names = await self._connection.command("SMEMBERS", self._keys.instances)
        for name in sorted(names):
            instance = text(name)
            mail = {} if instance == besides else await self._held_of(instance)
            if mail:
                found[instance] = mail
        return found

    async def _held_of(self, instance: str) -> dict[str, bytes]:
        """Read in pages: no reply of many megabytes stalls Redis or this loop."""
        key = self._keys.held(instance)
        mail: dict[str, bytes] = {}
        cursor: int | bytes = 0
        while True:
            cursor, page = await self._connection.command(
                "HSCAN", key, cursor, "COUNT", _PAGE
            )
            mail |= {text(one): bytes(body) for one, body in page.items()}
            if not int(cursor):
                return mail

    # -- orders and facts

    async def put_order(self, body: bytes) -> str:
        """Append an operator's order; return its position."""
        return await self._append(self._keys.orders, _MOST_ORDERS, "order", body)

    async def orders(self, after: str) -> list[tuple[str, bytes]]:
        """Return the orders behind a position ("" from the start).

        A position that lies behind the last entry is of a stream that was lost:
        the new one is then read from its start (orders are recognised by their
        ids). The stream keeps about the last 10,000 orders.
        """
        found: list[tuple[str, bytes]] = []
        start = f"({after}" if after else "-"
        while True:
            page, last = await self._orders_page(start)
            if after and not page and last and _position(last) < _position(after):
                after, start = "", "-"
                continue
            found += page
            if len(page) < _PAGE:
                return found
            start = f"({page[-1][0]}"

    async def _orders_page(self, start: str) -> tuple[list[tuple[str, bytes]], str]:
        """Return orders from a position, and the last position there is."""
        key = self._keys.orders

        async def work(client: Client) -> list[Any]:
            pipeline = client.pipeline(transaction=False)
            pipeline.execute_command("XRANGE", key, start, "+", "COUNT", _PAGE)
            pipeline.execute_command("XREVRANGE", key, "+", "-", "COUNT", 1)
            return list(await pipeline.execute())

        entries, newest = await self._connection.call(work, key)
        page = [(text(at), bytes(fields.get(b"order", b""))) for at, fields in entries]
        return page, text(newest[0][0]) if newest else ""

    async def _append(self, key: str, most: int, *fields: str | bytes) -> str:
        position = await self._connection.command(
            "XADD", key, "MAXLEN", "~", most, "*", *fields
        )
        return text(position)

    # -- the mark that shows a loss of data

    async def claim(self, what: str, instance: str, seconds: int) -> bool:
        """Have one instance do a thing: True for the first that asks, again too."""
        key, own = self._keys.claim(what), octets(instance)
        if await self._connection.hot("SET", key, own, "NX", "EX", seconds):
            return True
        return bool(await self._connection.hot("GET", key) == own)

    async def claim_epoch(self, token: str) -> bool:
        """Set an instance's mark anew; True when that of the call before was not there.

        Then Redis was emptied or is older than that, or its last answer was lost.
        """
        call = secrets.token_hex(8)
        new = await self._connection.run(
            EPOCH, (self._keys.epoch(token),), call, _EPOCH_KEPT, self._epoch
        )
        self._epoch = call
        return bool(new)


def _position(entry: str) -> tuple[int, ...]:
    return tuple(int(part) for part in entry.split("-"))
