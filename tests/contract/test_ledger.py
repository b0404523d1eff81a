"""The ledger on a real Redis: values, collisions, loss, damage, slowness."""

import asyncio
import re
import time
from pathlib import Path

import pytest

import shaper.ledger
from shaper.core.ports import StateUnavailableError
from shaper.ledger import RedisLedger
from shaper.ledger.keys import BUCKETS, Keys
from tests.support.redis_server import RedisServer
from tests.support.waiting import poll_async

ODD = "login:" + "é\x00\n {x} \udcff" * 200


@pytest.fixture
async def ledger(redis_url):
    ledger = RedisLedger.connect(redis_url)
    yield ledger
    await ledger.close()


@pytest.fixture
async def other(redis_url):
    ledger = RedisLedger.connect(redis_url)
    yield ledger
    await ledger.close()


@pytest.fixture
def own_server():
    with RedisServer(aof=True) as server:
        yield server


@pytest.fixture
async def own(own_server):
    ledger = RedisLedger.connect(own_server.url, timeout=0.3)
    yield ledger
    await ledger.close()


async def answers(ledger):
    try:
        await ledger.ping()
    except StateUnavailableError:
        return False
    return True


async def recovered(ledger):
    """Wait until the breaker has tried again; never longer than two seconds."""
    end = time.monotonic() + 10
    while not await answers(ledger):
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


# -- records


@pytest.mark.parametrize("sender", ["login:me", "", ODD])
async def test_a_record_is_stored_and_loaded(ledger, sender):
    assert await ledger.load(sender) == (0, b"")
    record = b"{}\nodd \x00\xff\n1 normal\n"
    done, version, current = await ledger.save(sender, 0, record, "normal")
    assert (done, current) == (True, b"")
    assert await ledger.load(sender) == (version, record)


async def test_the_slower_writer_gets_what_the_faster_stored(ledger, other):
    _, first, _ = await ledger.save("s", 0, b"a", "normal")
    _, second, _ = await other.save("s", first, b"b", "normal")
    assert second > first
    assert await ledger.save("s", first, b"c", "normal") == (False, second, b"b")
    assert await ledger.save("s", 0, b"c", "normal") == (False, second, b"b")


async def test_a_retried_save_changes_nothing(ledger):
    _, version, _ = await ledger.save("s", 0, b"a", "normal")
    assert await ledger.save("s", 0, b"a", "normal") == (True, version, b"")
    assert await ledger.load("s") == (version, b"a")


async def test_versions_do_not_repeat_after_a_loss_of_data(ledger, redis_server):
    _, before, _ = await ledger.save("s", 0, b"a", "normal")
    redis_server.flush()
    assert await ledger.save("s", before, b"b", "normal") == (False, 0, b"")
    _, after, _ = await ledger.save("s", 0, b"b", "normal")
    assert after > before


async def test_of_many_writers_each_version_has_one(ledger, other):
    async def add(by, who):
        for n in range(20):
            word = b"%d.%d " % (who, n)
            done = False
            while not done:
                version, record = await by.load("s")
                done, _, _ = await by.save("s", version, record + word, "normal")

    await asyncio.gather(*(add(by, i) for i, by in enumerate((ledger, other) * 3)))
    _, record = await ledger.load("s")
    assert sorted(record.split()) == sorted(
        b"%d.%d" % (who, n) for who in range(6) for n in range(20)
    )


async def test_the_index_follows_the_state(ledger):
    names = ["login:a", ODD, "from:b@x.test"]
    versions = {}
    for name in names:
        _, versions[name], _ = await ledger.save(name, 0, b"1", "slowed")
    assert await ledger.senders("slowed") == sorted(names)
    await ledger.save(ODD, versions[ODD], b"2", "blocked")
    await ledger.save("login:a", versions["login:a"], b"2", "normal")
    assert await ledger.senders("slowed") == ["from:b@x.test"]
    assert await ledger.senders("blocked") == [ODD]
    with pytest.raises(ValueError, match="not indexed"):
        await ledger.senders("normal")


async def test_a_lost_save_does_not_touch_the_index(ledger):
    _, version, _ = await ledger.save("s", 0, b"1", "blocked")
    await ledger.save("s", version - 1, b"2", "normal")
    assert await ledger.senders("blocked") == ["s"]


