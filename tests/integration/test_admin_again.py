"""A change that is asked for again, after its answer was lost, is not a new one."""

import pytest

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
