"""The ledger behind each kind of URL: TCP, password, Sentinel, Cluster."""

import asyncio
import contextlib
import socket
import subprocess
import time

import pytest
import redis

from shaper.core.ports import StateUnavailableError
from shaper.ledger import RedisLedger
from shaper.ledger.address import client_for
from tests.support import needs
from tests.support.waiting import poll


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@pytest.fixture
def start(tmp_path):
    """Start redis-servers on loopback; they end with the test."""
    program = needs.program("redis-server", "valkey-server")
    children = []

    def run(port, *options):
        home = tmp_path / str(port)
        home.mkdir()
        words = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(home)]
        command = [program, *words, "--save", "", *options]
        if options and options[0].endswith(".conf"):
            command = [program, options[0], "--sentinel"]
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        children.append(child)
        poll(lambda: listens(port), f"redis-server on port {port}")
        return child

    yield run
    for child in children:
        child.kill()
        child.wait()


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def everything(ledger):
    """Use every method once."""
    done, version, _ = await ledger.save("s", 0, b"r", "slowed")
    assert done
    assert await ledger.load("s") == (version, b"r")
    assert await ledger.save("s", 0, b"other", "slowed") == (False, version, b"r")
    for n in range(100):
        await ledger.save(f"login:{n}", 0, b"r", "blocked")
    assert len(await ledger.senders("blocked")) == 100
    assert await ledger.senders("slowed") == ["s"]
    assert await ledger.take_slot("s", 1.0, 60.0) == 0.0
    assert await ledger.take_slot("s", 2.0, 60.0) == pytest.approx(59.0)
    await ledger.put_login("q", "me", 60.0)
    assert await ledger.get_login("q") == "me"
    for n in range(3):
        await ledger.put_case(f"c{n}/i", "s", b"%d" % n)
    assert await ledger.cases() == [b"0", b"1", b"2"]
    await ledger.put_held("i", "m", b"x")
    assert await ledger.held() == {"i": {"m": b"x"}}
    await ledger.drop_held("i", "m")
    assert await ledger.held() == {}
    place = await ledger.put_order(b"o")
    assert await ledger.orders("") == [(place, b"o")]
    assert await ledger.orders(place) == []
    assert await ledger.claim_epoch("t")
    assert not await ledger.claim_epoch("t")
    await ledger.forget("s")
    assert await ledger.load("s") == (0, b"")
    assert await ledger.cases() == []


async def test_tcp_with_a_password_and_a_database(start):
    (port,) = free_ports(1)
    start(port, "--requirepass", "p@ss/word")
    ledger = RedisLedger.connect(f"redis://:p%40ss%2Fword@127.0.0.1:{port}/3")
    try:
        await everything(ledger)
    finally:
        await ledger.close()
    wrong = RedisLedger.connect(f"redis://:wrong@127.0.0.1:{port}")
    try:
        with pytest.raises(StateUnavailableError, match="password"):
            await wrong.ping()
    finally:
        await wrong.close()


async def test_a_cluster_of_two(start):
    ports = free_ports(4)
    for port, bus in (ports[:2], ports[2:]):
        start(port, "--cluster-enabled", "yes", "--cluster-port", str(bus))
    first, second = (redis.Redis(port=port) for port in (ports[0], ports[2]))
    with first, second:
        first.execute_command("CLUSTER ADDSLOTSRANGE", 0, 8191)
        second.execute_command("CLUSTER ADDSLOTSRANGE", 8192, 16383)
        first.execute_command("CLUSTER MEET", "127.0.0.1", ports[2], ports[3])

        def formed():
            known = [node.execute_command("CLUSTER INFO") for node in (first, second)]
            return all(
                one["cluster_state"] == "ok" and one["cluster_known_nodes"] == "2"
                for one in known
            )

        poll(formed, "a cluster of two nodes")
        url = f"redis+cluster://127.0.0.1:{ports[0]},127.0.0.1:{ports[2]}"
        ledger = RedisLedger.connect(url, timeout=5.0)
        try:
            await everything(ledger)
        finally:
            await ledger.close()
        assert first.dbsize() > 10
        assert second.dbsize() > 10


async def test_sentinel_finds_the_new_master(start, tmp_path):
    master, replica, watch = free_ports(3)
    child = start(master)
    start(replica, "--replicaof", "127.0.0.1", str(master))
    config = tmp_path / "sentinel.conf"
    config.write_text(
        f"port {watch}\nbind 127.0.0.1\n"
        f"sentinel monitor shaper 127.0.0.1 {master} 1\n"
        "sentinel down-after-milliseconds shaper 300\n"
        "sentinel failover-timeout shaper 2000\n"
    )
    start(watch, str(config))
    with redis.Redis(port=replica) as client:
        poll(
            lambda: client.info("replication")["master_link_status"] == "up", "the link"
        )
    with redis.Redis(port=watch) as client:
        poll(
            lambda: client.execute_command("SENTINEL REPLICAS", "shaper"), "the replica"
        )
    (dead,) = free_ports(1)
    url = f"redis+sentinel://127.0.0.1:{dead},127.0.0.1:{watch}/shaper"
    ledger = RedisLedger.connect(url)
    try:
        await everything(ledger)
        await ledger.save("kept", 0, b"r", "blocked")
        with redis.Redis(port=master) as client:
            assert client.wait(1, 5000) == 1
        child.kill()
        end = time.monotonic() + 20
        while True:
            try:
                _, record = await ledger.load("kept")
                await ledger.save("new", 0, b"r", "normal")
            except StateUnavailableError:
                assert time.monotonic() < end
                await asyncio.sleep(0.05)
            else:
                break
        assert record == b"r"
    finally:
        await ledger.close()


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("", "must begin with"),
        ("http://secret@x", "must begin with"),
        ("redis://:secret@x:port", "Port could not be cast"),
        ("redis://x?socket_timeuot=1", "option 'socket_timeuot' without meaning"),
        ("redis://x?ssl_cert_reqs=none", "option 'ssl_cert_reqs' without meaning"),
        ("redis://x?db=one", "db must be a number"),
        ("redis+sentinel://x", "needs the master's name"),
        ("redis+sentinel://:secret@x:port/m", "bad host"),
        ("redis+sentinel://secret@x/m", "needs user:password"),
        ("redis+cluster://x,,y", "empty host"),
        ("redis+cluster://x?db=2", "only database 0"),
        ("redis+cluster://x/name", "no master name"),
    ],
)
def test_a_wrong_url_is_explained_without_its_secrets(url, complaint):
    with pytest.raises(ValueError, match=complaint) as caught:
        client_for(url, 1.0)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://h", "rediss://u:p@h:1/2?ssl_check_hostname=no", "unix:///run/s?db=1",
        "redis+sentinel://:p@h1,h2:1,[::1]:2/m?db=1&sentinel_password=s",
        "rediss+cluster://u:p@h1?ssl_ca_certs=/etc/ca.pem",
    ],
)  # fmt: skip
async def test_urls_of_every_kind_are_understood(url):
    await client_for(url, 1.0).aclose()
