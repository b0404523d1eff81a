"""The webhook against a real HTTP server: signed, ordered, owed until taken."""

import asyncio
import hashlib
import hmac
import json
import ssl
import time
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from shaper.core.case import Case
from shaper.notify.mail import Composer, NoticeSettings
from shaper.notify.webhook import Webhook, signature
from shaper.telling import describe
from tests.support.engine import EngineBox

SECRET = b"not a real secret"


class Receiver:
    """Answers POSTs with what ``statuses`` says, then 204; keeps what it took."""

    def __init__(self):
        self.statuses, self.seen, self.taken = [], [], []
        self.hang = asyncio.Event()
        self.hang.set()
        self.url = ""

    async def handle(self, request):
        body = await request.read()
        self.seen.append((request.headers, body))
        await self.hang.wait()
        status = self.statuses.pop(0) if self.statuses else 204
        if status == 204:
            self.taken.append(json.loads(body))
        headers = {"Location": self.url + "/elsewhere"} if status == 307 else {}
        return web.Response(status=status, headers=headers)


@pytest.fixture
async def receiver():
    async with listening() as one:
        yield one


@asynccontextmanager
async def listening():
    one = Receiver()
    app = web.Application()
    app.router.add_post("/{tail:.*}", one.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    one.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield one
    finally:
        one.hang.set()
        await runner.cleanup()


@pytest.fixture
async def box(redis_url, tmp_path):
    async with EngineBox(redis_url, tmp_path) as engine_box:
        yield engine_box


@pytest.fixture
async def hook(receiver):
    one = Webhook(receiver.url + "/hook", SECRET, time.time, timeout=0.3)
    yield one
    await one.close()


def arm(box, hook):
    settings = NoticeSettings((), "m@shaper.test")
    composer = Composer(settings, "shaper.test")
    box.engine.outbox.post = hook
    box.engine.notices.compose = None
    box.engine.notices.describe = lambda case, waiting, *, first: describe(
        composer, case, waiting, first=first
    )


async def announce(box, *names, key="k"):
    for name in names:
        await box.engine.outbox.announce("case.opened", name, {"n": 1}, key=key)


async def work(box, *, rounds=50):
    for _ in range(rounds):
        if not await box.engine.outbox.step():
            return


async def test_each_step_of_a_case_is_posted_signed_and_in_order(box, hook, receiver):
    arm(box, hook)
    while await box.state("login:thief") == "normal":
        box.now += 1
        await box.offer("login:thief", [f"s{box.now}@example.net"])
    await box.upkeep.store()
    await work(box)
    box.now += 60
    await box.control.block(box.change("password changed"), "login:thief")
    await box.upkeep.store()
    box.now += 60
    await box.control.release(box.change("was the owner"), "login:thief", 0.0)
    await box.upkeep.store()
    await work(box)
    first, second, third = receiver.taken
    assert [one["event"] for one in receiver.taken] == [
        "case.opened",
        "case.escalated",
        "case.closed",
    ]
    assert {one["case"] for one in receiver.taken} == {first["case"]}
    assert first["schema"] == 1
    assert first["sender"] == "login:thief"
    assert first["held_now"] == {"messages": 1, "recipients": 1}
    assert first["commands"][0] == f"mailshaper show {first['case']}"
    assert (second["by"], second["reason"]) == ("root", "password changed")
    assert third["outcome"] == "innocent"
    assert third["commands"] == []
    headers, body = receiver.seen[0]
    t, v1 = (
        part.split("=")[1] for part in headers["X-Mailshaper-Signature"].split(",")
    )
    good = hmac.new(SECRET, t.encode() + b"." + body, hashlib.sha256).hexdigest()
    assert hmac.compare_digest(good, v1)
    assert abs(int(t) - time.time()) < 60
    assert headers["X-Mailshaper-Event"] == first["id"]


async def test_a_failure_is_tried_again_later_and_holds_up_its_own_case_only(
    box, hook, receiver
):
    arm(box, hook)
    receiver.statuses = [500]
    await announce(box, "a1", "a2", key="a")
    await work(box)
    assert receiver.taken == []
    await announce(box, "b1", key="b")
    await work(box)
    assert [one["id"] for one in receiver.taken] == ["b1"]
    box.now += 9
    await work(box)
    assert len(receiver.taken) == 1
    receiver.statuses = [500]
    box.now += 1
    await work(box)
    box.now += 19
    await work(box)
    assert len(receiver.taken) == 1  # the pause has doubled
    box.now += 1
    await work(box)
    assert [one["id"] for one in receiver.taken] == ["b1", "a1", "a2"]


async def test_what_is_owed_survives_a_crash_and_is_posted_once_more_at_most(
    box, hook, receiver
):
    arm(box, hook)
    receiver.statuses = [503]
    await announce(box, "a1", "a2")
    await work(box)
    await box.crash()
    arm(box, hook)
    assert box.engine.outbox.owed() == ["a1", "a2"]
    await work(box)
    assert [one["id"] for one in receiver.taken] == ["a1", "a2"]
    await box.crash()
    arm(box, hook)
    await announce(box, "a1", "a2")  # the engine tells again after a crash
    await work(box)
    assert len(receiver.taken) == 2
    assert box.engine.outbox.owed() == []


async def test_a_hang_ends_and_neither_stops_mail_nor_the_mail_notice(
    box, hook, receiver
):
    arm(box, hook)
    receiver.hang.clear()
    await announce(box, "a1")
    begun = time.monotonic()
    posting = asyncio.create_task(work(box))
    while not receiver.seen:
        await asyncio.sleep(0.01)
    await box.offer("login:bob", ["friend@example.net"])
    await box.upkeep.store()
    assert not posting.done()
    await posting
    assert time.monotonic() - begun < 10
    assert box.engine.outbox.owed() == ["a1"]


async def test_stopping_does_not_wait_for_a_server_that_hangs(box, hook, receiver):
    slow = Webhook(receiver.url, SECRET, time.time, timeout=30)
    arm(box, slow)
    receiver.hang.clear()
    await announce(box, "a1")
    stop = asyncio.Event()
    running = asyncio.create_task(box.engine.outbox.run(stop))
    while not receiver.seen:
        await asyncio.sleep(0.01)
    stop.set()
    async with asyncio.timeout(5):
        await running
    await slow.close()
    assert box.engine.outbox.owed() == ["a1"]


async def test_after_three_days_it_is_given_up_and_the_case_goes_on(
    box, hook, receiver
):
    arm(box, hook)
    receiver.statuses = [500]
    await announce(box, "a1")
    await work(box)
    box.now += 3 * 86400 + 1
    await announce(box, "a2")
    await work(box)
    assert [one["id"] for one in receiver.taken] == ["a2"]


async def test_a_redirect_is_not_followed(box, hook, receiver):
    receiver.statuses = [307]
    assert await hook("a1", b"{}") == "status 307"
    assert len(receiver.seen) == 1


async def test_a_server_nobody_vouches_for_and_one_that_is_not_there(hook, receiver):
    plain = receiver.url.removeprefix("http://")
    hook.url = f"https://{plain}/"  # speaks no TLS
    assert await hook("a1", b"{}") != ""
    hook.url = "http://127.0.0.1:1/"
    assert "Connect" in await hook("a1", b"{}")
    hook.url = "http://[nonsense/"
    assert await hook("a1", b"{}") != ""


async def test_a_certificate_is_verified(tmp_path):
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    make = await asyncio.create_subprocess_exec(
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
        "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=localhost", "-days", "2",
        "-keyout", str(key), "-out", str(cert), stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert await make.wait() == 0
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    asked = []

    async def serve(reader, writer):
        asked.append(await reader.read(10))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    hook = Webhook(f"https://localhost:{port}/", b"", time.time)
    assert "ertificate" in await hook("a1", b"{}")
    await hook.close()
    server.close()
    assert asked == []


async def test_a_forgotten_persons_events_are_not_sent_any_more(box, hook, receiver):
    arm(box, hook)
    await box.engine.outbox.announce(
        "case.opened", "a1", {"sender": "login:a@b.example"}, sender="login:a@b.example"
    )
    await box.engine.forget("a@b.example", box.audit.forget)
    await box.crash()
    arm(box, hook)
    await work(box)
    assert receiver.seen == []


async def test_owed_events_outlive_the_retention_of_the_journal(box, hook, receiver):
    arm(box, hook)
    await announce(box, "a1")
    box.context.retention = -10.0
    await box.upkeep.prune()
    await box.crash()
    assert box.engine.outbox.owed() == ["a1"]


def test_the_signature_is_as_documented():
    made = signature(b"secret", 1700000000, b'{"a":1}')
    assert (
        made
        == "t=1700000000,v1="
        + hmac.new(b"secret", b'1700000000.{"a":1}', "sha256").hexdigest()
    )


def test_a_case_without_steps_can_be_described():
    settings = NoticeSettings((), "m@shaper.test")
    facts = describe(
        Composer(settings, "shaper.test"), Case("c1", "x", 1.0), (0, 0), first=True
    )
    assert json.dumps(facts)
