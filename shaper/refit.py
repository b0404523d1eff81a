"""Refits the population's priors and limits from all stored senders.

A program of its own, started by the daemon once a day: numpy, the decoding of a
million records and their memory never share a process with a message. Standard
input is one line of JSON (``url``, ``prefix``), so that no password stands in the
list of processes; standard output is the model as JSON.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from queue import Queue
from threading import Thread
from typing import TYPE_CHECKING

from shaper.core.calibration import calibrate
from shaper.core.model import Model
from shaper.core.ports import StateUnavailableError
from shaper.core.record import Record
from shaper.ledger.ledger import RedisLedger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shaper.core.profile import Profile

__all__ = ["main", "refit"]

log = logging.getLogger(__name__)

_AHEAD = 8  # pages read while others are decoded
_TIMEOUT = 30.0  # seconds for one page; nobody waits for us
_NICE = 10
EX_UNAVAILABLE = 69


async def refit(url: str, prefix: str, shipped: Model) -> Model:
    """Return the model for the host behind this Redis.

    Raises StateUnavailableError. Damaged records are left out.
    """
    ledger = RedisLedger.connect(url, prefix=prefix, timeout=_TIMEOUT)
    pages: Queue[list[bytes] | None] = Queue(_AHEAD)
    found: list[Model] = []
    worker = Thread(target=lambda: found.append(calibrate(_profiles(pages), shipped)))
    worker.start()
    try:
        async for page in ledger.records():
            await asyncio.to_thread(pages.put, page)
    finally:
        await asyncio.to_thread(pages.put, None)
        await asyncio.to_thread(worker.join)
        await ledger.close()
    return found[0]


def _profiles(pages: Queue[list[bytes] | None]) -> Iterator[Profile]:
    while (page := pages.get()) is not None:
        for raw in page:
            try:
                yield Record.decode(raw).profile
            except ValueError as error:
                log.warning("a damaged record is left out: %s", error)


def main() -> int:
    """Read the request, write the model; return the exit status."""
    logging.basicConfig(stream=sys.stderr, format="%(message)s")
    os.nice(_NICE)
    request = json.loads(sys.stdin.readline())
    work = refit(str(request["url"]), str(request["prefix"]), Model.default())
    try:
        model = asyncio.run(work)
    except StateUnavailableError as error:
        log.error("%s", error)
        return EX_UNAVAILABLE
    sys.stdout.write(model.to_json() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
