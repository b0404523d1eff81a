"""Kill the engine at every call while outcomes come in; none counts twice.

What a kill may cost is said in docs/outcomes.md: the evidence of one outcome that
was claimed and not yet stored, and the outcomes of mail that left within the last
second.
"""

import contextlib

import pytest

from shaper.core.outcome import Kind, Meaning, Outcome
from tests.support.crashing import Killed, Killer
from tests.support.engine import EngineBox

WRITTEN = ("a", "b")
FRESH = "c"


def address(name):
    return f"{name}@example.net"


def bounce(name):
    return Outcome(
        Kind.DSN,
        Meaning.DEAD_ADDRESS,
        address(name),
        permanent=True,
        message_id=f"{name}@example.org",
    )


def line(name):
    return Outcome(
        Kind.LOG,
        Meaning.DEAD_ADDRESS,
        address(name),
        permanent=True,
        queue_id=f"Q{name}",
    )


def steps(box):
    def offer(name):
        async def tell():
            await box.offer(
                f"login:{name}", [address(name)], ident=name, queue_id=f"Q{name}"
            )

        return tell

    def take(outcome):
        async def tell():
            await box.engine.outcomes.take(outcome)

        return tell

    async def store():
        await box.upkeep.store()

    story = [offer(name) for name in WRITTEN]
    story += [store]
    story += [take(tell(name)) for name in WRITTEN for tell in (line, bounce)]
    story += [offer(FRESH), take(bounce(FRESH)), store, take(line(FRESH))]
    # The log is read again, from its last saved position.
    return [*story, *(take(line(name)) for name in (*WRITTEN, FRESH)), store]


async def run(redis_server, directory, killer):
    """Return how many dead recipients each sender was found to have.

    And the number of the step that was killed.
    """
    killed = len(WRITTEN) + 1
    redis_server.flush()
    box = EngineBox(redis_server.url, directory)
    async with box:
        box.wrap = killer.wrap
        with contextlib.suppress(Killed):
            await box.stop()
            await box.start()
        if killer.dead:
            await box.crash()
        todo = steps(box)
        at = 0
        while at < len(todo):
            try:
                await todo[at]()
                at += 1
            except Killed:
                killed = at
                await box.crash()
        killer.disarm()
        await box.upkeep.store()
        found = {}
        for name in (*WRITTEN, FRESH):
            record, _ = await box.engine.senders.read(f"login:{name}")
            found[name] = round(record.profile.bad)
    return found, killed


@pytest.mark.timeout(240)
@pytest.mark.slow
async def test_no_kill_counts_an_outcome_twice(redis_server, tmp_path):
    counter = Killer()
    whole, _ = await run(redis_server, tmp_path / "whole", counter)
    assert whole == {"a": 1, "b": 1, "c": 1}
    assert {"ledger.sent.note", "ledger.sent.claim"} <= set(counter.calls)
    for at in range(1, len(counter.calls) + 1):
        for after in (False, True):
            killer = Killer(at, after=after)
            found, step = await run(redis_server, tmp_path / f"{at}-{after}", killer)
            where = f"kill {'after' if after else 'before'} {killer.call}: {found}"
            assert max(found.values()) == 1, where
            if step <= len(WRITTEN):
                continue  # what left within the last second was not written yet
            assert sum(found[name] for name in WRITTEN) >= len(WRITTEN) - 1, where
            if not killer.call.startswith("ledger."):
                assert all(found[name] for name in WRITTEN), where