async def test_forgetting_removes_every_trace(ledger, redis_server):
    await ledger.save("s", 0, b"1", "blocked")
    await ledger.take_slot("s", 1.0, 60.0)
    await ledger.put_case("c1/main", "s", b"{}")
    await ledger.put_case("c2/main", "other", b"{2}")
    await ledger.forget("s")
    await ledger.forget("s")
    assert await ledger.load("s") == (0, b"")
    assert await ledger.senders("blocked") == []
    assert await ledger.cases() == [b"{2}"]
    with redis_server.client() as client:
        assert len(client.keys("*")) == 3  # c2: body, index, its sender


# -- slots


async def test_a_slot_is_given_once_per_pause(ledger, other):
    assert await ledger.take_slot("s", 100.0, 60.0) == 0.0
    assert await other.take_slot("s", 100.5, 60.0) == pytest.approx(59.5)
    assert await other.take_slot("t", 100.5, 60.0) == 0.0
    assert await other.take_slot("s", 160.0, 60.0) == 0.0
    assert await ledger.take_slot("s", 160.0, 60.0) == pytest.approx(60.0)


async def test_of_many_that_ask_at_once_one_gets_the_slot(ledger, other):
    waits = await asyncio.gather(
        *(by.take_slot("s", 5.0, 60.0) for by in (ledger, other) * 20)
    )
    assert waits.count(0.0) == 1


async def test_a_clock_that_steps_back_waits_one_pause_at_most(ledger, redis_server):
    await ledger.take_slot("s", 1e9, 60.0)
    assert await ledger.take_slot("s", 1.0, 60.0) > 60.0
    with redis_server.client() as client:
        assert 0 < client.pttl(Keys("mailshaper").slot("s")) <= 60_000


@pytest.mark.parametrize("pause", [0.0, -1.0, 0.0001])
async def test_without_a_pause_every_slot_is_free(ledger, pause):
    for _ in range(3):
        assert await ledger.take_slot("s", 5.0, pause) == 0.0


# -- logins, cases, held mail, orders, facts


async def test_a_login_is_known_until_it_expires(ledger, redis_server):
    await ledger.put_login("4XyZ\udcff", ODD, 100.0)
    assert await ledger.get_login("4XyZ\udcff") == ODD
    assert await ledger.get_login("4xyz") is None
    with redis_server.client() as client:
        assert 0 < client.pttl(Keys("mailshaper").login("4XyZ\udcff")) <= 100_000


async def test_cases_are_listed_until_they_expire(ledger, redis_server):
    for n in range(3):
        await ledger.put_case(f"c{n}/main", "s", b"{%d}" % n)
    await ledger.put_case("c1/main", "s", b"{new}")
    assert sorted(await ledger.cases()) == [b"{0}", b"{2}", b"{new}"]
    with redis_server.client() as client:
        client.delete(Keys("mailshaper").case("c0/main"))  # as its expiry does
    assert len(await ledger.cases()) == 2


async def test_held_mail_is_indexed_by_instance(ledger):
    for n in range(2500):
        await ledger.put_held("one", f"m{n}", b"x" * 100)
    await ledger.put_held("two", "m0", b"y")
    await ledger.drop_held("two", "m0")
    await ledger.drop_held("two", "m0")
    await ledger.put_held("three", "m0", b"z")
    index = await ledger.held()
    assert set(index) == {"one", "three"}
    assert len(index["one"]) == 2500
    assert index["three"] == {"m0": b"z"}


async def test_orders_come_in_order_from_a_position(ledger, other):
    assert await ledger.orders("") == []
    places = [await ledger.put_order(b"%d" % n) for n in range(2100)]
    found = await other.orders("")
    assert [body for _, body in found] == [b"%d" % n for n in range(2100)]
    assert [place for place, _ in found] == places
    assert await other.orders(places[2097]) == found[2098:]
    assert await other.orders(places[-1]) == []


async def test_orders_of_a_new_stream_are_read_from_its_start(ledger, redis_server):
    await ledger.put_order(b"old")
    future = "99999999999999-0"
    await ledger.put_order(b"new")
    assert [body for _, body in await ledger.orders(future)] == [b"old", b"new"]
    redis_server.flush()
    assert await ledger.orders(future) == []


async def test_silent_senders_are_forgotten_but_never_a_block(ledger, redis_server):
    _, version, _ = await ledger.save("s", 0, b"a", "normal")
    key = Keys("mailshaper").record("s")
    with redis_server.client() as client:
        assert 179 * 86400 < client.ttl(key) <= 180 * 86400
        _, version, _ = await ledger.save("s", version, b"b", "blocked")
        assert client.ttl(key) == -1
        await ledger.save("s", version, b"c", "normal")
        assert client.ttl(key) > 0


