"""The real daemon tells: a mail, and a webhook that was down, after a SIGKILL too."""

import asyncio
import json
import time

import pytest

from tests.integration.test_webhook import SECRET, listening
from tests.support.daemon import Daemon
from tests.support.nexthop import NextHop
from tests.support.waiting import poll_async

ADMIN = "admin@example.org"
BLOCKED = "from:mallory@example.org"


@pytest.mark.slow
async def test_mail_and_webhook_tell_of_a_block_over_a_power_cut(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET + b"\n")
    async with NextHop() as hop, listening() as receiver:
        receiver.statuses = [500] * 1000
        settings = {
            "notify": {
                "mail_to": [ADMIN],
                "language": "fr",
                "webhook_url": receiver.url + "/hook",
                "webhook_secret_file": str(secret),
            },
            "log": {"format": "json"},
        }
        with Daemon(hop.port, settings) as daemon:
            begun = time.monotonic()
            await daemon.change("block", sender=BLOCKED)
            await poll_async(lambda: _mails(hop), "the mail", 30)
            await poll_async(lambda: receiver.seen, "the first attempt", 30)
            assert time.monotonic() - begun < 60
            await daemon.wait_for_log('"notice.sent"')
            await daemon.wait_for_log('"webhook.failed"')
            daemon.kill()
            receiver.statuses = []
            await asyncio.to_thread(daemon.start)
            await poll_async(lambda: receiver.taken, "the event", 30)
            await daemon.wait_for_log('"webhook.sent"')
            assert await asyncio.to_thread(daemon.stop) == 0
            lines = [json.loads(line) for line in daemon.log().splitlines()]
        (event,) = receiver.taken
        assert event["sender"] == BLOCKED
        assert event["state"] == "blocked"
        assert receiver.seen[0][0]["X-Mailshaper-Signature"].startswith("t=")
        assert len(_mails(hop)) == 1
        assert b"multipart/alternative" in _mails(hop)[0].content
    names = [line.get("event") for line in lines]
    for name in (
        "daemon.started",
        "operator.acted",
        "sender.blocked",
        "notice.queued",
        "notice.sent",
        "webhook.failed",
        "webhook.sent",
        "daemon.stopping",
    ):
        assert name in names, name


def _mails(hop):
    return [t for t in hop.transactions if ADMIN in t.recipients]


async def test_a_secret_that_is_not_there_is_named_at_the_start(tmp_path):
    async with NextHop() as hop:
        settings = {
            "notify": {
                "webhook_url": "https://hook.example/",
                "webhook_secret_file": str(tmp_path / "nothing"),
            }
        }
        with (
            pytest.raises(RuntimeError, match="webhook_secret_file"),
            Daemon(hop.port, settings),
        ):
            pass
