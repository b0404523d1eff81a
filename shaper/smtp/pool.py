"""Connections to the next hop, shared by all transactions.

At most ``max_connections`` exist; who finds none free waits in line, for a
bounded time. The connection used last is reused first, so that a quiet hour
lets the others age out. Single event loop, no locks.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from shaper.core.reply import Phase, Reply
from shaper.smtp.dial import dial
from shaper.smtp.link import Link

if TYPE_CHECKING:
    from shaper.smtp.settings import ForwardSettings

__all__ = ["Pool"]

# Postfix counts RSET as junk and slows clients down after 100 of them without a
# delivered message (smtpd_junk_command_limit).
_MAX_RESETS = 50


class Pool:
    """Lends connections; ``release`` or ``lost`` must follow every loan."""

    def __init__(self, settings: ForwardSettings) -> None:
        self.open = 0  # connections that exist or are being opened
        self.extensions: frozenset[str] | None = None  # None: never connected
        self.size_limit = 0  # the next hop's SIZE, 0 when unknown or unlimited
        self._settings = settings
        self._idle: list[Link] = []
        self._waiters: deque[asyncio.Future[Link | Reply | None]] = deque()
        self._reaper: asyncio.TimerHandle | None = None
        self._dialling = 0
        self._dials: set[asyncio.Task[None]] = set()
        self._closed = False
        self._generation = 0  # of the settings

    @property
    def idle(self) -> int:
        """Connections open without work."""
        return len(self._idle)

    async def acquire(self, *, fresh: bool = False) -> tuple[Link, bool] | Reply:
        """Return a connection and whether it was used before, or a 4yz reply.

        ``fresh`` asks for a new connection, after an old one turned out dead.
        Without it, whatever is there first is taken: a new connection, or one
        that comes back. A next hop with few processes accepts more connections
        than it greets, and those must not be waited for.
        """
        while True:
            if not fresh and (link := self._take_idle()):
                return self._lend(link)
            if self.open < self._settings.max_connections:
                self.open += 1
                self._dialling += 1
                if fresh:
                    opened = await self._dial()
                    return opened if isinstance(opened, Reply) else self._lend(opened)
                task = asyncio.get_running_loop().create_task(self._dial_for_waiters())
                self._dials.add(task)
                task.add_done_callback(self._dials.discard)
            elif fresh and self._idle:
                self._retire(self._idle[0])  # makes room
                continue
            answer = await self._wait()
            if isinstance(answer, Reply):
                return answer
            if answer is not None:
                return self._lend(answer)

    def release(self, link: Link) -> None:
        """Give a connection back in a state in which MAIL may follow."""
        if link.closed:
            self.lost(link)
            return
        link.on_close = None
        if (
            self._closed
            or link.generation != self._generation
            or link.messages >= self._settings.max_messages
            or link.resets >= _MAX_RESETS
        ):
            link.quit()
            self.lost(link)
            return
        self._hand_out(link)

    def _hand_out(self, link: Link) -> None:
        """Give a connection to the first in line, or keep it."""
        if self._answer_first(link):
            return
        if len(self._idle) >= self._settings.max_idle:
            link.quit()
            self.lost(link)
            return
        loop = asyncio.get_running_loop()
        link.last_used = loop.time()
        link.on_close = self._forget
        self._idle.append(link)
        if self._reaper is None:
            self._reaper = loop.call_later(self._settings.idle_limit, self._reap)

    def lost(self, link: Link) -> None:
        """Count a lent connection as gone."""
        link.on_close = None
        self.open -= 1
        self._wake()

    def apply(self, settings: ForwardSettings) -> None:
        """Use other settings from now on: old connections are not lent again."""
        self._settings = settings
        self._generation += 1
        self._retire_all()

    def close(self) -> None:
        """Close idle connections; lent ones close when they come back."""
        self._closed = True
        for task in self._dials:
            task.cancel()
        self._retire_all()
        if self._reaper is not None:
            self._reaper.cancel()
            self._reaper = None

    async def _dial(self) -> Link | Reply:
        """Open a connection; the caller has counted it already."""
        generation = self._generation
        link: Link | Reply | None = None
        try:
            link = await dial(self._settings)
        finally:
            if not isinstance(link, Link):
                self.open -= 1
            self._dialling -= 1
        if isinstance(link, Reply):
            return link
        link.generation = generation
        self.extensions = frozenset(link.extensions)
        size = link.extensions.get("SIZE", "").strip()
        self.size_limit = int(size) if size.isascii() and size.isdigit() else 0
        return link

    async def _dial_for_waiters(self) -> None:
        link = await self._dial()
        if isinstance(link, Reply):
            # While others are alive, one of them will come back: a next hop
            # that takes no further connection is not a next hop that is down.
            if self.open <= self._dialling:
                self._answer_first(link)
        elif self._closed or link.closed:
            link.quit()
            self.lost(link)
        else:
            self._hand_out(link)

    def _lend(self, link: Link) -> tuple[Link, bool]:
        reused, link.lent = link.lent, True
        return link, reused

    async def _wait(self) -> Link | Reply | None:
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[Link | Reply | None] = loop.create_future()
        self._waiters.append(waiter)
        timer = loop.call_later(self._settings.wait_timeout, _give_up, waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                given = waiter.result()
                if isinstance(given, Link):
                    self.release(given)
                elif given is None:
                    self._wake()
            raise
        finally:
            timer.cancel()

    def _wake(self) -> None:
        """Let the first in line try to open a connection."""
        self._answer_first(None)

    def _answer_first(self, answer: Link | Reply | None) -> bool:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(answer)
                return True
        return False

    def _take_idle(self) -> Link | None:
        now = asyncio.get_running_loop().time()
        while self._idle:
            link = self._idle[-1]
            if not link.closed and now - link.last_used <= self._settings.idle_limit:
                self._idle.pop()
                link.on_close = None
                return link
            self._retire(link)
        return None

    def _retire_all(self) -> None:
        for link in list(self._idle):
            self._retire(link)

    def _retire(self, link: Link) -> None:
        link.on_close = None
        link.quit()
        self._forget(link)

    def _forget(self, link: Link) -> None:
        if link in self._idle:
            self._idle.remove(link)
            self.lost(link)

    def _reap(self) -> None:
        self._reaper = None
        loop = asyncio.get_running_loop()
        oldest = loop.time() - self._settings.idle_limit
        for link in [x for x in self._idle if x.last_used <= oldest]:
            self._retire(link)
        if self._idle:
            due = self._idle[0].last_used + self._settings.idle_limit
            self._reaper = loop.call_at(due, self._reap)


def _give_up(waiter: asyncio.Future[Link | Reply | None]) -> None:
    if not waiter.done():
        text = "4.3.2 All connections to the next hop are busy"
        waiter.set_result(Reply(451, (text,), Phase.CONNECT, synthetic=True))
