"""Measure the whole way of a message through Postfix, with the shaper and without.

    python -m bench.path [--rounds 3] [--messages 500] [--senders 20]

Four private Postfix instances, each set up once, take turns inside each round:
alone; with a null content filter (the filter's transport hands straight to the
instance's own re-injection port); with the shaper as next hop; with the shaper
in re-injection. The latter three by the very scripts of ``conf/postfix``. All
hand to one smtp-sink. A run ends when the queue is empty. CPU seconds are those
of all processes of the instance, of the daemon and of its Redis, ended children
included; smtp-source and smtp-sink are not counted. Medians over the rounds,
ratios inside a round. Needs root, as Postfix' master does.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from contextlib import ExitStack
from typing import NamedTuple

from bench.hop.load import blast, tool
from bench.hop.processes import cpu_seconds, free_port, server
from tests.support.daemon import Daemon
from tests.support.postfix import Postfix
from tests.support.road import configure

_SIZE = 5_000  # octets
_SESSIONS = 20
_DRAIN = 60.0  # seconds for all to leave
_LOOK = 0.02  # seconds between two looks
_QUEUES = ("maildrop", "incoming", "active", "deferred")

# The tests' instances are made to end soon and to try again soon; these are not.
_MAIN = {
    "max_idle": "100s",
    "queue_run_delay": "30s",
    "minimal_backoff_time": "30s",
    "maximal_backoff_time": "60s",
}


class Way(NamedTuple):
    """One set-up; ``daemon`` is None where no shaper takes part."""

    name: str
    postfix: Postfix
    daemon: Daemon | None
    again: bool
    """Whether mail comes back to the same instance."""

    def spent(self) -> tuple[float, float]:
        """Return CPU seconds so far of Postfix, and of the shaper with its Redis."""
        master = int((self.postfix.directory / "data/master.lock").read_text())
        return cpu_seconds(master), cpu_seconds(self.daemon.pid) if self.daemon else 0.0

    @property
    def passes(self) -> int:
        """How often a message passes the queue of the instance."""
        return 2 if self.again else 1

    def sent(self) -> int:
        """Count the deliveries so far."""
        return self.postfix.log().count("status=sent")

    def drained(self) -> bool:
        """Whether no queue of the instance holds a message."""
        root = self.postfix.directory / "queue"
        return not any(
            names for queue in _QUEUES for _, _, names in os.walk(root / queue)
        )


class Run(NamedTuple):
    """What one run of one way took."""

    postfix: float
    """CPU seconds per 1,000 messages."""
    shaper: float
    rate: float
    """Messages a second, from the first until the queue is empty."""

    @property
    def cpu(self) -> float:
        """CPU seconds per 1,000 messages, of everything."""
        return self.postfix + self.shaper


def _ways(stack: ExitStack) -> list[Way]:
    sink = free_port()
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    command = [tool("smtp-sink"), *user, f"127.0.0.1:{sink}", "500"]
    stack.enter_context(server(command, sink))

    alone = Postfix(relay=sink, main=_MAIN)
    null = Postfix(relay=sink, main=_MAIN)
    back = free_port()
    # The filter is the re-injection port itself; there is no policy server to ask.
    configure("reinject", null, back, 0, back)
    found = [
        Way("Postfix alone", alone, None, again=False),
        Way("null content filter", null, None, again=True),
    ]

    hop = Postfix(relay=sink, main=_MAIN)
    daemon = stack.enter_context(Daemon(sink, {"daemon": {"enforce": False}}))
    configure("next-hop", hop, daemon.port, daemon.policy_port, 0)
    found.append(Way("shaper as next hop", hop, daemon, again=False))

    again = Postfix(relay=sink, main=_MAIN)
    back = free_port()
    daemon = stack.enter_context(Daemon(back, {"daemon": {"enforce": False}}))
    configure("reinject", again, daemon.port, daemon.policy_port, back)
    found.append(Way("shaper in re-injection", again, daemon, again=True))

    null.command("postconf", "-X", "smtpd_end_of_data_restrictions")
    for way in found:
        stack.enter_context(way.postfix)
    return found


def _run(way: Way, messages: int, senders: int) -> Run:
    """Send, wait until all has left; raises TimeoutError."""
    before = way.spent()
    earlier = way.sent()
    begin = time.monotonic()
    blast(way.postfix.smtp_port, messages, _SIZE, _SESSIONS, senders)
    # A message on its way from one queue to the next may escape a look, and the
    # log may come late: the one says too early that all is done, not both.
    expected = way.passes * messages
    while not way.drained() or way.sent() - earlier < expected:
        if time.monotonic() - begin > _DRAIN:
            raise TimeoutError(
                f"{way.name}: {way.sent() - earlier} deliveries of {expected} in "
                f"{_DRAIN:.0f} s\n{way.postfix.log()[-2000:]}"
            )
        time.sleep(_LOOK)
    taken = time.monotonic() - begin
    after = way.spent()
    postfix, shaper = (
        (late - early) / messages * 1000
        for early, late in zip(before, after, strict=True)
    )
    return Run(postfix, shaper, messages / taken)


def _ratio(mine: list[float], other: list[float]) -> str:
    ratios = sorted(m / o for m, o in zip(mine, other, strict=True))
    middle = statistics.median(ratios)
    return f"{middle:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"


def main() -> None:
    """Read the arguments, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--messages", type=int, default=500, help="a run")
    parser.add_argument("--senders", type=int, default=20, help="1 to 20, a divisor")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    with ExitStack() as stack:
        ways = _ways(stack)
        for way in ways:
            _run(way, 100, arguments.senders)  # warm up
        runs: dict[str, list[Run]] = {way.name: [] for way in ways}
        for _ in range(arguments.rounds):
            for way in ways:
                runs[way.name].append(_run(way, arguments.messages, arguments.senders))
    print(
        f"{_SIZE} octets, {arguments.senders} senders, {arguments.rounds} rounds of "
        f"{arguments.messages}, load {load:.1f} before and {os.getloadavg()[0]:.1f} "
        "after"
    )
    print(
        f"{'CPU s per 1,000':24} {'all':>6} {'Postfix':>8} {'shaper':>7} {'msg/s':>6}"
    )
    for name, several in runs.items():
        middle = [statistics.median(column) for column in zip(*several, strict=True)]
        cpu = statistics.median(run.cpu for run in several)
        print(
            f"{name:24} {cpu:6.2f} {middle[0]:8.2f} {middle[1]:7.2f} {middle[2]:6.0f}"
        )
    alone, null, hop, again = runs.values()
    cpu_of = [[run.cpu for run in several] for several in (alone, null, hop, again)]
    print("\nratios, median (least to most)")
    print("CPU, next hop to Postfix alone:       ", _ratio(cpu_of[2], cpu_of[0]))
    print("CPU, re-injection to null filter:     ", _ratio(cpu_of[3], cpu_of[1]))
    print("CPU, null filter to Postfix alone:    ", _ratio(cpu_of[1], cpu_of[0]))
    rates = [[run.rate for run in several] for several in (again, null)]
    print("msg/s, re-injection to null filter:   ", _ratio(*rates))


if __name__ == "__main__":
    main()
