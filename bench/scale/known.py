"""Senders that Redis knows: octets for each, and whether many make a decision dear.

Every record is stored by the ledger itself. The decisions are those of the
engine (offered, judged, learned from, flushed every 100), each of a sender that
is not in the engine's own cache, with the many and the few in turn.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.hop.processes import cpu_seconds
from shaper.core.contacts import contact_hash
from shaper.core.evidence import learn, weigh
from shaper.core.model import Model
from shaper.core.record import Record
from shaper.ledger.ledger import RedisLedger
from tests.support.engine import START, EngineBox
from tests.support.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterable

_CONTACTS = (20, 200)
_FEW = 3_000  # more than the engine keeps in its own cache
_ROUNDS = 5
_DECISIONS = 500  # a round
_TOGETHER = 100  # saves under way at once
_PROJECTED = 1_000_000
_KEY = b"k" * 32


class _Store(NamedTuple):
    name: str
    redis: RedisServer
    box: EngineBox
    senders: int


def _name(number: int) -> str:
    return f"login:user{number}@example{number % 500}.test"


def _template(contacts: int) -> Record:
    """Return the record of a sender with so many correspondents and 60 days."""
    model = Model.default()
    record = Record.new("login:template", START - 61 * 86400.0)
    addresses = [f"friend{number}@example.net" for number in range(contacts)]
    each = max(contacts // 60, 1)
    for day in range(60):
        for turn in range(each * 2):
            at = START + (day - 60) * 86400.0 + turn * 900.0
            address = addresses[(day * each + turn) % contacts]
            hashes = [contact_hash(_KEY, address)]
            weigh(record.profile, model, hashes, at)
            learn(record.profile, model, hashes, at)
    for address in addresses:  # whoever was left out
        record.profile.contacts.add([contact_hash(_KEY, address)])
    return record


async def _fill(url: str, template: Record, numbers: Iterable[int]) -> int:
    """Store a record under each number's name; return the octets of one."""
    ledger = RedisLedger.connect(url, timeout=10.0)
    pending = iter(numbers)
    size = 0

    async def work() -> None:
        nonlocal size
        for number in pending:
            template.sender = _name(number)
            raw = template.encode()
            size = len(raw)
            await ledger.save(template.sender, 0, raw, template.state.value)

    try:
        await asyncio.gather(*(work() for _ in range(_TOGETHER)))
    finally:
        await ledger.close()
    return size


def _used(redis: RedisServer) -> tuple[int, int]:
    with redis.client() as client:
        facts = client.info("memory")
    return int(facts["used_memory"]), int(facts["used_memory_rss"])


async def measure(senders: int) -> None:
    """Fill, print octets; decide in turn, print microseconds."""
    many: RedisServer | None = None
    print(f"\n{senders:,} known senders in Redis, no append-only file")
    print(f"{'contacts':>8} {'record':>7} {'used':>6} {'resident':>8} octets a sender")
    async with AsyncExitStack() as stack:
        for contacts in _CONTACTS:
            redis = stack.enter_context(RedisServer())
            empty = _used(redis)
            size = await _fill(redis.url, _template(contacts), range(senders))
            full = _used(redis)
            used, resident = full[0] - empty[0], full[1] - empty[1]
            per_sender = used / senders
            print(
                f"{contacts:8} {size:7} {per_sender:6.0f} {resident / senders:8.0f}"
                f"   {_PROJECTED:,} senders by extrapolation: "
                f"{per_sender * _PROJECTED / 1e9:.2f} GB"
            )
            many = redis
        if many is None:
            return
        few = stack.enter_context(RedisServer())
        await _fill(few.url, _template(_CONTACTS[-1]), range(_FEW))
        stores = []
        named = ((f"{_FEW:,} senders", few), (f"{senders:,} senders", many))
        for (name, redis), count in zip(named, (_FEW, senders), strict=True):
            place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            box = EngineBox(redis.url, place, enforce=False)
            await stack.enter_async_context(box)
            stores.append(_Store(name, redis, box, count))
        await _decide(stores)


async def _decide(stores: list[_Store]) -> None:
    costs: dict[str, list[float]] = {store.name: [] for store in stores}
    times: dict[str, list[float]] = {store.name: [] for store in stores}
    order = {
        store.name: random.Random(1).sample(  # noqa: S311
            range(store.senders), (_ROUNDS + 1) * _DECISIONS
        )
        for store in stores
    }
    for turn in range(_ROUNDS + 1):
        for store in stores:
            numbers = order[store.name][turn * _DECISIONS : (turn + 1) * _DECISIONS]
            cost, taken = await _round(store, numbers)
            if turn:  # the first warms up
                costs[store.name].append(cost)
                times[store.name] += taken
    print(f"\na decision about a sender not in the cache, {_ROUNDS} x {_DECISIONS}")
    print(f"{'':18} {'CPU us':>7} {'p50 us':>7} {'p99 us':>7}")
    for name, several in costs.items():
        taken = sorted(times[name])
        print(
            f"{name:18} {statistics.median(several):7.0f}"
            f" {taken[len(taken) // 2]:7.0f} {taken[len(taken) * 99 // 100]:7.0f}"
        )
    few, many = costs.values()
    ratios = sorted(b / a for a, b in zip(few, many, strict=True))
    print(
        f"CPU with many to few: {statistics.median(ratios):.2f} "
        f"({ratios[0]:.2f} to {ratios[-1]:.2f})"
    )


async def _round(store: _Store, numbers: list[int]) -> tuple[float, list[float]]:
    """Return CPU microseconds a decision, Redis included, and each one's time."""
    box, taken = store.box, []
    before = time.process_time() + cpu_seconds(store.redis.pid)
    for count, number in enumerate(numbers):
        box.now += 0.01
        begin = time.perf_counter()
        await box.offer(_name(number), [f"friend{number % 20}@example.net"])
        taken.append((time.perf_counter() - begin) * 1e6)
        if count % 100 == 99:  # noqa: PLR2004
            await box.engine.senders.flush()
    spent = time.process_time() + cpu_seconds(store.redis.pid) - before
    return spent / len(numbers) * 1e6, taken
