"""What other hosts say, over the whole engine and real Redis."""

import base64
import json

import pytest
import redis

from shaper.core.contacts import Contacts
from shaper.core.envelope import Client
from shaper.core.foreign import FLOOR
from shaper.core.outcome import Kind, Meaning, Outcome
from shaper.core.state import State
from shaper.core.suppression import BULK
from shaper.engine.control import Change, RefusedError
from shaper.engine.tags import tags
from tests.support.engine import EngineBox

DAY = 86400.0
BOB, ALICE = "bob@example.net", "login:alice@example.org"
PEPPER = bytes(range(32))
CHANGE = Change("root", "he phoned", "c1")


@pytest.fixture
async def box(redis_url, tmp_path):
    async with EngineBox(redis_url, tmp_path) as found:
        found.engine.foreign.enabled = found.engine.federating.enabled = True
        yield found


@pytest.fixture
def shared(redis_url):
    client = redis.Redis.from_url(redis_url)
    yield client
    client.close()


def project(shared, box, *, recipients=(), senders=(), alive=True):
    """Write what the federation daemon writes."""
    secret = base64.urlsafe_b64encode(PEPPER).rstrip(b"=")
    shared.hset("mailshaper:federation:peppers", "pk", secret)
    for address, outcome in recipients:
        (tag,) = tags([PEPPER], address)
        said = {"o": outcome, "e": 200000, "by": ["coop", "asso"]}
        said |= {"since": box.now, "own": False}
        shared.hset("mailshaper:federation:recipients", tag, json.dumps(said))
    for address, by in senders:
        (tag,) = tags([PEPPER], address, sender=True)
        said = {"by": by, "why": "compromised", "until": box.now + DAY}
        shared.hset("mailshaper:federation:senders", tag, json.dumps(said))
    if alive:
        shared.set("mailshaper:federation:alive", "1")


def facts(shared):
    entries = shared.xrange("mailshaper:federation:facts")
    return [json.loads(fields[b"f"]) for _, fields in entries]


async def ask(box, address=BOB, login="alice@example.org"):
    check = box.engine.suppression.check
    return await check(Client(login=login), "alice@example.org", address)


async def bulk(box, sender):
    def widen(record):
        record.profile.contacts = Contacts(b"xy" * BULK, b"\0" * BULK)

    await box.engine.senders.change(sender, widen)


async def test_what_trusted_hosts_call_dead_is_refused_with_their_names(box, shared):
    project(shared, box, recipients=[(BOB, "s")])
    assert await ask(box) is None  # nothing was read yet
    await box.engine.foreign.refresh()
    reply = await ask(box, "Bob@EXAMPLE.net")
    assert (reply.code, reply.enhanced) == (550, "5.7.1")
    assert "asso, coop" in reply.text
    assert "mailshaper suppress remove bob@example.net" in reply.text
    assert await ask(box, "carol@example.net") is None


async def test_each_refusal_is_told_to_the_federation(box, shared):
    project(shared, box, recipients=[(BOB, "s"), ("carol@example.net", "c")])
    await box.engine.foreign.refresh()
    assert await ask(box)
    assert await ask(box, "carol@example.net") is None  # passes: not told
    await box.engine.federating.flush()
    told = {"v": 1, "kind": "stopped", "address": BOB, "at": box.now}
    assert facts(shared) == [told]


async def test_caution_stops_bulk_mail_but_for_one_message_a_day(box, shared):
    project(shared, box, recipients=[(BOB, "c")])
    await box.engine.foreign.refresh()
    assert await ask(box) is None
    await bulk(box, ALICE)
    assert "bulk mail only" in (await ask(box)).text
    box.now += DAY
    assert await ask(box) is None  # the probe
    assert await ask(box)


async def test_a_probe_goes_to_what_others_call_dead_after_two_weeks(box, shared):
    project(shared, box, recipients=[(BOB, "s")])
    await box.engine.foreign.refresh()
    assert await ask(box)
    for days, probes in ((14, 1), (14, 1), (14, 2), (56, 3)):
        box.now += days * DAY
        await ask(box)
        assert await ask(box)
        assert box.engine.foreign.probes == probes


@pytest.mark.parametrize("how", ["dead", "off", "garbage", "observing"])
async def test_federation_that_is_not_there_changes_nothing(box, shared, how):
    project(shared, box, recipients=[(BOB, "s")], alive=how != "dead")
    if how == "off":
        box.engine.foreign.enabled = False
    if how == "observing":
        box.engine.context.enforce = False
    if how == "garbage":
        for tag in shared.hkeys("mailshaper:federation:recipients"):
            shared.hset("mailshaper:federation:recipients", tag, b'{"o": [1')
        shared.hset("mailshaper:federation:senders", "x", b"\xff")
    await box.engine.foreign.refresh()
    assert await ask(box) is None


