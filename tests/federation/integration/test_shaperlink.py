"""Facts out of a real Redis, each once across crashes; verdicts back into it."""

import asyncio
import json
import random

import pytest

from federation.format.profile import b64
from federation.trust.shaperlink import FactStream, Projection, RedisLostError, connect
from tests.support.federated import DAY, HOUR, NOW, OLDER, PEPPER, Host, fact, tag
from tests.support.redis_server import RedisServer

WHO = "nobody@example.org"
JOE = "joe@us.example"
FACTS = "t:federation:facts"


@pytest.fixture
async def client(redis_url):
    client = connect(redis_url)
    yield client
    await client.aclose()


@pytest.fixture
def us(tmp_path):
    with Host(path=tmp_path / "us.sqlite") as host:
        yield host


def projection(client, host):
    return Projection(client, "t", host.store, host.evidence, host.judge)


async def held(client, what="recipients"):
    found = await client.hgetall(f"t:federation:{what}")
    return {name.decode(): json.loads(raw) for name, raw in found.items()}


async def put(client, *facts):
    for one in facts:
        await client.xadd(FACTS, {"f": one})


# -- facts


async def test_facts_are_taken_and_deleted(client, us):
    stream = FactStream(client, "t", us.intake)
    assert await stream.round(NOW) == (0, None)
    await put(client, fact("bounce", address=WHO), b"nonsense")
    await client.xadd(FACTS, {"g": "no f"})
    count, taken = await stream.round(NOW)
    assert (count, taken.refused.total()) == (3, 2)
    assert taken.touched == {PEPPER.recipient(WHO)}
    assert await client.xlen(FACTS) == 0
    assert us.intake.emit(NOW) == {"rcpt.hard": 1}
    assert await stream.round(NOW) == (0, None)


async def test_without_a_pepper_facts_wait(client, us):
    stream = FactStream(client, "t", us.intake)
    await put(client, fact("bounce", address=WHO))
    us.peppers = []
    assert await stream.round(NOW) == (0, None)
    us.peppers = [PEPPER]
    assert (await stream.round(NOW))[0] == 1


async def test_many_facts_come_in_rounds(client, us):
    stream = FactStream(client, "t", us.intake)
    await put(client, *(fact("bounce", address=f"{n}@example.org") for n in range(501)))
    assert [(await stream.round(NOW))[0] for _ in range(3)] == [500, 1, 0]
    assert us.intake.emit(NOW, 1000).total() == 501


class Crash(BaseException):
    """The process ends here."""


class CrashingIntake:
    """Takes facts, and dies before or after they are durable."""

    def __init__(self, intake, when):
        self._intake = intake
        self._when = when

    def __getattr__(self, name):
        return getattr(self._intake, name)

    def take(self, facts, now, *places):
        if self._when == "before":
            raise Crash
        store = self._intake._store
        if self._when == "inside":
            with store.writing(durable=True):
                self._intake.take(facts, now, *places)
                raise Crash
        self._intake.take(facts, now, *places)
        raise Crash


@pytest.mark.parametrize("seed", range(3))
async def test_each_fact_once_whenever_we_die(client, tmp_path, seed):
    """The process dies again and again, anywhere; each bounce counts once."""
    dice = random.Random(seed)
    path = tmp_path / "us.sqlite"
    sent = [f"{n}@example.org" for n in range(40)]
    waiting = list(sent)
    for _ in range(200):
        some, waiting = waiting[:3], waiting[3:]
        await put(client, *(fact("bounce", address=one) for one in some))
        with Host(path=path) as us:
            when = dice.choice(["before", "inside", "after", "not", "not"])
            intake = us.intake if when == "not" else CrashingIntake(us.intake, when)
            try:
                await FactStream(client, "t", intake).round(NOW)
                if dice.random() < 0.5:
                    us.intake.emit(NOW, most=2)
            except Crash:
                continue
            if not waiting and not await client.xlen(FACTS):
                break
    with Host(path=path) as us:
        us.intake.emit(NOW)
        events = us.own_events("rcpt.hard")
        assert sorted(one.body["r"] for one in events) == sorted(map(tag, sent))
        assert {one.body["cnt"] for one in events} == {1}
        assert [one.seq for one in events] == list(range(1, 41))


async def test_two_daemons_by_mistake_take_each_fact_once(client, tmp_path):
    path = tmp_path / "us.sqlite"
    some = [fact("bounce", address=f"{n}@example.org") for n in range(60)]
    with Host(path=path) as one, Host(path=path) as two:
        streams = [FactStream(client, "t", host.intake) for host in (one, two)]
        for start in range(0, 60, 10):
            await put(client, *some[start : start + 10])
            await asyncio.gather(*(stream.round(NOW) for stream in streams))
        await asyncio.gather(
            *(asyncio.to_thread(host.intake.emit, NOW) for host in (one, two))
        )
        events = one.own_events("rcpt.hard")
        assert [one.body["cnt"] for one in events] == [1] * 60


