"""Suppression over the whole engine: instances, outcomes, Redis away, RCPT."""

import asyncio
import contextlib

import pytest
import redis

from shaper.core.contacts import Contacts
from shaper.core.envelope import Client
from shaper.core.outcome import Kind, Meaning, Outcome
from shaper.core.ports import StateUnavailableError
from shaper.core.reply import Phase, Reply
from shaper.core.suppression import BULK, Rules, Why
from shaper.engine.control import Change, RefusedError
from shaper.engine.suppression import SuppressionSettings
from shaper.notify.confirm import confirmation
from shaper.smtp.ingress import Ingress
from shaper.smtp.settings import IngressSettings
from tests.support.engine import EngineBox
from tests.support.nexthop import NextHop
from tests.support.redis_server import RedisServer

DAY = 86400.0
BOB, ALICE = "bob@example.net", "login:alice"
CHANGE = Change("root", "ticket 4711", "c1")


def outcome(meaning, *, kind=Kind.LOG, at=None, permanent=True, to=BOB, **more):
    return Outcome(kind, meaning, to, "5.1.1", permanent=permanent, time=at, **more)


@pytest.fixture
async def box(redis_url, tmp_path):
    async with EngineBox(redis_url, tmp_path) as found:
        yield found


@pytest.fixture
async def two(redis_url, tmp_path):
    async with NextHop() as hop, contextlib.AsyncExitStack() as stack:
        boxes = [
            await stack.enter_async_context(
                EngineBox(redis_url, tmp_path, hop=hop, instance=name)
            )
            for name in ("one", "two")
        ]
        for one in boxes:
            await one.engine.suppression.refresh()
        yield boxes


async def refused(box, address=BOB, sender="alice@example.org", **client):
    check = box.engine.suppression.check
    return await check(Client(**client), sender, address)


async def bulk(box, sender):
    """Make a sender one that wrote to many."""

    def widen(record):
        record.profile.contacts = Contacts(b"xy" * BULK, b"\0" * BULK)

    await box.engine.senders.change(sender, widen)


async def test_a_dead_address_is_refused_and_the_attempt_is_evidence(box):
    listed = box.engine.suppression
    assert await refused(box) is None
    await listed.note(outcome(Meaning.DEAD_ADDRESS), ALICE)
    reply = await refused(box, "BOB@example.net", login="alice")
    assert (reply.code, reply.enhanced) == (550, "5.1.1")
    assert not reply.synthetic
    assert await refused(box, "carol@example.net") is None
    await box.engine.senders.flush()
    record, _ = await box.engine.senders.read(ALICE)
    assert record.profile.bad == 1


async def test_the_login_of_the_queue_id_is_blamed_before_the_envelope(box):
    await box.engine.suppression.note(outcome(Meaning.DEAD_ADDRESS), ALICE)
    box.engine.gate.remember_login("4abc", "mallory")
    assert await refused(box, ident="4abc", login="other")
    assert await refused(box)
    await box.engine.senders.flush()
    for sender, bad in (
        ("login:mallory", 1),
        ("login:other", 0),
        ("from:alice@example.org", 1),
    ):
        record, _ = await box.engine.senders.read(sender)
        assert record.profile.bad == bad, sender


async def test_nobody_is_blamed_where_only_the_header_would_tell_who(box):
    await box.engine.suppression.note(outcome(Meaning.DEAD_ADDRESS), ALICE)
    box.engine.suppression.settings = SuppressionSettings(login_header="X-Login")
    assert await refused(box)
    record, seen = await box.engine.senders.read("from:alice@example.org")
    assert not seen
    assert record.profile.bad == 0


async def test_a_soft_refusal_is_no_evidence(box):
    await box.engine.suppression.note(outcome(Meaning.TEMPORARY), ALICE)
    assert await refused(box, login="alice")
    record, _ = await box.engine.senders.read(ALICE)
    assert record.profile.bad == 0
    box.now += DAY
    assert await refused(box, login="alice") is None


async def test_a_bounce_of_the_null_sender_is_never_refused(box):
    await box.engine.suppression.note(outcome(Meaning.DEAD_ADDRESS), ALICE)
    assert await refused(box, sender="") is None


