"""Placement policy with real Postfix: held by the MTA, let go by us, exactly once."""

import asyncio
import time
from collections import Counter

import pytest

from tests.support.policy_road import ADMIN, policy_road
from tests.support.waiting import poll_async

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(120)]

FRIENDS = ["ann@example.net", "ben@example.net", "cem@example.org"]
BUDGET = 10  # what a thief reaches before the alarm: tests/e2e/test_hop_stolen.py
PACE = {"trickle": {"interval": 1.0, "longest_interval": 60}}
LAZY = {"trickle": {"interval": 600.0, "longest_interval": 600.0}}


async def stolen(way):
    """Give the account a history, steal it; return when mail is held."""
    await way.daemon.teach(way.who, time.time(), 30, 6, FRIENDS)
    await way.send(*((one,) for one in FRIENDS))
    await poll_async(lambda: len(way.arrived()) == len(FRIENDS), "friends' mail")
    for number in range(BUDGET + 1):
        await spam(way, 1, f"first{number}-")
        if way.daemon.held():
            break
    assert way.daemon.state_of(way.who) == "slowed"
    assert 0 < len(way.sent) - len(FRIENDS) - len(way.on_hold()) <= BUDGET


async def spam(way, count, prefix="victim"):
    strangers = [(f"{prefix}{i}@example.com",) for i in range(count)]
    assert await way.send(*strangers, sender="ceo@bank.test") == []


async def settled(way):
    """Wait until nothing is held, queued or on its way."""
    await way.daemon.wait_for_held(0, 60)
    await poll_async(lambda: not way.postfix.queue(), "empty queue", 30)


async def test_held_by_postfix_trickled_and_released():
    async with policy_road(PACE) as way:
        await stolen(way)
        await way.send(*((one,) for one in FRIENDS))
        assert len(way.on_hold()) == len(way.daemon.held()) == 4
        before = way.arrived()
        left = []
        while len(left) < 3:
            await poll_async(
                lambda: len(way.arrived()) > len(before) + len(left), "trickle"
            )
            left.append(time.monotonic())
        assert left[1] - left[0] > 0.8
        assert left[2] - left[1] > 1.6
        fresh = [way.sent[mid][0] for mid in list(way.arrived())[-3:]]
        assert all(one in FRIENDS for one in fresh), "the owner's own mail goes first"
        await poll_async(
            lambda: any(t.recipients == [ADMIN] for t in way.hop.transactions), "notice"
        )
        released = await way.daemon.change("release", sender=way.who)
        assert released["state"] == "normal"
        await settled(way)
        assert way.arrived() == Counter(dict.fromkeys(way.sent, 1))
