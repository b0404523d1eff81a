"""The real daemon under traffic: SIGKILL, SIGTERM, SIGHUP, its Redis killed or emptied.

An MTA with Postfix's manners (the same queue id again until a final reply) brings
a blast by a thief and mail by innocents. Moments are random, seeds are fixed. At
the end an operator releases everything and the books must balance: nothing lost,
and nothing doubled but what was in flight when the daemon was killed (RFC 1047).
"""

import asyncio
import contextlib
import os
import random
import signal
import time
from collections import Counter, deque
from dataclasses import dataclass, field

import pytest

from shaper.ledger.ledger import RedisLedger
from tests.support.daemon import Daemon
from tests.support.gate import RawClient
from tests.support.nexthop import NextHop, Slow
from tests.support.waiting import poll_async

THIEF = "thief@example.org"
BLOCKED = "blocked@example.org"
ADMIN = "admin@example.org"
CONNECTIONS = 4
CONCURRENCY = 3
SETTINGS = {
    "trickle": {
        "interval": 1,
        "longest_interval": 2,
        "retry_first": 1,
        "retry_longest": 2,
        "concurrency": CONCURRENCY,
    },
    "notify": {"mail_to": [ADMIN]},
}


class RefusedError(Exception):
    """The MTA got a reply that ends a message: nobody should give one here."""


@dataclass
class Mta:
    """A queue that is offered to the daemon until every message has its 250."""

    port: int
    queue: deque = field(default_factory=deque)
    sent: list = field(default_factory=list)
    unknown: set = field(default_factory=set)
    held: set = field(default_factory=set)
    deferred: Counter = field(default_factory=Counter)
    lost: int = 0
    greetings: list = field(default_factory=list)
    _busy: int = 0
    _tasks: list = field(default_factory=list)

    def put(self, number, sender):
        self.sent.append(number)
        self.queue.append((number, sender))

    async def __aenter__(self):
        self._tasks = [asyncio.create_task(self._work()) for _ in range(CONNECTIONS)]
        return self

    async def __aexit__(self, *_):
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def empty(self, within=40):
        """Wait until every message has its 250."""

        def done():
            for task in self._tasks:
                if task.done():
                    task.result()
            return not self.queue and not self._busy

        await poll_async(done, f"empty queue, {len(self.queue)} left", within)

    async def _work(self):
        while True:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._connection()
            self.lost += 1
            await asyncio.sleep(0.05)

    async def _connection(self):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)

        async def ask(line):
            writer.write(line.encode() + b"\r\n")
            return await reply()

        async def reply():
            lines = []
            while True:
                line = await reader.readuntil(b"\r\n")
                lines.append(line.decode())
                if line[3:4] == b" ":
                    if line.startswith(b"421"):
                        raise ConnectionResetError
                    return "".join(lines)

        try:
            await reply()
            self.greetings.append(await ask("EHLO mta.example.org"))
            while True:
                while not self.queue:
                    await asyncio.sleep(0.01)
                await self._message(ask, writer, reply)
        finally:
            writer.close()

    async def _message(self, ask, writer, reply):
        number, sender = one = self.queue.popleft()
        self._busy += 1
        dot = False
        try:
            await ask(f"XFORWARD ADDR=192.0.2.7 IDENT=4Q{number:05}")
            await ask(f"MAIL FROM:<{sender}>")
            answer = await ask(f"RCPT TO:<m{number}@example.net>")
            if answer.startswith("2"):
                answer = await ask("DATA")
            if answer.startswith("354"):
                dot = True
                writer.write(
                    f"Subject: m{number}\r\nMessage-ID: <{number}@example.org>\r\n"
                    f"\r\nbody {number}\r\n.\r\n".encode()
                )
                answer = await reply()
        except (ConnectionError, asyncio.IncompleteReadError):
            if dot:
                self.unknown.add(number)
            self.queue.append(one)
            raise
        finally:
            self._busy -= 1
        if answer.startswith("2"):
            if "Held" in answer:
                self.held.add(number)
        elif answer.startswith("4"):
            self.deferred[answer[:9]] += 1
            self.queue.append(one)
            await ask("RSET")
            await asyncio.sleep(0.1)
        else:
            raise RefusedError(answer)


def delivered(hop):
    """Count what the next hop took, by message number."""
    return Counter(
        int(to[1:].partition("@")[0])
        for t in hop.transactions
        if t.accepted
        for to in t.recipients
        if to.endswith("@example.net")
    )


