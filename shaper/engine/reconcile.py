"""Compares our records of mail on hold with the MTA's queue, in small rounds.

A record whose message is not on hold (any more) is brought to its end: it was
released before a crash of ours, let go or removed by a person, or it never arrived
because the MTA refused it after our answer. For the last the MTA is given its time;
one that was on hold once is known to have left. The queue is only looked at here.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from shaper.policy.queue import QueueState, QueueTroubleError

if TYPE_CHECKING:
    from shaper.core.message import HeldMessage
    from shaper.engine.context import Context
    from shaper.engine.heldmail import HeldMail
    from shaper.engine.release import Release
    from shaper.engine.trickle import Trickle

__all__ = ["Reconcile"]

_AT_ONCE = 500  # messages of one round: ten requests to the helper


class Reconcile:
    """One per engine that releases mail from the MTA's queue."""

    def __init__(
        self, context: Context, held: HeldMail, trickle: Trickle, release: Release
    ) -> None:
        """Start with the oldest message."""
        self._context = context
        self._held = held
        self._trickle = trickle
        self._release = release
        self._last = ""
        self.trouble = ""  # of the queue helper, while something waits for it

    async def round(self) -> None:
        """Look at some more messages. Raises QueueTroubleError, SpoolFullError."""
        part = self._next()
        idents = {m.id: m.submission.client.ident for m in part}
        try:
            states = await self._release.queue.states(idents.values()) if part else {}
        except QueueTroubleError as error:
            self.trouble = str(error)
            raise
        self.trouble = ""
        for message in part:
            state = states[idents[message.id]]
            if state is QueueState.HELD:
                self._release.on_hold.add(message.id)
            elif not self._release.may_arrive(message):
                await self._trickle.alone(message.id, partial(self._end, state))
        self._release.on_hold &= {message.id for message in self._held.all()}

    async def _end(self, state: QueueState, message: HeldMessage) -> None:
        if message.attempts:
            await self._release.released(message)
        else:
            await self._release.missed(message, state)

    def _next(self) -> list[HeldMessage]:
        """Return the next messages that the queue may have."""
        kept = [one for one in self._held.all() if one.by_mta]
        ids = [message.id for message in kept]
        start = ids.index(self._last) + 1 if self._last in ids else 0
        part = kept[start : start + _AT_ONCE] or kept[:_AT_ONCE]
        self._last = part[-1].id if part else ""
        return part
