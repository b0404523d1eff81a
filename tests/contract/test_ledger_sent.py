"""Messages that left, on a real Redis: found again, claimed once, and small."""

import asyncio
from dataclasses import replace

import pytest
import redis

from shaper.core.ports import StateUnavailableError
from shaper.core.sent import NOBODY, Sent, mark_of, message_key
from shaper.ledger import RedisLedger
from tests.support.redis_server import RedisServer

SECRET = b"k" * 32
NOW = 1_800_000_000.0
DAY = 86_400.0
WEEK = 7 * DAY


@pytest.fixture
async def sent(redis_url):
    ledger = RedisLedger.connect(redis_url)
    yield ledger.sent
    await ledger.close()


@pytest.fixture
async def other(redis_url):
    ledger = RedisLedger.connect(redis_url)
    yield ledger.sent
    await ledger.close()


def message(number, *, recipients=1, at=NOW, sender="login:alice@example.org"):
    marks = tuple(mark_of(number * 1_000_003 + i) for i in range(recipients))
    return Sent(key("trace", number), sender, at, marks)


def key(kind, number):
    return message_key(SECRET, kind, f"{kind}{number}")


def ids(number):
    return (key("queue", number), key("message", number))


@pytest.mark.parametrize("recipients", [0, 1, 9, 100, 3000])
async def test_a_message_is_found_by_each_of_its_ids(sent, other, recipients):
    one = message(1, recipients=recipients)
    ((place, _),) = await sent.note([(one, ids(1))], WEEK)
    assert await other.find(one.key, NOW + 60, WEEK) == (place, one)
    for name in ids(1):
        assert await other.linked(name, NOW + 60, WEEK) == [one.key]
    assert await other.find(key("trace", 2), NOW, WEEK) is None
    assert await other.linked(key("queue", 2), NOW, WEEK) == []


async def test_an_odd_sender_comes_back(sent):
    one = message(1, sender="from:" + "é\udcff x" * 50)
    await sent.note([(one, ())], WEEK)
    assert (await sent.find(one.key, NOW, WEEK))[1] == one


async def test_days_are_looked_through_and_not_more(sent):
    one = message(1)
    await sent.note([(one, ids(1))], WEEK)
    assert await sent.find(one.key, NOW + 6.9 * DAY, WEEK)
    assert await sent.find(one.key, NOW + 9 * DAY, WEEK) is None


async def test_an_id_that_is_used_again_leads_to_all_the_newest_first(sent):
    for number in range(10):
        await sent.note([(message(number), (key("queue", 0),))], WEEK)
    found = await sent.linked(key("queue", 0), NOW, WEEK)
    assert found == [key("trace", number) for number in range(9, 2, -1)]


async def test_writing_again_changes_nothing(sent):
    one = message(1, recipients=40)
    first = await sent.note([(one, ids(1))], WEEK)
    again = await sent.note([(one, ids(1))], WEEK)
    assert first == again
    assert await sent.linked(ids(1)[0], NOW, WEEK) == [one.key]


async def test_a_message_that_leaves_in_parts_is_found_whole(sent, other):
    whole = message(1, recipients=3)
    part = replace(whole, marks=whole.marks[:1])
    ((place, _),) = await sent.note([(part, ())], WEEK)
    sent._levels[int(NOW) // 86_400] = 1  # many others left in between
    await sent.note([(whole, ())], WEEK)
    assert await other.find(whole.key, NOW, WEEK) == (place, whole)


async def test_an_outcome_is_claimed_once_over_all_instances(sent, other):
    one = message(1)
    ((place, _),) = await sent.note([(one, ())], WEEK)
    mark = one.marks[0]
    claims = [
        side.claim(place, one.key, mark, 4, 0, WEEK) for side in (sent, other) * 5
    ]
    assert sorted(await asyncio.gather(*claims)) == [False] * 9 + [True]
    assert not await sent.claim(place, one.key, mark, 1, 4, WEEK)
    assert await sent.claim(place, one.key, mark, 8, 0, WEEK)
    assert await sent.claim(place, one.key, NOBODY, 4, 0, WEEK)


async def test_a_claim_on_what_redis_has_lost_does_not_stay_for_ever(sent, redis_url):
    with redis.Redis.from_url(redis_url) as client:
        assert await sent.claim("mailshaper:sent:1:0:0", b"k" * 8, NOBODY, 4, 0, 60.0)
        assert 0 < client.ttl("mailshaper:sent:1:0:0") <= 60


async def test_everything_expires(sent, redis_url):
    await sent.note([(message(number), ids(number)) for number in range(50)], WEEK)
    with redis.Redis.from_url(redis_url) as client:
        ends = [client.ttl(name) for name in client.scan_iter("mailshaper:sent:*")]
    assert ends
    assert all(WEEK - 60 < end <= WEEK for end in ends)


async def test_a_sender_is_forgotten_and_no_other(sent):
    mine = [(message(n, recipients=30 * n), ids(n)) for n in range(1, 4)]
    other = message(9, sender="login:bob")
    places = await sent.note([*mine, (other, ids(9))], WEEK)
    await sent.claim(places[0][0], mine[0][0].key, NOBODY, 4, 0, WEEK)
    assert await sent.forget({"login:alice@example.org", "from:x"}) == 3
    for one, _ in mine:
        assert await sent.find(one.key, NOW, WEEK) is None
    assert await sent.find(other.key, NOW, WEEK)
    assert await sent.forget({"login:alice@example.org"}) == 0


async def test_a_message_costs_about_150_octets():
    """10,000 messages with one recipient each, and an outcome of every one."""
    with (
        RedisServer() as server,
        redis.Redis(unix_socket_path=str(server.socket)) as client,
    ):
        ledger = RedisLedger.connect(server.url)
        await ledger.ping()
        before = client.info("memory")["used_memory"]
        for start in range(0, 10_000, 500):
            numbers = range(start, start + 500)
            batch = [(message(n), ids(n)) for n in numbers]
            places = await ledger.sent.note(batch, WEEK)
        stored = client.info("memory")["used_memory"]
        assert (stored - before) / 10_000 < 170
        place, one = places[-1]
        assert await ledger.sent.claim(place, one.key, one.marks[0], 1, 4, WEEK)
        kinds = {
            client.object("encoding", name)
            for name in client.scan_iter("mailshaper:sent:*", count=5000)
        }
        # Redis before 7 calls it ziplist.
        assert kinds <= {b"listpack", b"ziplist"}
        await ledger.close()


async def test_an_unreachable_redis_is_said_so():
    with RedisServer() as server:
        ledger = RedisLedger.connect(server.url, timeout=0.3)
    one = message(1)
    for call in (
        ledger.sent.note([(one, ids(1))], WEEK),
        ledger.sent.find(one.key, NOW, WEEK),
        ledger.sent.linked(one.key, NOW, WEEK),
        ledger.sent.claim("mailshaper:sent:1:0:0", one.key, NOBODY, 1, 0, WEEK),
    ):
        with pytest.raises(StateUnavailableError):
            await call
    await ledger.close()
