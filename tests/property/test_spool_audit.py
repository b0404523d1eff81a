"""Spool and journal keep anything, and survive damage anywhere."""

import asyncio
import contextlib
import shutil
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from shaper.audit import AuditJournal
from shaper.core.envelope import Client, Envelope, Recipient
from shaper.core.message import HeldMessage, RecipientFate, Submission
from shaper.core.ports import SpoolCorruptError
from shaper.core.reply import Phase, Reply
from shaper.durable.lines import seal, unseal
from shaper.spool import FileSpool, Limits

# What a wire can give: any octets, decoded as the ingress does.
wire = st.binary(max_size=40).map(lambda b: b.decode("utf-8", "surrogateescape"))
words = st.lists(wire, max_size=3).map(tuple)
recipients = st.builds(Recipient, wire, words)
envelopes = st.builds(
    Envelope, wire, st.lists(recipients, min_size=1, max_size=4).map(tuple), words
)
clients = st.builds(Client, wire, wire, wire, wire, wire, wire, wire)
submissions = st.builds(
    Submission,
    st.just("m1"),
    wire,
    envelopes,
    clients,
    st.floats(0, 4e9),
    wire,
    wire,
    wire,
)
messages = st.builds(
    HeldMessage, submissions, st.just(0), case=wire, notice=st.booleans()
)
replies = st.builds(Reply, st.integers(200, 599), words, st.sampled_from(Phase))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | wire
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(wire, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
fields = st.dictionaries(
    wire.filter(lambda k: k not in {"seq", "at", "event", "crc", "self"}),
    json_values,
    max_size=4,
)


@contextlib.contextmanager
def directory():
    with tempfile.TemporaryDirectory() as path:
        yield Path(path)


async def opened(path):
    return await FileSpool.open(path, Limits(free=0), clock=lambda: 7.0)


async def content(spool):
    return b"".join([chunk async for chunk in spool.read("m1")])


@given(messages, st.binary(max_size=2000), replies, wire)
def test_any_message_comes_back_as_it_was(message, body, reply, order):
    async def check(path):
        spool = await opened(path)
        writer = spool.begin(message)
        writer.write(body)
        await writer.commit()
        await spool.note_attempt("m1", not_before=1.5)
        await spool.note_fates(
            "m1", {0: RecipientFate.REFUSED}, {0: reply}, not_before=2.5
        )
        await spool.note_told("m1", [0])
        last = await spool.note_order("m1", order)
        await spool.close()
        spool = await opened(path)
        try:
            assert spool.get("m1") == last
            assert last.submission == message.submission
            assert (last.case, last.notice) == (message.case, message.notice)
            assert (last.order, last.attempts, last.told) == (order, 1, {0})
            assert await content(spool) == body
            log = await spool.history("m1")
            assert Reply.from_json(log[1]["replies"]["0"]) == reply
        finally:
            await spool.close()

    with directory() as path:
        asyncio.run(check(path))


@given(st.lists(st.tuples(wire, fields), max_size=6))
def test_any_record_comes_back_from_the_journal(records):
    async def check(path):
        journal = await AuditJournal.open(path, lambda: 3.0, file_octets=300)
        for event, more in records:
            await journal.append(event, **more)
        await journal.close()
        journal = await AuditJournal.open(path)
        try:
            assert list(journal.replay()) == [
                {"seq": n, "at": 3.0, "event": event, **more}
                for n, (event, more) in enumerate(records, 1)
            ]
            assert journal.damage == []
        finally:
            await journal.close()

    with directory() as path:
        asyncio.run(check(path))


@given(st.binary(max_size=300), st.lists(fields.filter(bool), max_size=4))
def test_unsealing_is_total_and_finds_what_stands_on_lines(noise, records):
    unseal(noise)
    lines = b"".join(map(seal, records))
    found = unseal(lines)
    assert (found.records, found.damage, found.end) == (records, [], len(lines))
    found = unseal(noise.replace(b"\n", b"") + b"\n" + lines)
    assert found.records[-len(records) :] == records or not records


async def _with_history(path):
    """Return a spool file and what the message was after each log line."""
    spool = await opened(path)
    envelope = Envelope("me@x.test", (Recipient("a@y.test"), Recipient("b@y.test")))
    writer = spool.begin(HeldMessage(Submission("m1", "s", envelope, Client(), 1.0), 0))
    writer.write(b"Subject: x\r\n\r\nbody\r\n")
    stages = [await writer.commit()]
    file = path / "held" / "m1"
    ends = [file.stat().st_size]
    fates = {0: RecipientFate.DELIVERED}
    for note in (
        lambda: spool.note_attempt("m1", not_before=5.0),
        lambda: spool.note_fates("m1", fates, {}, not_before=9.0),
        lambda: spool.note_order("m1", "o1"),
    ):
        stages.append(await note())
        ends.append(file.stat().st_size)
    await spool.close()
    return file.read_bytes(), stages, ends


async def _reread(path, data):
    """Open the file with these octets, note an attempt, open it again."""
    shutil.rmtree(path / "corrupt")
    (path / "corrupt").mkdir()
    (path / "held" / "m1").write_bytes(data)
    spool = await opened(path)
    try:
        before, damaged = spool.get("m1"), spool.damaged()
        if before is not None:
            with contextlib.suppress(SpoolCorruptError):
                await content(spool)
        if spool.get("m1") is None:
            return None, damaged, spool.corrupt()
        await spool.note_attempt("m1", not_before=11.0)
    finally:
        await spool.close()
    spool = await opened(path)
    try:
        after = spool.get("m1")
        assert after is not None
        assert after.attempts == before.attempts + 1
        assert (after.fates, after.order) == (before.fates, before.order)
        return before, damaged, spool.corrupt()
    finally:
        await spool.close()


def test_a_file_cut_anywhere_loses_no_earlier_line_and_no_silence():
    async def check(path):
        data, stages, ends = await _with_history(path)
        for cut in range(len(data) + 1):
            found, damaged, corrupt = await _reread(path, data[:cut])
            if cut < ends[0]:
                assert found is None
                assert [name for name, _ in corrupt] == ["m1"]
                continue
            # A line whose line feed alone is missing is whole.
            whole = sum(cut >= end - 1 for end in ends[1:])
            assert found == stages[whole]
            torn = cut not in ends and cut + 1 not in ends
            assert bool(damaged) == torn
            assert corrupt == []

    with directory() as path:
        asyncio.run(check(path))


@settings(max_examples=60)
@given(st.data())
def test_a_flipped_octet_anywhere_is_reported_and_costs_one_line(data):
    async def check(path):
        octets, stages, ends = await _with_history(path)
        at = data.draw(st.integers(0, len(octets) - 1))
        flipped = bytearray(octets)
        flipped[at] ^= data.draw(st.integers(1, 255))
        found, damaged, corrupt = await _reread(path, bytes(flipped))
        if at < ends[0]:
            assert found is None
            assert [name for name, _ in corrupt] == ["m1"]
            return
        assert corrupt == []
        assert len(damaged) == 1
        hit = sum(at >= end for end in ends[1:])  # 0-based number of the line
        assert hit == 0 or found.attempts == 1
        assert hit == 1 or found.fates == stages[2].fates or at == ends[2] - 1
        if at + 1 in ends:  # only the line feed was hit: nothing is lost
            assert found == stages[-1]

    with directory() as path:
        asyncio.run(check(path))


@settings(max_examples=60)
@given(st.data())
def test_the_journal_survives_damage_anywhere(data):
    async def write(path):
        journal = await AuditJournal.open(path, lambda: 1.0)
        for n in range(4):
            await journal.append("e", n=n)
        await journal.close()

    async def reread(path):
        journal = await AuditJournal.open(path, lambda: 2.0)
        try:
            before = [r["n"] for r in journal.replay()]
            damage = list(journal.damage)
            await journal.append("after", n=9)
            assert [r["n"] for r in journal.replay()] == [*before, 9]
            return before, damage
        finally:
            await journal.close()

    with directory() as path:
        asyncio.run(write(path))
        (file,) = path.glob("*.jsonl")
        octets = file.read_bytes()
        at = data.draw(st.integers(0, len(octets) - 1))
        if data.draw(st.booleans()):
            file.write_bytes(octets[:at])
            before, damage = asyncio.run(reread(path))
            whole = octets[: at + 1].count(b"\n")
            assert before == list(range(whole))
            return
        flipped = bytearray(octets)
        flipped[at] ^= data.draw(st.integers(1, 255))
        file.write_bytes(flipped)
        before, damage = asyncio.run(reread(path))
        hit = octets[:at].count(b"\n")
        expected = [n for n in range(4) if n != hit or octets[at] == 0x0A]
        assert before == expected
        assert damage or at == len(octets) - 1 or hit == 3