@pytest.mark.parametrize("how", ["observing", "disabled"])
async def test_observing_only_counts(box, how):
    listed = box.engine.suppression
    await listed.note(outcome(Meaning.DEAD_ADDRESS), ALICE)
    if how == "observing":
        box.context.enforce = False
    else:
        listed.settings = SuppressionSettings(enabled=False)
    assert await refused(box, login="alice") is None
    assert (listed.would, listed.refused) == (1, 0)
    box.now += 15 * DAY
    assert await refused(box) is None
    entry, _ = await listed.read(BOB)
    assert entry.probes == 0


async def test_only_the_recipients_own_server_lifts(box):
    listed = box.engine.suppression
    listed.settings = SuppressionSettings(own=frozenset({"mx.example.org"}))
    await listed.note(outcome(Meaning.DEAD_ADDRESS), ALICE)
    box.now += 60
    for kind, host in (
        (Kind.REPLY, ""),
        (Kind.LOG, "127.0.0.1[127.0.0.1]:10025"),
        (Kind.LOG, "mx.example.org[192.0.2.1]"),
    ):
        await listed.note(
            outcome(Meaning.DELIVERED, kind=kind, remote_mta=host, permanent=False),
            ALICE,
        )
        assert await refused(box), host
    await listed.note(outcome(Meaning.DELIVERED, remote_mta="mx.example.net"), ALICE)
    assert await refused(box) is None


async def test_a_bounce_that_matches_nothing_changes_nothing(box):
    listed = box.engine.suppression
    await listed.note(outcome(Meaning.DEAD_ADDRESS, kind=Kind.DSN), "")
    assert await refused(box) is None
    await listed.note(outcome(Meaning.DEAD_ADDRESS, kind=Kind.DSN), ALICE)
    assert await refused(box)


async def test_exactly_one_probe_goes_over_all_instances(two):
    await two[0].engine.suppression.note(outcome(Meaning.DEAD_ADDRESS), ALICE)
    await two[1].engine.suppression.refresh()
    for days, probes in ((13, 0), (14, 1), (15, 0), (28, 1), (56, 1), (57, 0)):
        for box in two:
            box.now = 1_800_000_000.0 + days * DAY
        asked = [refused(two[n % 2]) for n in range(12)]
        replies = await asyncio.gather(*asked)
        assert sum(reply is None for reply in replies) == probes, days


async def test_instances_follow_each_other(two):
    one, other = (box.engine for box in two)
    await one.suppression_list.add(CHANGE, BOB)
    assert await refused(two[1]) is None
    await other.suppression.refresh()
    assert await refused(two[1])
    await other.suppression_list.remove(CHANGE, BOB)
    # The index of the first still names it; the entry in Redis decides.
    assert await refused(two[0]) is None
    await one.suppression_list.import_(CHANGE, [[BOB, 0, "", "", "list"]], last=True)
    await other.suppression.refresh()
    await one.suppression.refresh()
    # Freed after the file's date, which is not told: now counts.
    assert {bool(await refused(box)) for box in two} == {False}


async def test_outcomes_in_any_order_on_two_instances_end_alike(two):
    start = two[0].now
    for box in two:
        box.now = start + 100 * DAY
    events = [
        outcome(Meaning.DEAD_ADDRESS, at=start + 3 * DAY),
        outcome(Meaning.DELIVERED, at=start + 2 * DAY, remote_mta="mx.example.net"),
        outcome(Meaning.DEAD_ADDRESS, at=start + DAY),
        outcome(Meaning.TEMPORARY, at=start + DAY),
    ]
    await asyncio.gather(
        *(two[n % 2].engine.suppression.note(e, ALICE) for n, e in enumerate(events))
    )
    entry, _ = await two[0].engine.suppression.read(BOB)
    assert entry.why is Why.DEAD
    assert max(entry.dead) == start + 3 * DAY


async def test_a_restart_loads_the_list(box):
    await box.engine.suppression.note(outcome(Meaning.DEAD_ADDRESS), ALICE)
    await box.crash()
    assert await refused(box) is None
    await box.engine.suppression.refresh()
    assert await refused(box)


