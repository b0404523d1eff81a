"""The logs of a real Postfix and a real Exim, followed live while they rotate.

A scripted next hop accepts, refuses and defers; logins send; the log is renamed (and
the MTA told) or copied and cut between messages. Each recipient's outcome comes once
and names the login that sent.
"""

import asyncio
import os
import time
from collections import Counter

import pytest

from shaper.feedback.follow import LogFollower
from shaper.feedback.live import LiveLog
from shaper.feedback.table import shipped_table
from tests.support.exim import Exim
from tests.support.postfix import Postfix
from tests.support.submit import ALICE, BOB, submit
from tests.support.waiting import poll_async

pytestmark = pytest.mark.e2e

REPLIES = {
    "ok": ("", "delivered"),
    "dead": ("550 5.1.1 User unknown", "dead_address"),
    "full": ("552 5.2.2 Mailbox full", "temporary"),
    "policy": ("554 5.7.1 Spam refused", "message_refused"),
    "later": ("451 4.7.1 Greylisted", "temporary"),
}
ROUNDS = 6


class Following:
    """Follows a log into final outcomes, by recipient."""

    def __init__(self, path, place):
        self.follower = LogFollower(path, place, interval=0.05)
        self.live = LiveLog(shipped_table(), time.time)
        self.outcomes = []
        self.stop = asyncio.Event()

    async def take(self, line):
        self.outcomes += self.live.feed(line)

    async def __aenter__(self):
        self.task = asyncio.create_task(
            self.follower.run(self.take, self.stop, self.live.learn)
        )
        return self

    async def __aexit__(self, *_):
        self.stop.set()
        await self.task

    def of(self, number):
        return [o for o in self.outcomes if o.recipient.startswith(f"{number}-")]


def _script(hop):
    for name, (reply, _) in REPLIES.items():
        if reply:
            for number in range(ROUNDS):
                hop.on("rcpt", reply, match=f"{number}-{name}@")


async def _send(port, number):
    account = (ALICE, BOB)[number % 2]
    recipients = [f"{number}-{name}@example.net" for name in REPLIES]
    await submit(port, account=account, recipients=recipients)
    return account.login


def _rename(path):
    path.rename(path.with_name(f"{path.name}.1"))


def _cut(path):
    """Do what logrotate's copytruncate does, while nobody writes."""
    path.with_name(f"{path.name}.1").write_bytes(path.read_bytes())
    os.truncate(path, 0)


async def _rounds(following, port, path, rotate):
    for number in range(ROUNDS):
        login = await _send(port, number)

        def told(number=number):
            return {o.recipient for o in following.of(number)}

        if number % 3 == 1:  # rotate before anything of it was read, perhaps
            await rotate(path)
        await poll_async(lambda told=told: len(told()) == len(REPLIES), "outcomes", 30)
        if number % 3 == 2:
            await rotate(path)
        for outcome in following.of(number):
            name = outcome.recipient.split("@")[0].split("-")[1]
            assert outcome.meaning.value == REPLIES[name][1], outcome
            assert outcome.sender == f"login:{login}"
            assert outcome.queue_id
            assert outcome.message_id
            assert outcome.time is not None
    final = Counter(
        o.recipient
        for number in range(ROUNDS)
        for o in following.of(number)
        if o.permanent or o.meaning.value == "delivered"
    )
    assert set(final.values()) == {1}
    assert len(final) == ROUNDS * (len(REPLIES) - 1)
    # Bounces to the logins went out too, and are nobody's.
    assert all("-" in o.recipient for o in following.outcomes)


@pytest.mark.parametrize("how", ["rename", "cut"])
async def test_a_real_postfix(next_hop, tmp_path, how):
    _script(next_hop)
    with Postfix(relay=next_hop.port) as postfix:
        path = postfix.directory / "maillog"

        async def rotate(path):
            if how == "rename":
                _rename(path)
                await asyncio.to_thread(postfix.reload)  # postlogd opens it anew
            else:
                await asyncio.sleep(0.5)  # let its lines be written
                _cut(path)

        async with Following(path, tmp_path / "place") as following:
            await poll_async(lambda: following.follower.lag == 0, "start")
            await _rounds(following, postfix.submission_port, path, rotate)


@pytest.mark.parametrize("how", ["rename", "cut"])
async def test_a_real_exim(next_hop, tmp_path, how):
    _script(next_hop)
    with Exim(relay=next_hop.port) as exim:
        path = exim.directory / "log" / "mainlog"
        await submit(exim.port, account=ALICE, recipients=["first@example.net"])
        await poll_async(path.exists, "log")

        async def rotate(path):
            if how == "rename":
                _rename(path)  # each process of Exim opens it anew
            else:
                await asyncio.sleep(0.5)
                _cut(path)

        async with Following(path, tmp_path / "place") as following:
            await poll_async(lambda: following.follower._begun, "start")
            await _rounds(following, exim.port, path, rotate)


async def test_a_message_that_expires_in_a_real_postfix(next_hop, tmp_path):
    next_hop.on("rcpt", "451 4.7.1 Greylisted", match="late")
    main = {"maximal_queue_lifetime": "3s", "bounce_queue_lifetime": "3s"}
    with Postfix(relay=next_hop.port, main=main) as postfix:
        path = postfix.directory / "maillog"
        async with Following(path, tmp_path / "place") as following:
            await poll_async(lambda: following.follower._begun, "start")
            await submit(
                postfix.submission_port,
                account=ALICE,
                recipients=["1-late@example.net", "2-ok@example.net"],
            )

            def expired():
                return [o for o in following.outcomes if "expired" in o.reason]

            await poll_async(expired, "expiry", 30)
    (outcome,) = expired()
    assert outcome.rule == "greylisted"  # what the server said last
    assert (outcome.recipient, outcome.permanent) == ("1-late@example.net", True)
    assert (outcome.sender, outcome.meaning.value) == (
        f"login:{ALICE.login}",
        "temporary",
    )
