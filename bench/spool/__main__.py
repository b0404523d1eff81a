"""How fast the spool makes messages durable, and reads them at start.

    python -m bench.spool [--directory DIR] [--rounds 5] [--messages 1000]

Each round writes the same messages by plain sequential fsync (file, rename,
directory, one after the other), by the spool all at once, and one at a time, on
the same disk; medians and ratios within a round. Last comes a scan of 10,000.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from shaper.core.envelope import Client, Envelope, Recipient
from shaper.core.message import HeldMessage, Submission
from shaper.durable.files import sync_directory
from shaper.spool import FileSpool, Limits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

SIZE = 5_000
SCANNED = 10_000
ROOMY = Limits(free=0)


def message(name: str) -> HeldMessage:
    """Return an ordinary message."""
    envelope = Envelope("me@home.test", (Recipient("you@there.test"),))
    client = Client("192.0.2.1", "mail.home.test", "home", "ESMTP", ident="4XyZ")
    submission = Submission(name, "login:me", envelope, client, 1.0, "Hello", "<1@x>")
    return HeldMessage(submission, 0, case="c1")


def plain(directory: Path, count: int) -> None:
    """Write, fsync, rename, fsync the directory, message after message."""
    for name in ("tmp", "held"):
        (directory / name).mkdir(parents=True)
    for n in range(count):
        path = directory / "tmp" / f"m{n}"
        fd = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
        os.write(fd, b"x" * SIZE)
        os.fsync(fd)
        os.close(fd)
        path.rename(directory / "held" / f"m{n}")
        sync_directory(directory / "held")


async def hold(spool: FileSpool, name: str) -> None:
    """Hold one message."""
    writer = spool.begin(message(name))
    writer.write(b"x" * SIZE)
    await writer.commit()


async def burst(spool: FileSpool, count: int) -> None:
    """Hold all at once."""
    await asyncio.gather(*(hold(spool, f"m{n}") for n in range(count)))


async def one_by_one(spool: FileSpool, count: int) -> None:
    """Hold one, then the next."""
    for n in range(count):
        await hold(spool, f"m{n}")


async def timed(
    directory: Path, count: int, work: Callable[[FileSpool, int], Awaitable[None]]
) -> tuple[float, float]:
    """Return wall-clock and processor seconds of a fresh spool."""
    spool = await FileSpool.open(directory, ROOMY)
    cpu, began = time.process_time(), time.perf_counter()
    await work(spool, count)
    took = time.perf_counter() - began, time.process_time() - cpu
    await spool.close()
    return took


async def scan(directory: Path) -> float:
    """Return the seconds that opening a full spool takes."""
    spool = await FileSpool.open(directory, ROOMY)
    for start in range(0, SCANNED, 1000):
        await asyncio.gather(
            *(hold(spool, f"m{n}") for n in range(start, start + 1000))
        )
        await asyncio.gather(
            *(
                spool.note_attempt(f"m{n}", not_before=1.0)
                for n in range(start, start + 1000, 10)
            )
        )
    await spool.close()
    began = time.perf_counter()
    spool = await FileSpool.open(directory, ROOMY)
    took = time.perf_counter() - began
    if len(spool) != SCANNED:
        raise SystemExit(f"{len(spool)} of {SCANNED} messages were found")
    await spool.close()
    return took


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", type=Path, default=Path("var"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=1000)
    options = parser.parse_args()
    options.directory.mkdir(exist_ok=True)
    root = Path(tempfile.mkdtemp(prefix="bench-spool-", dir=options.directory))
    count = options.messages
    rows: dict[str, list[float]] = {}
    try:
        for n in range(options.rounds):
            began = time.perf_counter()
            plain(root / f"plain{n}", count)
            reference = time.perf_counter() - began
            rows.setdefault("plain", []).append(reference)
            for name, work in (("burst", burst), ("single", one_by_one)):
                wall, cpu = asyncio.run(timed(root / f"{name}{n}", count, work))
                rows.setdefault(name, []).append(wall)
                rows.setdefault(f"{name} ratio", []).append(reference / wall)
                rows.setdefault(f"{name} cpu", []).append(cpu * 1000 / count)
        scanned = asyncio.run(scan(root / "scan"))
    finally:
        shutil.rmtree(root)
    median = {name: statistics.median(values) for name, values in rows.items()}
    print(f"{count} messages of {SIZE} octets, medians of {options.rounds} rounds")
    print(f"plain sequential fsync        {median['plain']:.3f} s")
    for name, text in (("burst", "all at once"), ("single", "one at a time")):
        print(
            f"spool, {text:<21}  {median[name]:.3f} s  "
            f"{median[f'{name} ratio']:.1f} x plain  "
            f"{median[f'{name} cpu']:.2f} ms CPU each"
        )
    print(f"scan of {SCANNED} held messages  {scanned:.2f} s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory                   {peak:.0f} MiB")


if __name__ == "__main__":
    main()
