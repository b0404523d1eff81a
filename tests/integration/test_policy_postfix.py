"""The policy service over real sockets: what it stores and when it answers."""

import asyncio
import contextlib
from dataclasses import replace

import pytest

from shaper.policy.postfix import PolicyServer, PolicySettings, remembering

REQUEST = {
    "request": "smtpd_access_policy",
    "protocol_state": "END-OF-MESSAGE",
    "queue_id": "4ABC",
    "sasl_username": "Alice@Example.test",
    "recipient": "",
}


def wire(**changes):
    values = {k: v for k, v in (REQUEST | changes).items() if v is not None}
    return "".join(f"{k}={v}\n" for k, v in values.items()).encode() + b"\n"


class Store:
    def __init__(self):
        self.pairs = []
        self.error = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, queue_id, login):
        await self.gate.wait()
        if self.error:
            raise self.error
        self.pairs.append((queue_id, login))


@pytest.fixture
async def store():
    return Store()


@pytest.fixture
async def server(store):
    server = PolicyServer(
        remembering(store), replace(PolicySettings(), answer_timeout=5)
    )
    await server.listen("127.0.0.1", 0)
    yield server
    server.close()


@pytest.fixture
async def ask(server):
    port = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def ask(data, answers=1):
        writer.write(data)
        got = b""
        async with asyncio.timeout(10):
            while got.count(b"\n\n") < answers:
                more = await reader.read(1000)
                if not more:
                    break
                got += more
        return got

    yield ask
    writer.close()


@pytest.mark.parametrize("state", ["DATA", "END-OF-MESSAGE"])
async def test_the_pair_is_stored_before_the_answer(ask, store, state):
    assert await ask(wire(protocol_state=state)) == b"action=DUNNO\n\n"
    assert store.pairs == [("4ABC", "Alice@Example.test")]


@pytest.mark.parametrize(
    "changes",
    [
        {"protocol_state": "RCPT"},  # the queue id is not there at the first RCPT
        {"sasl_username": ""},
        {"sasl_username": None},
        {"queue_id": ""},
    ],
)
async def test_nothing_to_learn_is_answered_all_the_same(ask, store, changes):
    assert await ask(wire(**changes)) == b"action=DUNNO\n\n"
    assert store.pairs == []


async def test_many_requests_on_a_connection_are_answered_in_turn(ask, store):
    requests = b"".join(wire(queue_id=f"Q{i}") for i in range(5))
    assert await ask(requests, answers=5) == b"action=DUNNO\n\n" * 5
    assert [q for q, _ in store.pairs] == ["Q0", "Q1", "Q2", "Q3", "Q4"]


async def test_a_request_may_come_in_pieces(ask, store):
    data = wire()
    assert await ask(data[:30], answers=0) == b""
    assert await ask(data[30:]) == b"action=DUNNO\n\n"
    assert len(store.pairs) == 1


async def test_a_store_that_fails_lets_mail_through(ask, store):
    store.error = OSError("redis is gone")
    assert await ask(wire()) == b"action=DUNNO\n\n"
    store.error = None
    assert await ask(wire()) == b"action=DUNNO\n\n"
    assert len(store.pairs) == 1


async def test_a_store_that_hangs_lets_mail_through(store):
    store.gate.clear()
    server = PolicyServer(
        remembering(store), replace(PolicySettings(), answer_timeout=0.01)
    )
    await server.listen("127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(wire())
    async with asyncio.timeout(10):
        assert await reader.readuntil(b"\n\n") == b"action=DUNNO\n\n"
    writer.close()
    server.close()


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\n\n",
        b"=x\n\n",
        b"request=junk\n\n",
        b"\n\n",
        wire(sasl_username="a\0b"),
        wire()[:-1] + b"sasl_username=mallory\n\n",
        wire(helo_name="h" * 5000),
        b"request=smtpd_access_policy\n" + b"a=b\n" * 20_000,
        b"\xff\xfe" * 20_000,
    ],
)
async def test_garbage_gets_no_answer_but_the_door(ask, store, garbage):
    with contextlib.suppress(ConnectionResetError):
        assert await ask(garbage) == b""
    assert store.pairs == []


async def test_a_unix_socket_serves_too(store, tmp_path):
    server = PolicyServer(remembering(store))
    path = str(tmp_path / "p")
    await server.listen_unix(path)
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(wire())
    async with asyncio.timeout(10):
        assert await reader.readuntil(b"\n\n") == b"action=DUNNO\n\n"
    assert store.pairs
    writer.close()
    server.close()
