"""Messages that left: what is written of them, and how one is found again.

A message that the next hop took is noted in memory and written to Redis within a
second or so, together with others; a crash loses the last second, and outcomes of
that mail then find nobody. The newest messages stay in memory: most refusals come
within seconds, and they are all there is while Redis is away. When that goes on,
the oldest that were not written are dropped and counted in ``lost``.

A report finds its message by our trace id, by a queue id of the next hop, or by
Message-ID, and must name somebody to whom the message went: a forged bounce has
to know both. Each outcome of a recipient is claimed once over all instances.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from shaper.core.outcome import Kind, Meaning
from shaper.core.ports import StateUnavailableError
from shaper.core.sent import NOBODY, Sent, mark_of, message_key

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from shaper.core.message import Submission
    from shaper.core.outcome import Outcome
    from shaper.engine.context import Context

__all__ = ["Claim", "Match", "SentMail"]

_RECENT = 10_000  # messages in memory, about 700 octets each
_MOST_IDS = 64  # of one message that is not written yet
_CLAIMED = 20_000  # outcomes in memory, about 200 octets each
_TOGETHER = 500  # messages of one write
# A report about a message cannot be older than it: it is about an earlier one with
# the same queue id. Logs are written in any time zone.
_SKEW = 26 * 3600.0


@dataclass(slots=True)
class _Recent:
    sent: Sent
    ids: tuple[bytes, ...]
    place: str = ""  # "" until it is in Redis


@dataclass(frozen=True, slots=True)
class Match:
    """The message that a report is about.

    ``mark`` is of the recipient concerned. ``named`` says that the report names it
    by the very address that the sender used; without, it names a forwarding
    target, or nobody.
    """

    sent: Sent
    place: str
    mark: bytes
    named: bool


@dataclass(frozen=True, slots=True)
class Claim:
    """Whether an outcome is news, and whether a delivery was told before it."""

    news: bool
    delivered: bool = False


class SentMail:
    """The memory of messages that left, over ``Context.ledger.sent``."""

    def __init__(self, context: Context) -> None:
        """Start empty; Redis has what was before."""
        self._context = context
        self._recent: OrderedDict[bytes, _Recent] = OrderedDict()
        self._by_id: dict[bytes, list[bytes]] = {}
        self._unwritten: dict[bytes, None] = {}
        self._claimed: OrderedDict[bytes, int] = OrderedDict()
        self._renamed: OrderedDict[bytes, bytes] = OrderedDict()
        self._writing = asyncio.Lock()
        self.lost = 0

    def note(
        self, submission: Submission, addresses: Iterable[str], queue_id: str
    ) -> None:
        """Remember that the next hop took a message for these recipients."""
        if not submission.sender:
            return
        marks = tuple(mark_of(one) for one in self._context.hashes(addresses))
        key = self._key("trace", submission.id)
        ids = []
        if queue_id:
            ids.append(named := self._key("queue", queue_id))
            if anew := self._renamed.get(named):
                ids.append(anew)
        if message_id := _bare(submission.message_id):
            ids.append(self._key("message", message_id))
        before = self._recent.get(key)
        if before is not None and not before.place:
            # A message that leaves in parts gets a queue id for each.
            ids = list(dict.fromkeys([*before.ids, *ids]))[-_MOST_IDS:]
        self._forget(key)
        sent = Sent(key, submission.sender, submission.received, marks)
        self._recent[key] = _Recent(sent, tuple(ids))
        for one in ids:
            self._by_id.setdefault(one, []).append(key)
        self._unwritten[key] = None
        while len(self._recent) > _RECENT:
            self.lost += self._forget(next(iter(self._recent)))

    def rename(self, queue_id: str, anew: str) -> None:
        """Know a message by the queue id that its MTA gave it or its copy, too.

        Before or after ``note``: the MTA's log may be faster than its answer.
        """
        old, new = self._key("queue", queue_id), self._key("queue", anew)
        self._renamed[old] = new
        if len(self._renamed) > _RECENT:
            self._renamed.popitem(last=False)
        for key in self._by_id.get(old, [])[-1:]:
            entry = self._recent[key]
            if new in entry.ids or len(entry.ids) >= _MOST_IDS:
                continue
            entry.ids, entry.place = (*entry.ids, new), ""
            self._by_id.setdefault(new, []).append(key)
            self._unwritten[key] = None

    async def flush(self) -> None:
        """Write what is not in Redis yet. Raises StateUnavailableError."""
        async with self._writing:
            while self._unwritten:
                batch = [
                    (key, self._recent[key])
                    for key in islice(self._unwritten, _TOGETHER)
                ]
                places = await self._context.ledger.sent.note(
                    [(entry.sent, entry.ids) for _, entry in batch],
                    self._context.remember,
                )
                for (key, entry), (place, _) in zip(batch, places, strict=True):
                    entry.place = place
                    if self._recent.get(key) is entry:
                        del self._unwritten[key]

    async def forget(self, senders: Collection[str]) -> int:
        """Remove all messages of these senders; return how many there were."""
        for key in [k for k, e in self._recent.items() if e.sent.sender in senders]:
            self._forget(key)
        return await self._context.ledger.sent.forget(senders)

    def rewrite(self) -> None:
        """Have everything in memory written again: Redis has lost it."""
        self._unwritten = dict.fromkeys(self._recent)

    async def find(self, outcome: Outcome) -> Match | None:
        """Return the message and recipient that a report is about.

        Raises StateUnavailableError when only Redis could tell.
        """
        weak: Match | None = None
        marks = self._marks(outcome)
        for entry, strong in self._in_memory(outcome):
            match = _fit(entry.sent, entry.place, outcome, marks, strong=strong)
            if match is not None and match.named:
                return match
            weak = weak or match
        try:
            found = await self._in_redis(outcome, marks)
        except StateUnavailableError:
            if weak is not None:
                return weak
            raise
        return found if found is not None and found.named else weak or found

    def _ids(self, outcome: Outcome) -> Iterator[tuple[bytes, bool]]:
        """Yield the ids that a report tells, and whether they are hard to guess.

        A queue id may be short and used again, so it never stands alone.
        """
        if outcome.queue_id:
            yield self._key("queue", outcome.queue_id), False
        if message_id := _bare(outcome.message_id):
            yield self._key("message", message_id), True

    def _in_memory(self, outcome: Outcome) -> Iterator[tuple[_Recent, bool]]:
        if outcome.trace_id:
            entry = self._recent.get(self._key("trace", outcome.trace_id))
            if entry is not None:
                yield entry, True
        for one, strong in self._ids(outcome):
            for key in reversed(self._by_id.get(one, ())):
                yield self._recent[key], strong

    async def _in_redis(self, outcome: Outcome, marks: _Marks) -> Match | None:
        weak: Match | None = None
        memory, keep = self._context.ledger.sent, self._context.remember
        now = self._context.clock()
        keys: list[tuple[bytes, bool]] = []
        if outcome.trace_id:
            keys.append((self._key("trace", outcome.trace_id), True))
        ids = self._ids(outcome)
        while True:
            for key, strong in keys:
                found = await memory.find(key, now, keep)
                if found is None:
                    continue
                place, sent = found
                match = _fit(sent, place, outcome, marks, strong=strong)
                if match is not None and match.named:
                    return match
                weak = weak or match
            one = next(ids, None)
            if one is None:
                return weak
            linked = await memory.linked(one[0], now, keep)
            keys = [(key, one[1]) for key in linked]

    def _marks(self, outcome: Outcome) -> _Marks:
        named, original = (
            mark_of(self._context.hashes([address])[0]) if address else None
            for address in (outcome.recipient, outcome.original_recipient)
        )
        return named, original

    async def claim(self, match: Match, meaning: Meaning) -> Claim:
        """Tell whether an outcome is news over all instances; it is none then.

        Of the words about one recipient each kind counts once, and after a death
        only a complaint is news: who says "delivered" then, spoke of an earlier
        hop. While Redis is away this instance alone decides.
        """
        bit = _BITS.get(meaning, _FAILED)
        known = 0 if bit in {_DEAD, _COMPLAINED} else _DEAD
        key = match.sent.key + match.mark
        before = self._claimed.get(key, 0)
        if before & (bit | known):
            return Claim(news=False)
        self._claimed[key] = before | bit
        own = Claim(news=True, delivered=bool(before & _DELIVERED))
        while len(self._claimed) > _CLAIMED:
            self._claimed.popitem(last=False)
        try:
            place = match.place
            if not place:
                await self.flush()
                entry = self._recent.get(match.sent.key)
                place = entry.place if entry else ""
            if not place:
                return own
            told = await self._context.ledger.sent.claim(
                place, match.sent.key, match.mark, bit, known, self._context.remember
            )
        except StateUnavailableError:
            return own
        earlier = (told - 1) & _DELIVERED if told else 0
        return Claim(news=told > 0, delivered=bool(earlier))

    def _forget(self, key: bytes) -> bool:
        """Drop a message from memory; return whether it was never written."""
        entry = self._recent.pop(key, None)
        if entry is None:
            return False
        for one in entry.ids:
            keys = self._by_id[one]
            keys.remove(key)
            if not keys:
                del self._by_id[one]
        return self._unwritten.pop(key, _WRITTEN) is not _WRITTEN

    def _key(self, kind: str, text: str) -> bytes:
        return message_key(self._context.contact_key, kind, text)


# Of the recipient that a report names, and of that before aliases.
_Marks = tuple[bytes | None, bytes | None]
_WRITTEN = object()
_DELIVERED, _FAILED, _DEAD, _COMPLAINED = 1, 2, 4, 8
_BITS = {
    Meaning.DELIVERED: _DELIVERED,
    Meaning.DEAD_ADDRESS: _DEAD,
    Meaning.COMPLAINT: _COMPLAINED,
}


def _fit(
    sent: Sent, place: str, outcome: Outcome, marks: _Marks, *, strong: bool
) -> Match | None:
    """Return whom of a message a report is about, None when it is another's."""
    if outcome.time is not None and outcome.time < sent.time - _SKEW:
        return None
    named, original = marks
    if named is not None and named in sent.marks:
        return Match(sent, place, named, named=True)
    if original is not None and original in sent.marks:
        return Match(sent, place, original, named=False)
    if strong and len(sent.marks) == 1:
        # It was forwarded, or the report hides the address.
        return Match(sent, place, sent.marks[0], named=False)
    hidden = named is None and original is None
    if strong and hidden and outcome.kind is Kind.ARF:
        return Match(sent, place, NOBODY, named=False)
    return None


def _bare(message_id: str) -> str:
    return message_id.strip().strip("<>").strip()
