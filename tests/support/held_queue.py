"""Mail that a real Postfix or Exim holds, with the queue helper and its client.

async with postfix_queue() as queue:        # or exim_queue()
first, second = await hold(queue, 2)
await queue.helper.release(first)
await only(queue, second)
"""

import contextlib
import re
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass

from shaper.policy.queue import QueueHelper
from tests.support import needs
from tests.support.exim import Exim
from tests.support.nexthop import NextHop
from tests.support.postfix import Postfix
from tests.support.queue_helper import QueueHelperProcess
from tests.support.submit import ALICE, submit
from tests.support.waiting import poll_async

SENDER = "held@example.test"
"""Whose mail is held."""
_UNIT = needs.REPOSITORY / "debian" / "mailshaper-queue.service"


@dataclass(frozen=True, slots=True)
class HeldQueue:
    """A mail server on ``port``; ``ids`` lists its queue by queue id."""

    name: str
    port: int
    ids: Callable[[], Iterable[str]]
    hop: NextHop
    mta: Postfix | Exim
    process: QueueHelperProcess
    helper: QueueHelper


def as_the_unit_starts_it() -> list[str]:
    """Return the command that leaves the helper the unit's rights and no others."""
    text = _UNIT.read_text()
    rights = re.search(r"(?m)^CapabilityBoundingSet=(.*)$", text)
    if rights is None or "NoNewPrivileges=yes\n" not in text:
        raise ValueError(f"{_UNIT.name} bounds no capabilities")
    names = [one.removeprefix("CAP_").lower() for one in rights[1].split()]
    bounds = ",".join(["-all", *(f"+{one}" for one in names)])
    setpriv = needs.program("setpriv")
    return [setpriv, "--no-new-privs", "--bounding-set", bounds]


@contextlib.asynccontextmanager
async def postfix_queue(
    *, long_ids: bool = True, hashed: bool = False
) -> AsyncIterator[HeldQueue]:
    """Start a Postfix that holds what ``SENDER`` writes."""
    main = {
        "queue_run_delay": "300s",
        "enable_long_queue_ids": "yes" if long_ids else "no",
        "smtpd_end_of_data_restrictions": "check_sender_access inline:{"
        f"{{{SENDER}=HOLD}}}}",
    }
    if hashed:
        main["hash_queue_names"] = "deferred, defer, hold"
    async with NextHop() as hop:
        with (
            Postfix(relay=hop.port, main=main) as postfix,
            QueueHelperProcess(
                *("--mta", "postfix", "--config", postfix.config),
                through=as_the_unit_starts_it(),
            ) as process,
        ):
            yield HeldQueue(
                name="postfix",
                port=postfix.submission_port,
                ids=lambda: [str(one["queue_id"]) for one in postfix.queue()],
                hop=hop,
                mta=postfix,
                process=process,
                helper=QueueHelper(process.socket),
            )


@contextlib.asynccontextmanager
async def exim_queue() -> AsyncIterator[HeldQueue]:
    """Start an Exim that freezes what ``SENDER`` writes."""
    freeze = (
        f"warn\n  senders = {SENDER}\n  control = freeze/no_tell\n"
        "  set acl_m_note = freezing\n"
    )
    async with NextHop() as hop:
        with (
            Exim(relay=hop.port, acl_data=freeze) as exim,
            QueueHelperProcess(
                "--mta", "exim", "--exim", exim._binary, "--config", exim.config
            ) as process,
        ):
            yield HeldQueue(
                name="exim",
                port=exim.port,
                ids=exim.queue,
                hop=hop,
                mta=exim,
                process=process,
                helper=QueueHelper(process.socket),
            )


async def hold(queue: HeldQueue, count: int = 1) -> list[str]:
    """Submit mail that the server holds; return its ids."""
    before = set(queue.ids())
    for number in range(count):
        await submit(
            queue.port,
            account=ALICE,
            sender=SENDER,
            recipients=[f"r{number}@example.net"],
        )

    def fresh() -> set[str]:
        return set(queue.ids()) - before

    await poll_async(lambda: len(fresh()) == count, "held mail")
    return sorted(fresh())


async def only(queue: HeldQueue, *ids: str) -> None:
    """Wait until these and no others are in the queue."""
    await poll_async(lambda: set(queue.ids()) == set(ids), f"queue of {ids}", 60)
