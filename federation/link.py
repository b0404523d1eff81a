"""The daemon's side of the shaper's Redis: facts in, verdicts out, for ever.

Redis away is told once; facts wait in it meanwhile, and everything is written anew
when it is back. Without ``redis.url`` there is nothing to do.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from federation import journal
from federation.log.database import StoreFull
from federation.trust.shaperlink import FactStream, Projection, RedisLostError, connect

if TYPE_CHECKING:
    from federation.config import Redis
    from federation.metrics import Figures
    from federation.node import Node

__all__ = ["Link"]

_TICK = 1.0
_HEARTBEAT = 30
_LOOK = 10  # seconds between two looks whether Redis was emptied
_FIRST_RETRY, _LAST_RETRY = 1.0, 30.0
_BATCH = 500
_FAST, _SLOW = 5000, 200  # tags a second while rebuilding, and otherwise


class Link:
    """``lost``: Redis cannot be used."""

    def __init__(self, node: Node, redis: Redis, figures: Figures) -> None:
        """Nothing is opened before ``run``."""
        self.lost = False
        self._node = node
        self._redis = redis
        self._figures = figures
        self._basis: object = None
        self._rebuilding = False
        self._beat = self._looked = 0

    async def run(self) -> None:
        """Work until cancelled."""
        if not self._redis.url:
            await asyncio.Event().wait()
        client = connect(self._redis.url)
        prefix = self._redis.key_prefix
        stream = FactStream(client, prefix, self._node.intake)
        projection = Projection(
            client, prefix, self._node.store, self._node.evidence, self._node.judge
        )
        pause = _FIRST_RETRY
        try:
            while True:
                try:
                    await self._round(stream, projection, int(time.time()))
                except RedisLostError as error:
                    self._is_lost(str(error))
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, _LAST_RETRY)
                    continue
                except StoreFull:
                    # Upkeep tells it; facts wait in Redis.
                    await asyncio.sleep(_LAST_RETRY)
                    continue
                self._is_back()
                pause = _FIRST_RETRY
                await asyncio.sleep(_TICK)
        finally:
            with suppress(OSError):
                await client.aclose()

    def _is_lost(self, problem: str) -> None:
        if not self.lost:
            journal.redis_lost(problem)
        self.lost = True
        self._basis = None  # it may come back empty
        self._beat = 0
        self._figures.set("redis_up", 0)

    def _is_back(self) -> None:
        if self.lost:
            journal.redis_back()
        self.lost = False
        self._figures.set("redis_up", 1)

    async def _round(
        self, stream: FactStream, projection: Projection, now: int
    ) -> None:
        if now - self._beat >= _HEARTBEAT or now < self._beat:
            await projection.heartbeat(self._node.peppers(), now)
            self._beat = now
        await self._facts(stream, projection, now)
        await self._check(projection, now)
        await projection.follow(now)
        most = _FAST if self._rebuilding else _SLOW
        if await projection.sweep(now, most) and self._rebuilding:
            self._rebuilding = False
            journal.projection_rebuilt(
                sum(projection.counts.values()), projection.senders
            )
        counts = {str(one): n for one, n in projection.counts.items()}
        self._figures.replace("verdicts", counts)
        self._figures.set("blocked_senders", projection.senders)

    async def _facts(
        self, stream: FactStream, projection: Projection, now: int
    ) -> None:
        """Take what the shaper left, at once what there is."""
        count = _BATCH
        while count >= _BATCH:
            count, taken = await stream.round(now)
            if taken is None:
                return
            refused = sum(taken.refused.values())
            self._figures.count(
                "facts_total", {"taken": count - refused, "refused": refused}
            )
            for reason, number in sorted(taken.refused.items()):
                journal.facts_refused(number, reason)
            if taken.touched:
                await projection.refresh(sorted(taken.touched), now)

    async def _check(self, projection: Projection, now: int) -> None:
        """Begin anew where old verdicts may be wrong, or Redis was emptied."""
        judge = self._node.judge
        basis = (
            self._node.store.epoch(),
            tuple(sorted(judge.trust().shares.items())),
            judge.rules(now).remote,
        )
        stale = basis != self._basis
        if not stale and now - self._looked >= _LOOK and not self._rebuilding:
            self._looked = now
            stale = not await projection.is_whole()
        if stale:
            self._basis = basis
            self._rebuilding = True
            projection.start_rebuild()
