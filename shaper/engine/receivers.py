"""Receivers that refuse this host as a whole: noticed, told, and ended.

Fed by ``engine.outcomes``; counts for each receiver how many messages it refused
because of our host and how many innocent senders that concerned
(``shaper.core.receivers.Window``). A refusal by the next hop itself counts against
``next hop``: behind a smarthost nobody else speaks to us.

Each instance counts what it hears; of several that see the same trouble, the one
that claims it in Redis tells. Open trouble survives a restart in the audit journal;
counts that have not alarmed yet do not.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from shaper.core.outcome import Kind, Meaning
from shaper.core.receivers import ReceiverTrouble, Window, receiver
from shaper.core.state import State
from shaper.core.text import bland

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from shaper.core.outcome import Outcome
    from shaper.engine.context import Context
    from shaper.engine.notices import Notices
    from shaper.engine.senders import Senders

__all__ = ["NEXT_HOP", "ReceiverRules", "Receivers"]

log = logging.getLogger(__name__)

NEXT_HOP = "next hop"
_TRACKED = 2000  # receivers whose refusals are counted at once
_ENDED = 20  # troubles that are over and still shown
_LONGEST_TEXT = 300  # characters of what a receiver said
_CLAIMED = 3600  # seconds in which other instances do not tell the same


@dataclass(frozen=True, slots=True)
class ReceiverRules:
    """When refusals are trouble; ``window`` in seconds."""

    alarm_at: int = 3
    senders_at: int = 2
    window: float = 3600.0


class Receivers:
    """The receivers' troubles as this instance sees them."""

    def __init__(self, context: Context, senders: Senders, notices: Notices) -> None:
        """``rules`` may be replaced at a reload; ``heard`` hears of what began."""
        self.rules = ReceiverRules()
        self.heard: Callable[[ReceiverTrouble], None] = lambda _trouble: None
        self._context = context
        self._senders = senders
        self._notices = notices
        self._windows: OrderedDict[str, Window] = OrderedDict()
        self._told: set[str] = set()  # ids of open troubles that were told
        self._before: dict[str, int] = {}  # senders counted before a restart
        self._ended: deque[ReceiverTrouble] = deque(maxlen=_ENDED)

    def restore(self, lines: Iterable[dict[str, Any]]) -> None:
        """Take over the journal's ``receiver`` lines, oldest first."""
        for line in lines:
            name = str(line["receiver"])
            if line.get("ended"):
                self._windows.pop(name, None)
                continue
            window = self._windows[name] = Window()
            window.since, window.last = float(line["since"]), float(line["last"])
            window.messages, window.text = int(line["messages"]), str(line["text"])
            self._before[name] = int(line["senders"])
            self._told.add(_id(name, window))

    async def note(self, outcome: Outcome, sender: str) -> None:
        """Hear what became of a recipient of ``sender``, "" for mail not ours."""
        if not sender:
            return  # what nobody here sent may be forged
        now = self._context.clock()
        at = min(outcome.time or now, now)
        if outcome.meaning is Meaning.HOST_REFUSED:
            if now - at < self.rules.window:
                self._refused(outcome, sender, at)
        elif outcome.meaning is Meaning.DELIVERED:
            window = self._windows.get(_who(outcome))
            if window is not None:
                window.accepted(at)

    def _refused(self, outcome: Outcome, sender: str, at: float) -> None:
        name = _who(outcome)
        if not name:
            return
        window = self._windows.setdefault(name, Window())
        self._windows.move_to_end(name)
        known = self._senders.known.get(sender, {})
        text = bland(outcome.diagnostic or outcome.reason)[:_LONGEST_TEXT]
        window.refused(
            sender,
            innocent=known.get("state", State.NORMAL.value) == State.NORMAL.value,
            text=text,
            now=at,
            length=self.rules.window,
            alarm_at=self.rules.alarm_at,
            senders_at=self.rules.senders_at,
        )
        self._forget_some(at)

    def _forget_some(self, now: float) -> None:
        while len(self._windows) > _TRACKED:
            idle = next(
                (n for n, w in self._windows.items() if w.idle(now, self.rules.window)),
                next((n for n, w in self._windows.items() if not w.open), ""),
            )
            if not idle:
                return
            del self._windows[idle]

    def open(self) -> list[ReceiverTrouble]:
        """Return the receivers that refuse this host now, the longest first."""
        found = [self._trouble(n, w) for n, w in self._windows.items() if w.open]
        return sorted(found, key=lambda trouble: trouble.since)

    def rows(self) -> list[dict[str, Any]]:
        """Return open troubles and the latest that ended, as plain data."""
        return [one.to_json() for one in (*self.open(), *reversed(self._ended))]

    async def tell(self) -> None:
        """Tell of what began and what ended. Raises SpoolFullError."""
        for trouble in self.open():
            if trouble.id not in self._told:
                await self._tell(trouble, "begun")
                self._told.add(trouble.id)
                self.heard(trouble)
        now = self._context.clock()
        for name, window in list(self._windows.items()):
            if window.over(now, self.rules.window):
                trouble = replace(self._trouble(name, window), ended=now)
                await self._tell(trouble, "over")
                window.close()
                self._before.pop(name, None)
                self._told.discard(trouble.id)
                self._ended.append(trouble)

    async def _tell(self, trouble: ReceiverTrouble, state: str) -> None:
        hour = int(trouble.since // _CLAIMED)
        what = bland(f"receiver {trouble.receiver} {state} {hour}")
        if await self._context.ours(what, _CLAIMED):
            notices = self._notices
            now = self._context.clock()
            if notices.compose is not None:
                mail = notices.compose.trouble(trouble, now)
                await notices.post(f"{trouble.id}.{state}", mail, "notice: receiver")
            await notices.trouble(
                "receiver.trouble", trouble.receiver, state, trouble.text
            )
        # Last: a crash before repeats the notice rather than losing it.
        await self._context.audit.append("receiver", **trouble.to_json())

    def _trouble(self, name: str, window: Window) -> ReceiverTrouble:
        return ReceiverTrouble(
            _id(name, window),
            name,
            window.since,
            window.last,
            window.messages,
            max(len(window.senders), self._before.get(name, 0)),
            window.text,
        )


def _who(outcome: Outcome) -> str:
    """Return whose word an outcome is, "" where nobody is named."""
    if outcome.kind is Kind.REPLY:
        return NEXT_HOP
    return receiver(outcome.recipient, outcome.remote_mta)


def _id(name: str, window: Window) -> str:
    return f"receiver.{name.replace(' ', '-')}.{window.since:.0f}"
