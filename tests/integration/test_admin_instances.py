"""Held mail of every instance is seen and released from any; mail passes meanwhile."""

import asyncio
import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shaper.core.envelope import Client, Envelope, Recipient
from shaper.core.message import HeldMessage, RecipientFate, Submission
from shaper.engine.overview import copied, uncopied
from tests.support.office import office

ALICE, BOB = "login:alice", "login:bob"


@pytest.fixture
async def places(redis_url, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    async with (
        office(redis_url, tmp_path / "one") as one,
        office(redis_url, tmp_path / "two") as two,
    ):
        for place, name in ((one, "one"), (two, "two")):
            place.engine.context.instance = name
        # Ids are unique over all instances, as the hop makes them.
        two.numbers = iter(range(500_000, 600_000))
        await one.steal(ALICE)
        await two.steal(BOB)
        yield one, two


async def listed(place, **arguments):
    line = json.dumps({"command": "queue.list", "arguments": arguments})
    *rows, last = await place.ask(line.encode() + b"\n")
    return [row["row"] for row in rows], last["result"]


async def test_each_instance_lists_the_mail_of_all(places):
    one, two = places
    for place, own in ((one, "one"), (two, "two")):
        rows, total = await listed(place)
        assert rows[0]["instance"] == own
        assert {(r["instance"], r["sender"]) for r in rows} == {
            ("one", ALICE),
            ("two", BOB),
        }
        assert total == {"messages": 6, "recipients": 60}
    rows, total = await listed(one, sender=BOB, filter="rcpt-domain=example.net")
    assert total == {"messages": 3, "recipients": 30}
    assert {row["instance"] for row in rows} == {"two"}
    names = (await one.request("complete"))["result"]
    assert {ALICE, BOB} <= set(names["senders"])


async def test_content_of_another_instance_is_said_to_be_there(places):
    one, two = places
    (first, *_) = two.engine.held.all()
    answer = await one.request("queue.show", id=first.id)
    assert answer["error"]["code"] == 65
    assert "instance 'two'" in answer["error"]["message"]
    assert "--socket" in answer["error"]["hint"]
    assert (await two.request("queue.show", id=first.id))["ok"]


async def test_an_order_reaches_the_mail_of_the_other_instance(places):
    one, two = places
    done = await one.request(
        "queue.order", action="release", sender=BOB, reason="ok", id="o1"
    )
    assert done["ok"]
    await two.engine.orders.resume()
    rows, _ = await listed(one, sender=BOB)
    assert [row["order"] for row in rows] == ["o1"] * 3


async def test_counts_are_of_all_instances_and_repeated_ids_count_nothing(places):
    one, two = places
    await two.engine.casebook.flush()
    pair = {"messages": 3, "recipients": 30}
    (shown,) = [
        case for case in (await one.request("cases"))["result"] if case["sender"] == BOB
    ]
    assert shown["waiting"] == pair
    dossier = (await one.request("show", name=BOB))["result"]
    assert dossier["case"]["waiting"] == dossier["sender"]["waiting"] == pair
    change = {"sender": BOB, "reason": "ok", "id": "o1"}
    tried = await one.request("queue.order", action="drop", dry_run=True, **change)
    assert tried["result"] == pair
    tried = await one.request("release", dry_run=True, **change)
    assert tried["result"]["messages"] == 3
    done = await one.request("queue.order", action="drop", **change)
    assert done["result"] == pair
    await two.engine.orders.resume()
    assert len(two.engine.held) == 0
    again = await one.request("queue.order", action="drop", **change)
    assert again["result"] == {"messages": 0, "recipients": 0}


async def test_a_damaged_copy_hides_only_itself(places, caplog):
    one, two = places
    (first, *_) = two.engine.held.all()
    ledger = one.engine.context.ledger
    await ledger.put_held("two", first.id, b'{"id":\x00')
    await ledger.put_held("two", "M-other", b"[]")
    with caplog.at_level(logging.ERROR):
        rows, _ = await listed(one)
    assert len(rows) == 5
    assert "damaged" in caplog.text


async def test_mail_gets_its_turn_while_a_long_queue_is_listed(redis_url, tmp_path):
    async with office(redis_url, tmp_path) as place:
        for number in range(2000):
            place.engine.held.put(message(f"M{number}"))
        turns = 0

        async def others():
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        watcher = asyncio.create_task(others())
        seen = [row async for row in place.server._commands._control.queue()]
        watcher.cancel()
        assert len(seen) == 2000
        assert turns >= 2000 // 50


def message(name="M1", fates=None, **facts):
    submission = Submission(
        name,
        facts.pop("sender", ALICE),
        Envelope("a@example.org", (Recipient("b@example.net"), Recipient("c@x"))),
        Client(address="192.0.2.7"),
        1.0,
        subject=facts.pop("subject", ""),
    )
    return HeldMessage(submission, facts.pop("size", 7), fates=fates or {}, **facts)


@given(
    st.builds(
        message,
        sender=st.text(max_size=9),
        subject=st.text(st.characters(codec=None), max_size=9),
        fates=st.dictionaries(st.integers(0, 1), st.sampled_from(RecipientFate)),
        size=st.integers(0, 10**12),
        case=st.text(max_size=5),
        order=st.text(max_size=5),
        attempts=st.integers(0, 9),
        not_before=st.floats(0, 1e10),
    )
)
def test_a_copy_tells_all_that_is_asked_of_held_mail(held):
    assert uncopied(copied(held)) == held


keys = st.sampled_from(["id", "size", "fates", "order", "not_before"])
odd = st.one_of(st.integers(), st.floats(), st.none(), st.text(max_size=3))


@given(
    st.one_of(
        st.binary(max_size=40),
        st.dictionaries(keys, odd).map(lambda data: json.dumps(data).encode()),
        odd.map(
            lambda value: json.dumps(
                json.loads(copied(message())) | {"size": value, "fates": value}
            ).encode()
        ),
    )
)
def test_no_copy_but_a_good_one_is_read(raw):
    with pytest.raises(ValueError):  # noqa: PT011 - json raises its own
        uncopied(raw)


async def test_a_block_keeps_what_a_release_freed_on_every_instance(places):
    one, two = places
    released = {"sender": BOB, "reason": "r", "id": "first", "rate": 0.001}
    assert (await one.request("release", **released))["ok"]
    await two.engine.orders.resume()
    assert [m.order for m in two.engine.held.of_sender(BOB)] == ["first"] * 3
    done = await one.request("block", sender=BOB, reason="stolen", id="second")
    assert done["result"]["messages"] == 3
    await two.engine.orders.resume()
    assert [m.order for m in two.engine.held.of_sender(BOB)] == [""] * 3
