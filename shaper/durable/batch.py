"""Many callers, one commit: what waits is written together.

While one batch is on its way to the disk, later items gather for the next; an
item that comes alone is written at once. Results reach the callers only after the
whole batch is durable.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["Batcher"]

I = TypeVar("I")  # noqa: E741
R = TypeVar("R")


class Batcher(Generic[I, R]):
    """Collects items while ``work`` is busy with the ones before."""

    def __init__(
        self,
        work: Callable[[list[I]], Awaitable[list[R | Exception]]],
        most: int,
        orphan: Callable[[I], None] = lambda _item: None,
    ) -> None:
        """``work`` returns one result or exception for each of up to ``most`` items.

        ``orphan`` hears of an item that was written while its caller went away.
        """
        self._work = work
        self._most = most
        self._orphan = orphan
        self._waiting: list[tuple[I, asyncio.Future[R]]] = []
        self._runner: asyncio.Task[None] | None = None

    async def submit(self, item: I) -> R:
        """Return the item's result once its batch is done."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._runner is None:
            self._runner = asyncio.create_task(self._run())
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and not future.exception():
                self._orphan(item)
            raise

    async def idle(self) -> None:
        """Wait until everything submitted is done."""
        while self._runner is not None:
            await asyncio.wait([self._runner])

    async def _run(self) -> None:
        batch: list[tuple[I, asyncio.Future[R]]] = []
        try:
            while self._waiting:
                batch = self._waiting[: self._most]
                del self._waiting[: self._most]
                results = await self._work([item for item, _ in batch])
                for (item, future), result in zip(batch, results, strict=True):
                    self._tell(item, future, result)
        except BaseException as error:
            # A bug or the end of the loop: nobody may wait for ever.
            for _, future in (*batch, *self._waiting):
                if not future.done() and isinstance(error, Exception):
                    future.set_exception(error)
                future.cancel()
            self._waiting.clear()
            raise
        finally:
            self._runner = None

    def _tell(self, item: I, future: asyncio.Future[R], result: R | Exception) -> None:
        if future.cancelled():
            if not isinstance(result, Exception):
                self._orphan(item)
        elif isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
