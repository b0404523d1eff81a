"""Which recipients a sender has written to, and how long ago, in few bytes.

Owns the contact memory: three bytes per correspondent, two of a keyed hash and
one of age, with a fixed upper size. Nothing here can be turned back into an
address, and without the host's key nobody can compute which addresses would be
taken for known ones. Two bytes confuse a stranger with one of 500 known people
once in 130 times, which costs the detector nothing measurable
(docs/detection.md).

Time is counted in units of six hours, so one byte reaches 63 days: enough for
"within a day", "within two months" and "longer ago".
"""

from __future__ import annotations

import hashlib
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["CAPACITY", "NEVER", "UNIT", "Contacts", "Tier", "contact_hash"]

# The 99th percentile of correspondents of a person is 158 in the traces; a
# list that writes to more than this is judged as one that always meets strangers.
CAPACITY = 1024
UNIT = 6 * 3600.0

Tier = int  # 0 within a day, 1 within 60 days, 2 longer ago, 3 never
NEVER: Tier = 3
_DAY = 4  # units
_TWO_MONTHS = 240
_OLDEST = 255
_TIERS = bytes(0 if a <= _DAY else 1 if a <= _TWO_MONTHS else 2 for a in range(256))


def contact_hash(key: bytes, address: str) -> int:
    """Return the 64-bit keyed hash under which a recipient is remembered.

    The address is folded to lower case: senders type it as they like, and a
    different case is not a new person. ``key`` is the host's secret, up to 64
    bytes (RFC 7693 section 2.1).
    """
    raw = address.lower().encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.blake2b(raw, digest_size=8, key=key).digest(), "big")


class Contacts:
    """A sender's correspondents: parallel arrays of marks and ages.

    Byte strings rather than a dict because the whole is read from storage and
    written back for every message: both are then copies of memory, and a
    search is one call of the C library.
    """

    __slots__ = ("ages", "epoch", "mark", "marks")

    def __init__(
        self, marks: bytes = b"", ages: bytes = b"", epoch: int = 0, mark: int = 0
    ) -> None:
        self.marks = bytearray(marks)
        self.ages = bytearray(ages)
        self.epoch = epoch
        self.mark = mark  # how many were known when the present run began

    def __len__(self) -> int:
        return len(self.ages)

    def _find(self, recipient: int) -> int:
        mark = (recipient & 0xFFFF).to_bytes(2, "little")
        at = self.marks.find(mark)
        while at & 1:  # astride two entries (-1 is odd too)
            if at < 0:
                return -1
            at = self.marks.find(mark, at + 1)
        return at >> 1

    def elapse(self, now: float) -> None:
        """Let the memory age up to ``now``; a clock that steps back ages nothing."""
        epoch = int(now // UNIT)
        if epoch == self.epoch:
            return
        step = min(epoch - self.epoch, _OLDEST)
        if step > 0 and self.ages:
            older = bytes(range(step, 256)) + b"\xff" * step
            self.ages = self.ages.translate(older)
        self.epoch = epoch

    def tier(self, recipient: int) -> Tier:
        """Return how familiar a recipient is as of the last ``elapse``."""
        at = self._find(recipient)
        return NEVER if at < 0 else _TIERS[self.ages[at]]

    def tiers(self, recipients: Iterable[int]) -> tuple[int, int, int, int]:
        """Count distinct recipients by tier."""
        counts = [0, 0, 0, 0]
        for recipient in set(recipients):
            counts[self.tier(recipient)] += 1
        return counts[0], counts[1], counts[2], counts[3]

    def add(self, recipients: Iterable[int]) -> None:
        """Remember that these were written to; the longest unused make room.

        Of a message to more than the capacity only that many are remembered.
        """
        for recipient in islice(set(recipients), CAPACITY):
            at = self._find(recipient)
            if at >= 0:
                self.ages[at] = 0
                continue
            if len(self.ages) >= CAPACITY:
                oldest = self.ages.index(max(self.ages))
                del self.ages[oldest]
                del self.marks[2 * oldest : 2 * oldest + 2]
                self.mark -= oldest < self.mark
            self.ages.append(0)
            self.marks += (recipient & 0xFFFF).to_bytes(2, "little")

    def forget_run(self) -> None:
        """Forget those that were added since the present run began."""
        del self.ages[self.mark :]
        del self.marks[2 * self.mark :]