async def test_orders_are_capped(ledger, redis_server, monkeypatch):
    monkeypatch.setattr("shaper.ledger.ledger._MOST_ORDERS", 100)
    for n in range(400):
        await ledger.put_order(b"%d" % n)
    with redis_server.client() as client:
        assert 100 <= client.xlen("mailshaper:orders") < 300


async def test_the_epoch_tells_each_instance_once(ledger, other, redis_server):
    assert await ledger.claim_epoch("a") is True
    assert await ledger.claim_epoch("a") is False
    assert await other.claim_epoch("b") is True
    redis_server.flush()
    assert await ledger.claim_epoch("a") is True
    assert await other.claim_epoch("b") is True
    assert await ledger.claim_epoch("a") is False


async def test_a_redis_that_came_back_older_is_told_as_an_emptied_one(
    ledger, redis_server
):
    assert await ledger.claim_epoch("a") is True
    key = Keys("mailshaper").epoch("a")
    with redis_server.client() as client:
        dump = client.dump(key)
        assert await ledger.claim_epoch("a") is False
        client.restore(key, 0, dump, replace=True)
    assert await ledger.claim_epoch("a") is True
    assert await ledger.claim_epoch("a") is False


# -- a Redis that misbehaves


async def test_a_server_killed_and_restarted_is_found_again(own, own_server):
    _, version, _ = await own.save("s", 0, b"a", "blocked")
    own_server.kill()
    with pytest.raises(StateUnavailableError):
        await own.load("s")
    own_server.start()
    await recovered(own)
    assert await own.load("s") == (version, b"a")
    assert await own.senders("blocked") == ["s"]


async def test_a_restarted_server_costs_no_failure_by_itself(own, own_server):
    await own.save("s", 0, b"a", "normal")
    own_server.kill()
    own_server.start()  # scripts are gone, the pooled connection is dead
    _, record = await own.load("s")
    assert record == b"a"
    done, _, _ = await own.save("t", 0, b"b", "normal")
    assert done


async def test_forgotten_scripts_are_sent_again(ledger, redis_server):
    await ledger.save("s", 0, b"a", "normal")
    with redis_server.client() as client:
        client.script_flush()
    done, _, _ = await ledger.save("t", 0, b"a", "normal")
    assert done


async def test_a_mute_server_costs_one_wait_a_second(own, own_server):
    await own.ping()
    with own_server.frozen():
        began = time.monotonic()
        failures = 0
        while time.monotonic() - began < 0.9:
            with pytest.raises(StateUnavailableError):
                await own.load("s")
            failures += 1
            await asyncio.sleep(0)
    # 0.3 s for the first, then no wait at all.
    assert failures > 50
    await recovered(own)


async def test_only_one_call_tries_a_server_that_failed(own, own_server, monkeypatch):
    await own.ping()
    own_server.kill()
    with pytest.raises(StateUnavailableError):
        await own.ping()
    own._connection._retry_at = time.monotonic() - 0.001
    tries = []
    execute = own._connection._client.execute_command

    async def counted(*words):
        tries.append(words)
        return await execute(*words)

    monkeypatch.setattr(own._connection._client, "execute_command", counted)
    results = await asyncio.gather(
        *(own.ping() for _ in range(50)), return_exceptions=True
    )
    assert {type(one) for one in results} == {StateUnavailableError}
    assert len(tries) == 1


async def test_answers_that_come_too_late_are_not_taken_for_others(own, own_server):
    await own.save("s", 0, b"of s", "normal")
    await own.save("t", 0, b"of t", "normal")
    own_server.pause(0.6)
    with pytest.raises(StateUnavailableError, match="no answer within"):
        await own.load("s")
    await recovered(own)
    for _ in range(5):
        assert (await own.load("t"))[1] == b"of t"


async def test_a_cancelled_call_leaves_the_connection_in_order(own, own_server):
    await own.save("s", 0, b"of s", "normal")
    await own.save("t", 0, b"of t", "normal")
    own_server.pause(0.1)
    task = asyncio.create_task(own.load("s"))
    await asyncio.sleep(0.03)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await own.load("t"))[1] == b"of t"


async def test_an_epoch_whose_answer_was_lost_is_told_again(own, own_server):
    await own.claim_epoch("b")  # the server knows the script from now on
    with own_server.frozen(), pytest.raises(StateUnavailableError):
        await own.claim_epoch("a")  # it is carried out when the server wakes up
    await recovered(own)
    key = Keys("mailshaper").epoch("a")
    await poll_async(lambda: _exists(own_server, key), "the mark")
    assert await own.claim_epoch("a") is True
    assert await own.claim_epoch("a") is False


