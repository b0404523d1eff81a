"""Measure the hop beside its references, interleaved, and print a table.

    python -m bench.hop [--rounds 3] [--messages 3000] [--senders 1] [--large]
        [--server 'CMD {port} {next}']

Each round runs every candidate once, in turn, at each size: straight to
smtp-sink, Postfix's own before-queue proxy in front of it (a null content
filter), a raw relay in Python that judges nothing (the floor), the hop, the whole
daemon, and the hop with one plain Redis round trip a message. Medians over
the rounds. CPU seconds are those of the server under test with all its
children, Redis included; the rates depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shlex
import statistics
import sys
from contextlib import ExitStack
from typing import NamedTuple

from bench.hop.load import blast, paced, tool
from bench.hop.processes import (
    cpu_seconds,
    free_port,
    memory_peak,
    server,
    wait_for_port,
)
from tests.support.postfix import Postfix
from tests.support.redis_server import RedisServer

_SIZES = (5_000, 100_000)  # octets
_SESSIONS = 20
_LARGE = 20 * 2**20  # octets
_LARGE_COUNT = 50
_RATE = 100.0  # messages a second when latency is measured


class Candidate(NamedTuple):
    """Something that mail can be sent to, and the processes to bill for it."""

    name: str
    port: int
    pids: tuple[int, ...]


def _start(stack: ExitStack, command: str) -> list[Candidate]:
    sink = free_port()
    unprivileged = ["-u", "nobody"] if os.geteuid() == 0 else []
    sink_pid = stack.enter_context(
        server([tool("smtp-sink"), *unprivileged, f"127.0.0.1:{sink}", "500"], sink)
    )
    found = [Candidate("straight to smtp-sink", sink, (sink_pid,))]
    if os.geteuid() == 0:
        proxy = free_port()
        postfix = stack.enter_context(Postfix(relay=sink, master=[_proxy(proxy, sink)]))
        wait_for_port(proxy)
        pid = int((postfix.directory / "data/master.lock").read_text())
        found.append(Candidate("Postfix before-queue proxy", proxy, (pid,)))
    port = free_port()
    raw = [sys.executable, "-m", "bench.hop.raw", str(port), str(sink)]
    pid = stack.enter_context(server(raw, port))
    found.append(Candidate("raw relay, judges nothing", port, (pid,)))
    if command:
        port = free_port()
        line = command.format(port=port, next=sink)
        pid = stack.enter_context(server(shlex.split(line), port))
        return [*found, Candidate("given server", port, (pid,))]
    base = [sys.executable, "-m", "bench.hop.server"]
    port = free_port()
    pid = stack.enter_context(server([*base, str(port), str(sink)], port))
    found.append(Candidate("hop", port, (pid,)))
    port = free_port()
    whole = [sys.executable, "-m", "bench.hop.whole", str(port), str(sink)]
    pid = stack.enter_context(server(whole, port))
    found.append(Candidate("whole daemon, own Redis", port, (pid,)))
    redis = stack.enter_context(RedisServer())
    port = free_port()
    pid = stack.enter_context(server([*base, str(port), str(sink), redis.url], port))
    found.append(Candidate("hop with Redis", port, (pid, redis.pid)))
    return found


def _proxy(port: int, sink: int) -> str:
    return (
        f"127.0.0.1:{port} inet n - n - - smtpd -o smtpd_proxy_filter=127.0.0.1:{sink}"
        " -o smtpd_client_restrictions= -o mynetworks=127.0.0.0/8"
        " -o smtpd_recipient_restrictions=permit_mynetworks,reject"
        " -o smtpd_client_connection_count_limit=0"
    )


def _measure(
    candidate: Candidate, messages: int, size: int, senders: int
) -> tuple[float, float]:
    """Return messages per second and CPU seconds per 1,000 messages."""
    before = sum(map(cpu_seconds, candidate.pids))
    seconds = blast(candidate.port, messages, size, _SESSIONS, senders)
    spent = sum(map(cpu_seconds, candidate.pids)) - before
    return messages / seconds, spent / messages * 1000


def main() -> None:
    """Read the arguments, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--messages", type=int, default=3000, help="of 5 kB a round")
    parser.add_argument("--senders", type=int, default=1, help="1 to 20, a divisor")
    parser.add_argument("--latency", type=int, default=500, help="paced messages")
    parser.add_argument("--large", action="store_true", help="50 x 20 MB at once too")
    parser.add_argument("--server", default="", help="command with {port} and {next}")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        candidates = _start(stack, arguments.server)
        _throughput(candidates, arguments.rounds, arguments.messages, arguments.senders)
        _latency(candidates, arguments.rounds, arguments.latency)
        _memory(candidates, "so far")
        if arguments.large:
            for candidate in candidates[2:]:
                blast(candidate.port, _LARGE_COUNT, _LARGE, _LARGE_COUNT)
            _memory(candidates, f"after {_LARGE_COUNT} x {_LARGE >> 20} MiB at once")


def _memory(candidates: list[Candidate], when: str) -> None:
    print(f"\npeak resident memory {when}, MiB")
    for candidate in candidates[1:]:
        print(f"{candidate.name:28} {memory_peak(candidate.pids[0]):8.1f}")


def _throughput(
    candidates: list[Candidate], rounds: int, messages: int, senders: int
) -> None:
    for size in _SIZES:
        count = messages if size == _SIZES[0] else max(messages // 5, 100)
        rates: dict[str, list[float]] = {c.name: [] for c in candidates}
        costs: dict[str, list[float]] = {c.name: [] for c in candidates}
        for candidate in candidates:
            blast(candidate.port, 100, size, _SESSIONS)  # warm up
        for _ in range(rounds):
            for candidate in candidates:
                rate, cost = _measure(candidate, count, size, senders)
                rates[candidate.name].append(rate)
                costs[candidate.name].append(cost)
        print(
            f"\n{size} octets, {_SESSIONS} connections, {senders} senders, "
            f"{rounds} rounds of {count}"
        )
        print(f"{'':28} {'msg/s':>8} {'of direct':>9} {'CPU s/1000':>11}")
        direct = rates[candidates[0].name]
        for candidate in candidates:
            name = candidate.name
            ratio = statistics.median(
                mine / reference
                for mine, reference in zip(rates[name], direct, strict=True)
            )
            print(
                f"{name:28} {statistics.median(rates[name]):8.0f} {ratio:9.2f}"
                f" {statistics.median(costs[name]):11.3f}"
            )


def _latency(candidates: list[Candidate], rounds: int, messages: int) -> None:
    samples: dict[str, list[float]] = {c.name: [] for c in candidates}
    for _ in range(rounds):
        for candidate in candidates:
            samples[candidate.name] += asyncio.run(
                paced(candidate.port, _RATE, messages, _SIZES[0])
            )
    print(f"\nlatency at {_RATE:.0f} messages/s, {_SIZES[0]} octets, ms")
    print(f"{'':28} {'p50':>8} {'p99':>8}")
    for candidate in candidates:
        times = sorted(samples[candidate.name])
        p50, p99 = times[len(times) // 2], times[len(times) * 99 // 100]
        print(f"{candidate.name:28} {p50:8.2f} {p99:8.2f}")


if __name__ == "__main__":
    main()
