"""The suppression list on a real Redis: compare and set, the stream, its loss."""

import asyncio
import time

import pytest
import redis

from shaper.core.ports import StateUnavailableError
from shaper.core.suppression import digest
from shaper.ledger import RedisLedger, suppressed
from shaper.ledger.suppressed import Suppressed
from tests.support.redis_server import RedisServer

A, B = digest("a@b.example"), digest("c@d.example")


@pytest.fixture
async def ledger(redis_url):
    ledger = RedisLedger.connect(redis_url)
    yield ledger
    await ledger.close()


@pytest.fixture
def store(ledger) -> Suppressed:
    return ledger.suppressed


async def names(store):
    return sorted([name async for page in store.names() for name in page])


async def test_an_entry_changes_only_from_what_was_read(store):
    assert await store.get(A) == b""
    assert await store.swap(A, b"", b"one") == (True, b"")
    assert await store.swap(A, b"", b"two") == (False, b"one")
    assert await store.swap(A, b"", b"one") == (True, b"")  # asked again
    assert await store.swap(A, b"one", b"two") == (True, b"")
    assert await store.get(A) == b"two"
    assert await store.swap(A, b"two", b"") == (True, b"")
    assert await store.get(A) == b""
    assert await names(store) == []


async def test_of_many_at_once_exactly_one_wins(store):
    await store.swap(A, b"", b"start")
    tries = (store.swap(A, b"start", f"by {n}".encode()) for n in range(20))
    done = [won for won, _ in await asyncio.gather(*tries)]
    assert sum(done) == 1


async def test_what_is_to_be_forgotten_is(store, redis_url):
    await store.swap(A, b"", b"one", 1000)
    await store.swap(B, b"", b"two")
    with redis.Redis.from_url(redis_url) as plain:
        ages = {key[-32:]: plain.ttl(key) for key in plain.keys("*:gone:*")}
    assert 990 < ages[A.encode()] <= 1000
    assert ages[B.encode()] == -1


async def test_others_hear_what_changed(store):
    start = (await store.changes("")).position
    assert start == ""
    await store.swap(A, b"", b"one")
    first = await store.changes("")
    assert first.position
    assert not first.digests
    await store.swap(A, b"one", b"two")
    await store.swap(B, b"", b"two")
    found = await store.changes(first.position)
    assert (found.digests, found.reload) == ([A, B], False)
    again = await store.changes(found.position)
    assert (again.digests, again.reload) == ([], False)


async def test_an_import_has_all_read_again(store):
    await store.swap(A, b"", b"one")
    position = (await store.changes("")).position
    assert await store.put_new({A: b"x", B: b"y"}) == [A]
    assert await store.get(A) == b"one"
    await store.announce()
    assert (await store.changes(position)).reload


async def test_who_was_away_too_long_reads_all_again(store, monkeypatch):
    monkeypatch.setattr(suppressed, "_STREAM", 1)
    await store.swap(A, b"", b"0")
    position = (await store.changes("")).position
    for n in range(300):
        await store.swap(A, str(n).encode(), str(n + 1).encode())
    assert (await store.changes(position)).reload


async def test_a_stream_that_was_lost_has_all_read_again(store, redis_url):
    await store.swap(A, b"", b"one")
    position = (await store.changes("")).position
    with redis.Redis.from_url(redis_url) as plain:
        plain.flushall()
    assert (await store.changes(position)).reload


async def test_more_changes_than_a_page_all_come(store, monkeypatch):
    monkeypatch.setattr(suppressed, "_PAGE", 3)
    await store.swap(A, b"", b"one")
    position = (await store.changes("")).position
    entries = [digest(f"{n}@b.example") for n in range(10)]
    for name in entries:
        await store.swap(name, b"", b"x")
    assert (await store.changes(position)).digests == entries
    assert await names(store) == sorted([A, *entries])
    page = [one async for rows in store.entries() for one in rows]
    assert sorted(page) == sorted([(A, b"one"), *((n, b"x") for n in entries)])


async def test_redis_away_is_one_error(store):
    with RedisServer() as server:
        other = RedisLedger.connect(server.url, timeout=0.3)
        await other.suppressed.swap(A, b"", b"one")
        server.kill()
        for call in (
            other.suppressed.get(A),
            other.suppressed.swap(A, b"one", b""),
            other.suppressed.changes("1-1"),
            other.suppressed.put_new({B: b"x"}),
            names(other.suppressed),
        ):
            with pytest.raises(StateUnavailableError):
                await call
        await other.close()


@pytest.mark.slow
async def test_a_hundred_thousand_are_stored_and_read(store):
    entries = {digest(f"{n}@b.example"): b"x" * 150 for n in range(100_000)}
    start = time.monotonic()
    assert await store.put_new(entries) == []
    assert len(set(await names(store))) == len(entries)
    assert time.monotonic() - start < 50
