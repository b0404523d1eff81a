"""A receiver that refuses this host is told once, and its end too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from shaper.core.outcome import Kind, Meaning, Outcome
from shaper.core.receivers import ReceiverTrouble
from shaper.engine.receivers import NEXT_HOP, ReceiverRules
from shaper.notify.mail import Composer, NoticeSettings
from tests.support.engine import EngineBox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

_TEXT = "550 5.7.1 Service refused \x1b[31m"


@pytest.fixture
async def box(redis_url: str, tmp_path: Path) -> AsyncIterator[EngineBox]:
    async with EngineBox(redis_url, tmp_path) as made:
        settings = NoticeSettings(("admin@example.org",), "shaper@example.org", "fr")
        made.engine.notices.compose = Composer(settings, "mx.example.org")
        yield made


def refusal(box: EngineBox, recipient: str, kind: Kind = Kind.LOG) -> Outcome:
    return Outcome(
        kind, Meaning.HOST_REFUSED, recipient, diagnostic=_TEXT, time=box.now
    )


async def refuse(box: EngineBox, *senders: str, kind: Kind = Kind.LOG) -> None:
    for number, sender in enumerate(senders):
        outcome = refusal(box, f"r{number}@orange.fr", kind)
        await box.engine.receivers.note(outcome, sender)
    await box.engine.receivers.tell()


def notices(box: EngineBox) -> list[str]:
    return [m.id for m in box.engine.held.all() if m.notice]


def names(troubles: list[ReceiverTrouble]) -> list[str]:
    return [one.receiver for one in troubles]


async def test_refusals_of_two_innocent_senders_are_told_once(box: EngineBox) -> None:
    await refuse(box, "login:a", "login:a", "login:b")
    await refuse(box, "login:c", "login:d")
    [trouble] = box.engine.receivers.open()
    assert (trouble.receiver, trouble.messages, trouble.senders) == ("orange", 5, 4)
    assert "\x1b" not in trouble.text
    assert len(notices(box)) == 1


async def test_one_sender_alone_is_no_trouble_of_the_host(box: EngineBox) -> None:
    await refuse(box, *["login:a"] * 10)
    assert not box.engine.receivers.open()
    assert not notices(box)


async def test_a_blocked_sender_is_not_innocent(box: EngineBox) -> None:
    box.engine.senders.known["login:thief"] = {"state": "blocked", "since": 0.0}
    await refuse(box, *["login:thief"] * 5, "login:a")
    assert not box.engine.receivers.open()


async def test_forged_bounces_that_match_nothing_sent_count_nothing(
    box: EngineBox,
) -> None:
    await refuse(box, *[""] * 10)
    assert not box.engine.receivers.open()


async def test_the_next_hop_refuses_under_its_own_name(box: EngineBox) -> None:
    await refuse(box, "login:a", "login:b", "login:c", kind=Kind.REPLY)
    assert names(box.engine.receivers.open()) == [NEXT_HOP]
    box.now += ReceiverRules().window
    taken = Outcome(Kind.REPLY, Meaning.DELIVERED, "x@orange.fr")
    await box.engine.receivers.note(taken, "login:a")
    await box.engine.receivers.tell()
    assert not box.engine.receivers.open()


async def test_it_ends_with_a_quiet_window_and_a_delivery(box: EngineBox) -> None:
    await refuse(box, "login:a", "login:b", "login:c")
    box.now += 1800.0
    delivered = Outcome(Kind.LOG, Meaning.DELIVERED, "x@wanadoo.fr", time=box.now)
    await box.engine.receivers.note(delivered, "login:a")
    await box.engine.receivers.tell()
    assert names(box.engine.receivers.open()) == ["orange"]
    box.now += 1800.0
    await box.engine.receivers.tell()
    assert not box.engine.receivers.open()
    assert len(notices(box)) == 2  # the beginning and the end
    [row] = box.engine.receivers.rows()
    assert row["ended"] == box.now


async def test_an_old_refusal_read_again_is_no_news(box: EngineBox) -> None:
    outcome = refusal(box, "x@orange.fr")
    box.now += ReceiverRules().window + 1.0
    for sender in ("login:a", "login:b", "login:c"):
        await box.engine.receivers.note(outcome, sender)
    assert not box.engine.receivers.open()


async def test_open_trouble_survives_a_crash_and_is_not_told_again(
    box: EngineBox,
) -> None:
    await refuse(box, "login:a", "login:b", "login:c")
    await box.crash()
    [trouble] = box.engine.receivers.open()
    assert (trouble.receiver, trouble.senders) == ("orange", 3)
    await box.engine.receivers.tell()
    told = [line for line in box.audit.replay() if line["event"] == "receiver"]
    assert len(told) == 1


@pytest.mark.parametrize("language", ["en", "fr"])
def test_the_mail_says_who_what_and_what_to_type(language: str) -> None:
    trouble = ReceiverTrouble("receiver.x.1", "x'.test", 1.0, 2.0, 3, 2, "550 no")
    settings = NoticeSettings(("a@example.org",), "s@example.org", language)
    envelope, content = Composer(settings, "mx.example.org").trouble(trouble, 5.0)
    assert envelope.recipients[0].address == "a@example.org"
    text = content.decode()
    assert "mailshaper receivers" in text
    assert "550 no" in text
