"""The admin socket in front of a real engine, asked well and badly."""

import asyncio
import getpass
import json
import stat
from pathlib import Path

import pytest

from shaper.admin import AdminServer, AdminSocketError
from shaper.core.ports import SpoolFullError, StateUnavailableError
from tests.support.office import office


@pytest.fixture
async def place(redis_url, tmp_path):
    async with office(redis_url, tmp_path) as found:
        yield found


class Broken:
    """A control that fails in a chosen way."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def status(self):
        raise self.error


async def failing(error, path):
    server = AdminServer(Broken(error), journal=list, forget=str)
    await server.start(path)
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b'{"command":"status"}\n')
    answer = await reader.readline()
    writer.close()
    await server.stop()
    return answer, json.loads(answer)


async def test_status_of_an_idle_engine(place):
    answer = await place.request("status")
    assert answer["ok"] is True
    assert answer["result"]["held"]["messages"] == 0


async def test_rows_come_before_the_result(place):
    await place.steal("login:alice")
    *rows, last = await place.ask(b'{"command":"queue.list"}\n')
    assert [row["row"]["id"] for row in rows] == [
        message.id for message in place.engine.held.all()
    ]
    assert last["result"] == {"messages": 3, "recipients": 30}


async def test_only_owner_and_group_may_open_the_socket(place):
    assert stat.S_IMODE(place.path.stat().st_mode) == 0o660


async def test_the_kernel_says_who_asks(place):
    await place.steal("login:alice")
    done = await place.request("block", sender="login:alice", reason="stolen", id="a")
    assert done["ok"], done
    line = list(place.audit.replay())[-1]
    assert line["by"] == getpass.getuser()


async def test_a_claim_is_recorded_as_a_claim(place):
    await place.steal("login:alice")
    request = {
        "command": "block",
        "arguments": {"sender": "login:alice", "reason": "r", "id": "a"},
        "sudo_user": "carol\x1b\n" + "x" * 200,
    }
    await place.ask(json.dumps(request).encode() + b"\n")
    by = list(place.audit.replay())[-1]["by"]
    assert by.startswith(f"{getpass.getuser()} (sudo: carol\\x1b\\n")
    assert by.endswith(", claimed)")
    assert len(by) < 120


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"hello", "no JSON"),
        (b"\xff\x00", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[]", "no command"),
        (b'{"command":7}', "no command"),
        (b'{"command":"status","arguments":[]}', "object"),
        (b'{"command":"reboot"}', "reboot"),
        (b'{"command":"status","arguments":{"x":1}}', "argument x"),
        (b'{"command":"show"}', "name is missing"),
        (b'{"command":"show","arguments":{"name":7}}', "must be a text"),
        (b'{"command":"show","arguments":{"name":"\\ud800"}}', "no valid text"),
        (b'{"command":"cases","arguments":{"closed":1}}', "true or false"),
        (b'{"command":"audit","arguments":{"since":NaN}}', "number"),
        (b'{"command":"audit","arguments":{"since":1' + b"0" * 400 + b"}}", "number"),
        (b'{"command":"queue.list","arguments":{"filter":"nonsense"}}', "nonsense"),
        (
            b'{"command":"queue.order","arguments":{"action":"burn","id":"a"}}',
            "release, drop or bounce",
        ),
    ],
)
async def test_nonsense_is_answered_and_the_connection_goes_on(place, line, words):
    reader, writer = await asyncio.open_unix_connection(place.path)
    writer.write(line + b"\n" + b'{"command":"status"}\n')
    first = json.loads(await reader.readline())
    assert first["ok"] is False
    assert words in first["error"]["message"]
    assert first["error"]["code"] in {64, 65}
    assert json.loads(await reader.readline())["ok"] is True
    writer.close()


async def test_a_request_without_end_is_refused(place):
    (answer,) = await place.ask(b"x" * (1024 * 1024 + 100_000))
    assert answer["error"]["code"] == 65
    assert (await place.request("status"))["ok"]


async def test_an_idle_client_is_hung_up_on(tmp_path):
    server = AdminServer(Broken(ValueError()), journal=list, forget=str, idle=0.05)
    await server.start(tmp_path / "s")
    reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
    writer.write(b'{"command":')
    async with asyncio.timeout(20):
        assert await reader.read() == b""
    writer.close()
    await server.stop()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (StateUnavailableError("timeout"), "Redis"),
        (SpoolFullError("limit"), "full"),
    ],
)
async def test_a_failure_of_the_surroundings_is_temporary(tmp_path, error, words):
    _, answer = await failing(error, tmp_path / "s")
    assert answer["error"]["code"] == 75
    assert words in answer["error"]["message"]


async def test_an_own_bug_shows_no_detail_but_is_logged(tmp_path, caplog):
    raw, answer = await failing(RuntimeError("secret detail"), tmp_path / "s")
    assert answer["error"]["code"] == 70
    assert b"secret" not in raw
    assert b"Traceback" not in raw
    assert "secret detail" in caplog.text


async def test_a_change_without_reason_is_refused(place):
    await place.steal("login:alice")
    answer = await place.request("release", sender="login:alice", id="a")
    assert answer["error"]["code"] == 64
    assert place.engine.senders.names("slowed") == ["login:alice"]


async def test_forgetting_needs_a_reason_and_may_be_tried(place):
    await place.steal("login:alice@example.org")
    refused = await place.request("forget", address="alice@example.org", id="a")
    assert refused["error"]["code"] == 64
    arguments = {"address": "alice@example.org", "id": "a", "reason": "asked to"}
    tried = await place.request("forget", dry_run=True, **arguments)
    assert tried["result"]["found"] == {"held": 3, "cases": 1}
    assert (await place.request("show", name="login:alice@example.org"))["ok"]
    before = [line["seq"] for line in place.audit.replay()]
    done = await place.request("forget", **arguments)
    assert done["result"]["audit_lines"] >= 1
    assert not set(before) & {line["seq"] for line in place.audit.replay()}


async def test_the_journal_is_shown_for_a_sender_since_a_time(place):
    await place.steal("login:alice")
    await place.steal("login:bob")
    *rows, last = await place.ask(
        b'{"command":"audit","arguments":{"sender":"login:bob"}}\n'
    )
    assert {row["row"]["sender"] for row in rows} == {"login:bob"}
    assert last["result"]["lines"] == len(rows) >= 1
    later = await place.request("audit", since=4e9)
    assert later["result"]["lines"] == 0


async def test_names_for_completion(place):
    await place.steal("login:alice")
    answer = await place.request("complete")
    (case,) = place.engine.casebook.all()
    assert answer["result"] == {"senders": ["login:alice"], "cases": [case.id]}


async def test_a_socket_of_a_dead_daemon_is_replaced(tmp_path):
    path = tmp_path / "s"
    process = await asyncio.create_subprocess_exec(
        "python3",
        "-c",
        f"import socket; socket.socket(socket.AF_UNIX).bind({str(path)!r})",
    )
    await process.wait()
    assert path.is_socket()
    server = AdminServer(Broken(ValueError()), journal=list, forget=str)
    await server.start(path)
    await server.stop()
    assert not path.exists()


async def test_a_socket_in_use_and_a_file_are_left_alone(place, tmp_path):
    other = AdminServer(Broken(ValueError()), journal=list, forget=str)
    with pytest.raises(AdminSocketError, match="served already"):
        await other.start(place.path)
    assert (await place.request("status"))["ok"]
    file = tmp_path / "precious"
    file.write_text("x")
    with pytest.raises(AdminSocketError, match="no socket"):
        await other.start(file)
    assert file.read_text() == "x"


async def test_what_cannot_be_opened_says_why(tmp_path):
    server = AdminServer(Broken(ValueError()), journal=list, forget=str)
    with pytest.raises(AdminSocketError, match="no group"):
        await server.start(tmp_path / "s", "no-such-group")
    assert not (tmp_path / "s").exists()
    for path in (tmp_path / "none" / "s", Path("/tmp") / ("x" * 200)):
        with pytest.raises(AdminSocketError):
            await server.start(path)


async def test_a_change_under_way_is_finished_and_answered_at_the_stop(tmp_path):
    class Slow:
        done = False

        async def cases(self, *, closed):
            del closed
            begun.set()
            await go.wait()
            self.done = True
            return []

    begun, go, control = asyncio.Event(), asyncio.Event(), Slow()
    server = AdminServer(control, journal=list, forget=str)
    await server.start(tmp_path / "s")
    reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
    writer.write(b'{"command":"cases"}\n')
    await begun.wait()
    stopping = asyncio.create_task(server.stop())
    await asyncio.sleep(0)
    go.set()
    assert json.loads(await reader.readline()) == {"ok": True, "result": []}
    await stopping
    assert control.done
    writer.close()


async def test_stopping_hangs_up_on_clients(redis_url, tmp_path):
    async with office(redis_url, tmp_path) as place:
        reader, writer = await asyncio.open_unix_connection(place.path)
        await place.request("status")
        await place.server.stop()
        async with asyncio.timeout(20):
            assert await reader.read() == b""
        writer.close()
