"""A large set of 64-bit numbers in few bytes, for a quick "not among them".

Eight bytes each in one sorted array, with what changed since beside it; a Python
set of a million numbers takes ten times as much. Knows nothing of what the numbers
stand for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Digests"]

_MERGE_AT = 10_000  # changes; merging a million takes some milliseconds


class Digests:
    """A set of unsigned 64-bit numbers."""

    def __init__(self, numbers: Iterable[int] = ()) -> None:
        """Start with ``numbers``."""
        self._sorted = np.unique(np.fromiter(numbers, dtype=np.uint64))
        self._added: set[int] = set()
        self._gone: set[int] = set()

    def __len__(self) -> int:
        return len(self._sorted) - len(self._gone) + len(self._added)

    def __contains__(self, number: int) -> bool:
        if number in self._added:
            return True
        return number not in self._gone and self._stored(number)

    def add(self, number: int) -> None:
        """Put a number in."""
        self._gone.discard(number)
        if not self._stored(number):
            self._added.add(number)
            self._merge()

    def discard(self, number: int) -> None:
        """Take a number out, if it is there."""
        self._added.discard(number)
        if self._stored(number):
            self._gone.add(number)
            self._merge()

    def _stored(self, number: int) -> bool:
        numbers = self._sorted
        if not len(numbers):
            return False
        key = np.uint64(number)
        at = int(numbers.searchsorted(key))
        return at < len(numbers) and bool(numbers[at] == key)

    def _merge(self) -> None:
        if len(self._added) + len(self._gone) < _MERGE_AT:
            return
        gone = np.fromiter(self._gone, dtype=np.uint64)
        added = np.fromiter(self._added, dtype=np.uint64)
        kept = self._sorted[~np.isin(self._sorted, gone)]
        self._sorted = np.union1d(kept, added)
        self._added = set()
        self._gone = set()
