"""Measure what grows with the number of senders and with the size of messages.

    python -m bench.scale [known] [trickle] [large] [--senders 100000]
        [--slowed 1000 10000]

``known``: memory of a real Redis for each sender it knows, and the cost of a
decision beside that with an almost empty Redis. ``trickle``: what ten thousand
slowed senders with held mail cost while nothing is delivered, in virtual time.
``large``: the largest resident size of the whole daemon while 50 messages of
20 MiB come at once, beside the hop without an engine. All three unless named.
"""

from __future__ import annotations

import argparse
import asyncio
import os

from bench.scale import known, large, trickle


def main() -> None:
    """Read the arguments, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="known|trickle|large")
    parser.add_argument("--senders", type=int, default=100_000, help="in Redis")
    parser.add_argument("--slowed", type=int, nargs="+", default=[1_000, 10_000])
    arguments = parser.parse_args()
    parts = arguments.parts or ["known", "trickle", "large"]
    if unknown := set(parts) - {"known", "trickle", "large"}:
        parser.error(f"no such part: {' '.join(sorted(unknown))}")
    print(f"load {os.getloadavg()[0]:.1f} before")
    if "known" in parts:
        asyncio.run(known.measure(arguments.senders))
    if "trickle" in parts:
        for count in arguments.slowed:
            asyncio.run(trickle.measure(count))
    if "large" in parts:
        large.measure()
    print(f"\nload {os.getloadavg()[0]:.1f} after")


if __name__ == "__main__":
    main()