def notices(hop):
    return [t for t in hop.transactions if t.accepted and t.recipients == [ADMIN]]


async def traffic(mta, rng, thief=60, innocents=24):
    """Queue a blast and mail of others, over about two seconds."""
    numbers = iter(range(1, 10_000))
    order = [THIEF] * thief + [f"user{i}@example.org" for i in range(innocents)]
    order += [BLOCKED] * 3
    rng.shuffle(order)
    for sender in order:
        mta.put(next(numbers), sender)
        await asyncio.sleep(0.02)


async def release_all(daemon):
    for name in (THIEF, BLOCKED):
        await daemon.change("release", sender=f"from:{name}", reason="exercise")
    await daemon.change("queue.order", action="release", filter="age>0s")


async def flush(daemon):
    ledger = RedisLedger.connect(daemon.redis_url, timeout=2.0)
    try:
        await ledger._connection.command("FLUSHALL")
    finally:
        await ledger.close()


async def mishap(daemon, rng, kinds):
    """Do one thing that must not matter; return whether the daemon was killed."""
    kind = rng.choice(kinds)
    if kind == "daemon":
        daemon.kill()
        await asyncio.sleep(rng.random() * 0.2)
        await asyncio.to_thread(daemon.start)
        return True
    with contextlib.suppress(Exception):  # Redis may be on its way back
        if kind == "redis" and daemon.redis_pid:
            os.kill(daemon.redis_pid, signal.SIGKILL)
        elif kind == "flush":
            await flush(daemon)
    return False


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("seed", "kinds"),
    [
        (1, ["daemon"]),
        (2, ["daemon", "daemon", "redis", "flush"]),
        (3, ["redis", "flush"]),
        (4, ["daemon", "flush"]),
    ],
)
async def test_whatever_dies_the_books_balance(seed, kinds):
    rng = random.Random(seed)
    async with NextHop() as hop:
        # An answer that takes a moment leaves messages in flight at each kill.
        hop.on("dot", Slow(0.02))
        with Daemon(hop.port, SETTINGS) as daemon:
            await daemon.change("block", sender=f"from:{BLOCKED}")
            until = time.time() + 7 * 86400
            await daemon.change("exempt", sender="from:user0@example.org", until=until)
            kills = 0
            async with Mta(daemon.port) as mta:
                sending = asyncio.create_task(traffic(mta, rng))
                for _ in range(3):
                    await asyncio.sleep(rng.uniform(0.1, 1.2))
                    kills += await mishap(daemon, rng, kinds)
                await sending
                await mta.empty()
                assert await asyncio.to_thread(daemon.state_of, f"from:{THIEF}") in {
                    "slowed",
                    "blocked",
                }, "a thief was forgotten"
                await daemon.wait_for_state(f"from:{BLOCKED}", "blocked")
                shown = await daemon.ask("explain", sender="from:user0@example.org")
                assert shown["exemption"][0] == until
                cases = await daemon.ask("cases")
                assert {f"from:{THIEF}", f"from:{BLOCKED}"} <= {
                    case["sender"] for case in cases
                }
                await release_all(daemon)
                kills += await mishap(daemon, rng, kinds)
                await release_all(daemon)  # the operator repeats what was cut off
                await daemon.wait_for_held(0)
            for name in (THIEF, BLOCKED):
                # An emptied Redis does not know a normal sender any more.
                state = await asyncio.to_thread(daemon.state_of, f"from:{name}")
                assert state in {"normal", ""}
            counts = delivered(hop)
            told = b"".join(n.content for n in notices(hop))
            log, status = daemon.log(), await daemon.ask("status")
            assert await asyncio.to_thread(daemon.stop) == 0
    assert [n for n in mta.sent if not counts[n]] == [], "lost"
    twice = {n for n in mta.sent if counts[n] > 1}
    surplus = sum(counts[n] - 1 for n in twice)
    assert surplus <= kills * (CONNECTIONS + CONCURRENCY), twice
    assert twice <= mta.unknown | mta.held, "doubled though its reply was heard"
    if not kills:
        assert twice == set()
    assert mta.held, "nothing was held"
    for name in (THIEF, BLOCKED):
        assert name.encode() in told, "nobody was told"
    assert status["damaged_files"] == []
    assert "Traceback" not in log, log[log.index("Traceback") :][:3000]


