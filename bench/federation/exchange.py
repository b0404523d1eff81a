"""What one exchange costs: two nodes with the same million events but a hundred.

    python -m bench.federation.exchange --events 1000000

360 logs of 120 organisations, each with control, hard and soft; 50 events are new on
each side, each of another organisation. Measured are round trips and octets of
bodies as sent (gzip), for a session that knows what the other had last time (delta)
and for the first one after a restart (whole vector). The number of stored events
changes neither; fewer make the same figures in less time.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import TYPE_CHECKING

from federation.exchange.session import Memory
from tests.support.exchanging import NOW, Member, Wire, converse, hard, packed

if TYPE_CHECKING:
    from federation.format.profile import Value

ORIGINS = 120
DIFFERENT = 100
_OLD = NOW - 3 * 86_400


def soft(number: int) -> dict[str, Value]:
    """Return the body of a ``rcpt.soft``."""
    return hard(number) | {"code": "4.2.2", "smtp": 452}


def build(events: int) -> tuple[Member, Member, list[Member]]:
    """Return two nodes with equal stores, and the origins of what they hold."""
    one = Member("one", now=_OLD)
    origins = [Member(f"origin {number}", now=_OLD) for number in range(ORIGINS)]
    for origin in origins:
        one.store.set_trust(origin.org, "self", now=0)  # no quota: it is a copy
        with origin.store.writing(durable=True):
            for number in range(events // ORIGINS // 2):
                origin.own.append("rcpt.hard", hard(number), _OLD)
                origin.own.append("rcpt.soft", soft(number), _OLD)
        # The control log first: without their key's grant lines are parked.
        logs = origin.store.logs_of(origin.org)
        for log in sorted(logs, key=lambda one: one.which.st):
            for first in range(1, log.head + 1, 1000):
                lines = origin.store.lines(
                    log.which, first, first + 999, most=1000, size=1 << 21
                )
                codes = one.admission.take(lines, peer="build", now=NOW)
                if set(codes) != {"ok"}:
                    raise RuntimeError(f"not all events were taken: {set(codes)}")
    other = Member("other", now=_OLD)
    one.store.db.backup(other.store.db)
    other.store.forget()
    other.store.set_meta("store", other.store.id)
    return one, other, origins


def differ(one: Member, other: Member, origins: list[Member], first: int) -> int:
    """Give each side 50 events; return the octets that the hundred take, deflated."""
    lines = []
    for number, origin in enumerate(origins[:DIFFERENT]):
        (event,) = origin.say(1, first + number)
        side = (one, other)[number % 2]
        codes = side.admission.take([event.line], peer="bench", now=NOW)
        if codes != ["ok"]:
            raise RuntimeError(f"an event was not taken: {codes}")
        lines.append(event.line)
    return packed(b"".join(lines))


def main() -> int:
    """Print one JSON object for each kind of session."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=1_000_000)
    options = parser.parse_args()
    one, other, origins = build(options.events)
    converse(one, other)
    for kind, first in (("delta", 10**7), ("whole vector", 2 * 10**7)):
        payload = differ(one, other, origins, first)
        if kind != "delta":
            one.memory[other.org] = Memory()
        wire = Wire()
        began = time.perf_counter()
        report = converse(one, other, wire=wire)
        took = time.perf_counter() - began
        if one.replica.whole().digest != other.replica.whole().digest:
            raise RuntimeError("the stores differ after the exchange")
        print(
            json.dumps(
                {
                    "session": kind,
                    "events": one.knows(),
                    "logs": len(one.replica.vector()),
                    "new": report.pulled + report.pushed,
                    "round_trips": wire.requests,
                    "kB": round(wire.both / 1000, 1),
                    "kB_of_the_events_alone": round(payload / 1000, 1),
                    "seconds_of_work": round(took, 3),
                }
            )
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
