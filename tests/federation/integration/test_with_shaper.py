"""Both programs over one Redis: what the shaper writes is read here, and back.

The shaper's own side is tested in tests/integration/test_foreign.py against what the
federation is said to write; this holds the two to each other.
"""

import pytest

from federation.format.profile import b64
from federation.trust.shaperlink import FactStream, Projection, connect
from shaper.core.envelope import Client
from shaper.core.outcome import Kind, Meaning, Outcome
from shaper.engine.control import Change
from tests.support.engine import EngineBox
from tests.support.federated import DAY, HOUR, NOW, PEPPER, Host, tag

BOB, ALICE = "bob@example.net", "login:alice@example.org"
CHANGE = Change("root", "he phoned", "c1")


@pytest.fixture
async def box(redis_url, tmp_path):
    async with EngineBox(redis_url, tmp_path) as found:
        assert found.now == NOW
        found.engine.foreign.enabled = found.engine.federating.enabled = True
        yield found


@pytest.fixture
def hosts():
    with Host() as us, Host("friend") as friend, Host("other") as other:
        us.believe(friend, "trusted")
        us.believe(other, "trusted")
        us.hear(friend.own.append("ctl.org", {"name": "coop"}, NOW))
        yield us, friend, other


class Daemon:
    """The federation's side of the same Redis, a round when the test says so."""

    def __init__(self, client, us):
        self.us = us
        self.stream = FactStream(client, "mailshaper", us.intake)
        self.there = Projection(client, "mailshaper", us.store, us.evidence, us.judge)

    async def round(self, now=NOW):
        await self.there.heartbeat(self.us.peppers, now)
        _, taken = await self.stream.round(now)
        await self.there.rebuild(now)
        return taken


@pytest.fixture
async def daemon(redis_url, hosts):
    client = connect(redis_url)
    yield Daemon(client, hosts[0])
    await client.aclose()


async def ask(box, address=BOB):
    check = box.engine.suppression.check
    return await check(Client(login="alice@example.org"), "alice@example.org", address)


def outcome(box, meaning, to, **more):
    return Outcome(Kind.LOG, meaning, to, time=box.now, **more)


async def test_what_the_shaper_learns_becomes_events(box, daemon, hosts):
    us, friend, _ = hosts
    us.hear(friend.says("rcpt.hard", BOB, NOW - DAY))
    await daemon.round()
    await box.engine.foreign.refresh()
    federating = box.engine.federating
    dead = {"code": "550", "status": "5.1.1", "permanent": True}
    full = {"code": "552", "status": "5.2.2", "permanent": True}
    for meaning, to, more in (
        (Meaning.DEAD_ADDRESS, "Gone@x.example", dead),
        (Meaning.TEMPORARY, "full@x.example", full),
        (Meaning.DELIVERED, BOB, {}),
        (Meaning.DELIVERED, "stranger@x.example", {}),
        (Meaning.COMPLAINT, BOB, {"permanent": True}),
    ):
        await federating.note(outcome(box, meaning, to, **more), ALICE)
    await box.control.block(CHANGE, ALICE)
    await box.offer("login:carol@example.org", ["friend@example.net"])
    await federating.flush()
    assert not (await daemon.round()).refused
    kinds = {"rcpt.hard": 1, "rcpt.soft": 1, "rcpt.ok": 1, "send.blocked": 1}
    assert us.intake.emit(NOW) == kinds
    (hard,) = us.own_events("rcpt.hard")
    assert (hard.body["r"], hard.body["code"]) == (tag("gone@x.example"), "5.1.1")
    (ok,) = us.own_events("rcpt.ok")
    assert ok.body["r"] == tag(BOB)
    (block,) = us.own_events("send.blocked")
    assert block.body["s"] == b64(PEPPER.sender("alice@example.org"))
    box.now += DAY
    await box.control.release(CHANGE, ALICE, 0.0)
    await federating.flush()
    await federating.flush()  # a day's numbers leave with the next round
    assert not (await daemon.round(NOW + DAY)).refused
    published = us.intake.emit(NOW + DAY)
    assert published == {"send.released": 1, "stat.score": 1}
    assert us.own_events("send.blocked") == []


async def test_what_others_say_stops_mail_here_until_it_is_wrong(box, daemon, hosts):
    us, friend, other = hosts
    us.hear(friend.says("rcpt.hard", BOB, NOW - HOUR))
    us.hear(other.says("rcpt.hard", BOB, NOW - HOUR))
    await daemon.round()
    await box.engine.foreign.refresh()
    reply = await ask(box)
    assert (reply.code, reply.enhanced) == (550, "5.7.1")
    assert "coop" in reply.text
    await box.engine.federating.flush()
    await daemon.round()
    assert us.judge.benefit(NOW)[friend.org].stopped == 1
    # The operator knows better; own evidence goes first from then on.
    box.engine.federating.overridden(BOB)
    await box.engine.federating.flush()
    await daemon.round()
    assert await ask(box) is None


async def test_a_foreign_block_makes_watchful_and_no_more(box, daemon, hosts):
    us, friend, _ = hosts
    us.hear(friend.says("send.blocked", "alice@example.org"))
    await daemon.round()
    await box.engine.foreign.refresh()
    assert await ask(box) is None
    await box.offer(ALICE, ["friend@example.net"])
    await box.engine.foreign.tell()
    assert box.engine.foreign.watched == 1


async def test_the_breaker_lets_mail_pass_again(box, daemon, hosts):
    us, friend, other = hosts
    for n in range(12):
        us.hear(friend.says("rcpt.hard", f"{n}@example.net"))
        us.hear(other.says("rcpt.hard", f"{n}@example.net"))
    await daemon.round()
    await box.engine.foreign.refresh()
    for n in range(11):
        assert await ask(box, f"{n}@example.net")
    await box.engine.federating.flush()
    await daemon.stream.round(NOW)
    us.judge.watch(NOW)
    await daemon.round()
    assert await ask(box, "11@example.net") is None