async def test_a_crash_while_an_event_is_written_writes_it_once(us, monkeypatch):
    us.fact("bounce", address=WHO)

    def die(*_):
        raise Crash

    monkeypatch.setattr(us.evidence, "publish", die)
    with pytest.raises(Crash):
        us.intake.emit(NOW)
    monkeypatch.undo()
    assert us.own_events("rcpt.hard") == []
    assert us.intake.emit(NOW) == {"rcpt.hard": 1}
    assert [one.seq for one in us.own_events("rcpt.hard")] == [1]


async def test_an_older_redis_backup_brings_no_fact_twice(tmp_path, us):
    with RedisServer(aof=True) as server:
        client = connect(server.url)
        stream = FactStream(client, "t", us.intake)
        await put(client, fact("bounce", address=WHO))
        before = await client.dump(FACTS)
        await stream.round(NOW)
        await client.restore(FACTS, 0, before, replace=True)
        assert await client.xlen(FACTS) == 1
        assert await stream.round(NOW) == (0, None)
        assert await client.xlen(FACTS) == 0
        await put(client, fact("bounce", address="new@example.org"))
        assert (await stream.round(NOW))[0] == 1
        await client.aclose()


async def test_a_dead_redis_is_told_and_loses_nothing(us):
    with RedisServer(aof=True) as server:
        client = connect(server.url, timeout=2)
        stream = FactStream(client, "t", us.intake)
        there = projection(client, us)
        await put(client, fact("bounce", address=WHO))
        server.kill()
        for work in (stream.round, there.rebuild):
            with pytest.raises(RedisLostError, match="Redis"):
                await work(NOW)
        server.start()
        assert (await stream.round(NOW))[0] == 1
        await client.aclose()


def test_other_urls_are_refused():
    with pytest.raises(ValueError, match="redis://"):
        connect("http://user:secret@host")


# -- verdicts


async def test_what_follows_is_written_and_removed(client, us, friend, other):
    us.believe(friend, "trusted")
    us.believe(other, "trusted")
    us.hear(friend.own.append("ctl.org", {"name": "asso"}, NOW))
    there = projection(client, us)
    await there.rebuild(NOW)
    us.hear(friend.says("rcpt.hard", WHO))
    await there.follow(NOW)
    at = NOW - NOW % HOUR
    expected = {"o": "c", "e": 100_000, "by": ["asso"], "since": at, "own": False}
    assert await held(client) == {tag(WHO): expected}
    claim = other.says("rcpt.hard", WHO)
    us.hear(claim)
    await there.follow(NOW)
    found = (await held(client))[tag(WHO)]
    assert (found["o"], found["e"]) == ("s", 200_000)
    assert sorted(found["by"]) == sorted(["asso", b64(other.org)[:8]])
    us.hear(*other.own.retract([claim.id], "error", NOW))
    await there.follow(NOW)
    assert (await held(client))[tag(WHO)]["o"] == "c"
    us.believe(friend, "seen")
    await there.rebuild(NOW)
    assert await held(client) == {}


async def test_own_bounces_are_told_as_ours(client, us):
    there = projection(client, us)
    await there.rebuild(NOW)
    touched = us.fact("bounce", address=WHO).touched
    await there.refresh(list(touched), NOW)
    assert (await held(client))[tag(WHO)]["own"] is True
    # Not in the log, and yet in what is rebuilt.
    await client.delete("t:federation:recipients")
    await there.rebuild(NOW)
    assert (await held(client))[tag(WHO)]["o"] == "s"


async def test_senders(client, us, friend):
    us.believe(friend, "known")
    there = projection(client, us)
    await there.rebuild(NOW)
    block = friend.says("send.blocked", JOE)
    us.hear(block)
    await there.follow(NOW)
    name = b64(PEPPER.sender(JOE))
    found = await held(client, "senders")
    until = NOW - NOW % HOUR + 9 * DAY
    expected = {"by": [b64(friend.org)[:8]], "why": "compromised", "until": until}
    assert found == {name: expected}
    assert there.senders == 1
    us.hear(friend.own.append("send.released", {"ref": b64(block.id)}, NOW))
    await there.follow(NOW)
    assert await held(client, "senders") == {}
    # Never among recipients, whatever their tags.
    assert await held(client) == {}