async def test_the_federation_going_away_lets_mail_pass_again(box, shared):
    project(shared, box, recipients=[(BOB, "s")])
    await box.engine.foreign.refresh()
    assert await ask(box)
    shared.delete("mailshaper:federation:alive")
    await box.engine.foreign.refresh()
    assert await ask(box) is None


async def test_a_customer_is_hardly_blamed_for_what_only_others_say(box, shared):
    project(shared, box, recipients=[(BOB, "s")])
    await box.engine.foreign.refresh()
    for _ in range(3):
        assert await ask(box)
    await box.engine.senders.flush()
    record, _ = await box.engine.senders.read(ALICE)
    assert record.profile.bad == 0
    assert 0 < record.profile.cusum < FLOOR


async def test_an_operator_overrides_and_the_federation_hears(box, shared):
    project(shared, box, recipients=[(BOB, "s")])
    await box.engine.foreign.refresh()
    entries = box.engine.suppression_list
    found = await entries.explain(BOB)
    assert found["foreign"] == {
        "says": "suppress",
        "by": ["asso", "coop"],
        "since": box.now,
    }
    with pytest.raises(RefusedError, match="not on the suppression list"):
        await entries.remove(CHANGE, "carol@example.net")
    assert (await entries.remove(CHANGE, BOB))["was"] == "foreign"
    assert await ask(box) is None
    await box.engine.federating.flush()
    assert facts(shared) == [
        {"v": 1, "kind": "override", "address": BOB, "at": box.now}
    ]


async def test_a_blocked_namesake_is_watched_and_told_and_never_slowed(box, shared):
    names = [("alice@example.org", ["coop"])]
    project(shared, box, senders=names)
    await box.engine.foreign.refresh()
    for _ in range(3):
        await box.offer(ALICE, ["friend@example.net"])
        await box.engine.foreign.tell()
    assert box.engine.foreign.watched == 1
    record, _ = await box.engine.senders.read(ALICE)
    assert record.state is State.NORMAL
    assert 0 < record.profile.cusum <= FLOOR
    told = [m for m in box.engine.context.spool.all() if m.notice]
    assert len(told) == 1
    # A thousand further organisations are no more than one.
    for n in range(1000):
        project(shared, box, senders=[("alice@example.org", [f"org{n}"])])
        if n % 250 == 0:
            await box.engine.foreign.refresh()
            await box.offer(ALICE, ["friend@example.net"])
            await box.engine.foreign.tell()
    record, _ = await box.engine.senders.read(ALICE)
    assert record.state is State.NORMAL
    assert record.profile.cusum <= FLOOR


async def test_facts_leave_once_and_only_such_as_concern_others(box, shared):
    project(shared, box, recipients=[(BOB, "c")])
    await box.engine.foreign.refresh()
    federating = box.engine.federating

    def outcome(meaning, to, **more):
        return Outcome(Kind.LOG, meaning, to, time=box.now, **more)

    await federating.note(
        outcome(
            Meaning.DEAD_ADDRESS, "Gone@x.example", code="550", status="5.0.0",
            permanent=True,
        ),
        ALICE,
    )  # fmt: skip
    await federating.note(outcome(Meaning.DELIVERED, BOB), ALICE)
    await federating.note(outcome(Meaning.DELIVERED, "stranger@x.example"), ALICE)
    await federating.note(outcome(Meaning.MESSAGE_REFUSED, BOB, permanent=True), ALICE)
    await federating.note(outcome(Meaning.DEAD_ADDRESS, BOB, permanent=True), "")
    await federating.flush()
    await federating.flush()
    dead, alive = facts(shared)
    assert dead["kind"] == "bounce"
    assert (dead["address"], dead["code"], dead["smtp"]) == (
        "gone@x.example",
        "5.1.1",
        550,
    )
    assert alive == {"v": 1, "kind": "delivered", "address": BOB, "at": box.now}


async def test_a_day_is_told_once_over_instances(box, shared, redis_url, tmp_path):
    async with EngineBox(
        redis_url, tmp_path, hop=box.hop, instance="two", start=box.now
    ) as two:
        two.engine.federating.enabled = True
        for one in (box, two):
            for _ in range(3):
                await one.offer(ALICE, ["friend@example.net"])
            one.engine.federating.suppressed(ALICE)
            await one.engine.federating.flush()
            one.now += DAY
        for one in (box, two, box):
            await one.engine.federating.flush()
    (day,) = facts(shared)
    assert day["kind"] == "day"
    assert (day["sent"], day["suppressed"], day["hard"]) == (6, 2, 0)
    assert day["to"] - day["from"] == DAY


async def test_a_block_and_its_release_are_told(box, shared):
    await box.control.block(CHANGE, ALICE)
    await box.engine.federating.flush()
    await box.control.release(CHANGE, ALICE, 0.0)
    await box.engine.federating.flush()
    blocked, released = facts(shared)
    assert (blocked["kind"], blocked["sender"]) == ("blocked", "alice@example.org")
    assert released == {"v": 1, "kind": "released", "case": blocked["case"]}
