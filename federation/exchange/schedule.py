"""When to talk to which peer.

News are told at once: who has something new starts a session with each of its
peers, whose first request, a digest, also tells them when they have it already.
Beside this a random peer every minute and every peer once a day, so that nothing
depends on news being heard. A peer that does not answer is tried again after 5 s,
then twice as long each time, at most two minutes, or when it asks something itself:
a healed partition shows soon.

At most one session with a peer at a time, and a second between two of them, so
that a flood of news, or a flood of requests for it, costs a bounded number.
Pure: time and randomness are arguments; rounds.py and the simulation run it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from federation.format.limits import DAY

if TYPE_CHECKING:
    from collections.abc import Iterable
    from random import Random

__all__ = ["Schedule"]


@dataclass(slots=True)
class _Peer:
    running: bool = False
    news: bool = True  # nothing is known of it: ask at once
    again: float = 0.0  # not before
    failures: int = 0
    done: float = 0.0  # the last good session


class Schedule:
    """The sessions of one node."""

    def __init__(
        self,
        *,
        period: float = 60.0,
        spread: float = 0.2,
        gap: float = 1.0,
        first_retry: float = 5.0,
        last_retry: float = 120.0,
        at_once: int = 8,
    ) -> None:
        self._period = period
        self._spread = spread
        self._gap = gap
        self._first_retry = first_retry
        self._last_retry = last_retry
        self._at_once = at_once
        self._peers: dict[bytes, _Peer] = {}
        self._next = 0.0

    def set_peers(self, peers: Iterable[bytes]) -> None:
        """Say whom this node can open connections to."""
        wanted = list(peers)
        for org in wanted:
            self._peers.setdefault(org, _Peer())
        for org in set(self._peers) - set(wanted):
            if not self._peers[org].running:
                del self._peers[org]

    def news(self, source: bytes | None = None) -> None:
        """There is something new here, which ``source`` knows."""
        for org, peer in self._peers.items():
            if org != source:
                peer.news = True

    def equal(self, org: bytes) -> None:
        """A peer has asked and has what we have: there is nothing to tell it."""
        if org in self._peers:
            self._peers[org].news = False

    def awake(self, org: bytes, now: float) -> None:
        """A peer has asked something: if it did not answer before, it may do now."""
        if (peer := self._peers.get(org)) is not None:
            peer.again = min(peer.again, now + self._gap)

    def want(self, org: bytes) -> None:
        """A peer has something new for us."""
        if org in self._peers:
            self._peers[org].news = True

    def due(self, now: float, random: Random) -> list[bytes]:
        """Return the peers to start a session with; they count as running."""
        if now >= self._next:
            self._next = now + self._period * random.uniform(
                1 - self._spread, 1 + self._spread
            )
            calm = [org for org, peer in self._peers.items() if not peer.failures]
            if calm:
                self._peers[random.choice(calm)].news = True
        room = self._at_once - sum(peer.running for peer in self._peers.values())
        ready = [
            org
            for org, peer in self._peers.items()
            if not peer.running
            and now >= peer.again
            and (peer.news or now >= peer.done + DAY)
        ]
        # Whoever waits longest first: a long list starves nobody.
        ready.sort(key=lambda org: self._peers[org].again)
        for org in ready[: max(0, room)]:
            self._peers[org].running = True
            self._peers[org].news = False
        return ready[: max(0, room)]

    def done(self, org: bytes, now: float, *, good: bool, more: bool = False) -> None:
        """A session ended. ``more``: it stopped at its bounds, go on with another."""
        peer = self._peers.get(org)
        if peer is None:
            return
        peer.running = False
        if good:
            peer.failures = 0
            peer.done = now
            peer.again = now + (0 if more else self._gap)
            peer.news = peer.news or more
        else:
            wait = self._first_retry * 2.0 ** min(peer.failures, 16)
            peer.failures += 1
            peer.again = now + min(wait, self._last_retry)
            peer.news = True

    def next(self, now: float) -> float:
        """Return when something is due, if nothing new happens before."""
        times = [self._next]
        if sum(peer.running for peer in self._peers.values()) < self._at_once:
            times += [
                peer.again if peer.news else peer.done + DAY
                for peer in self._peers.values()
                if not peer.running
            ]
        return max(now, min(times))