async def test_an_emptied_redis_is_seen_and_filled_again(client, us, friend):
    us.believe(friend, "trusted")
    us.hear(friend.says("rcpt.hard", WHO), friend.says("send.blocked", JOE))
    there = projection(client, us)
    assert not await there.is_whole()
    await there.rebuild(NOW)
    assert await there.is_whole()
    before = await held(client), await held(client, "senders")
    epoch = await client.get("t:federation:epoch")
    await client.flushdb()
    assert not await there.is_whole()
    await there.rebuild(NOW)
    assert (await held(client), await held(client, "senders")) == before
    assert await client.get("t:federation:epoch") != epoch
    # Another process does not trust what one before it wrote.
    assert not await projection(client, us).is_whole()


async def test_a_rebuild_removes_what_is_strange(client, us, friend):
    us.believe(friend, "trusted")
    us.hear(friend.says("rcpt.hard", WHO))
    mapping = {"nonsense": "{}", tag("else@example.org"): '{"o":"s"}', tag(WHO): "x"}
    await client.hset("t:federation:recipients", mapping=mapping)
    await client.hset("t:federation:senders", "old", "{}")
    there = projection(client, us)
    await there.rebuild(NOW)
    assert set(await held(client)) == {tag(WHO)}
    assert await held(client, "senders") == {}
    assert there.counts == {"caution": 1, "suppress": 0}


async def test_evidence_fades_and_the_sweep_sees_it(client, us, friend, other):
    us.believe(friend, "trusted")
    us.believe(other, "trusted")
    for n in range(25):
        address = f"{n}@example.org"
        us.hear(friend.says("rcpt.hard", address), other.says("rcpt.hard", address))
    there = projection(client, us)
    await there.rebuild(NOW)
    assert there.counts == {"suppress": 25, "caution": 0}
    for _ in range(6):
        await there.sweep(NOW + 40 * DAY, 10)
    assert {one["o"] for one in (await held(client)).values()} == {"c"}
    assert there.counts == {"suppress": 0, "caution": 25}
    # Even when the events themselves are gone.
    us.store.drop(friend.org)
    us.store.drop(other.org)
    await there.sweep(NOW, 10)
    assert await held(client) == {}


async def test_the_heartbeat_tells_the_peppers_and_that_we_live(client, us):
    there = projection(client, us)
    await there.heartbeat([PEPPER, OLDER], NOW)
    found = await client.hgetall("t:federation:peppers")
    assert found == {
        b64(one.id).encode(): b64(one.secret).encode() for one in (PEPPER, OLDER)
    }
    assert await client.get("t:federation:alive") == str(NOW).encode()
    assert 0 < await client.ttl("t:federation:alive") <= 180
    await there.heartbeat([PEPPER], NOW)
    assert list(await client.hgetall("t:federation:peppers")) == [
        b64(PEPPER.id).encode()
    ]
    await there.heartbeat([], NOW)
    assert await client.hgetall("t:federation:peppers") == {}


async def test_any_order_of_arrival_gives_the_same_projection(client, friend, other):
    events = [
        friend.says("rcpt.hard", f"{n % 7}@example.org", NOW - n * DAY)
        for n in reversed(range(20))
    ]
    more = [
        other.says(
            "rcpt.ok" if n % 3 else "rcpt.hard", f"{n % 5}@example.org", NOW - n * DAY
        )
        for n in reversed(range(20))
    ]
    more += other.own.retract([more[6].id], "error", NOW)
    seen = []
    for turned in range(3):
        with Host(f"us{turned}") as us:
            us.believe(friend, "trusted")
            us.believe(other, "known")
            lines = [
                events + more,
                more + events,
                sorted(events + more, key=lambda e: e.ts),
            ]
            # Old events arrive late; a clock of then has not parked any.
            us.hear(*lines[turned])
            us.hear(*lines[turned])
            await client.flushdb()
            await projection(client, us).rebuild(NOW)
            seen.append(await held(client))
    assert seen[0]
    assert seen[0] == seen[1] == seen[2]


async def test_many_verdicts_are_gone_through_in_steps(client, us, monkeypatch):
    monkeypatch.setattr("federation.trust.shaperlink._A_STEP", 500)
    some = [fact("bounce", address=f"{n}@example.org") for n in range(1300)]
    us.intake.take(some, NOW)
    there = projection(client, us)
    await there.rebuild(NOW)
    assert there.counts == {"suppress": 1300, "caution": 0}
    assert await client.hlen("t:federation:recipients") == 1300
    later = NOW + 181 * DAY
    for _ in range(20):
        await there.sweep(later, 500)
    assert await held(client) == {}


async def test_a_name_that_arrives_is_used_from_then_on(client, us, friend):
    us.believe(friend, "trusted")
    there = projection(client, us)
    await there.rebuild(NOW)
    us.hear(friend.own.append("ctl.org", {"name": "asso"}, NOW))
    us.hear(friend.says("rcpt.hard", WHO))
    await there.follow(NOW)
    assert (await held(client))[tag(WHO)]["by"] == ["asso"]
