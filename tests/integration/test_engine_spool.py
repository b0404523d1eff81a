"""Spool or disk full, files damaged: nothing is lost, doubled or kept from people."""

import asyncio
import contextlib
import errno
import itertools
import os
import subprocess
from pathlib import Path

import pytest

from shaper.core.message import Action
from shaper.core.ports import SpoolFullError
from shaper.durable import files as durable
from shaper.spool.spool import Limits
from tests.support import needs
from tests.support.engine import EngineBox
from tests.support.redis_server import RedisServer

THIEF = "login:thief"


@pytest.fixture
async def box(redis_url, tmp_path):
    async with EngineBox(redis_url, tmp_path) as engine_box:
        yield engine_box


class Disk:
    """The disk below journal and spool, full while ``full``.

    ``only`` limits the failure to files below a directory of this name.
    """

    def __init__(self, monkeypatch):
        self.full = False
        self.only = ""
        self.refused = 0
        real = durable.write_all

        def write_all(fd, data, offset):
            path = str(Path(f"/proc/self/fd/{fd}").readlink())
            if self.full and f"/{self.only}" in path:
                self.refused += 1
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(fd, data, offset)

        for module in ("audit", "spool.files", "spool.writer"):
            monkeypatch.setattr(f"shaper.{module}.write_all", write_all)


@pytest.fixture
def disk(monkeypatch):
    return Disk(monkeypatch)


async def hold_some(box, sender=THIEF, waiting=3):
    while box.engine.held.waiting(sender) < waiting:
        await box.blast(sender, 1)


def mail(box):
    """What is held, notices apart."""
    return [m for m in box.engine.held.all() if not m.notice]


def notices(box):
    return [t for t in box.hop.transactions if t.sender == "mailshaper@shaper.test"]


async def store(box):
    """One round of upkeep, as the daemon does it: a full disk ends no daemon."""
    with contextlib.suppress(SpoolFullError):
        await box.upkeep.store()


# -- a full disk


async def test_an_alarm_on_a_full_disk_is_deferred_and_told_once_there_is_room(
    box, disk
):
    disk.full = True
    answers = []
    for number in itertools.count():
        box.now += 1
        to = [f"stranger{number}@example.net"]
        decision = await box.offer(THIEF, to, ident=f"q{number}")
        if decision.action is not Action.PASS:
            answers.append((to, f"q{number}", decision.reply))
        if len(answers) == 3:
            break
        assert number < 200
    # What would have been held stays with the MTA, which is told why.
    assert {(r.code, r.enhanced) for _, _, r in answers} == {(452, "4.3.1")}
    await store(box)
    disk.full = False
    await store(box)
    await box.step()
    (notice,) = notices(box)
    assert b"is slowed" in notice.content
    for to, ident, _ in answers:
        assert (await box.offer(THIEF, to, ident=ident)).action is Action.HOLD
    await box.crash()
    assert await box.state(THIEF) == "slowed"
    assert len(mail(box)) == 3


async def test_an_alarm_on_a_full_disk_is_not_forgotten_with_redis_either(
    box, disk, redis_server
):
    disk.full, disk.only = True, "audit"
    while (await box.offer(THIEF, [f"s{box.now}@example.net"])).action is Action.PASS:
        box.now += 1
    await store(box)
    disk.full = False
    await store(box)  # without a further message of this sender
    redis_server.flush()
    await box.crash()
    assert await box.state(THIEF) == "slowed"


async def test_passing_mail_does_not_wait_for_the_journal(box, disk):
    until = box.now + 60
    await box.control.exempt(box.change("letter"), "login:letter", until)
    box.now += 61
    disk.full = True
    # The end of the exemption cannot be written down now; the mail may go.
    decision = await box.offer("login:letter", ["a@example.net"])
    assert decision.action is Action.PASS


async def test_the_trickle_outlives_a_full_disk(box, disk):
    await hold_some(box)
    disk.full, disk.only = True, "audit"
    await box.control.exempt(box.change(), THIEF, 0.0)  # nothing changes by that
    with pytest.raises(SpoolFullError):
        await box.control.exempt(box.change(), THIEF, box.now + 3600)
    for _ in range(5):
        box.now += 61
        await box.step()
    disk.full = False
    await box.advance(3600, by=61)
    assert len(set(box.delivered()) - {"admin@example.org"}) == 3
    assert len([r for r in box.delivered() if r != "admin@example.org"]) == 3


async def test_an_operators_word_on_a_full_disk_is_refused_and_may_be_repeated(
    box, disk
):
    await hold_some(box)
    await box.upkeep.store()
    disk.full = True
    change = box.change("innocent")
    with pytest.raises(SpoolFullError):
        await box.control.release(change, THIEF, 0.0)
    await store(box)
    disk.full = False
    await box.control.release(change, THIEF, 0.0)
    await box.upkeep.store()
    for _ in range(3):
        await box.step()
    assert mail(box) == []
    assert await box.control.cases() == []
    assert {b"is slowed" in n.content for n in notices(box)} == {True, False}
    line = [x for x in box.audit.replay() if x["event"] == "sender"][-1]
    assert (line["state"], line["by"], line["reason"]) == ("normal", "root", "innocent")


