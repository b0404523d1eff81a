"""Several next hops: the one of a recipient, each with its own pool.

Without a route this is the common next hop and one test for an empty table. A pool
is made when the first mail needs it and closed when no route leads there any more;
a transaction that is open then ends on its connection.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from shaper.core.reply import Phase, Reply
from shaper.core.routes import RouteTable
from shaper.smtp.forward import NextHop
from shaper.smtp.send import send

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from shaper.core.envelope import Client, Envelope
    from shaper.core.routes import Route
    from shaper.smtp.settings import ForwardSettings

__all__ = ["ONE_HOP", "Hops"]

ONE_HOP = Reply(
    554,
    ("5.7.1 One hop only: mail that came from a friend goes to no other friend",),
    Phase.RCPT,
)

log = logging.getLogger(__name__)


class Hops:
    """The common next hop and those of routes."""

    def __init__(
        self, common: NextHop, reach: Callable[[Route], ForwardSettings]
    ) -> None:
        """``reach`` says how to reach a route's next hop; ValueError: not at all."""
        self.common = common
        self._reach = reach
        self._table = RouteTable()
        self._hops: dict[tuple[str, str], NextHop] = {}

    def __len__(self) -> int:
        """Return how many pools there are beside the common one."""
        return len(self._hops)

    def apply(self, table: RouteTable) -> None:
        """Use these routes from now on."""
        self._table = table
        wanted = {_key(route) for route in table.routes.values()}
        for key in [key for key in self._hops if key not in wanted]:
            self._hops.pop(key).close()

    def reload(self) -> None:
        """Reach the next hops as the configuration says now."""
        for hop in self._hops.values():
            hop.close()
        self._hops.clear()

    def of(self, address: str, sender: str = "") -> NextHop:
        """Return the next hop of a recipient, or of an envelope sender's mail."""
        if not self._table.routes:
            return self.common
        route = self._table.find(address, sender)
        if route is None:
            return self.common
        key = _key(route)
        hop = self._hops.get(key)
        if hop is None:
            try:
                hop = self._hops[key] = NextHop(self._reach(route))
            except ValueError as error:
                # Its mail would not go where the operator wants it, but it goes.
                log.error("route %s is not used: %s", route.pattern, error)
                return self.common
        # A friend takes no bounces (RFC 5321 4.5.5): refused there they were lost.
        return hop if sender or not hop.settings.friend else self.common

    def split(self, envelope: Envelope, positions: Sequence[int]) -> list[list[int]]:
        """Part recipients by their next hops, in order."""
        if not self._table.routes:
            return [list(positions)]
        parts: dict[int, list[int]] = {}
        for position in positions:
            hop = self.of(envelope.recipients[position].address, envelope.sender)
            parts.setdefault(id(hop), []).append(position)
        return list(parts.values())

    async def send(
        self,
        envelope: Envelope,
        client: Client,
        chunks: AsyncIterator[bytes],
        recipients: Sequence[int],
    ) -> tuple[dict[int, Reply], Reply]:
        """Send a part that ``split`` gave; see ``shaper.smtp.send``.

        If routes changed since, all of it still goes to one next hop.
        """
        hop = self.of(envelope.recipients[recipients[0]].address, envelope.sender)
        if client.friend and hop.settings.friend:
            return {}, ONE_HOP  # a route that came while the message was held
        return await send(hop, envelope, client, chunks, recipients)

    def close(self) -> None:
        """Close the pools of routes."""
        self.reload()


def _key(route: Route) -> tuple[str, str]:
    return route.hop, route.tls
