"""Carries operators' orders out, on this instance's held mail, exactly once.

An order is first a line in the journal and an entry in Redis (for the other
instances), then carried out, then noted as done. A crash in between repeats it,
which changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from shaper.core.filter import parse
from shaper.core.message import RecipientFate
from shaper.core.order import Order, OrderAction
from shaper.core.ports import SpoolCorruptError, StateUnavailableError
from shaper.engine.heldmail import Lane

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from shaper.core.message import HeldMessage
    from shaper.engine.context import Context
    from shaper.engine.heldmail import HeldMail
    from shaper.engine.trickle import Trickle

__all__ = ["Orders", "selector"]

log = logging.getLogger(__name__)

_FATES = {
    OrderAction.DROP: RecipientFate.DROPPED,
    OrderAction.BOUNCE: RecipientFate.BOUNCED,
}


def selector(order: Order, now: float) -> Callable[[HeldMessage], bool]:
    """Return what tells whether an order names a message; ``now`` in Unix seconds.

    Mail that came later than now came before the clock was set back.
    """
    wanted = parse(order.filter) if order.filter else None

    def names(message: HeldMessage) -> bool:
        received = message.submission.received
        return (
            not message.notice
            and (received <= order.at or received > now >= order.at)
            and (not order.sender or message.submission.sender == order.sender)
            and (wanted is None or wanted.matches(message, order.at))
            # What an order freed stays with that order; it may still be thrown away.
            and not (order.action is OrderAction.RELEASE and message.order)
            and not (order.action is OrderAction.HOLD and not message.order)
        )

    return names


class Orders:
    """Orders by id, with what is still to do."""

    def __init__(self, context: Context, held: HeldMail, trickle: Trickle) -> None:
        """Start empty; ``restore`` brings back what the journal knows."""
        self._context = context
        self._held = held
        self._trickle = trickle
        self._done: set[str] = set()
        self._given: dict[str, float] = {}
        self._running: set[str] = set()
        self._pending: dict[str, Order] = {}
        self._unsent: dict[str, Order] = {}
        self._position = ""
        # An operator's request and a round of upkeep may meet over one order.
        self._one = asyncio.Lock()

    def restore(self, lines: Iterable[dict[str, Any]]) -> None:
        """Take over the journal's ``order`` and ``order-done`` lines."""
        for line in lines:
            if line["event"] == "order-done":
                self._done.add(str(line["id"]))
                self._pending.pop(str(line["id"]), None)
                continue
            try:
                order = Order.decode(str(line["order"]).encode())
            except (KeyError, ValueError) as error:
                log.error("audit line of an order is unusable: %s", error)
                continue
            self._given[order.id] = order.at
            self._trickle.set_rate(order.id, order.rate)
            if order.id not in self._done:
                self._pending[order.id] = order
                self._unsent[order.id] = order  # once more does no harm

    def pending_ids(self) -> set[str]:
        """Return the ids of orders that are not carried out yet."""
        return set(self._pending)

    def given(self, order_id: str) -> float | None:
        """Return when an order with this id was given, None if none was."""
        return self._given.get(order_id)

    def matching(self, order: Order) -> list[HeldMessage]:
        """Return the messages here that an order names."""
        named = selector(order, self._context.clock())
        return [
            message
            for message in self._held.all()
            if named(message) and not self._later(order, message)
        ]

    def _later(self, order: Order, message: HeldMessage) -> bool:
        """Whether a later order has decided; both may be carried out once more."""
        if order.action is OrderAction.HOLD:
            return self._given.get(message.order, 0.0) > order.at
        return order.action is OrderAction.RELEASE and any(
            other.action is OrderAction.HOLD
            and other.sender == message.submission.sender
            and other.at >= order.at
            for other in self._pending.values()
        )

    async def submit(self, order: Order) -> list[HeldMessage]:
        """Record an order durably, then carry it out here; return its messages.

        The same id a second time does what is left to do. Raises SpoolFullError.
        """
        async with self._one:
            if order.id in self._done:
                return []
            if order.id not in self._pending:
                await self._journal(order)
                self._pending[order.id] = order
                self._unsent[order.id] = order
                await self._publish()
            # As it was given first: mail that came since is not meant.
            return await self._carry_out(self._pending[order.id])

    async def resume(self) -> None:
        """Carry out what a crash left undone and what other instances ordered."""
        async with self._one:
            await self._resume()

    async def _resume(self) -> None:
        await self._publish()
        for order in list(self._pending.values()):
            await self._carry_out(order)
        try:
            entries = await self._context.ledger.orders(self._position)
        except StateUnavailableError:
            return
        for position, raw in entries:
            try:
                order = Order.decode(raw)
            except ValueError as error:
                log.error("an order in Redis is damaged: %s", error)
            else:
                if order.id not in self._done and order.id not in self._pending:
                    await self._journal(order)
                    self._pending[order.id] = order
                    await self._carry_out(order)
            self._position = position

    async def _journal(self, order: Order) -> None:
        await self._context.audit.append(
            "order", order_id=order.id, order=order.encode().decode()
        )
        self._given[order.id] = order.at

    async def _publish(self) -> None:
        for order in list(self._unsent.values()):
            try:
                await self._context.ledger.put_order(order.encode())
            except StateUnavailableError:
                return
            del self._unsent[order.id]

    async def _carry_out(self, order: Order) -> list[HeldMessage]:
        if order.id in self._running:
            return []  # asked for again while it is being carried out
        self._running.add(order.id)
        try:
            return await self._apply(order)
        finally:
            self._running.discard(order.id)

    async def _apply(self, order: Order) -> list[HeldMessage]:
        messages = self.matching(order)
        if order.action is OrderAction.RELEASE:
            self._trickle.set_rate(order.id, order.rate)
            messages = [m for m in messages if await self._free(m, order.id)]
            now = self._context.clock()
            if messages:
                self._trickle.wake(Lane("order", order.id), now)
            if order.sender:
                # Its state has changed somewhere; mail that came after the order
                # by this instance's clock is not to lie here.
                self._trickle.wake(Lane("state", order.sender), now)
        elif order.action is OrderAction.HOLD:
            for message in messages:
                await self._trickle.alone(message.id, self._keep)
        else:
            named = [message.id for message in messages]
            messages = await self._trickle.end_all(named, _FATES[order.action])
        if order.id in self._unsent:
            return messages  # the other instances are to hear of it first
        await self._context.audit.append(
            "order-done",
            id=order.id,
            messages=len(messages),
            recipients=sum(len(m.waiting) for m in messages),
        )
        self._done.add(order.id)
        self._pending.pop(order.id, None)
        return messages

    async def _keep(self, message: HeldMessage) -> None:
        """Move a message back to its sender's lane."""
        await self._free(message, "")

    async def _free(self, message: HeldMessage, order_id: str) -> bool:
        """Move a message to the order's lane; False when its file is damaged."""
        try:
            freed = await self._context.spool.note_order(message.id, order_id)
        except (KeyError, SpoolCorruptError) as error:
            # The spool has set it aside; the others are not to wait for it.
            log.error("held message %s cannot be released: %s", message.id, error)
            self._held.drop(message.id)
            return False
        self._held.put(freed)
        await self._held.publish(freed)
        return True
