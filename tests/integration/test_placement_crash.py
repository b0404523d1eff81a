"""Placement policy, killed at every call: each message leaves the hold once.

The story is short: mail of a blocked sender is held, orders drop, return and release
some of it, a release and the end of a long hold let the rest go. A kill while the
MTA waits for an answer makes it take the message by its default action.
"""

import contextlib

import pytest

from tests.support.crashing import Killed, Killer, worth_a_kill
from tests.support.engine import EngineBox
from tests.support.mta_queue import MtaQueue, offer

BOB, EVE = "login:bob", "login:eve"


def story(box, queue, passed):  # noqa: C901 - one story, told in one place
    """Return the steps; ``passed`` gets what the MTA does not hold."""
    told = set()

    def mail(ident, sender):
        async def tell():
            if ident in told:
                return  # it got no answer, so the MTA took it
            told.add(ident)
            passed.add(ident)
            box.now += 5
            if (await offer(box.asking, queue, ident, sender, f"{ident}@x.test")).hold:
                passed.discard(ident)

        return tell

    def order(action, text):
        change = box.change("as told")

        async def tell():
            await box.control.order(change, action, filter=text)

        return tell

    def wait(seconds, name):
        async def tell():
            if name not in told:
                told.add(name)
                box.now += seconds
            await box.upkeep.store()
            await box.engine.reconcile.round()
            await box.upkeep.expire()
            while await settled(box):
                pass

        return tell

    block = [box.change("stolen") for _ in range(2)]
    free = box.change("it was not")

    async def blocked():
        await box.control.block(block[0], BOB)
        await box.control.block(block[1], EVE)

    async def released():
        await box.control.release(free, BOB, 0.0)

    steps = [blocked]
    steps += [mail(f"bob{i}", BOB) for i in range(5)]
    steps += [mail("eve0", EVE), wait(30, "w0")]
    steps += [
        order("drop", "rcpt~bob0"),
        order("bounce", "rcpt~bob1"),
        order("release", "rcpt~bob2"),
        wait(60, "w1"),
        wait(700, "w2"),
        mail("eve1", EVE),
        released,
        wait(700, "w3"),
        wait(4000, "w4"),
        wait(6 * 86400, "w5"),
        wait(700, "w6"),
        wait(4000, "w7"),
    ]
    return steps


async def settled(box):
    """Do what is due; whether anything was."""
    before = len(box.engine.held)
    await box.engine.trickle.step(box.now)
    await box.engine.trickle.settle()
    return len(box.engine.held) != before


async def run(redis_server, directory, killer):
    redis_server.flush()
    queue, passed = MtaQueue(), set()
    box = EngineBox(redis_server.url, directory, queue=queue)
    async with box.hop:
        await box.start()
        box.wrap = killer.wrap
        with contextlib.suppress(Killed):
            await box.stop()
        killer.calls.clear()
        killer.dead = False
        while True:
            try:
                await box.start()
                break
            except Killed:
                with contextlib.suppress(Killed):
                    await box.stop()
                box.wrap = lambda _name, adapter: adapter
        steps = story(box, queue, passed)
        at = 0
        while at < len(steps):
            try:
                await steps[at]()
                if killer.dead and box.wrap == killer.wrap:
                    raise Killed  # noqa: TRY301 - in a task of the trickle
                at += 1
            except Killed:
                with contextlib.suppress(Killed):
                    await box.crash()
        killer.disarm()
        left = [m.submission.client.ident for m in box.engine.held.all() if m.by_mta]
        await box.stop()
    where = f"kill {'after' if killer.after else 'before'} {killer.call}"
    assert left == [], where
    assert queue.held == set(), where
    expected = {"bob0": "drop", "bob1": "return", "eve0": "return", "eve1": "return"}
    for ident in (*(f"bob{i}" for i in range(5)), "eve0", "eve1"):
        left_by = queue.verbs(ident)
        if ident in passed:
            assert left_by == {}, (where, ident)
        else:
            assert left_by == {expected.get(ident, "release"): 1}, (where, ident)
    return passed


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_every_call_may_be_the_last(redis_server, tmp_path):
    counter = Killer()
    assert await run(redis_server, tmp_path / "count", counter) == set()
    assert len(counter.calls) > 60
    for at in worth_a_kill(counter.calls, 1):
        for after in (False, True):
            killer = Killer(at, after=after)
            name = f"{at}{'b' if after else 'a'}"
            passed = await run(redis_server, tmp_path / name, killer)
            assert len(passed) <= 1, f"{killer.call} let {passed} pass"
