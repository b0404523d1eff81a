"""Whoever an operator means is found, or nobody: never a sender that is not there."""

import pytest

from tests.support.office import office

ALICE = "login:alice@example.org"


@pytest.fixture
async def place(redis_url, tmp_path):
    async with office(redis_url, tmp_path) as found:
        await found.steal(ALICE)
        yield found


async def test_a_name_without_its_kind_blocks_nobody(place):
    change = {"sender": "Alice@example.org", "reason": "stolen"}
    requests = [
        ("block", {}),
        ("exempt", {"until": 4e9}),
        ("release", {}),
        ("plan", {"from": 3e9, "to": 4e9, "messages": 5}),
        ("queue.order", {"action": "drop"}),
    ]
    for number, (command, more) in enumerate(requests):
        answer = await place.request(command, id=f"i{number}", **change, **more)
        assert answer["error"]["code"] == 65, (command, answer)
        assert answer["error"]["hint"] == f"did you mean {ALICE}?"
    assert place.engine.senders.names("blocked") == []
    assert place.engine.senders.names("slowed") == [ALICE]
    assert len(place.engine.held) == 3


async def test_letters_may_be_large_or_small(place):
    done = await place.request(
        "block", sender="LOGIN:Alice@Example.ORG", reason="stolen", id="a"
    )
    assert done["result"]["sender"] == ALICE
    assert done["result"]["messages"] == 3
    assert place.engine.senders.names("blocked") == [ALICE]
    listed = await place.request("queue.list", sender="login:ALICE@example.org")
    assert listed["result"]["messages"] == 3
    lines = await place.request("audit", sender="Login:alice@example.org")
    assert lines["result"]["lines"] >= 2


async def test_looking_for_an_address_shows_the_sender_behind_it(place):
    for name in ("alice@example.org", "ALICE@example.org", "Login:Alice@example.org"):
        answer = await place.request("show", name=name)
        assert answer["result"]["sender"]["sender"] == ALICE
    assert (await place.request("show", name="bob"))["error"]["code"] == 65


async def test_a_stranger_may_be_blocked_before_any_mail(place):
    done = await place.request("block", sender="from:Mallory@x", reason="r", id="a")
    assert done["ok"]
    assert place.engine.senders.names("blocked") == ["from:mallory@x"]


async def test_who_is_to_be_forgotten_may_be_written_in_any_way(place):
    for address in ("Alice@Example.org", "login:alice@example.org"):
        tried = await place.request(
            "forget", address=address, reason="asked to", id="a", dry_run=True
        )
        assert tried["result"]["found"] == {"held": 3, "cases": 1}


async def test_the_command_line_names_the_sender_that_was_meant(place):
    done = await place.cli("block", "LOGIN:Alice@Example.org", "--reason", "stolen")
    assert f"{ALICE} is blocked" in done.out
    assert "Waiting: 3 messages (30 recipients)." in done.out
    wrong = await place.cli("release", "alice@example.org", "--reason", "r")
    assert wrong.code == 65
    assert f"did you mean {ALICE}?" in wrong.err
