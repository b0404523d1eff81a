"""The daemon with a shaper's Redis: facts in, verdicts out, metrics, crashes."""

import json
import time
import urllib.error
import urllib.request

import pytest
import redis

from federation.declared import ALL
from federation.format.profile import b64, unb64
from federation.format.tags import Pepper
from tests.support.fednode import FederationNode
from tests.support.redis_server import RedisServer
from tests.support.waiting import poll

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

KEY = "mailshaper:federation:"


@pytest.fixture(scope="module")
def server():
    with RedisServer() as running:
        yield running


@pytest.fixture(scope="module")
def node(server):
    settings = {"redis": {"url": server.url}}
    with FederationNode("club", listen=True, settings=settings) as made:
        made("init", "--name", "Our club", "--network", "test")
        made.start()
        yield made


@pytest.fixture
def client(server):
    with redis.Redis.from_url(server.url) as connected:
        yield connected


def tell(client, kind, **fields):
    fact = {"v": 1, "kind": kind, "at": time.time(), **fields}
    client.xadd(f"{KEY}facts", {"f": json.dumps(fact)})


def get(node, path):
    url = f"http://127.0.0.1:{node.metrics}{path}"
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def tag(client, address):
    (secret,) = client.hvals(f"{KEY}peppers")
    return Pepper(unb64(secret.decode(), 32)).recipient(address)


def test_an_own_bounce_becomes_a_verdict_and_leaves_redis(node, client):
    poll(lambda: client.get(f"{KEY}alive"), "sign of life")
    bounce = {"code": "5.1.1", "smtp": 550, "via": "smtp"}
    tell(client, "bounce", address="dead@example.org", **bounce)
    name = b64(tag(client, "dead@example.org"))
    raw = poll(lambda: client.hget(f"{KEY}recipients", name), "verdict")
    verdict = json.loads(raw)
    assert verdict["o"] == "s"
    assert verdict["own"] is True
    poll(lambda: client.xlen(f"{KEY}facts") == 0, "empty stream")
    assert node.json("lookup", "dead@example.org")["rule"] == "D2"
    # Told to others after a random wait, which may be short.
    waiting = node.json("status")["outbox"]
    assert waiting + len(node.lines("log", "--kind", "rcpt.hard")) == 1
    # No plain address is in the file.
    for path in node.state.glob("federation.sqlite*"):
        assert b"dead@example.org" not in path.read_bytes()


def test_a_stopped_sender_is_told_at_once_and_once_across_a_kill(node, client):
    until = time.time() + 86400
    tell(
        client, "blocked", sender="thief@example.org", why="compromised",
        until=until, case="c1",
    )  # fmt: skip

    def told():
        return node.lines("log", "--kind", "send.blocked")

    poll(told, "event")
    node.kill()
    tell(client, "released", case="c1")
    node.start()
    poll(lambda: node.lines("log", "--kind", "send.released"), "event")
    assert len(told()) == 1


def test_a_fact_that_cannot_be_read_is_counted_and_told(node, client):
    client.xadd(f"{KEY}facts", {"f": b'{"v":1,"kind":"secret@example.org"}'})
    poll(lambda: "event=facts.refused" in node.log(), "line in the log")
    assert "secret@example.org" not in node.log()
    status, text = get(node, "/metrics")
    assert status == 200
    assert 'mailshaper_federation_facts_total{result="refused"} 1.0' in text


def test_an_emptied_redis_is_written_anew(node, client):
    name = b64(tag(client, "dead@example.org"))
    client.delete(f"{KEY}recipients", f"{KEY}epoch")
    poll(lambda: client.hget(f"{KEY}recipients", name), "verdict", 40)
    poll(lambda: "event=projection.rebuilt" in node.log(), "line in the log")


def test_probes_and_every_declared_metric(node):
    assert get(node, "/healthz") == (200, "ok\n")
    assert get(node, "/readyz") == (200, "")
    # Only with a peer, or with an audit that took weight.
    absent = {"peer_age_seconds"}

    def unseen():
        _, text = get(node, "/metrics")
        names = {line.split("{")[0].split(" ")[0] for line in text.splitlines()}
        return {
            one.name
            for one in ALL
            if one.name not in names
            and one.name.removeprefix("mailshaper_federation_") not in absent
        }

    poll(lambda: not unseen(), "all metrics", 30)


def test_redis_away_is_told_and_healed(node, server, client):
    server.stop()
    poll(lambda: "event=redis.lost" in node.log(), "line in the log", 30)
    status, text = get(node, "/readyz")
    assert status == 503
    assert "redis" in text
    assert node.json("lookup", "dead@example.org")["outcome"] == "suppress"
    server.start()
    poll(lambda: "event=redis.back" in node.log(), "line in the log", 60)
    name = b64(tag(client, "dead@example.org"))
    poll(lambda: client.hget(f"{KEY}recipients", name), "verdict", 40)


def test_a_stop_in_order_ends_quickly_and_says_so(node):
    begin = time.monotonic()
    node.stop()
    assert time.monotonic() - begin < 9
    assert "event=node.stopping" in node.log()
    assert "Traceback" not in node.log()
    assert not node.json("status")["daemon"]