@pytest.mark.slow
async def test_sigterm_in_the_middle_of_traffic_loses_and_doubles_nothing():
    rng = random.Random(5)
    async with NextHop() as hop:
        hop.on("dot", Slow(0.03))
        settings = SETTINGS | {"daemon": {"grace": 20}}
        with Daemon(hop.port, settings) as daemon:
            async with Mta(daemon.port) as mta:
                sending = asyncio.create_task(traffic(mta, rng))
                for _ in range(2):
                    await asyncio.sleep(rng.uniform(0.3, 0.8))
                    await asyncio.to_thread(daemon.restart)
                await sending
                await mta.empty()
            await asyncio.to_thread(daemon.restart)
            await release_all(daemon)
            await daemon.wait_for_held(0)
            log = daemon.log()
            assert await asyncio.to_thread(daemon.stop) == 0
    assert mta.unknown == set()
    assert delivered(hop) == dict.fromkeys(mta.sent, 1)
    assert any(THIEF.encode() in notice.content for notice in notices(hop))
    assert "Traceback" not in log


@pytest.mark.slow
async def test_an_alarm_while_draining_is_told_before_the_end():
    async with NextHop() as hop, contextlib.AsyncExitStack() as stack:
        settings = SETTINGS | {"daemon": {"grace": 20}}
        daemon = stack.enter_context(Daemon(hop.port, settings))
        clients = []
        for number in range(60):
            reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
            stack.callback(writer.close)
            client = RawClient(reader, writer)
            await client.reply()
            await client.ask("EHLO mta.example.org")
            to = (f"m{number}@example.net",)
            assert (await client.open_mail(THIEF, to)).startswith(b"354 ")
            clients.append(client)
        os.kill(daemon.pid, signal.SIGTERM)
        await daemon.wait_for_log("stopping")
        await asyncio.sleep(0.3)  # whatever ends at once has ended
        answers = []
        for client in clients:
            await client.send(b"Subject: x\r\n\r\nx\r\n.\r\n")
            answers.append(await client.reply())
        assert await asyncio.to_thread(daemon.stop) == 0
        assert {a[:3] for a in answers} == {b"250"}
        held = sum(b"Held" in a for a in answers)
        assert held
        assert '"event":"told"' in daemon.audit()
        await asyncio.to_thread(daemon.start)
        await daemon.change("release", sender=f"from:{THIEF}")
        await daemon.wait_for_held(0)
        assert len(delivered(hop)) == sum(delivered(hop).values()) == 60
        assert any(THIEF.encode() in notice.content for notice in notices(hop))


@pytest.mark.slow
async def test_sighup_under_load_drops_no_connection_and_a_wrong_file_changes_nothing():
    rng = random.Random(6)
    async with NextHop() as hop, asyncio.timeout(50):
        with Daemon(hop.port, SETTINGS) as daemon:
            async with Mta(daemon.port) as mta:
                sending = asyncio.create_task(traffic(mta, rng))
                for size in (3_000_000, 4_000_000, 5_000_000):
                    await asyncio.sleep(0.3)
                    daemon.configure(SETTINGS | {"hop": {"max_message_size": size}})
                    await asyncio.to_thread(daemon.reload)
                    assert f"SIZE {size}\r\n" in await greeting(daemon.port)
                wrong = SETTINGS | {
                    "hop": {"max_message_size": 6_000_000},
                    "states": {"low_mark": 7},
                }
                for bad in (wrong, {"hop": {"allow": ["nonsense"]}}):
                    daemon.configure(bad)
                    await asyncio.to_thread(daemon.reload)
                    assert "SIZE 5000000\r\n" in await greeting(daemon.port)
                line = await daemon.wait_for_log("not reloaded")
                assert "low_mark" in line
                assert str(daemon.config) in line
                daemon.config.write_bytes(b"\xff\x00[[")
                await asyncio.to_thread(daemon.reload)
                await sending
                await mta.empty()
                assert mta.lost == 0
                assert len(mta.greetings) == CONNECTIONS
            assert "SIZE 5000000\r\n" in await greeting(daemon.port)
            daemon.configure(SETTINGS)
            await release_all(daemon)
            await daemon.wait_for_held(0)
            log = daemon.log()
    assert delivered(hop) == dict.fromkeys(mta.sent, 1)
    assert "Traceback" not in log


async def greeting(port):
    """Return what EHLO tells now."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        await reader.readline()
        writer.write(b"EHLO x\r\n")
        lines = []
        while not lines or lines[-1][3:4] != b" ":
            lines.append(await reader.readline())
        return b"".join(lines).decode()
    finally:
        writer.close()
