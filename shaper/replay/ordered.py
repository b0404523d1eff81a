"""Messages and fates of a log in order of time, with bounded memory.

A log tells a message when its recipients were tried, so neighbours may come in the
wrong order. What is read waits until the log is ``WINDOW`` seconds further, or too
much waits. What comes later still is taken at the time that was reached.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MOST", "WINDOW", "Ordered"]

WINDOW = 1800.0
MOST = 100_000

T = TypeVar("T")


class Ordered(Generic[T]):
    """Sorts what is put in; ``late`` counts what came too late for that."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, int, T]] = []
        self._count = 0
        self._newest = 0.0
        self._reached = 0.0
        self.late = 0

    def put(self, time: float, item: T, rank: int = 0) -> None:
        """Take one in; of equal times the lower rank comes first."""
        if time < self._reached:
            self.late += 1
            time = self._reached
        self._count += 1
        self._newest = max(self._newest, time)
        heapq.heappush(self._heap, (time, rank, self._count, item))

    def ready(self) -> Iterator[tuple[float, T]]:
        """Yield what nothing earlier is expected for."""
        heap = self._heap
        while heap and (heap[0][0] < self._newest - WINDOW or len(heap) > MOST):
            time, _, _, item = heapq.heappop(heap)
            self._reached = time
            yield time, item

    def rest(self) -> Iterator[tuple[float, T]]:
        """Yield all that is left."""
        while self._heap:
            time, _, _, item = heapq.heappop(self._heap)
            self._reached = time
            yield time, item
