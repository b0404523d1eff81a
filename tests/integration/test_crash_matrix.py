"""Kill the engine at every call of every adapter; nobody's mail is the worse for it.

One fixed story (innocents, a thief, an alarm, notices, a trickle with refusals,
orders, a release) is told once to count its calls, then once for each call and
side. After the kill the MTA offers again whatever got no answer, the operator
repeats the command that was cut off, and the story goes on. At the end every
message has had exactly the end it should have.
"""

import contextlib
from collections import Counter
from dataclasses import replace

import pytest

from tests.support.crashing import Killed, Killer, worth_a_kill
from tests.support.engine import EngineBox

THIEF = "login:thief"
BLAST = 32


def story(box):  # noqa: C901 - one story, told in one place
    """Return the steps: each may be told again after a kill in its middle."""
    told = set()

    def offer(sender, ident, to=None, age=1.0):
        async def tell():
            if ident not in told:
                told.add(ident)
                box.now += age
            await box.offer(
                sender, [to or f"{ident}@example.net"], ident=ident, subject=ident
            )

        return tell

    def order(number, action, text):
        change = box.change("as told")

        async def tell():
            await box.control.order(change, action, filter=text)

        return tell

    def wait(name, seconds):
        async def tell():
            if name not in told:
                told.add(name)
                box.now += seconds
            await box.upkeep.review()
            while await box.step():
                pass

        return tell

    async def store():
        await box.upkeep.store()

    release = box.change("innocent after all")
    plan = box.change("letter")
    until = box.now + 10 * 86400

    async def allow():
        await box.control.exempt(plan, "login:exempt", until)
        await box.control.plan(plan, "login:plan", box.now, until, 5)

    async def block():
        await box.control.block(plan, "login:blocked")

    async def release_thief():
        await box.control.release(release, THIEF, 0.0)

    steps = [offer(f"login:user{i}", f"user{i}", age=60.0) for i in range(3)]
    steps += [allow, block, offer("login:blocked", "blocked")]
    steps += [offer(THIEF, f"spam{i:02}", age=0.2) for i in range(BLAST)]
    steps += [store, wait("w1", 61.0), wait("w2", 400.0), store]
    steps += [
        order(1, "drop", f"subject=spam{BLAST - 1:02}"),
        order(2, "bounce", f"subject=spam{BLAST - 2:02}"),
        order(3, "release", f"subject=spam{BLAST - 3:02}"),
        wait("w3", 1.0),
        wait("w4", 1.0),
        offer("login:user1", "user1b"),
        release_thief,
        store,
        wait("w5", 1.0),
    ]
    steps += [wait(f"x{i}", 900.0) for i in range(6)]
    return [*steps, store]


def moods(hop):
    """Have the next hop refuse, and put off, one held message each."""
    hop.on("rcpt", "550 5.1.1 gone", match=f"spam{BLAST - 4:02}@")
    hop.on("rcpt", "450 4.2.0 later", match=f"spam{BLAST - 5:02}@", times=1)


async def tell(box, killer):
    """Tell the story through to its end, over one kill.

    One attempt at a time: with more under way, each may be in its own window.
    """
    box.context.pace = replace(box.context.pace, concurrency=1)
    steps = story(box)
    at = 0
    while at < len(steps):
        try:
            await steps[at]()
            if killer.dead and box.wrap == killer.wrap:
                raise Killed  # noqa: TRY301 - in a task of the trickle
            at += 1
        except Killed:
            with contextlib.suppress(Killed):
                await box.crash()
            box.context.pace = replace(box.context.pace, concurrency=1)


def ends(box):
    """Count what became of each message, by its subject."""
    count = Counter(box.passed)
    for transaction in box.hop.transactions:
        if transaction.accepted:
            head = transaction.content.partition(b"\r\n\r\n")[0].decode()
            subject = head.partition("Subject: ")[2].partition("\r\n")[0]
            count[subject] += len(transaction.recipients)
    return count


async def run(redis_server, directory, killer):
    redis_server.flush()
    box = EngineBox(redis_server.url, directory)
    box.wrap = killer.wrap
    started = False
    async with box.hop:
        moods(box.hop)
        while not started:
            try:
                await box.start()
                started = True
            except Killed:
                with contextlib.suppress(Killed):
                    await box.stop()
                box.wrap = lambda _name, adapter: adapter
        await tell(box, killer)
        killer.disarm()
        counts = ends(box)
        states = {name: await box.state(name) for name in (THIEF, "login:blocked")}
        exempt, _ = await box.engine.senders.read("login:exempt")
        plan, _ = await box.engine.senders.read("login:plan")
        cases = await box.control.cases(closed=True)
        left = [m.submission.subject for m in box.engine.held.all()]
        corrupt = box.spool.corrupt() + box.spool.damaged()
        await box.stop()
    dropped = f"spam{BLAST - 1:02}"
    failed = {f"spam{BLAST - 2:02}", f"spam{BLAST - 4:02}"}
    where = f"kill {'after' if killer.after else 'before'} {killer.call}"
    assert states == {THIEF: "normal", "login:blocked": "blocked"}, where
    assert exempt.exemption is not None, where
    assert len(plan.plans) == 1, where
    assert left == ["blocked"], where
    assert corrupt == [], where
    assert {case["sender"] for case in cases} == {THIEF, "login:blocked"}, where
    sent = {f"user{i}" for i in range(3)} | {"user1b"}
    sent |= {f"spam{i:02}" for i in range(BLAST)}
    lost = [m for m in sorted(sent - failed - {dropped}) if counts[m] == 0]
    assert lost == [], where
    assert counts[dropped] == 0, where
    assert all(counts[message] == 0 for message in failed), where
    assert counts["Undelivered mail returned to sender"] >= len(failed), where
    notices = sum(n for subject, n in counts.items() if "[shaper.test]" in subject)
    assert notices >= 2, where
    return {m: n for m, n in counts.items() if m in sent and n > 1}


@pytest.mark.timeout(240)
@pytest.mark.slow
async def test_every_call_may_be_the_last(redis_server, tmp_path):
    counter = Killer()
    assert await run(redis_server, tmp_path / "count", counter) == {}
    assert len(counter.calls) > 150
    doubled = {}
    for at in worth_a_kill(counter.calls):
        for after in (False, True):
            killer = Killer(at, after=after)
            name = f"{at}{'b' if after else 'a'}"
            twice = await run(redis_server, tmp_path / name, killer)
            if twice:
                doubled[(killer.call, after)] = twice
                assert sum(twice.values()) == 2, "more than one message doubled"
    # RFC 1047: only between the next hop's yes and our note of it.
    assert set(doubled) <= {("send", True), ("spool.note_fates", False)}
