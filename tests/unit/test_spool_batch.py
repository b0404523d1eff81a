"""Grouping of commits: who shares one, and what becomes of failures."""

import asyncio

import pytest

from shaper.durable.batch import Batcher


class Disk:
    """Work that waits until it is let go; remembers its batches."""

    def __init__(self):
        self.batches = []
        self.go = asyncio.Event()

    async def work(self, items):
        self.batches.append(items)
        await self.go.wait()
        return [ValueError(item) if item < 0 else item * 10 for item in items]


async def settled():
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_comes_meanwhile_goes_together_and_no_more_than_allowed():
    disk = Disk()
    batcher = Batcher(disk.work, 3)
    tasks = [asyncio.create_task(batcher.submit(1))]
    await settled()
    tasks += [asyncio.create_task(batcher.submit(n)) for n in (2, 3, 4, 5)]
    await settled()
    assert disk.batches == [[1]]
    disk.go.set()
    assert await asyncio.gather(*tasks) == [10, 20, 30, 40, 50]
    assert disk.batches == [[1], [2, 3, 4], [5]]
    await batcher.idle()


async def test_a_failure_reaches_its_own_caller_only():
    disk = Disk()
    disk.go.set()
    batcher = Batcher(disk.work, 10)
    good, bad = await asyncio.gather(
        batcher.submit(1), batcher.submit(-1), return_exceptions=True
    )
    assert good == 10
    assert isinstance(bad, ValueError)


async def test_an_item_whose_caller_went_away_is_told():
    disk = Disk()
    orphans = []
    batcher = Batcher(disk.work, 10, orphans.append)
    tasks = [asyncio.create_task(batcher.submit(n)) for n in (7, -7)]
    await settled()
    for task in tasks:
        task.cancel()
    disk.go.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    await batcher.idle()
    assert orphans == [7]  # -7 was not written: nothing to take back


async def test_so_is_one_cancelled_when_its_result_is_already_there():
    orphans = []
    tasks = []

    async def work(items):
        # Runs after the results are set and before the caller wakes up.
        asyncio.get_running_loop().call_soon(tasks[0].cancel)
        return items

    batcher = Batcher(work, 10, orphans.append)
    tasks.append(asyncio.create_task(batcher.submit(7)))
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]
    assert orphans == [7]


async def test_a_bug_in_the_work_ends_every_wait():
    async def work(_items):
        raise LookupError("a bug")

    batcher = Batcher(work, 1)
    results = asyncio.gather(
        batcher.submit(1), batcher.submit(2), return_exceptions=True
    )
    runner = None
    while runner is None:
        await asyncio.sleep(0)
        runner = batcher._runner
    assert [type(one) for one in await results] == [LookupError, LookupError]
    with pytest.raises(LookupError):
        await runner
