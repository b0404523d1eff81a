"""Hostile or damaged input: a clear error, nothing lost, no detail of a bug."""

import asyncio
import contextlib
import json
import os
import random
import struct

import pytest

from shaper.core.message import Action
from shaper.core.record import Record
from shaper.engine.control import RefusedError
from tests.support.daemon import Daemon
from tests.support.engine import EngineBox
from tests.support.gate import RawClient
from tests.support.needs import program
from tests.support.nexthop import NextHop
from tests.support.office import cli, office

THIEF = "login:thief"


@pytest.fixture
async def box(redis_url, tmp_path):
    async with EngineBox(redis_url, tmp_path) as engine_box:
        yield engine_box


# -- over SMTP, to the whole daemon


@pytest.fixture(scope="module")
def held_daemon():
    """A daemon that holds everything of x@example.org."""
    program("redis-server", "valkey-server")
    # Nothing listens there: mail that passes is deferred, held mail needs no hop.
    settings = {
        "notify": {"mail_to": ["admin@example.org"]},
    }
    with Daemon(1, settings) as daemon:
        daemon.ask_now(
            "block", sender="from:x@example.org", reason="exercise", id="bad-input"
        )
        yield daemon


@pytest.fixture
async def client(held_daemon):
    reader, writer = await asyncio.open_connection("127.0.0.1", held_daemon.port)
    raw = RawClient(reader, writer)
    assert (await raw.reply()).startswith(b"220 ")
    assert (await raw.ask("EHLO client.example.org")).startswith(b"250-")
    yield raw
    raw.close()
    assert "Traceback" not in held_daemon.log(), held_daemon.log()[-3000:]


LONG = b"a" * 65_536


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (b"MAIL FROM:<a\0b@example.org>", b"501 "),
        (b"MAIL FROM:<a\xffb@example.org>", b"501 "),
        (b"MAIL FROM:<" + LONG + b"@example.org>", b"500 "),
        (b"MAIL FROM:<a@example.org> SIZE=99999999999999999999", b"552 "),
        (b"MAIL FROM:<a@example.org> SIZE=-1", b"501 "),
        (b"MAIL FROM:<a@example.org> BODY=\x1b[2J", b"501 "),
        (b"MAIL FROM:<a\rb@example.org>", b"501 "),
        (b"MAIL FROM:" + b"<" * 2000, b"501 "),
        (b'MAIL FROM:<"' + b"\\" * 3999 + b'"@example.org>', b"501 "),
        (b"XFORWARD IDENT=+0D+0ADATA", b"501 "),
        (b"XFORWARD IDENT=+FF", b"501 "),
        (b"XFORWARD IDENT=+", b"501 "),
        (b"XFORWARD ADDR=" + b"9" * 5000, b"501 "),
        (b"XCLIENT ADDR=192.0.2.1", b"550 "),
        (b"\x00" * 100, b"500 "),
        (b"\x16\x03\x01\x02\x00\x01\x00", b"500 "),
        (b"GET / HTTP/1.1", b"500 "),
    ],
)
async def test_a_hostile_command_gets_a_clear_answer(client, command, code):
    answer = await client.ask(command)
    assert answer.startswith(code), answer
    assert b"Error" not in answer
    assert (await client.ask("NOOP")).startswith(b"250 ")


@pytest.mark.parametrize(
    "recipient",
    [b"r\0@example.net", b"r\xff@example.net", LONG + b"@example.net", b""],
)
async def test_a_hostile_recipient_spoils_no_transaction(
    client, held_daemon, recipient
):
    await client.ask("MAIL FROM:<x@example.org>")
    assert (await client.ask(b"RCPT TO:<" + recipient + b">"))[:2] == b"50"
    assert (await client.ask("RCPT TO:<good@example.net>")).startswith(b"250 ")
    assert (await client.ask("DATA")).startswith(b"354 ")
    await client.send(b"Subject: r\r\n\r\n.\r\n")
    assert (await client.reply()).startswith(b"250 2.0.0 Held")
    held = held_daemon.held()[-1]
    assert [r[0] for r in held["envelope"]["recipients"]] == ["good@example.net"]


