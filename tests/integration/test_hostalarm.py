"""Many senders that deviate on one day are told of once, and nobody is slowed."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING

import pytest

from shaper.core.host import DEVIATES, HostDay, host_evidence
from shaper.notify.host import _WORDS
from shaper.notify.mail import Composer, NoticeSettings
from tests.support.engine import EngineBox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

MORNING = 1_800_000_000.0 - 1_800_000_000.0 % 86400 + 8 * 3600


@pytest.fixture
async def box(redis_url: str, tmp_path: Path) -> AsyncIterator[EngineBox]:
    async with EngineBox(redis_url, tmp_path, start=MORNING) as made:
        made.engine.host._zone = UTC
        yield made


async def deviate(box: EngineBox, sender: str) -> None:
    """Write to strangers until the sender is past the mark, not past its limit."""
    for number in range(100):
        box.now += 0.1
        await box.offer(sender, [f"{sender[6:]}-{box.now}-{number}@example.net"])
        if sender in box.engine.host._deviating:
            break
    assert DEVIATES <= box.engine.host._deviating[sender] < 1.0


async def day(box: EngineBox, deviating: int, active: int) -> None:
    for number in range(active):
        sender = f"login:s{number}"
        if number < deviating:
            await deviate(box, sender)
        else:
            await box.offer(sender, ["somebody@example.net"])
    await box.engine.host.tell()


def notices(box: EngineBox) -> list[str]:
    return [m.id for m in box.engine.held.all() if m.id.startswith("notice.host")]


def told(box: EngineBox) -> list[str]:
    return [
        line["step"]
        for line in box.audit.replay()
        if line["event"] == "told" and line["case"] == "host"
    ]


async def test_forty_senders_below_their_limits_alarm_once(box: EngineBox) -> None:
    await day(box, 40, 40)
    assert box.engine.host.alarmed
    assert len(notices(box)) == 1
    for _ in range(3):
        await box.engine.host.tell()
    assert told(box) == ["2027-01-15"]
    assert box.control.status()["host_alarm"].startswith("40 of 40 senders")
    assert not box.engine.senders.names("slowed")  # it slows nobody
    [message] = [m for m in box.engine.held.all() if m.id in notices(box)]
    content = b"".join([part async for part in box.spool.read(message.id)]).decode()
    assert content.count("mailshaper explain login:s") == 21  # 20 listed, and one
    assert "mailshaper block login:s" in content


async def test_one_of_forty_is_no_alarm(box: EngineBox) -> None:
    await day(box, 1, 40)
    assert not box.engine.host.alarmed
    assert not notices(box)
    assert box.control.status()["host_alarm"] == ""
    assert 0.0 < box.engine.host.ratio < 1.0


async def test_a_few_active_senders_say_nothing_of_a_host(box: EngineBox) -> None:
    await day(box, 5, 5)
    assert box.engine.host.evidence.alarm  # by the numbers alone
    assert not box.engine.host.alarmed
    assert box.engine.host.ratio == 0.0
    assert not notices(box)


async def test_told_once_over_a_crash_and_the_end_with_the_day(
    box: EngineBox, caplog: pytest.LogCaptureFixture
) -> None:
    await day(box, 20, 20)
    await box.crash()
    box.engine.host._zone = UTC
    assert not box.engine.host.alarmed  # the count begins anew ...
    await day(box, 0, 20)  # ... and evidence that stands is seen at the next message
    assert box.engine.host.evidence.deviating > 10
    assert told(box) == ["2027-01-15"]
    box.now += 86400
    caplog.set_level("INFO")
    await box.engine.host.tell()
    assert told(box) == ["2027-01-15", "2027-01-15.over"]
    assert "2027-01-15 is over" in caplog.text
    assert not box.engine.host.alarmed
    assert box.engine.host.evidence.active == 0


async def test_one_of_two_instances_tells(
    redis_url: str, tmp_path: Path, box: EngineBox
) -> None:
    async with EngineBox(
        redis_url, tmp_path, hop=box.hop, instance="other", start=MORNING
    ) as other:
        other.engine.host._zone = UTC
        await day(box, 20, 20)
        await day(other, 20, 20)
        assert other.engine.host.alarmed
        assert len(notices(box)) == 1
        assert not notices(other)


async def test_a_forgotten_sender_is_in_no_mail(box: EngineBox) -> None:
    await deviate(box, "login:s1")
    box.engine.host.forget("login:s1")
    assert box.engine.host.evidence == host_evidence(0, 0)


async def test_an_allowed_burst_is_nobodys_deviation(box: EngineBox) -> None:
    await box.control.exempt(box.change(), "login:s1", box.now + 3600)
    for number in range(30):
        await box.offer("login:s1", [f"x{number}@example.net"])
    assert box.engine.host.evidence.active == 0


@pytest.mark.parametrize("language", ["en", "fr"])
def test_the_mail_is_in_both_languages(language: str) -> None:
    assert set(_WORDS["en"]) == set(_WORDS["fr"])
    settings = NoticeSettings(("a@example.org",), "s@example.org", language, html=True)
    alarm = HostDay("2027-01-15", host_evidence(5, 25), (("login:a\x1b'b", 0.7),))
    envelope, content = Composer(settings, "mx.example.org").host(alarm, MORNING)
    assert [r.address for r in envelope.recipients] == ["a@example.org"]
    assert b"\x1b" not in content
    assert b"2027-01-15" in content
