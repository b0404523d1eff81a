"""The nightly refit reads all senders in a process of its own."""

import json
import subprocess
import sys

from shaper.core.evidence import learn, weigh
from shaper.core.model import Model
from shaper.core.record import Record
from shaper.ledger.ledger import RedisLedger
from shaper.refits import Refits
from tests.support.engine import EngineBox

DAY = 86400.0
NOW = 1.8e9


def busy(name, days=40):
    """Return a sender with some weeks of history."""
    record = Record.new(name, NOW)
    for day in range(days):
        for i in range(5):
            recipients, at = [i], NOW + day * DAY + i * 600
            weigh(record.profile, Model.default(), recipients, at)
            learn(record.profile, Model.default(), recipients, at)
    return record


def refit(url):
    request = json.dumps({"url": url, "prefix": "mailshaper"}) + "\n"
    return subprocess.run(
        [sys.executable, "-m", "shaper.refit"],
        input=request,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def test_every_sender_counts_and_damaged_ones_are_left_out(redis_server):
    ledger = RedisLedger.connect(redis_server.url)
    raw = busy("login:x").encode()
    for i in range(1200):  # more than a page
        await ledger.save(f"login:{i}", 0, raw, "normal")
    await ledger.save("login:bad", 0, b"garbage", "normal")
    await ledger.close()
    done = refit(redis_server.url)
    assert done.returncode == 0, done.stderr
    model = Model.from_json(done.stdout)
    assert model.sender_days >= 1200 * 39
    assert "own history" in model.source
    assert "damaged" in done.stderr


def test_an_empty_redis_gives_the_shipped_model(redis_server):
    done = refit(redis_server.url)
    assert Model.from_json(done.stdout) == Model.default()


def test_without_redis_it_says_so(tmp_path):
    done = refit(f"unix://{tmp_path}/nobody.sock")
    assert done.returncode == 69
    assert "Redis" in done.stderr


async def test_the_daemon_takes_the_model_over_and_keeps_it(redis_server, tmp_path):
    ledger = RedisLedger.connect(redis_server.url)
    await ledger.save("login:x", 0, busy("login:x").encode(), "normal")
    await ledger.close()
    async with EngineBox(redis_server.url, tmp_path) as box:
        path = tmp_path / "model.json"
        refits = Refits(box.context, path, redis_server.url, "mailshaper")
        refits.load()
        assert box.context.model == Model.default()
        await refits.refit()
        assert box.context.model.sender_days >= 39
        kept, box.context.model = box.context.model, Model.default()
        refits.load()
        assert box.context.model == kept
        path.write_bytes(b"{}")
        refits.load()
        assert box.context.model == kept
        await Refits(box.context, path, "unix:///nobody", "mailshaper").refit()
        assert box.context.model == kept