HEADERS = {
    "no end": b"Subject: no end\r\nX: y\r\n",
    "no header": b"\r\n",
    "empty": b"",
    "only text": b"this is no header at all\r\n" * 50,
    "bare line feeds": b"Subject: a\nX-Login: root\n\nbody\n\r\n",
    "NUL": b"Subject: a\0b\r\nMessage-ID: <\0>\r\n\r\n\0\0\r\n",
    "8 bit": bytes(b for b in range(256) if b not in b"\r\n.") + b"\r\n\r\nx\r\n",
    "many": b"".join(b"X-%d: y\r\n" % i for i in range(20_000)) + b"\r\nx\r\n",
    "one huge field": b"Subject: " + b" x\r\n" * 50_000 + b"\r\nbody\r\n",
    "ten megabytes": b"".join(
        b"X-%07d: %s\r\n" % (i, b"z" * 980) for i in range(10_500)
    )
    + b"\r\n",
    "logins": b"X-Login: a\r\nX-Login: b\r\nSubject: two\r\n\r\n",
    "login of octets": b"X-Login: \xff\xfe\r\nSubject: octets\r\n\r\n",
    "broken word": b"Subject: =?utf-8?b?////?= =?utf-8?q?=ZZ?= =?\r\n\r\n",
    "unknown charset": b"Subject: =?klingon?q?x?= =?unknown-8bit?b?/w==?=\r\n\r\n",
    "a codec that is none": b"Subject: =?zip?q?x?= =?rot13?q?x?= =?hex?q?41?=\r\n\r\n",
    "surrogates": b"Subject: =?unicode_escape?q?=5Cud800_=5Cx1b[2J?=\r\n\r\n",
    "surrogates in UTF-7": b"Subject: =?utf-7?q?+2AA-?=\r\nFrom: =?utf-7?q?+2AA-?="
    b"\r\n\r\n",
    "NUL charset": b"Subject: =?ut\0f?q?x?=\r\n\r\n",
    "deep comment": b"From: " + b"(" * 5000 + b"\r\nSubject: deep\r\n\r\n",
}


@pytest.mark.parametrize("name", HEADERS)
async def test_a_strange_header_is_held_as_it_came(client, held_daemon, name):
    content = HEADERS[name]
    answer = await client.mail(content, sender="x@example.org")
    assert answer.startswith(b"250 2.0.0 Held"), answer
    name = answer.split()[-1].decode()
    (row,) = [r for r in held_daemon.held() if r["id"] == name]
    path = held_daemon.state / "spool" / "held" / row["id"]
    assert content in path.read_bytes()
    shown = held_daemon.ask_now("queue.show", id=row["id"])
    assert shown["truncated"] == (shown["size"] > 16 * 1024)


async def test_what_was_held_can_be_listed_and_is_kept_over_a_kill(client, held_daemon):
    await client.mail(HEADERS["surrogates"], sender="x@example.org")
    await client.mail(HEADERS["NUL"], sender="x@example.org")
    before = held_daemon.held()
    env = {"MAILSHAPER_SOCKET": str(held_daemon.runtime / "admin.sock")}
    for words in (["queue", "list"], ["cases"], ["show", "from:x@example.org"]):
        done = await cli(*words, env=env)
        assert done.code == 0, done.err
        assert "\x1b" not in done.out
        assert "\0" not in done.out
    held_daemon.kill()
    held_daemon.start()
    assert held_daemon.held() == before
    assert held_daemon.ask_now("status")["damaged_files"] == []


async def test_a_passing_strange_header_is_bytes_identical():
    async with NextHop() as hop:
        with Daemon(hop.port) as daemon:
            for number, content in enumerate(HEADERS.values()):
                reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
                raw = RawClient(reader, writer)
                await raw.reply()
                await raw.ask("EHLO client.example.org")
                answer = await raw.mail(content, sender=f"p{number}@example.org")
                assert answer.startswith(b"250 "), answer
                assert hop.transactions[-1].wire.endswith(content)
                raw.close()
            assert "Traceback" not in daemon.log()


