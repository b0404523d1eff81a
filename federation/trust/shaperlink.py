"""Where the shaper meets us: facts from a Redis stream, verdicts back into Redis.

    <prefix>:federation:facts        stream; field f holds one fact (``facts``)
    <prefix>:federation:peppers      hash: pepper id -> secret
    <prefix>:federation:recipients   hash: tag -> {"o":"s"|"c","e","by","since","own"}
    <prefix>:federation:senders      hash: tag -> {"by","why","until"}
    <prefix>:federation:epoch        changes when all of it was written anew
    <prefix>:federation:alive        Unix time, gone three minutes after our death

Everything we write there can be computed again from the file; nothing is read back
from it. Binary names are base64url. No commands on two keys, so it may be a cluster.
Errors of Redis become RedisLostError; nothing is lost by one, the next round repeats.

docs/federation.md, "How shaper and federation meet".
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import Counter
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

from redis import exceptions
from redis.asyncio import Redis

from federation.format.errors import Refused
from federation.format.profile import b64, unb64
from federation.trust.decision import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from federation.format.tags import Pepper
    from federation.log.store import Store
    from federation.trust.decision import Verdict
    from federation.trust.evidence import Evidence
    from federation.trust.intake import Intake, Taken
    from federation.trust.judge import Judge

__all__ = ["FactStream", "Projection", "RedisLostError", "connect"]

ALIVE = 180  # seconds
_BATCH = 500  # tags or facts at once
_ARRIVALS = 1000
_A_STEP = 5000
_LETTER = {Outcome.SUPPRESS: "s", Outcome.CAUTION: "c"}


class RedisLostError(Exception):
    """Redis does not answer, or not as it should. The text names no password."""


def connect(url: str, timeout: float = 5.0) -> Redis:
    """Return a client. Raises ValueError for a URL of another kind."""
    if not url.startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("the Redis URL must begin with redis://, rediss:// or unix://")
    return Redis.from_url(url, socket_timeout=timeout, socket_connect_timeout=timeout)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (exceptions.RedisError, OSError) as error:
        raise RedisLostError(f"Redis: {error}") from error


class FactStream:
    """Moves facts from the stream into the file, and deletes them behind."""

    def __init__(self, client: Redis, prefix: str, intake: Intake) -> None:
        """Work on ``<prefix>:federation:facts``."""
        self._client: Any = client  # redis-py's types tell of every protocol
        self._key = f"{prefix}:federation:facts"
        self._intake = intake

    async def round(self, now: int) -> tuple[int, Taken | None]:
        """Take the next facts; return how many there were and what became of them.

        Raises RedisLostError and StoreFull.
        """
        if not self._intake.ready:
            return 0, None
        place = self._intake.place()
        with _translated():
            # What a crash left behind was taken: it goes first.
            await self._trim(place)
            entries = await self._client.xrange(
                self._key, min=f"({place}", count=_BATCH
            )
        if not entries:
            return 0, None
        last = entries[-1][0].decode()
        facts = [found.get(b"f", b"") for _, found in entries]
        taken = await asyncio.to_thread(self._intake.take, facts, now, last, place)
        with _translated():
            await self._trim(last)
        return len(entries), taken

    async def _trim(self, place: str) -> None:
        """Delete entries up to a place: they hold plain addresses."""
        time, _, number = place.partition("-")
        behind = f"{time}-{int(number) + 1}"
        await self._client.xtrim(self._key, minid=behind, approximate=False)


class Projection:
    """Writes what follows into Redis. One writer; readers are the shapers."""

    def __init__(
        self,
        client: Redis,
        prefix: str,
        store: Store,
        evidence: Evidence,
        judge: Judge,
    ) -> None:
        """Work on ``<prefix>:federation:*``. ``counts`` is of the last full pass."""
        self.counts = {Outcome.SUPPRESS: 0, Outcome.CAUTION: 0}
        self.senders = 0
        self._client: Any = client  # redis-py's types tell of every protocol
        self._prefix = f"{prefix}:federation:"
        self._recipients = f"{self._prefix}recipients"
        self._store = store
        self._evidence = evidence
        self._judge = judge
        self._names: dict[bytes, str] = {}
        self._arrived = 0
        self._written = ""  # the epoch that is in Redis
        self._all: Iterator[bytes] = iter(())
        self._rebuilding = False
        self._cursor = 0
        self._tally: Counter[Outcome] = Counter()

    async def heartbeat(self, peppers: Sequence[Pepper], now: int) -> None:
        """Say that we are here, and with which peppers tags are made."""
        key = f"{self._prefix}peppers"
        mine = {b64(one.id): b64(one.secret) for one in peppers}
        with _translated():
            await self._replace(key, mine)
            await self._client.set(f"{self._prefix}alive", now, ex=ALIVE)

    async def is_whole(self) -> bool:
        """Whether Redis still holds what was written last: it may have been emptied."""
        with _translated():
            found = await self._client.get(f"{self._prefix}epoch")
        return bool(self._written) and found == self._written.encode()

    async def rebuild(self, now: int) -> None:
        """Decide about every tag anew, and remove what follows no more."""
        self.start_rebuild()
        while not await self.sweep(now, _A_STEP):
            pass

    def start_rebuild(self) -> None:
        """Let ``sweep`` go through everything once.

        Verdicts are replaced one by one: at no time is there less than before.
        """
        self._names = self._judge.names()
        self._arrived = self._last_arrival()
        self._all = self._tags()
        self._rebuilding = True

    async def sweep(self, now: int, most: int) -> bool:
        """Decide again about the next tags; True when a rebuild came to its end.

        Evidence fades, so this goes round for ever, a little at a time. What is in
        Redis is looked at besides: its claims may have expired.
        """
        tags = list(islice(self._all, most))
        for part in _chunks(tags):
            await self.refresh(part, now)
        if len(tags) == most:
            return False
        self._all = self._tags()
        if not self._rebuilding:
            await self._sweep_held(now)
            return False
        self._cursor = 0
        while await self._sweep_held(now):
            pass
        await self.refresh_senders(now)
        self._written = secrets.token_hex(8)
        with _translated():
            await self._client.set(f"{self._prefix}epoch", self._written)
        self._rebuilding = False
        return True

    async def _sweep_held(self, now: int) -> bool:
        """Decide about the next verdicts in Redis; False at the end of a pass."""
        with _translated():
            self._cursor, held = await self._client.hscan(
                self._recipients, self._cursor, count=_BATCH
            )
            strange = [name for name in held if _tag(name) is None]
            if strange:
                await self._client.hdel(self._recipients, *strange)
        for part in _chunks(tag for tag in map(_tag, held) if tag is not None):
            self._tally.update(await self.refresh(part, now))
        if self._cursor:
            return True
        self.counts = {one: self._tally[one] for one in self.counts}
        self._tally.clear()
        return False

    async def follow(self, now: int) -> None:
        """Decide about the tags of what arrived since the last time."""
        blocked = False
        while arrivals := self._store.arrivals(self._arrived, _ARRIVALS):
            touched: set[bytes] = set()
            for one in arrivals:
                if one.tag is not None and one.k.startswith("rcpt."):
                    touched.add(one.tag)
                if one.takes_back:
                    touched.update(self._store.tags_taken_back(one.n))
                blocked |= one.takes_back or one.k == "send.blocked"
            if any(one.k == "ctl.org" for one in arrivals):
                self._names = self._judge.names()
            for tags in _chunks(touched):
                await self.refresh(tags, now)
            self._arrived = arrivals[-1].n
        if blocked:
            await self.refresh_senders(now)

    async def refresh(self, tags: Sequence[bytes], now: int) -> Counter[Outcome]:
        """Decide about tags, write what follows, and count it."""
        verdicts = await asyncio.to_thread(self._judge.verdicts, tags, now)
        follows = {
            b64(tag): self._json(verdict)
            for tag, verdict in verdicts.items()
            if verdict.outcome is not Outcome.ALLOW
        }
        rest = [name for tag in verdicts if (name := b64(tag)) not in follows]
        with _translated():
            if follows:
                await self._client.hset(self._recipients, mapping=follows)
            if rest:
                await self._client.hdel(self._recipients, *rest)
        return Counter(verdict.outcome for verdict in verdicts.values())

    async def refresh_senders(self, now: int) -> None:
        """Write what is said about senders; what is over goes."""
        signals = await asyncio.to_thread(self._judge.senders, now)
        said = {
            b64(tag): json.dumps(
                {"by": self._named(one.by), "why": one.why, "until": one.until}
            )
            for tag, one in signals.items()
        }
        key = f"{self._prefix}senders"
        with _translated():
            await self._replace(key, said)
        self.senders = len(said)

    async def _replace(self, key: str, mapping: Mapping[str, str]) -> None:
        """Make a hash equal to a mapping; what stays is never away in between."""
        held = await self._client.hkeys(key)
        gone = [name for name in held if name.decode() not in mapping]
        if gone:
            await self._client.hdel(key, *gone)
        if mapping:
            await self._client.hset(key, mapping=mapping)

    def _last_arrival(self) -> int:
        found = self._store.row("SELECT coalesce(max(n), 0) FROM ev")
        return 0 if found is None else int(found[0])

    def _tags(self) -> Iterator[bytes]:
        """Yield each tag that claims or own evidence are about."""
        yield from self._store.tags()
        yield from self._evidence.tags()

    def _json(self, verdict: Verdict) -> str:
        return json.dumps(
            {
                "o": _LETTER[verdict.outcome],
                "e": verdict.e,
                "by": self._named(verdict.by),
                "since": verdict.since,
                "own": verdict.own,
            },
            separators=(",", ":"),
        )

    def _named(self, orgs: Iterable[bytes]) -> list[str]:
        return [self._names.get(org, b64(org)[:8]) for org in orgs]


def _tag(name: bytes) -> bytes | None:
    try:
        return unb64(name.decode("latin-1"), 16)
    except Refused:
        return None


def _chunks(tags: Iterable[bytes]) -> Iterator[list[bytes]]:
    rest = iter(tags)
    while part := list(islice(rest, _BATCH)):
        yield part
