"""Measure ways out of the hold: `python -m bench.policy.held [--messages 200]`.

Real Postfix and Exim hold messages; the daemon's client asks the queue helper for
each way out, for all of them at once as an order does, and for some one after the
other, the reference of the same run. Until the helper has answered; what the mail
server then does with released mail takes its own time.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from typing import TYPE_CHECKING

from tests.support.held_queue import exim_queue, hold, only, postfix_queue

if TYPE_CHECKING:
    from collections.abc import Sequence

_ALONE = 20  # messages that are asked for one after the other


async def _measure(make: object, messages: int) -> None:
    async with make() as queue:  # type: ignore[operator]
        helper = queue.helper
        for verb, change in (
            ("release", helper.release),
            ("requeue", helper.requeue),
            ("drop", helper.drop),
            ("return", helper.give_back),
        ):
            ids = await hold(queue, _ALONE)
            begun = time.perf_counter()
            for one in ids:
                await change(one)
            alone = _ALONE / (time.perf_counter() - begun)
            await only(queue)
            ids = await hold(queue, messages)
            begun = time.perf_counter()
            await asyncio.gather(*map(change, ids))
            together = messages / (time.perf_counter() - begun)
            await only(queue)
            sys.stdout.write(
                f"{queue.name:8} {verb:8} {alone:10.1f} {together:10.1f} "
                f"{together / alone:7.1f}\n"
            )
            sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=200)
    options = parser.parse_args(arguments)
    sys.stdout.write(
        f"{options.messages} held messages, per second\n"
        f"{'':8} {'':8} {'one by one':>10} {'together':>10} {'ratio':>7}\n"
    )
    for make in (postfix_queue, exim_queue):
        asyncio.run(_measure(make, options.messages))


if __name__ == "__main__":
    main()