async def test_a_delivery_that_cannot_be_written_down_is_not_repeated(box, disk):
    await hold_some(box, waiting=1)
    real = box.engine.delivery._send

    async def send(*words):
        result = await real(*words)
        disk.full = True
        return result

    box.engine.delivery._send = send
    box.now += 61
    await box.step()
    assert len(box.delivered()) == 1
    for _ in range(12):
        await box.advance(600, by=60)
    assert len(box.delivered()) == 1
    disk.full = False
    await store(box)
    assert mail(box) == []
    await box.advance(7200, by=60)
    assert len([r for r in box.delivered() if r != "admin@example.org"]) == 1


async def test_a_refusal_that_cannot_be_written_down_is_returned_once(box, disk):
    await hold_some(box, waiting=1)
    box.hop.on("rcpt", "550 5.1.1 no such user", match="stranger")
    real = box.engine.delivery._send

    async def send(*words):
        result = await real(*words)
        disk.full = not words[0].is_null
        return result

    box.engine.delivery._send = send
    box.now += 61
    await box.step()
    await box.advance(900, by=60)
    disk.full = False
    await store(box)
    await box.step()
    (dsn,) = [t for t in box.hop.transactions if t.sender == "" and t.accepted]
    assert b"550 5.1.1 no such user" in dsn.content
    assert mail(box) == []


async def test_the_next_hops_words_survive_a_crash_before_the_return(box, disk):
    await hold_some(box, waiting=1)
    box.hop.on("rcpt", "550 5.1.1 no such user", match="stranger")
    disk.full, disk.only = True, "spool/tmp"
    box.now += 61
    await box.step()
    disk.full = False
    await box.crash()
    await box.step()
    await box.step()
    (dsn,) = [t for t in box.hop.transactions if t.sender == "" and t.accepted]
    assert b"550 5.1.1 no such user" in dsn.content


async def test_mail_that_was_let_go_is_not_taken_again(box):
    """The MTA missed our 250 and returns when the message has left."""
    await hold_some(box, waiting=1)
    await box.offer(THIEF, ["x@example.net"], ident="q1")
    await box.crash()
    await box.control.release(box.change("innocent"), THIEF, 0.0)
    await box.step()
    again = await box.offer(THIEF, ["x@example.net"], ident="q1")
    assert again.action is Action.ANSWER
    assert again.reply.code == 250
    assert box.delivered().count("x@example.net") == 1
    other = await box.offer(THIEF, ["x@example.net"], ident="q2")
    assert other.action is Action.PASS


async def test_an_order_given_while_redis_is_away_reaches_the_others_after_a_crash(
    tmp_path,
):
    with RedisServer(aof=True) as server:
        async with (
            EngineBox(server.url, tmp_path, instance="one") as one,
            EngineBox(server.url, tmp_path, instance="two", hop=one.hop) as two,
        ):
            await hold_some(one)
            two.now = one.now
            await two.offer(THIEF, ["y@example.net"])
            server.kill()
            done = await one.control.order(one.change("spam"), "drop", sender=THIEF)
            assert done["messages"] == 3
            assert mail(one) == []
            await one.upkeep.store()
            await one.crash()
            server.start()
            for _ in range(300):
                await asyncio.sleep(0.02)
                await one.upkeep.store()
                await two.upkeep.store()
                if not mail(two):
                    break
            assert mail(two) == []
            assert one.engine.orders.pending_ids() == set()


async def test_an_order_and_the_rounds_of_upkeep_do_not_get_in_each_others_way(box):
    await hold_some(box, waiting=5)

    async def rounds():
        for _ in range(300):
            await box.engine.orders.resume()

    done, *_ = await asyncio.gather(
        box.control.order(box.change("spam"), "drop", sender=THIEF),
        rounds(),
        rounds(),
    )
    assert done["messages"] == 5
    lines = [x for x in box.audit.replay() if x["event"] == "order-done"]
    assert [line["messages"] for line in lines] == [5]


async def test_notices_are_postponed_not_lost(box, disk):
    await hold_some(box)
    disk.full = True
    for _ in range(3):
        await store(box)
    disk.full = False
    await store(box)
    await box.step()
    assert len(notices(box)) == 1
    await box.crash()
    await store(box)
    await box.step()
    assert len(notices(box)) == 1


async def test_a_notice_that_cannot_be_stored_keeps_no_order_from_being_done(box, disk):
    await hold_some(box)
    disk.full, disk.only = True, "spool/tmp"
    order = box.change("spam")
    await box.control.order(order, "drop", sender=THIEF)
    assert mail(box) == []
    record = box.engine.senders.cached(THIEF)
    box.engine.senders.touch(THIEF, lambda _record: None)
    await store(box)
    assert not box.engine.senders._cache[THIEF].dirty, record


