"""The listener of a real daemon: scrape, probes, and what they say of trouble."""

import asyncio
import json
import smtplib
import subprocess
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client import CollectorRegistry

from shaper.core.message import Action
from shaper.core.reply import Phase, Reply
from shaper.metrics.hop import HopWatch
from shaper.metrics.listener import Listener
from shaper.metrics.standing import Gauges, Standing
from shaper.smtp.settings import ForwardSettings
from tests.support import needs
from tests.support.daemon import Daemon
from tests.support.engine import EngineBox
from tests.support.nexthop import NextHop
from tests.support.redis_server import RedisServer
from tests.support.submit import submit

pytestmark = pytest.mark.timeout(60)


def get(port, path):
    """Return status and text."""
    url = f"http://127.0.0.1:{port}{path}"
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def sample(text, series):
    """Return a value of the text format."""
    for line in text.splitlines():
        if line.startswith(series + " "):
            return float(line.rpartition(" ")[2])
    return None


async def test_a_real_daemon_is_scraped_and_probed():
    metrics = needs.free_port()
    settings = {"metrics": {"listen": f"127.0.0.1:{metrics}"}}
    async with NextHop() as hop:
        with Daemon(hop.port, settings) as daemon:
            await submit(daemon.port)
            status, text = get(metrics, "/metrics")
            assert status == 200
            name = 'mailshaper_messages_total{action="pass",placement="hop"}'
            assert sample(text, name) == 1
            assert sample(text, "mailshaper_forward_duration_seconds_count") == 1
            assert sample(text, "mailshaper_redis_up") == 1
            assert sample(text, "mailshaper_redis_latency_seconds") > 0
            assert sample(text, "mailshaper_spool_free_bytes") > 0
            assert "_created" not in text
            assert "@" not in text, "an address in the metrics"
            assert get(metrics, "/healthz") == (200, "ok\n")
            assert get(metrics, "/readyz") == (200, "")
            assert get(metrics, "/")[0] == 404
            checked = subprocess.run(
                [needs.unpacked("prometheus/usr/bin/promtool"), "check", "metrics"],
                input=text,
                capture_output=True,
                text=True,
                check=False,
            )
            assert (checked.returncode, checked.stderr, checked.stdout) == (0, "", "")


async def test_a_next_hop_that_is_gone_makes_unready():
    metrics, port = needs.free_port(), needs.free_port()
    settings = {"metrics": {"listen": f"127.0.0.1:{metrics}"}}
    with Daemon(port, settings) as daemon:
        assert get(metrics, "/readyz")[0] == 200
        with pytest.raises(smtplib.SMTPDataError):
            await submit(daemon.port)
        status, text = get(metrics, "/readyz")
        assert status == 503
        assert [json.loads(line)["reason"] for line in text.splitlines()] == [
            "next_hop"
        ]
        _, text = get(metrics, "/metrics")
        assert sample(text, 'mailshaper_unready{reason="next_hop"}') == 1
        assert sample(text, 'mailshaper_next_hop_errors_total{phase="connect"}') >= 1


async def test_a_next_hop_that_is_back_is_found_without_any_mail():
    lost = Reply(451, ("4.4.1 cannot be reached",), Phase.CONNECT, synthetic=True)
    heard = []
    async with NextHop() as hop:
        port = needs.free_port()  # nobody is there
        watch = HopWatch(
            lambda: ForwardSettings(port=port), lambda *one: heard.append(one)
        )
        assert await watch.reachable(), "nothing speaks against it yet"
        watch.ended(lost, 0.0)
        assert not await watch.reachable()
        watch.again = 0.0
        assert not await watch.reachable()
        port = hop.port
        assert await watch.reachable()
        assert heard == [(lost, 0.0)], "a probe is no transaction"
        refused = Reply(550, ("5.1.1 no such user",), Phase.RCPT)
        watch.ended(refused, 0.1)
        assert await watch.reachable(), "it speaks, so it is there"


@pytest.fixture
def server():
    with RedisServer() as redis:
        yield redis


async def test_queues_states_and_reviews_are_told_apart(server, tmp_path):
    async with EngineBox(server.url, tmp_path) as box:
        standing = Standing("1", "hop", box.clock)
        standing.attach(box.engine, box.spool)
        await box.offer("login:thief", ["x@example.net"])
        await box.control.block(box.change("stolen"), "login:thief")
        for name in ("login:thief", "login:thief"):
            assert (await box.offer(name, ["y@example.net"])).action is Action.HOLD
        while not box.engine.held.waiting("login:slow"):
            await box.blast("login:slow", 1)
        box.now += 50
        values = await standing.read()
        assert values["mailshaper_senders"] == {("slowed",): 1, ("blocked",): 1}
        assert values["mailshaper_cases_open"] == {("slowed",): 1, ("blocked",): 1}
        held = values["mailshaper_held_messages"]
        assert (held[("trickle",)], held[("blocked",)], held[("released",)]) == (
            1,
            2,
            0,
        )
        assert values["mailshaper_held_bytes"][("blocked",)] > 0
        assert values["mailshaper_held_oldest_age_seconds"][("trickle",)] == 50
        # An operator blocked the thief: nobody has to look at it again.
        assert values["mailshaper_review_waiting_senders"] == {(): 0}
        assert values["mailshaper_redis_up"] == {(): 1}
        gauges = Gauges()
        gauges.values = values
        assert len(list(gauges.collect())) == len(values)


async def test_redis_that_is_away_and_a_full_spool_are_reasons(server, tmp_path):
    async with EngineBox(server.url, tmp_path) as box:
        standing = Standing("1", "hop", box.clock)
        standing.attach(box.engine, box.spool)
        assert await standing.reasons() == {}
        server.kill()
        await box.offer("login:a", ["x@example.net"])
        assert list(await standing.reasons()) == ["redis"]
        values = await standing.read()
        assert values["mailshaper_redis_up"] == {(): 0}
        assert "mailshaper_redis_latency_seconds" not in values
        box.spool.limits = type(box.spool.limits)(messages=0)
        assert list(await standing.reasons()) == ["redis", "spool"]


async def test_a_loop_that_does_not_answer_is_not_healthy():
    gauges, registry = Gauges(), CollectorRegistry()
    listener = Listener("127.0.0.1", 0, registry, Standing("1", "hop"), gauges)
    assert (await asyncio.to_thread(get, listener.port, "/healthz"))[0] == 200
    status, text = await asyncio.to_thread(get, listener.port, "/readyz")
    assert (status, json.loads(text)["reason"]) == (503, "restoring")
    listener.patience = 0.1
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(get, listener.port, "/healthz")
        status, text = asked.result(20)  # blocks this very loop
    assert (status, json.loads(text)["reason"]) == (503, "stuck")
    await listener.close()


async def test_an_address_in_use_is_named_at_start():
    async with NextHop() as hop:
        settings = {"metrics": {"listen": f"127.0.0.1:{hop.port}"}}
        with (
            pytest.raises(RuntimeError, match=f"cannot listen on 127.0.0.1:{hop.port}"),
            Daemon(hop.port, settings),
        ):
            pass
