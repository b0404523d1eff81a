"""A large set of 64-bit numbers in few bytes, for a quick "not among them".

Eight bytes each in one sorted array, with what changed since beside it; a Python
set of a million numbers takes ten times as much. Knows nothing of what the numbers
stand for.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Digests"]

_MERGE_AT = 10_000  # changes, or a tenth of the numbers


class Digests:
    """A set of unsigned 64-bit numbers.

    The standard library's array does: numpy would cost an idle daemon 15 MiB.
    """

    def __init__(self, numbers: Iterable[int] = ()) -> None:
        """Start with ``numbers``. Raises OverflowError for any other."""
        self._sorted = array("Q", sorted(set(numbers)))
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
        at = bisect_left(numbers, number)
        return at < len(numbers) and numbers[at] == number

    def _merge(self) -> None:
        changes = len(self._added) + len(self._gone)
        if changes < max(_MERGE_AT, len(self._sorted) // 10):
            return
        gone = self._gone
        kept = [number for number in self._sorted if number not in gone]
        self._sorted = array("Q", sorted([*kept, *self._added]))
        self._added = set()
        self._gone = set()