def _exists(server, key):
    with server.client() as client:
        return client.exists(key)


@pytest.mark.parametrize("garbage", [b"", b"\xff\x00", b"abc", b"12", b"-1 normal\nx"])
async def test_a_damaged_record_is_named(ledger, redis_server, garbage):
    key = Keys("mailshaper").record("s")
    with redis_server.client() as client:
        client.set(key, garbage)
    with pytest.raises(StateUnavailableError, match=re.escape(key)):
        await ledger.load("s")
    with pytest.raises(StateUnavailableError, match=re.escape(key)):
        await ledger.save("s", 0, b"x", "normal")
    assert await answers(ledger), "a bad value must not trip the connection"


async def test_keys_of_a_wrong_type_are_errors_of_one_kind(ledger, redis_server):
    keys = Keys("mailshaper")
    with redis_server.client() as client:
        for key in (keys.record("s"), keys.slot("s"), keys.login("q")):
            client.lpush(key, "x")
        for key in (keys.case_index, keys.instances, keys.orders):
            client.set(key, "x")
        for key in keys.index("slowed"):
            client.set(key, "x")
    for call in (
        ledger.load("s"), ledger.save("s", 0, b"x", "slowed"),
        ledger.take_slot("s", 1.0, 1.0), ledger.get_login("q"), ledger.cases(),
        ledger.put_case("c", "s", b"x"), ledger.held(), ledger.orders(""),
        ledger.put_held("i", "m", b"x"), ledger.put_order(b"x"),
        ledger.senders("slowed"),
        ledger.orders("no position"),
    ):  # fmt: skip
        with pytest.raises(StateUnavailableError):
            await call
    assert await answers(ledger)


async def test_a_server_out_of_memory_is_unavailable(own, own_server):
    with own_server.client() as client:
        client.config_set("maxmemory", "1")
    with pytest.raises(StateUnavailableError, match="maxmemory"):
        await own.save("s", 0, b"x", "normal")


# -- keys and scripts


def _slot(key):
    """Hash slot of a key: CRC-16/XMODEM of the part in braces, mod 16384."""
    data = key.encode()
    if match := re.search(rb"\{([^}]+)\}", data):
        data = match[1]
    crc = 0
    for octet in data:
        crc ^= octet << 8
        for _ in range(8):
            crc = (crc << 1 ^ (0x1021 if crc & 0x8000 else 0)) & 0xFFFF
    return crc % 16384


def test_the_slot_function_is_that_of_the_specification():
    assert _slot("123456789") == 0x31C3 % 16384


@pytest.mark.parametrize("sender", ["", "login:a", ODD, "{x}", "}{"])
def test_keys_that_change_together_share_a_slot(sender):
    keys = Keys("mailshaper")
    own = [keys.record(sender), keys.slot(sender), *keys.of_state(sender)]
    assert len({_slot(key) for key in own}) == 1
    assert all(len(key) < 100 and key.isascii() for key in own)
    assert set(keys.of_state(sender)) <= {
        *keys.index("slowed"),
        *keys.index("blocked"),
    }
    cases = [keys.case("c"), keys.case_index, keys.cases_of(sender)]
    assert len({_slot(key) for key in cases}) == 1
    assert _slot(keys.held("i")) == _slot(keys.instances)


def test_buckets_spread_over_a_cluster():
    slots = {_slot(key) for key in Keys("mailshaper").index("slowed")}
    assert len(slots) > BUCKETS * 0.9


def test_scripts_name_their_keys_and_never_search():
    scripts = list((Path(shaper.ledger.__file__).parent / "lua").glob("*.lua"))
    assert len(scripts) == 7
    for path in scripts:
        code = re.sub(r"--.*", "", path.read_text())
        calls = re.findall(r"redis\.call\(\s*([^,)]+)\s*(?:,\s*([^,)]+))?", code)
        assert calls, path
        for command, key in calls:
            if command == "'TIME'":
                continue
            assert re.fullmatch(r"KEYS\[(\d|i)\]", key), (path, command, key)
            assert not re.search(r"SCAN|KEYS|EVAL|RANDOMKEY|FLUSH", command), path


@pytest.mark.parametrize("prefix", ["a{b", "a}"])
def test_a_prefix_with_braces_is_refused(prefix):
    with pytest.raises(ValueError, match="braces"):
        Keys(prefix)
