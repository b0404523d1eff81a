"""Waiting for other processes: poll a condition, bounded, and say what never came.

Only for things outside this process. Inside, wait for the event itself.
"""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
INTERVAL = 0.01  # seconds; a Postfix or Redis start takes 20 to 300 ms


def poll(condition: Callable[[], T], what: str, within: float = 15.0) -> T:
    """Return the first true value of ``condition()``; block this thread meanwhile.

    Raises TimeoutError naming ``what`` after ``within`` seconds.
    """
    end = time.monotonic() + within
    while not (value := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"no {what} within {within} s")
        time.sleep(INTERVAL)
    return value


async def poll_async(condition: Callable[[], T], what: str, within: float = 15.0) -> T:
    """Do what `poll` does, leaving the event loop free between two looks."""
    end = time.monotonic() + within
    while not (value := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"no {what} within {within} s")
        await asyncio.sleep(INTERVAL)
    return value
