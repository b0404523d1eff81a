"""Placement ``watch``: the lines of a live log become messages for the engine.

Reads what ``feedback.logs`` and ``feedback.journal`` name and changes nothing on
the way of mail. Subjects are not in a log, so cases have none.
"""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from shaper.core.envelope import Client, Envelope, Recipient
from shaper.core.message import Submission
from shaper.feedback.joiner import Counts, Joiner
from shaper.feedback.logtime import LogClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from shaper.engine.observing import Observing
    from shaper.feedback.joiner import Sent

__all__ = ["Watch"]

# Postfix: name[address]; Exim: name (helo) [address].
_CLIENT = re.compile(r"^(\S{0,255}?) ?(?:\(([^)]{0,255})\) ?)?\[([^\]]{1,60})\]")


class Watch:
    """One per daemon; ``line`` is given to whatever follows the logs.

    ``counts`` says what was read.
    """

    def __init__(
        self, observing: Observing, clock: Callable[[], float] = time.time
    ) -> None:
        """Give each message to ``observing``."""
        self.counts = Counts()
        self._observing = observing
        self._clock = clock
        self._joiner = Joiner(self.counts)
        self._day = -1

    async def line(self, text: str) -> None:
        """Take one line of a log."""
        now = self._clock()
        if int(now // 86400) != self._day:
            # Lines that tell no year get that of today.
            self._day = int(now // 86400)
            self._joiner.start(LogClock(latest=datetime.fromtimestamp(now, UTC)))
        sent = self._joiner.feed(text)
        known = self._joiner.message
        if sent is None or known is None:
            return
        submission = _submission(sent, known.queue_id, known.sender or "")
        await self._observing.observe(submission, known.queue_id)


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