async def test_a_notice_about_a_strange_subject_is_sent(box):
    for number in range(60):
        box.now += 1
        await box.offer(THIEF, [f"s{number}@example.net"])
    (case,) = box.engine.casebook.all()
    case.subjects.append("\ud800 \x00 \x1b[2J \u202e \n.\n " + "x" * 900)
    case.domains["\udcff.\n"] += 1
    case.clients["\x1b"] += 1
    await box.upkeep.store()
    await box.crash()
    await box.upkeep.store()
    await box.step()
    (notice,) = [t for t in box.hop.transactions if b"Auto-Submitted" in t.content]
    assert b"\\ud800" in notice.content
    assert b"\x1b" not in notice.content


# -- what Redis holds


async def block(box, sender=THIEF):
    await box.offer(sender, ["x@example.net"])
    await box.control.block(box.change("stolen"), sender)
    await box.upkeep.store()


def damaged_heads(raw):
    """Yield the record with its JSON head made hostile in many ways."""
    head, _, tail = raw.partition(b"\n")
    data = json.loads(head)
    values = [
        None, True, -1, 1e300, "x" * 5000, [], {}, [[]], 10**400, "../../etc/passwd",
        "\ud800", "a\nb", float("nan"), float("inf"),
    ]  # fmt: skip
    names = [*data, "calm_since", "exemption", "plans", "run", "recent", "released"]
    for name in names:
        for value in values:
            text = json.dumps(data | {name: value})
            yield text.encode("utf-8", "surrogatepass") + b"\n" + tail
    for name in ("since", "released"):
        yield json.dumps(data | {name: 12345}).replace("12345", "1e999").encode() + (
            b"\n" + tail
        )
    yield b"[" * 100_000 + b"\n" + tail
    yield b'{"sender":' * 10_000 + b"\n" + tail
    rng = random.Random(1)
    for _ in range(40):
        noise = bytearray(tail)
        for _ in range(rng.randint(1, 20)):
            noise[rng.randrange(len(noise))] = rng.randrange(256)
        yield head + b"\n" + bytes(noise)
    yield head + b"\n" + tail[:20]
    yield head + b"\n" + struct.pack("d", float("nan")) * 200


async def test_no_record_in_redis_stops_mail_or_lifts_a_block(box, redis_server):
    await block(box)
    with redis_server.client() as client:
        (key,) = [key for key in client.scan_iter() if b":record:" in key]
        good = client.get(key)
        version, _, raw = good.partition(b"\n")
        count = 0
        for hostile in damaged_heads(raw):
            client.set(key, version + b"\n" + hostile)
            box.engine.senders._cache.clear()
            decision = await box.offer(THIEF, [f"h{count}@example.net"])
            assert decision.action is Action.HOLD, hostile[:300]
            box.now += 1
            await box.upkeep.review()
            await box.upkeep.store()
            await box.step()
            assert await box.state(THIEF) == "blocked", hostile[:300]
            count += 1
    assert count > 200
    assert box.delivered() == ["admin@example.org"]


async def test_a_record_of_somebody_else_is_not_believed(box, redis_server):
    await block(box)
    await box.offer("login:good", ["x@example.net"])
    await box.upkeep.store()
    with redis_server.client() as client:
        keys = {
            key: client.get(key) for key in client.scan_iter() if b":record:" in key
        }
        (bad,) = [key for key, raw in keys.items() if THIEF.encode() in raw]
        (good,) = set(keys) - {bad}
        client.set(bad, keys[good])
    await box.crash()
    assert (await box.offer(THIEF, ["y@example.net"])).action is Action.HOLD
    assert await box.state("login:good") == "normal"


@pytest.mark.parametrize("alive", [True, False])
async def test_a_redis_older_than_the_journal_lifts_no_block(box, redis_server, alive):
    """A power cut takes the last second; a replica may lag when it takes over."""
    await box.offer(THIEF, ["x@example.net"])
    with redis_server.client() as client:
        old = {k: client.dump(k) for k in client.scan_iter() if b":record:" in k}
        await box.control.block(box.change("stolen"), THIEF)
        until = box.now + 3600
        await box.control.exempt(box.change("letter"), "login:letter", until)
        for key in list(client.scan_iter()):
            client.delete(key)
        for key, value in old.items():
            client.restore(key, 0, value)
    if not alive:
        await box.crash()
    assert (await box.offer(THIEF, ["y@example.net"])).action is Action.HOLD
    await box.crash()
    assert await box.state(THIEF) == "blocked"
    exempt, _ = await box.engine.senders.read("login:letter")
    assert exempt.exemption.until == until