async def test_redis_away_refuses_nobody_and_what_is_noted_is_kept(tmp_path):
    with RedisServer(aof=True) as server:
        async with EngineBox(server.url, tmp_path) as box:
            listed = box.engine.suppression
            await listed.refresh()
            await listed.note(outcome(Meaning.DEAD_ADDRESS), ALICE)
            server.kill()
            assert await refused(box) is None
            carol = outcome(Meaning.DEAD_ADDRESS, to="carol@example.net")
            await listed.note(carol, ALICE)
            server.start()

            async def answers():
                with contextlib.suppress(StateUnavailableError):
                    await box.ledger.ping()
                    return True
                return False

            async with asyncio.timeout(15):
                while not await answers():
                    await asyncio.sleep(0.02)
            await listed.refresh()
            assert await refused(box)
            assert await refused(box, "carol@example.net")


async def test_a_damaged_entry_refuses_nobody_and_is_replaced(box, redis_url):
    listed = box.engine.suppression
    await listed.note(outcome(Meaning.DEAD_ADDRESS), ALICE)
    with redis.Redis.from_url(redis_url) as plain:
        (key,) = plain.keys("*:gone:*")
        plain.set(key, b"{")
    assert await refused(box) is None
    await listed.note(outcome(Meaning.DEAD_ADDRESS), ALICE)
    assert await refused(box)


async def test_changes_are_audited_and_need_a_reason(box):
    entries = box.engine.suppression_list
    with pytest.raises(RefusedError, match="reason"):
        await entries.add(Change("root", " ", "x"), BOB)
    with pytest.raises(RefusedError, match="no mail address"):
        await entries.add(CHANGE, "bob")
    await entries.add(Change("root", "r", "x", dry_run=True), BOB)
    assert (await entries.explain(BOB)) == {
        "address": BOB,
        "listed": False,
        "foreign": {},
    }
    await entries.add(CHANGE, BOB)
    await entries.add(CHANGE, BOB)  # the answer was lost: once is enough
    await entries.remove(CHANGE, BOB)
    with pytest.raises(RefusedError, match="not on the suppression list"):
        await entries.remove(CHANGE, BOB)
    lines = [line for line in box.audit.replay() if line["event"] == "suppress"]
    assert [line["action"] for line in lines] == ["add", "remove"]
    assert {line["by"] for line in lines} == {"root"}


async def test_forgetting_a_person_removes_the_entry(box):
    await box.engine.suppression_list.add(CHANGE, BOB)
    found = await box.engine.forget("BOB@example.net", box.audit.forget)
    assert found["suppression_entries"] == 1
    assert await refused(box) is None
    assert not (await box.engine.suppression_list.explain(BOB))["listed"]


async def test_five_soft_bounces_of_bulk_mail_ask_the_recipient_once(box):
    engine, news = box.engine, "login:news"
    await bulk(box, news)
    engine.confirming.configure(
        "https://mail.example.org/alive",
        lambda address, link, message_id, when: confirmation(
            address, link, sender="m@example.org", hostname="shaper.test",
            language="fr", days=30, when=when, message_id=message_id,
        ),
    )  # fmt: skip
    engine.suppression.settings = SuppressionSettings(
        rules=Rules(), confirm_url="https://mail.example.org/alive"
    )
    for _ in range(5):
        assert await refused(box, login="news") is None
        await engine.suppression.note(outcome(Meaning.TEMPORARY), news)
        box.now += DAY
    reply = await refused(box, login="news")
    assert "https://mail.example.org/alive" in reply.text
    assert await refused(box, login="alice") is None
    await engine.suppression.note(outcome(Meaning.TEMPORARY), news)
    await box.advance(60)
    (mail,) = [t for t in box.hop.transactions if t.recipients == [BOB]]
    assert mail.sender == ""
    text = mail.content.decode()
    assert "Content-Language: fr" in text
    assert BOB not in text
    token = text.partition("?t=")[2].split()[0]
    assert not await engine.confirming.confirm("A" * 48)
    assert await engine.confirming.confirm(token)
    assert await refused(box, login="news") is None
    assert await engine.confirming.confirm(token)  # pressed twice
    box.now += 31 * DAY
    assert not await engine.confirming.confirm(token)


