"""What a program elsewhere is owed: events, each POSTed until it is taken.

An event is a line in the journal (``hook``) before anything is sent, and another
(``hook-done``) when it was taken or given up, so it survives restarts and needs no
Redis. A crash between sending and noting repeats it under the same id: at least
once. Events of one key (a case) keep their order; a key whose event fails waits
with doubling pauses and delays no other.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from shaper import journal
from shaper.core.ports import ShaperError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from shaper.engine.context import Context

__all__ = ["Outbox", "Post"]

SCHEMA = 1
_FIRST = 10.0  # seconds after the first failure
_LONGEST = 3600.0
_GIVEN_UP = 3 * 86400.0  # seconds after which nobody wants to know any more
_AT_ONCE = 4
_ROUND = 1.0  # seconds


class Post(Protocol):
    """Send one event (``shaper.notify.webhook``)."""

    async def __call__(self, event_id: str, body: bytes) -> str:
        """Return "" when it was taken, else why not. Takes bounded time."""


@dataclass(slots=True)
class _Owed:
    id: str
    key: str
    sender: str
    body: str
    since: float
    failures: int = 0
    not_before: float = 0.0


class Outbox:
    """Events owed by this instance. ``post`` is None while nobody wants them."""

    def __init__(self, context: Context) -> None:
        """Start empty; ``restore`` brings back what the journal knows."""
        self._context = context
        self.post: Post | None = None
        self.told: Callable[[str, bool], None] = lambda _channel, _sent: None
        self._owed: dict[str, _Owed] = {}
        self._known: set[str] = set()

    def restore(self, lines: Iterable[dict[str, Any]]) -> None:
        """Take over the journal's ``hook`` and ``hook-done`` lines."""
        for line in lines:
            event_id = str(line["id"])
            self._known.add(event_id)
            if line["event"] == "hook-done":
                self._owed.pop(event_id, None)
                continue
            self._owed[event_id] = _Owed(
                event_id,
                str(line["key"]),
                str(line.get("sender", "")),
                str(line["body"]),
                float(line["at"]),
            )

    def owed(self) -> list[str]:
        """Return the ids of events that nobody has taken yet, oldest first."""
        return list(self._owed)

    def forget(self, sender: str) -> None:
        """Drop what is still to be said about a sender."""
        for event_id in [i for i, o in self._owed.items() if o.sender == sender]:
            del self._owed[event_id]

    async def announce(
        self,
        event: str,
        event_id: str,
        facts: Mapping[str, Any],
        *,
        key: str = "",
        sender: str = "",
    ) -> None:
        """Owe an event once; ``event_id`` names it for ever. Raises SpoolFullError.

        Events with one ``key`` arrive in the order of these calls.
        """
        if self.post is None or event_id in self._known:
            return
        context = self._context
        body = json.dumps(
            {
                "schema": SCHEMA,
                "id": event_id,
                "event": event,
                "at": context.clock(),
                "instance": context.instance,
                "hostname": context.hostname,
                **facts,
            },
            separators=(",", ":"),
            allow_nan=False,
        )
        key = key or event_id
        await context.audit.append(
            "hook", id=event_id, key=key, what=event, sender=sender, body=body
        )
        self._known.add(event_id)
        self._owed[event_id] = _Owed(event_id, key, sender, body, context.clock())

    async def step(self) -> int:
        """Try what is due, a few at once; return how many were tried."""
        now = self._context.clock()
        for owed in [o for o in self._owed.values() if now - o.since > _GIVEN_UP]:
            await self._end(owed, "given up")
        if self.post is None:
            return 0
        heads: dict[str, _Owed] = {}
        for owed in self._owed.values():
            heads.setdefault(owed.key, owed)
        due = [o for o in heads.values() if _due(o, now)][:_AT_ONCE]
        await asyncio.gather(*(self._attempt(owed, self.post) for owed in due))
        return len(due)

    async def _attempt(self, owed: _Owed, post: Post) -> None:
        problem = await post(owed.id, owed.body.encode())
        if owed.id not in self._owed:
            return  # forgotten meanwhile
        if not problem:
            await self._end(owed, "taken")
            return
        pause = min(_FIRST * 2.0 ** min(owed.failures, 30), _LONGEST)
        owed.failures += 1
        owed.not_before = self._context.clock() + pause
        self.told("webhook", False)  # noqa: FBT003 - one of two results
        journal.webhook_failed(owed.id, problem, pause)

    async def _end(self, owed: _Owed, result: str) -> None:
        await self._context.audit.append("hook-done", id=owed.id, result=result)
        self._owed.pop(owed.id, None)
        if result == "taken":
            self.told("webhook", True)  # noqa: FBT003 - one of two results
            journal.webhook_sent(owed.id, owed.failures + 1)
        else:
            journal.webhook_given_up(owed.id, owed.failures)

    async def run(self, stop: asyncio.Event) -> None:
        """Send what is owed until ``stop`` is set; an attempt under way is cut."""
        stopped = asyncio.create_task(stop.wait())
        while not stop.is_set():
            work = asyncio.create_task(self._round())
            await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                work.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await work
        await stopped

    async def _round(self) -> None:
        try:
            busy = await self.step() > 0
        except ShaperError as error:  # a full disk: what was sent is sent again
            journal.upkeep_failed("webhook", str(error))
            busy = False
        if not busy:
            await asyncio.sleep(_ROUND)


def _due(owed: _Owed, now: float) -> bool:
    # A clock that was set back must not make it wait for longer than it would.
    return not now < owed.not_before <= now + _LONGEST