async def test_a_redis_older_than_the_journal_takes_back_no_release(box, redis_server):
    await block(box)
    with redis_server.client() as client:
        old = {k: client.dump(k) for k in client.scan_iter() if b":record:" in k}
        await box.control.release(box.change("innocent"), THIEF, 0.0)
        for key, value in old.items():
            client.restore(key, 0, value, replace=True)
    await box.crash()
    assert await box.state(THIEF) == "normal"
    assert (await box.offer(THIEF, ["y@example.net"])).action is Action.PASS


async def test_another_instances_word_in_redis_counts(box, redis_server, tmp_path):
    await block(box)
    async with EngineBox(
        redis_server.url, tmp_path, hop=box.hop, instance="two", start=box.now - 500
    ) as two:
        # Its clock is behind ours; its release is the newer word all the same.
        await two.control.release(two.change("innocent"), THIEF, 0.0)
    assert await box.state(THIEF) == "normal"
    await box.crash()
    assert await box.state(THIEF) == "normal"


def damaged_cases(raw):
    data = json.loads(raw)
    values = [
        None, -1, 1e300, "x", [], {}, [[]], 10**400, "../x", "a\nb", "\ud800",
        float("nan"), float("-inf"), ["x"], [1, 1e999], {"x": "y"},
    ]  # fmt: skip
    for name in data:
        for value in values:
            yield json.dumps(data | {name: value}).encode()
    for name in data["steps"][0]:
        for value in values:
            steps = [data["steps"][0] | {name: value}]
            yield json.dumps(data | {"steps": steps}).encode()
    yield b"[" * 100_000
    yield b""
    yield b"\xff\x00"


async def test_no_case_in_redis_ends_the_daemon(box, redis_server):
    await block(box)
    with redis_server.client() as client:
        (key,) = [key for key in client.scan_iter() if b":body:" in key]
        good = client.get(key)
        for hostile in damaged_cases(good):
            client.set(key, hostile)
            box.engine.casebook._cases.clear()
            await box.engine.casebook.load()
            box.engine.rebuild_cases()
            await box.control.cases(closed=True)
            await box.upkeep.store()
            await box.step()
            box.engine.notices._told.clear()


@pytest.mark.parametrize(
    "change",
    [
        {"filter": "nonsense"},
        {"filter": "("},
        {"rate": float("nan")},
        {"rate": -5},
        {"at": 1e300, "action": "release"},
        {"action": "burn"},
        {"id": None},
        {"sender": ["x"]},
    ],
)
async def test_no_order_in_redis_ends_the_daemon(box, redis_server, change):
    await block(box)
    await box.offer(THIEF, ["x@example.net"])
    data = {
        "id": "o1", "at": 1.0, "action": "drop", "by": "x", "reason": "y",
        "sender": "login:nobody", "filter": "", "rate": 0.0,
    }  # fmt: skip
    await box.ledger.put_order(json.dumps(data | change).encode())
    await box.ledger.put_order(b"[" * 100_000)
    await box.ledger.put_order(b"")
    await box.upkeep.store()
    await box.crash()
    await box.upkeep.store()
    await box.step()
    assert box.engine.held.waiting(THIEF) == 1
    done = await box.control.order(box.change(), "drop", sender=THIEF)
    assert done["messages"] == 1


async def test_a_record_survives_its_own_encoding(box):
    await block(box)
    record = box.engine.senders.cached(THIEF)
    assert Record.decode(record.encode()).serial == record.serial > 0


# -- files


