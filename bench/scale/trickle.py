"""Slowed senders with held mail: what the schedule and the rounds of upkeep cost.

Each sender has one held message and the record of a sender that has just been
slowed. Attempts are replaced by ones that do nothing and leave the message where
it is, so the schedule goes on and no delivery is counted. One virtual hour of
the trickle passes in steps of ten seconds; the rounds of upkeep are run a few
times and charged at the pace of the daemon. The reference is a plain read of
every record.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.hop.processes import cpu_seconds
from shaper.core.envelope import Client, Envelope, Recipient
from shaper.core.message import Action, Decision, Submission
from shaper.core.state import State
from tests.support.engine import EngineBox
from tests.support.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from shaper.core.message import HeldMessage

_HOUR = 3600.0
_STEP = 10.0
_LONGEST = 200.0  # real seconds for the virtual hour
_REPEATS = 3
_ROUNDS = 30  # of review
_TOGETHER = 100


class _Idle:
    """In place of attempts: counts them, lets only the shaper's notices leave."""

    def __init__(self, box: EngineBox) -> None:
        self.count = 0
        self._attempt = box.engine.delivery.attempt
        box.engine.delivery.attempt = self  # type: ignore[method-assign]

    async def __call__(self, message: HeldMessage) -> None:
        if message.notice:
            await self._attempt(message)
        else:
            self.count += 1


async def measure(count: int) -> None:
    """Make so many slowed senders, print what they cost."""
    place = tempfile.TemporaryDirectory(prefix="bench", dir="/tmp")
    with place as directory, RedisServer() as redis:
        async with EngineBox(redis.url, Path(directory)) as box:
            idle = _Idle(box)
            await _slow(box, count)
            await _print(box, redis, count, idle)


async def _slow(box: EngineBox, count: int) -> None:
    template = "login:template"
    await box.offer(template, ["someone@example.net"])
    for _ in range(500):
        if await box.state(template) == State.SLOWED.value:
            break
        await box.blast(template, 1)
    record, _ = await box.engine.senders.read(template)
    if record.state is not State.SLOWED:
        raise RuntimeError(f"the template is {record.state.value}, not slowed")
    numbers = iter(range(count))

    async def work() -> None:
        for number in numbers:
            record.sender, record.case = f"login:user{number}", f"case{number}"
            name, raw, case = record.sender, record.encode(), record.case
            await box.ledger.save(name, 0, raw, record.state.value)
            envelope = Envelope("x@example.org", (Recipient(f"r{number}@x.test"),))
            client = Client(address="192.0.2.1")
            submission = Submission(f"m{number}", name, envelope, client, box.now)
            decision = Decision(Action.HOLD, case=case)
            writer = box.engine.gate.hold(submission, decision)
            writer.write(b"Subject: x\r\n\r\nx\r\n")
            await box.engine.gate.held(await writer.commit())

    await asyncio.gather(*(work() for _ in range(_TOGETHER)))
    await box.engine.senders.synchronise()
    # The notices about the cases come once, not every round: out with them.
    await box.upkeep.store()
    await _drain(box)
    for work in (box.upkeep.store, box.upkeep.review, box.upkeep.follow):
        await work()


async def _print(box: EngineBox, redis: RedisServer, count: int, idle: _Idle) -> None:
    def spent() -> float:
        return time.process_time() + cpu_seconds(redis.pid)

    async def cost(work: Callable[[], Awaitable[None]]) -> float:
        before = spent()
        for _ in range(_REPEATS):
            await work()
        return (spent() - before) / _REPEATS

    async def read() -> None:
        for number in range(count):
            await box.ledger.load(f"login:user{number}")

    plain = await cost(read)
    print(f"\n{count:,} slowed senders with held mail, Redis included")
    print(f"{'':34} {'CPU s':>8} {'every':>6} {'% of a core':>11}")
    print(f"{'reference: read each record once':34} {plain:8.3f}")
    total = 0.0

    def row(name: str, seconds: float, period: float) -> None:
        nonlocal total
        share = seconds / period * 100
        total += share
        print(f"{name:34} {seconds:8.3f} {period:5.0f}s {share:11.2f}")

    row("upkeep: orders, notices, flush", await cost(box.upkeep.store), 1)
    row("upkeep: is Redis the same", await cost(box.upkeep.resynchronise), 5)
    before = spent()
    for _ in range(_ROUNDS):  # a round looks at a part of them
        box.now += _STEP
        await box.upkeep.review()
    row("upkeep: review of slowed senders", (spent() - before) / _ROUNDS, _STEP)
    row("upkeep: follow other instances", await cost(box.upkeep.follow), 30)
    await _drain(box)
    early, begun = idle.count, time.monotonic()
    before, end = spent(), box.now + _HOUR
    while box.now < end:
        if time.monotonic() - begun > _LONGEST:
            raise TimeoutError(
                f"{idle.count} releases and no end after {_LONGEST:.0f} s"
            )
        box.now += _STEP
        await _drain(box)
    hour = spent() - before
    row("trickle: the first hour", hour, _HOUR)
    turns = idle.count - early
    each = hour / max(turns, 1)
    print(f"{'together':34} {'':8} {'':6} {total:11.2f}")
    print(
        f"{turns / count:.1f} releases a sender in that hour, {each * 1e6:.0f} us "
        f"each; at one an hour {count * each / _HOUR * 100:.2f} %"
    )


async def _drain(box: EngineBox) -> None:
    """Do all that is due now, as the daemon does when an attempt ends."""
    busy = True
    while busy:
        await box.engine.trickle.step(box.now)
        busy = bool(box.engine.trickle._busy)  # noqa: SLF001
        await box.engine.trickle.settle()
