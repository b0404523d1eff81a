"""Routes: what operators ask, where it is kept, how instances follow each other.

The table is one value with a version in Redis. Each change, also one that another
instance made, is journaled whole, so that a restart needs no Redis and a Redis that
lost it gets it back: the higher version wins. A change made while Redis is away
counts here at once and is told to the others when it is back; of two such changes
on two instances the one with the higher version stays, and of equals that in Redis.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

from shaper.core.ports import StateUnavailableError
from shaper.core.routes import Route, RouteTable, pattern
from shaper.engine.control import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from shaper.core.ports import RouteStore
    from shaper.engine.context import Context
    from shaper.engine.control import Change

__all__ = ["Routes"]

log = logging.getLogger(__name__)

_ROUNDS = 10  # of compare and set against other instances
_USAGE = 64
_TLS = ("none", "starttls", "implicit")
_MOST = 1000  # routes; more is a transport map's work


class Routes:
    """The routes of an instance."""

    def __init__(self, context: Context, store: RouteStore) -> None:
        """``store`` is what all instances share."""
        self.table = RouteTable()
        # Hears each new table.
        self.on_change: Callable[[RouteTable], None] = lambda _table: None
        # Raises ValueError for a next hop that cannot be, such as ourselves.
        self.check: Callable[[Route], object] = lambda _route: None
        self._context = context
        self._store = store

    def restore(self, lines: Iterable[dict[str, Any]]) -> None:
        """Take the newest table of the journal's lines."""
        for line in lines:
            try:
                table = RouteTable.from_json(line["table"])
            except (KeyError, ValueError) as error:
                log.error("a journal line about routes is damaged: %s", error)
                continue
            if table.version >= self.table.version:
                self.table = table
        self.on_change(self.table)

    def rows(self) -> dict[str, Any]:
        """Return the table as plain data."""
        return self.table.to_json()

    async def add(
        self, change: Change, name: str, hop: str, tls: str = ""
    ) -> dict[str, Any]:
        """Send the mail for a domain or group to another next hop."""
        change.check()
        if tls and tls not in _TLS:
            raise RefusedError(f"tls is one of {', '.join(_TLS)}", code=_USAGE)
        now = self._context.clock()
        try:
            route = Route(
                pattern(name), hop, tls or "none", change.by, change.reason, now
            )
            self.check(route)
        except ValueError as error:
            raise RefusedError(str(error), code=_USAGE) from error
        before = self.table.routes.get(route.pattern)
        if before is None and len(self.table.routes) >= _MOST:
            raise RefusedError(f"there are {_MOST} routes already")
        if not change.dry_run:
            await self._change(lambda table: table.put(route), change, route.pattern)
        return {
            "route": route.pattern,
            "next_hop": hop,
            "tls": route.tls,
            "was": before.hop if before else None,
        }

    async def remove(self, change: Change, name: str) -> dict[str, Any]:
        """Let the mail for a domain or group go the common way again."""
        change.check()
        try:
            name = pattern(name)
        except ValueError as error:
            raise RefusedError(str(error), code=_USAGE) from error
        before = self.table.routes.get(name)
        if before is None:
            raise RefusedError(
                f"there is no route for {name}", "`mailshaper route list` shows them"
            )
        if not change.dry_run:
            await self._change(lambda table: table.without(name), change, name)
        return {"route": name, "was": before.hop}

    async def _change(
        self, apply: Callable[[RouteTable], RouteTable], change: Change, name: str
    ) -> None:
        fields = {
            "route": name, "by": change.by, "reason": change.reason, "id": change.id
        }  # fmt: skip
        try:
            for _ in range(_ROUNDS):
                raw = await self._store.get()
                base = max(
                    RouteTable.decode(raw), self.table, key=lambda one: one.version
                )
                new = apply(base)
                done, _ = await self._store.swap(raw, _encode(new))
                if done:
                    break
            else:
                raise RefusedError("the routes are changed by others too fast", code=75)
        except StateUnavailableError as error:
            log.warning("a change of routes is not told to the others yet: %s", error)
            new = apply(self.table)
        await self._take(new, **fields)

    async def _take(self, table: RouteTable, **fields: Any) -> None:  # noqa: ANN401
        """Use a table from now on, and write it down."""
        self.table = table
        self.on_change(table)
        await self._context.audit.append("route", table=table.to_json(), **fields)

    async def refresh(self) -> None:
        """Follow the others, or give back what Redis lost.

        Raises StateUnavailableError.
        """
        raw = await self._store.get()
        shared = RouteTable.decode(raw)
        if shared.version < self.table.version:
            await self._store.swap(raw, _encode(self.table))
        elif shared != self.table:
            log.info("routes changed by another instance: %d", len(shared.routes))
            await self._take(shared)


def _encode(table: RouteTable) -> bytes:
    return json.dumps(table.to_json(), separators=(",", ":")).encode()