@pytest.mark.parametrize(
    "damage",
    [
        lambda data, rng: data[: rng.randrange(len(data))],
        lambda data, rng: bytes(rng.randrange(256) for _ in range(len(data))),
        lambda data, rng: b"",
        lambda data, rng: data.replace(b"mailshaper-spool/1", b"mailshaper-spool/9"),
        lambda data, rng: b"\0" * len(data),
        lambda data, rng: data[:90] + b"[" * 100_000,
    ],
)
async def test_a_damaged_spool_file_is_kept_and_shown(box, damage):
    await block(box)
    await box.offer(THIEF, ["x@example.net"])
    await box.offer(THIEF, ["y@example.net"])
    first, _ = [m.id for m in box.engine.held.all() if not m.notice]
    path = box.spool.directory.held / first
    damaged = damage(path.read_bytes(), random.Random(3))
    path.write_bytes(damaged)
    await box.crash()
    assert box.engine.held.waiting(THIEF) == 1
    (row,) = box.control.status()["damaged_files"]
    assert row["file"] == f"spool/corrupt/{first}"
    assert (box.spool.directory.corrupt / first).read_bytes() == damaged


async def test_strange_things_among_the_spool_files_are_set_aside(box):
    held = box.spool.directory.held
    (held / "a directory").mkdir()
    os.mkfifo(held / "fifo")
    (held / "link").symlink_to("/etc/passwd")
    (held / "\udcff\x1b[2J").write_bytes(b"x")
    (held / ("n" * 250)).write_bytes(b"x")
    await box.crash()
    rows = box.control.status()["damaged_files"]
    assert len(rows) == 5
    json.dumps(rows)
    assert list(held.iterdir()) == []


async def test_the_command_line_shows_damage_without_its_tricks(redis_url, tmp_path):
    (tmp_path / "spool" / "held").mkdir(parents=True)
    (tmp_path / "spool" / "held" / "\x1b[2J").write_bytes(b"x")
    async with office(redis_url, tmp_path) as place:
        done = await place.cli("status")
        assert done.code == 0, done.err
        assert "DAMAGED spool/corrupt/\\x1b[2J" in done.out
        rows = (await place.cli("status", "--json")).rows()
        assert rows[0]["damaged_files"][0]["file"] == "spool/corrupt/\x1b[2J"


# -- operators


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("exempt", {"sender": THIEF, "until": 1e300}),
        ("plan", {"sender": THIEF, "from": 1, "to": 1e300, "messages": 5}),
        ("plan", {"sender": THIEF, "from": 1, "to": 4e9, "messages": 1e300}),
    ],
)
async def test_an_absurd_allowance_is_refused(redis_url, tmp_path, command, arguments):
    async with office(redis_url, tmp_path) as place:
        await place.steal(THIEF)
        answer = await place.request(command, reason="r", id="a", **arguments)
        assert answer["ok"] is False
        assert answer["error"]["code"] == 64
        assert (await place.cli("show", THIEF)).code == 0


async def test_a_filter_never_breaks_the_daemon(box):
    await block(box)
    await box.offer(THIEF, ["x@example.net"])
    for text in (
        "(" * 5000,
        "not " * 5000 + "id=x",
        "size>9" + "9" * 5000,
        "\0=\ud800",
    ):
        with contextlib.suppress(RefusedError):
            box.control.queue(text)


# -- the configuration


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\x00[[",
        b"[hop",
        b"hop = 3",
        b"[hop]\nlisten = 5",
        b'[hop]\nnext_hop = "\\u0000:25"',
        b"[hop]\nallow = ['10.0.0.0/99']",
        b"[hop]\nmax_recipients = -99999999999999999999999999999999",
        b"[states]\nlow_mark = nan",
        b"[trickle]\ninterval = inf",
        b"[trickle]\ninterval = -1",
        b"[nonsense]\nx = 1",
        b"[hop]\nlisten = " + b"[" * 100_000,
        b'[daemon]\nstate_directory = "/a\\u0000b"',
        b'[notify]\nmail_to = ["a@b\\r\\nBcc: x@y"]',
    ],
)
async def test_a_wrong_configuration_ends_with_78_and_one_clear_line(tmp_path, content):
    path = tmp_path / "mailshaper.toml"
    path.write_bytes(content)
    # The daemon reads it by the same function, before it touches anything.
    done = await cli("check-config", "--config", str(path))
    assert done.code == 78, done
    assert str(path) in done.err, done.err
    assert "Traceback" not in done.err
    assert "\0" not in done.err
