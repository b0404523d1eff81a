"""Placement ``watch``: the lines of a live log become messages for the engine.

Reads what ``feedback.logs`` and ``feedback.journal`` name and changes nothing on
the way of mail. Subjects are not in a log, so cases have none.

A message is judged when each of its recipients was tried; what became of the first
of them is kept until then, because an outcome finds only a message that is known.
"""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from shaper.core.envelope import Client, Envelope, Recipient
from shaper.core.message import Submission
from shaper.core.outcome import Kind
from shaper.feedback.joiner import Counts, Joiner
from shaper.feedback.logtime import LogClock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from shaper.core.outcome import Outcome
    from shaper.engine.observing import Observing
    from shaper.feedback.joiner import Sent

__all__ = ["Watch"]

_MOST_EARLY = 20_000  # outcomes, about 1 KiB each
_MOST_OPEN = 50_000  # messages of which some recipients were tried
_EARLY = "early"
# Postfix: name[address]; Exim: name (helo) [address].
_CLIENT = re.compile(r"^(\S{0,255}?) ?(?:\(([^)]{0,255})\) ?)?\[([^\]]{1,60})\]")


class Watch:
    """One per daemon; whatever follows the logs gives it lines and outcomes.

    ``counts`` says what was read.
    """

    def __init__(
        self,
        observing: Observing,
        take: Callable[[Outcome], Awaitable[str]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Give each message to ``observing``, each outcome to ``take``."""
        self.counts = Counts()
        self._observing = observing
        self._take = take
        self._clock = clock
        # By queue id, of messages that are not told yet.
        self._early: dict[str, list[Outcome]] = {}
        self._kept = 0
        self._joiner = Joiner(self.counts)
        self._day = -1

    async def line(self, text: str) -> None:
        """Take one line of a log."""
        sent = self.learn(text)
        known, tried = self._joiner.message, self._joiner.tried
        if sent is not None and known is not None:
            submission = _submission(sent, known.queue_id, known.sender or "")
            await self._observing.observe(submission, known.queue_id)
        if tried is None:
            return
        if tried.told:
            await self._give(tried.queue_id)
            return
        self._early.setdefault(tried.queue_id, [])
        if len(self._early) > _MOST_OPEN:
            await self._give(next(iter(self._early)))

    async def take(self, outcome: Outcome) -> str:
        """Take what became of a recipient; what comes too early waits."""
        early = self._early.get(outcome.queue_id)
        if early is None or outcome.kind is not Kind.LOG or self._kept >= _MOST_EARLY:
            return await self._take(outcome)
        early.append(outcome)
        self._kept += 1
        return _EARLY

    async def _give(self, queue_id: str) -> None:
        early = self._early.pop(queue_id, ())
        self._kept -= len(early)
        for outcome in early:
            await self._take(outcome)

    def learn(self, text: str) -> Sent | None:
        """Take one line for what it tells of a message, and judge nothing."""
        now = self._clock()
        if int(now // 86400) != self._day:
            # Lines that tell no year get that of today.
            self._day = int(now // 86400)
            self._joiner.start(LogClock(latest=datetime.fromtimestamp(now, UTC)))
        return self._joiner.feed(text)


def _submission(sent: Sent, queue_id: str, envelope_sender: str) -> Submission:
    found = _CLIENT.match(sent.client or "")
    name, helo, address = found.groups() if found else ("", "", "")
    # A short queue id is used again, so the time belongs to the name.
    name_of_it = f"{queue_id}@{sent.time:.0f}"
    return Submission(
        id=name_of_it,
        sender=sent.sender,
        envelope=Envelope(
            envelope_sender, tuple(Recipient(one) for one in sent.recipients)
        ),
        client=Client(
            address=address or "", name=name or "", helo=helo or "", ident=name_of_it
        ),
        received=sent.time,
        message_id=f"<{sent.message_id}>" if sent.message_id else "",
    )
