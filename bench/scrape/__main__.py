"""Time of a scrape, beside a listener that has the same counters and no engine.

    python -m bench.scrape [--senders 100000] [--held 10000] [--rounds 20]

A real engine on a real Redis and spool; its senders are known to it as not plainly
normal (the dearest kind: they are walked), its messages are held for 1,000 slowed
senders. The scrape is an HTTP request to the daemon's own listener. Also printed: the
longest time that the event loop was kept from other work during a scrape, and what
the listener adds to the resident size.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
import urllib.request
from contextlib import AsyncExitStack
from pathlib import Path

from prometheus_client import CollectorRegistry, ProcessCollector

from shaper.core.envelope import Client, Envelope, Recipient
from shaper.core.message import HeldMessage, Submission
from shaper.metrics.counting import Metrics
from shaper.metrics.listener import Listener
from shaper.metrics.standing import Gauges, Standing
from tests.support.engine import EngineBox
from tests.support.redis_server import RedisServer

_SLOWED = 1_000


def _resident() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    return 0


class _Endpoint:
    def __init__(self, standing: Standing) -> None:
        registry = CollectorRegistry()
        Metrics(registry)
        gauges = Gauges()
        registry.register(gauges)
        ProcessCollector(registry=registry)
        self.listener = Listener("127.0.0.1", 0, registry, standing, gauges)
        self.size = 0

    def scrape(self) -> float:
        """Return milliseconds."""
        begun = time.perf_counter()
        url = f"http://127.0.0.1:{self.listener.port}/metrics"
        with urllib.request.urlopen(url) as answer:
            self.size = len(answer.read())
        return (time.perf_counter() - begun) * 1000


def _fill(box: EngineBox, senders: int, held: int) -> None:
    known = box.engine.senders.known
    for number in range(senders):
        name = f"login:user{number}@example{number % 500}.test"
        state = "slowed" if number < _SLOWED else "normal"
        known[name] = {"sender": name, "state": state, "since": box.now}
    names = list(known)[:_SLOWED]
    for number in range(held):
        sender = names[number % len(names)]
        envelope = Envelope(sender, (Recipient(f"r{number}@example.net"),))
        submission = Submission(f"m{number}", sender, envelope, Client(), box.now)
        box.engine.held.put(HeldMessage(submission, 3000))


async def _longest_pause(stop: asyncio.Event) -> float:
    """Return the longest time in milliseconds that the loop came late."""
    longest = 0.0
    while not stop.is_set():
        begun = time.perf_counter()
        await asyncio.sleep(0)
        longest = max(longest, time.perf_counter() - begun)
    return longest * 1000


async def measure(senders: int, held: int, rounds: int) -> None:
    """Fill, scrape in turn, print."""
    async with AsyncExitStack() as stack:
        redis = stack.enter_context(RedisServer())
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        box = EngineBox(redis.url, place)
        await stack.enter_async_context(box)
        _fill(box, senders, held)
        before = _resident()
        full = Standing("bench", "hop", box.clock)
        full.attach(box.engine, box.spool)
        endpoints = {
            "empty": _Endpoint(Standing("bench", "hop")),
            "full": _Endpoint(full),
        }
        added = _resident() - before
        times: dict[str, list[float]] = {name: [] for name in endpoints}
        for turn in range(rounds + 1):
            for name, endpoint in endpoints.items():
                taken = await asyncio.to_thread(endpoint.scrape)
                if turn:  # the first warms up
                    times[name].append(taken)
        stop = asyncio.Event()
        pause = asyncio.create_task(_longest_pause(stop))
        await asyncio.sleep(0)
        for _ in range(5):
            await asyncio.to_thread(endpoints["full"].scrape)
        stop.set()
        longest = await pause
        for endpoint in endpoints.values():
            await endpoint.listener.close()
    print(f"{senders:,} known senders, {held:,} held messages, {rounds} scrapes each")
    print(f"{'':28} {'p50 ms':>8} {'max ms':>8} {'octets':>8}")
    for name, label in (
        ("empty", "reference: no engine"),
        ("full", "the whole engine"),
    ):
        own = sorted(times[name])
        print(
            f"{label:28} {statistics.median(own):8.1f} {own[-1]:8.1f} "
            f"{endpoints[name].size:8}"
        )
    ratios = sorted(b / a for a, b in zip(times["empty"], times["full"], strict=True))
    print(
        f"whole to reference: {statistics.median(ratios):.1f} "
        f"({ratios[0]:.1f} to {ratios[-1]:.1f})"
    )
    print(f"longest that the event loop was busy at once: {longest:.1f} ms")
    print(f"two listeners add {added / 2**20:.1f} MiB of resident memory")


def main() -> None:
    """Read the arguments, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--senders", type=int, default=100_000)
    parser.add_argument("--held", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    asyncio.run(measure(arguments.senders, arguments.held, arguments.rounds))


if __name__ == "__main__":
    main()