async def test_a_link_does_not_lift_what_an_operator_entered(box):
    engine = box.engine
    await engine.suppression_list.add(CHANGE, BOB)
    token = engine.confirming.link(BOB, box.now).partition("?t=")[2]
    assert await engine.confirming.confirm(token)
    assert await refused(box)


async def test_rcpt_is_answered_in_order_and_the_others_go_on(box):
    await box.engine.suppression.note(outcome(Meaning.DEAD_ADDRESS), ALICE)
    box.hop.on("rcpt", "550 5.1.1 nobody", match="no@example.net")
    ingress = Ingress(
        IngressSettings("shaper.test"),
        box.engine.gate,
        box.forwarder,
        clock=box.clock,
        recipients=box.engine.suppression,
    )
    await ingress.listen("127.0.0.1", 0)
    port = ingress.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    rcpts = ("a@example.net", BOB, "no@example.net", BOB, "b@example.net")
    lines = ["EHLO mta", "MAIL FROM:<alice@example.org>"]
    lines += [f"RCPT TO:<{address}>" for address in rcpts]
    lines += ["DATA"]
    writer.write("".join(f"{line}\r\n" for line in lines).encode())
    codes = []
    while not codes or codes[-1] != "354":
        line = (await reader.readline()).decode()
        if line[3] == " ":
            codes.append(line[:3])
    assert codes[2:] == ["250", "250", "550", "550", "550", "250", "354"]
    writer.write(b"Subject: x\r\n\r\nhi\r\n.\r\n")
    assert (await reader.readline()).startswith(b"250")
    writer.write(b"MAIL FROM:<alice@example.org>\r\nRCPT TO:<" + BOB.encode())
    writer.write(b">\r\nDATA\r\nQUIT\r\n")
    rest = (await reader.read()).decode().splitlines()
    assert [line[:3] for line in rest if line[3] == " "] == ["250", "550", "554", "221"]
    await ingress.stop(0)
    writer.close()
    (sent,) = box.hop.transactions
    assert sent.recipients == ["a@example.net", "b@example.net"]
    record, _ = await box.engine.senders.read("from:alice@example.org")
    # Three attempts at a suppressed address, and one that the next hop refused:
    # the refusals of our own are not counted again as bounces.
    assert record.profile.bad + record.profile.good > 0
    assert box.engine.suppression.refused == 3


async def test_what_the_next_hop_says_of_a_recipient_lists_it(box):
    gone = Reply(550, ("5.1.1 <bob@example.net> User unknown",), Phase.RCPT)
    full = Reply(552, ("5.2.2 mailbox full",), Phase.RCPT)
    policy = Reply(550, ("5.7.1 message refused",), Phase.RCPT)
    said = {BOB: gone, "full@example.net": full, "spam@example.net": policy}
    await box.offer(ALICE, ["carol@example.net"], refused=said)
    await box.engine.outcomes.flush()
    assert await refused(box, login="alice")
    assert await refused(box, "spam@example.net", login="alice") is None
    told = await box.engine.suppression_list.explain(BOB)
    assert told["text"].endswith("User unknown")
    assert told["why"] == "dead"


async def test_greylisting_and_rate_limits_say_nothing_about_a_mailbox(box):
    listed = box.engine.suppression
    limited = outcome(Meaning.TEMPORARY, rule="greylisted")
    await listed.note(limited, ALICE)
    assert await refused(box) is None
    assert (await listed.read(BOB))[0] is None


async def test_a_change_that_the_others_were_not_told_of_holds_here(box, monkeypatch):
    listed = box.engine.suppression

    async def away(_):
        raise StateUnavailableError("gone")

    await listed.refresh()
    with monkeypatch.context() as patch:
        patch.setattr(listed.store, "_tell", away)
        await listed.note(outcome(Meaning.DEAD_ADDRESS), ALICE)
    await listed.refresh()
    assert (await refused(box)).code == 550
