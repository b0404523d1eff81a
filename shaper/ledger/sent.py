"""Messages that left, in Redis: many small hashes that it keeps compact.

One key a message and index would cost some 300 octets; fields of hashes with few
entries are stored as a plain list of octets and cost a third. A day has buckets
in four sizes of set-up (*levels*): 256 of them on a small host, and as soon as a
bucket gets full the next messages go into eight times as many. Whoever looks for a
message asks all levels of all days that are remembered, in one round trip.

    mailshaper:sent:<day>:<level>:<bucket>
        <message>              time, recipients' marks, sender
        <message> <n>          more of it, when there are many recipients
        <message> <mark>       bits of what was said of a recipient (claim.lua)
        <id>                   messages that had this queue id or Message-ID

All names are digests. Nothing here is written before a message goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from shaper.core.sent import KEY, Sent
from shaper.ledger.scripts import CLAIM, SENT

if TYPE_CHECKING:
    from collections.abc import (
        AsyncIterator,
        Collection,
        Iterable,
        Iterator,
        Sequence,
    )

    from shaper.core.ports import SentPlace
    from shaper.ledger.address import Client
    from shaper.ledger.connection import Connection
    from shaper.ledger.keys import Keys

__all__ = ["SentLedger"]

_DAY = 86_400
_LEVELS = (256, 2048, 16384, 131072)
# Redis keeps hashes of up to 128 entries compact unless told otherwise; claims
# come on top of what is stored when a message leaves.
_FULL = 64
_PIECE = 60  # octets of a value; 64 is the longest that Redis keeps compact
_PAGE = 200  # buckets read at a time
_TOGETHER = 32  # scripts under way: a message on its way waits for few of them


class SentLedger:
    """Implements the port ``SentMemory``."""

    def __init__(self, connection: Connection, keys: Keys) -> None:
        """``keys`` gives the prefix."""
        self._connection = connection
        self._keys = keys
        self._levels: dict[int, int] = {}  # by day

    async def note(
        self, messages: Sequence[tuple[Sent, tuple[bytes, ...]]], keep: float
    ) -> list[SentPlace]:
        """Store messages with the digests of ids under which they are found.

        ``keep`` is in seconds. Returns where each message is. Idempotent.
        """
        buckets: dict[str, list[str | bytes]] = {}
        places: list[SentPlace] = []
        for sent, ids in messages:
            day = int(sent.time) // _DAY
            level = self._levels.get(day, 0)
            place = self._keys.sent(day, level, _bucket(sent.key, level))
            places.append((place, sent))
            own = buckets.setdefault(place, [])
            for number, piece in enumerate(_pieces(sent.encode())):
                field = sent.key + bytes([number]) if number else sent.key
                own += ("s", field, piece)
            for one in ids:
                key = self._keys.sent(day, level, _bucket(one, level))
                buckets.setdefault(key, []).extend(("a", one, sent.key))
        seconds = max(1, int(keep))
        work = list(buckets.items())
        for at in range(0, len(work), _TOGETHER):
            sizes = await asyncio.gather(
                *(
                    self._connection.run(SENT, (key,), seconds, *words)
                    for key, words in work[at : at + _TOGETHER]
                )
            )
            self._grow(work[at : at + _TOGETHER], sizes)
        return places

    def _grow(
        self, written: Iterable[tuple[str, list[str | bytes]]], sizes: Iterable[int]
    ) -> None:
        """Use the next level of a day as soon as a bucket of this one is full."""
        for (key, _), size in zip(written, sizes, strict=True):
            if int(size) >= _FULL:
                day, level = (int(part) for part in key.split(":")[-3:-1])
                if level == self._levels.get(day, 0) and level + 1 < len(_LEVELS):
                    self._levels = {d: n for d, n in self._levels.items() if d >= day}
                    self._levels[day] = level + 1

    async def find(self, key: bytes, now: float, keep: float) -> SentPlace | None:
        """Return a message and where it is, by the digest of its trace id.

        One that left in parts may be at several places: a level began in between.
        """
        found: SentPlace | None = None
        places = self._places(key, now, keep)
        for place, raw in zip(places, await self._get(places, key), strict=True):
            if not raw:
                continue
            body = bytes(raw)
            if body[0]:
                more = [key + bytes([n]) for n in range(1, body[0] + 1)]
                rest = await self._connection.command("HMGET", place, *more)
                body += b"".join(bytes(piece or b"") for piece in rest)
            with contextlib.suppress(ValueError):
                sent = Sent.decode(key, body[1:])
                if found is None:
                    found = place, sent
                else:
                    marks = dict.fromkeys(found[1].marks + sent.marks)
                    found = found[0], replace(found[1], marks=tuple(marks))
        return found

    async def linked(self, one: bytes, now: float, keep: float) -> list[bytes]:
        """Return the messages that had an id, the newest first."""
        places = self._places(one, now, keep)
        found: list[bytes] = []
        for raw in await self._get(places, one):
            keys = bytes(raw or b"")
            ends = range(len(keys), 0, -KEY)
            found += [keys[end - KEY : end] for end in ends if end >= KEY]
        return list(dict.fromkeys(found))

    async def claim(
        self, place: str, key: bytes, mark: bytes, bit: int, known: int, keep: float
    ) -> int:
        """Note an outcome of a recipient; return 0 when it is no news.

        ``bit`` stands for the outcome, ``known`` for those after which it is none.
        News give 1 and the bits that were noted before.
        """
        seconds = max(1, int(keep))
        result = await self._connection.run(
            CLAIM, (place,), key + mark, bit, known, seconds
        )
        return int(result)

    async def forget(self, senders: Collection[str]) -> int:
        """Remove all messages of these senders; return how many there were.

        Reads through every bucket, in pages.
        """
        keys: AsyncIterator[bytes] | None = None

        async def page(client: Client) -> dict[bytes, dict[bytes, bytes]]:
            nonlocal keys
            if keys is None:
                keys = client.scan_iter(match=self._keys.all_sent, count=_PAGE)
            names: list[bytes] = []
            async for name in keys:
                names.append(name)
                if len(names) >= _PAGE:
                    break
            pipeline = client.pipeline(transaction=False)
            for name in names:
                pipeline.hgetall(name)
            return dict(zip(names, await pipeline.execute(), strict=True))

        gone = 0
        while buckets := await self._connection.call(page, "sent"):
            for place, fields in buckets.items():
                own = {key for key, sent in _messages(fields) if sent.sender in senders}
                if own:
                    names = [field for field in fields if field[:KEY] in own]
                    await self._connection.command("HDEL", place, *names)
                    gone += len(own)
        return gone

    def _places(self, key: bytes, now: float, keep: float) -> list[str]:
        """Return where a digest may be, the newest day first."""
        last = int(now) // _DAY
        first = int(now - keep) // _DAY
        return [
            self._keys.sent(day, level, _bucket(key, level))
            for day in range(last, first - 1, -1)
            for level in range(len(_LEVELS))
        ]

    async def _get(self, places: Sequence[str], field: bytes) -> list[Any]:
        async def work(client: Client) -> list[Any]:
            pipeline = client.pipeline(transaction=False)
            for place in places:
                pipeline.execute_command("HGET", place, field)
            return list(await pipeline.execute())

        return await self._connection.call(work, places[0])


def _bucket(key: bytes, level: int) -> int:
    return int.from_bytes(key[:4], "big") % _LEVELS[level]


def _messages(fields: dict[bytes, bytes]) -> Iterator[tuple[bytes, Sent]]:
    """Yield the messages of a bucket; what is none is skipped."""
    for field, first in fields.items():
        if len(field) != KEY or not first:
            continue
        more = range(1, first[0] + 1)
        rest = b"".join(fields.get(field + bytes([n]), b"") for n in more)
        with contextlib.suppress(ValueError):
            yield field, Sent.decode(field, first[1:] + rest)


def _pieces(body: bytes) -> list[bytes]:
    """Cut a body into values that Redis keeps compact; the first tells how many."""
    rest = [body[at : at + _PIECE] for at in range(_PIECE, len(body), _PIECE)]
    return [bytes([len(rest)]) + body[:_PIECE], *rest]