# -- the spool's own limits


async def test_a_full_spool_defers_and_recovers_by_itself(redis_url, tmp_path):
    limits = Limits(messages=3, free=0)
    async with EngineBox(redis_url, tmp_path, limits=limits) as box:
        await hold_some(box)
        with pytest.raises(SpoolFullError):
            await box.offer(THIEF, ["one@example.net"], ident="q1")
        await box.upkeep.store()  # the notice is taken all the same
        await box.step()
        assert len(notices(box)) == 1
        box.now += 61
        await box.step()
        decision = await box.offer(THIEF, ["one@example.net"], ident="q1")
        assert decision.action is Action.HOLD
        assert len(mail(box)) == 3


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 300 KiB."""
    needs.root("mounts a small tmpfs")
    path = tmp_path / "small"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "none", str(path)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("this container may not mount a tmpfs")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


async def test_a_disk_that_is_really_full(redis_url, small_disk):
    async with EngineBox(redis_url, small_disk) as box:
        await hold_some(box)
        await box.upkeep.store()
        filler = small_disk / "filler"
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(b"x" * 4096):
                pass
        refused = 0
        for number in range(3):
            try:
                await box.offer(THIEF, ["x@example.net"], ident=f"q{number}")
            except SpoolFullError:
                refused += 1
        assert refused == 3
        await box.control.explain(THIEF)
        before = len(box.delivered())
        await box.advance(600, by=61)
        await store(box)
        filler.unlink()
        for number in range(3):
            decision = await box.offer(THIEF, ["x@example.net"], ident=f"q{number}")
            assert decision.action is Action.HOLD
        await store(box)
        await box.control.release(box.change("innocent"), THIEF, 0.0)
        await box.advance(9000, by=61)
        left = [r for r in box.delivered() if r != "admin@example.org"]
        assert before <= len(left) == len(set(left)) + 2 == 6
        assert mail(box) == []


# -- damaged files


def damage(box, message_id, at=-3):
    """Turn one octet of a held file over."""
    path = box.spool.directory.held / message_id
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.write_bytes(data)


async def test_a_damaged_file_is_set_aside_and_the_operator_sees_it(box):
    await hold_some(box)
    first, second, _ = [m.id for m in mail(box)]
    damage(box, first)  # its content
    (box.spool.directory.held / second).unlink()
    await box.control.release(box.change("innocent"), THIEF, 0.0)
    for _ in range(3):
        await box.step()
    assert mail(box) == []
    assert len(box.delivered()) == 1
    rows = box.control.status()["damaged_files"]
    assert {row["file"]: row["problem"] for row in rows} == {
        f"spool/corrupt/{first}": "the content is damaged",
        f"spool/held/{second}": "it cannot be opened: No such file or directory",
    }
    await box.crash()
    rows = box.control.status()["damaged_files"]
    assert [row["file"] for row in rows] == [f"spool/corrupt/{first}"]


@pytest.mark.parametrize("action", ["release", "drop", "bounce"])
async def test_an_order_goes_on_behind_a_file_that_has_vanished(box, action):
    await hold_some(box)
    first, *rest = [m.id for m in mail(box)]
    (box.spool.directory.held / first).unlink()
    done = await box.control.order(box.change("all"), action, sender=THIEF)
    await box.upkeep.store()
    await box.step()
    assert done["messages"] == len(rest)
    assert mail(box) == []
    assert box.engine.orders.pending_ids() == set()
    wanted = {"release": 2, "drop": 0, "bounce": 2}[action]
    sent = [t for t in box.hop.transactions if t.sender != "mailshaper@shaper.test"]
    assert len(sent) == wanted


async def test_a_log_line_that_is_lost_is_shown(box):
    await hold_some(box, waiting=1)
    (message,) = mail(box)
    await box.spool.note_attempt(message.id, not_before=box.now)
    damage(box, message.id)
    await box.crash()
    (row,) = box.control.status()["damaged_files"]
    assert row["file"] == f"spool/held/{message.id}"
    assert "log" in row["problem"]


async def test_a_damaged_line_of_the_journal_is_shown(box):
    await box.control.block(box.change("stolen"), THIEF)
    await box.control.block(box.change("stolen"), "login:other")
    (path,) = box.audit._directory.glob("*.jsonl")
    data = bytearray(path.read_bytes())
    data[20] ^= 0xFF
    path.write_bytes(data)
    await box.crash()
    (row,) = box.control.status()["damaged_files"]
    assert row["file"] == f"audit/{path.name}"
    assert row["problem"].startswith("octets 0 to ")
    assert await box.state("login:other") == "blocked"
    # Redis has what the journal lost.
    assert await box.state(THIEF) == "blocked"
