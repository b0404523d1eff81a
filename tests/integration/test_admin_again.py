"""A change that is asked for again, after its answer was lost, is not a new one."""

import pytest

from shaper.core.order import Order, OrderAction
from tests.support.office import office

BOB = "login:bob"


@pytest.fixture
async def place(redis_url, tmp_path):
    async with office(redis_url, tmp_path) as found:
        await found.steal(BOB)
        yield found


async def test_a_release_repeated_does_not_lift_a_later_block(place):
    release = {"sender": BOB, "reason": "newsletter", "id": "r1"}
    first = await place.request("release", **release)
    assert first["result"]["messages"] == 3
    await place.request("block", sender=BOB, reason="a thief after all", id="b1")
    again = await place.request("release", **release)
    assert again["result"] == {
        "messages": 0,
        "recipients": 0,
        "state": "blocked",
        "sender": BOB,
    }
    assert place.engine.senders.names("blocked") == [BOB]
    new = await place.request("release", **(release | {"id": "r2"}))
    assert new["result"]["state"] == "normal"


async def test_a_release_repeated_frees_no_mail_that_came_later(place):
    release = {"sender": BOB, "reason": "newsletter", "id": "r1"}
    await place.request("release", **release)
    await place.steal(BOB)
    again = await place.request("release", **release)
    assert again["result"]["messages"] == 0
    assert again["result"]["state"] == "slowed"


async def test_a_release_that_a_crash_cut_short_is_completed(place):
    # The order is recorded first; the crash came before the verdict.
    change = {"sender": BOB, "reason": "newsletter", "id": "r1"}
    await place.request("queue.order", action="release", **change)
    assert place.engine.senders.names("slowed") == [BOB]
    again = await place.request("release", **change)
    assert again["result"]["state"] == "normal"


async def test_an_order_left_undone_keeps_its_time(place):
    orders = place.engine.orders
    early = Order("o1", 1.0, OrderAction.DROP, "root", "spam", BOB)
    orders.restore([{"event": "order", "order": early.encode().decode()}])
    done = await place.request(
        "queue.order", action="drop", sender=BOB, reason="spam", id="o1"
    )
    # Every message came after the order was given.
    assert done["result"] == {"messages": 0, "recipients": 0}
    assert len(place.engine.held) == 3
