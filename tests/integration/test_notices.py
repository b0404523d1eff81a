"""Notices of a real engine: once, in time, never a flood; digest and owner."""

import email
from dataclasses import replace
from datetime import UTC
from email import policy

import pytest

from shaper.core.evidence import weigh
from shaper.core.judgement import Transition
from shaper.core.profile import Profile
from shaper.core.record import Run
from shaper.core.state import Event, State
from shaper.engine.digest import Digest
from shaper.notify.mail import Composer, NoticeSettings
from tests.support.engine import EngineBox

ADMIN = "admin@example.org"
THIEF = "login:thief"


@pytest.fixture
async def box(redis_url, tmp_path):
    async with EngineBox(redis_url, tmp_path) as engine_box:
        yield engine_box


def mails(box):
    parse = email.message_from_bytes
    return [
        parse(t.content, policy=policy.default)
        for t in box.hop.transactions
        if ADMIN in t.recipients
    ]


async def send_all(box):
    for _ in range(60):
        await box.upkeep.store()
        if not await box.step():
            return


async def test_the_admins_are_told_within_a_minute_of_the_alarm(box):
    while await box.state(THIEF) == "normal":
        box.now += 1
        await box.offer(THIEF, [f"s{box.now}@example.net"])
    alarmed = box.now
    while not mails(box):
        box.now += 1  # what upkeep and trickle do each second
        await box.upkeep.store()
        await box.step()
    assert box.now - alarmed < 60
    (mail,) = mails(box)
    (case,) = box.engine.casebook.all()
    assert mail["Message-ID"] == f"<{case.id}@shaper.test>"
    assert "1 message to 1 recipient" in mail.get_content()  # held now


async def test_fifty_accounts_within_an_hour_are_a_bounded_number_of_mails(box):
    evidence = evidence_at(box)
    for number in range(50):
        box.now += 60
        slow(box, f"login:user{number}", f"c{number}", evidence)
        await send_all(box)
    for _ in range(11):
        box.now += 60
        await send_all(box)
    found = mails(box)
    assert 20 < len(found) <= 20 + 6
    told = "\n".join(str(mail["Subject"]) + mail.get_content() for mail in found)
    for number in range(50):
        assert f"login:user{number}" in told
    assert not any(case.untold for case in box.engine.casebook.all())
    await box.crash()
    box.now += 5
    await send_all(box)
    assert len(mails(box)) == len(found)


async def test_all_at_once_is_told_at_once_in_one_mail_more(box):
    evidence = evidence_at(box)
    for number in range(50):
        slow(box, f"login:user{number}", f"c{number}", evidence)
    await send_all(box)
    assert len(mails(box)) == 21
    assert "30 accounts" in mails(box)[-1]["Subject"]


async def test_two_instances_tell_once(redis_url, tmp_path):
    async with (
        EngineBox(redis_url, tmp_path) as one,
        EngineBox(redis_url, tmp_path, hop=one.hop, instance="two") as two,
    ):
        evidence = evidence_at(one)
        slow(one, THIEF, "c1", evidence)
        slow(two, THIEF, "c1", evidence)
        await send_all(one)
        await send_all(two)
        assert len(mails(one)) == 1


async def test_the_owner_is_told_once_when_the_account_is_blocked(box):
    owner = "alice@example.org"
    box.engine.notices.compose = composer(owner=True)
    evidence = evidence_at(box)
    slow(box, f"login:{owner}", "c1", evidence)
    slow(box, "login:bob", "c2", evidence)
    await send_all(box)
    assert owner not in box.delivered()
    box.now += 60
    block(box, f"login:{owner}", "c1", evidence)
    block(box, "login:bob", "c2", evidence)
    await send_all(box)
    await box.crash()
    box.engine.notices.compose = composer(owner=True)
    box.now += 60
    block(box, f"login:{owner}", "c1", evidence)
    await send_all(box)
    assert box.delivered().count(owner) == 1


async def test_the_digest_comes_once_each_morning_while_something_is_open(box):
    box.now = 1_800_000_000.0 // 86400 * 86400 + 7 * 3600 + 29 * 60  # 07:29 UTC
    box.engine.digest = Digest(box.engine, "07:30", UTC)

    async def pass_(seconds):
        box.now += seconds
        await box.engine.digest.round()
        await send_all(box)
        return [m for m in mails(box) if "open case" in m["Subject"]]

    assert await pass_(60) == []  # nothing is open
    evidence = evidence_at(box)
    slow(box, THIEF, "c1", evidence)
    await box.upkeep.store()
    assert await pass_(3600) == []  # the notice told of it just now
    assert len(await pass_(86400 - 3600)) == 1
    assert len(await pass_(60)) == 1
    await box.crash()
    box.engine.digest = Digest(box.engine, "07:30", UTC)
    box.engine.digest.restore(
        line for line in box.audit.replay() if line["event"] == "told"
    )
    assert len(await pass_(60)) == 1
    assert len(await pass_(12 * 3600)) == 1  # an evening makes up for no morning
    found = await pass_(86400 - 12 * 3600)
    assert len(found) == 2
    assert "mailshaper show c1" in found[0].get_content()


def composer(**over):
    settings = NoticeSettings((ADMIN,), "mailshaper@shaper.test", zone=UTC)
    return Composer(replace(settings, **over), "shaper.test")


def evidence_at(box):
    """Return what the detector says of somebody who only writes to strangers."""
    profile = Profile.new(box.now, "login")
    for number in range(30):
        found = weigh(profile, box.context.model, [number], box.now + number)
    return found


def move(box, sender, case_id, transition):
    run = Run(box.now - 60, 4, 7, box.now)
    box.engine.casebook.transition(case_id, sender, run, transition)


def slow(box, sender, case_id, evidence):
    transition = Transition(Event.ALARM, State.NORMAL, State.SLOWED, box.now, evidence)
    move(box, sender, case_id, transition)


def block(box, sender, case_id, evidence):
    transition = Transition(
        Event.SEVERE, State.SLOWED, State.BLOCKED, box.now, evidence
    )
    move(box, sender, case_id, transition)
