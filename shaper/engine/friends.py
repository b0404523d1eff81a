"""Friendly hosts whose mail we deliver: what each sent today, and its quota.

A friend is one sender to the detector. Who wrote below it, by envelope sender, is
counted here so that an operator who asks sees which of its customers it is.

Counts are of recipients and of a UTC day. They are shared in Redis within seconds;
while it is away each instance counts for itself.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from shaper.engine.gate import Watcher

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shaper.core.message import HeldMessage, Submission
    from shaper.core.ports import FederationStore
    from shaper.core.reply import Reply
    from shaper.engine.context import Context

__all__ = ["PREFIX", "Friends"]

PREFIX = "friend:"
_MOST = 10_000  # senders below all friends that are counted by name
_SHOWN = 10


class Friends(Watcher):
    """Implements ``shaper.core.ports.Guests``. ``quotas`` are recipients a day."""

    def __init__(self, context: Context, store: FederationStore) -> None:
        """Start without a friend."""
        self.quotas: Mapping[str, int] = {}
        self.domains: Mapping[str, list[str]] = {}
        self._context = context
        self._store = store
        self._day = ""
        self._sent: Counter[str] = Counter()
        self._unwritten: Counter[str] = Counter()
        self._below: Counter[tuple[str, str]] = Counter()

    def room(self, friend: str, recipients: int) -> bool:
        """Whether so many recipients more are within the friend's daily quota."""
        self._roll()
        return self._sent[friend] + recipients <= self.quotas.get(friend, 0)

    def answered(self, submission: Submission, end: Reply) -> None:
        """Count what the next hop took."""
        if end.positive:
            self._count(submission)

    def held(self, message: HeldMessage) -> None:
        """Count what is held: it was taken, and may leave another day."""
        self._count(message.submission)

    def _count(self, submission: Submission) -> None:
        friend = submission.client.friend
        if not friend:
            return
        self._roll()
        number = len(submission.envelope.recipients)
        self._sent[friend] += number
        self._unwritten[friend] += number
        below = friend, submission.envelope.sender.lower()
        if below in self._below or len(self._below) < _MOST:
            self._below[below] += number

    async def refresh(self) -> None:
        """Exchange counts with other instances. Raises StateUnavailableError."""
        if not self.quotas:
            return
        self._roll()
        day, unwritten = self._day, dict(self._unwritten)
        if unwritten:
            names = {f"{PREFIX}{friend}": n for friend, n in unwritten.items()}
            await self._store.count(day, names)
        shared = await self._store.counted(day)
        if day != self._day:
            return
        self._unwritten.subtract(unwritten)
        for friend in self.quotas:
            told = shared.get(f"{PREFIX}{friend}", 0)
            self._sent[friend] = told + self._unwritten[friend]

    def sent(self) -> dict[str, int]:
        """Return the recipients of each friend today."""
        self._roll()
        return {friend: self._sent[friend] for friend in self.quotas}

    def rows(self) -> list[dict[str, Any]]:
        """Return each friend with what it sent today, and who below it most."""
        self._roll()
        return [
            {
                "friend": friend,
                "sender": f"{PREFIX}{friend}",
                "domains": self.domains.get(friend, []),
                "sent": self._sent[friend],
                "quota": quota,
                "senders": [
                    {"sender": name, "sent": number}
                    for (owner, name), number in self._below.most_common()
                    if owner == friend
                ][:_SHOWN],
            }
            for friend, quota in sorted(self.quotas.items())
        ]

    def _roll(self) -> None:
        """Begin a new day if one has begun."""
        now = datetime.fromtimestamp(self._context.clock(), UTC)
        if (day := now.date().isoformat()) != self._day:
            self._day = day
            for counts in (self._sent, self._unwritten, self._below):
                counts.clear()
