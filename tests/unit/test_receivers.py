"""Names of receivers, and when one of them is said to refuse this host."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shaper.core.receivers import GROUPS, Window, group, receiver

HOUR = 3600.0


@pytest.mark.parametrize(
    ("address", "host", "name"),
    [
        ("x@gmail.com", "", "google"),
        ("X@GMAIL.COM", "", "google"),
        ("x@yahoo.co.uk", "", "yahoo"),
        ("x@hotmail.it", "", "microsoft"),
        (
            "a@corp.example",
            "corp.mail.protection.outlook.com[192.0.2.1]:25",
            "microsoft",
        ),
        ("a@shop.example", "dns; mx1.mail.ovh.net", "ovh"),
        ("a@sub.orange.fr", "", "orange"),
        ("wanadoo.fr", "", "orange"),
        ("x@free.fr", "mx1.free.fr", "free"),
        ("x@163.com", "", "netease"),
        ("x@notgmail.com", "", "other"),
        ("x@live.example.com", "", "other"),
        ("x@gmail.com.evil.example", "", "other"),
        ("x@[192.0.2.1]", "127.0.0.1[127.0.0.1]:25", "other"),
        ("", "", "other"),
    ],
)
def test_group(address: str, host: str, name: str) -> None:
    assert group(address, host) == name


def test_others_are_counted_by_their_registered_domain() -> None:
    assert receiver("a@mail.example.co.uk") == "example.co.uk"
    assert receiver("a@one.example.org") == receiver("b@two.example.org")
    assert receiver("", "mx.example.org[192.0.2.1]:25") == "example.org"
    assert receiver("", "") == ""


@given(st.text(max_size=300), st.text(max_size=300))
@settings(max_examples=200, deadline=None)
def test_every_text_has_one_of_few_names(address: str, host: str) -> None:
    assert group(address, host) in GROUPS
    receiver(address, host)


def _refuse(window: Window, sender: str, now: float, *, innocent: bool = True) -> bool:
    return window.refused(
        sender,
        innocent=innocent,
        text=f"no, {sender}",
        now=now,
        length=HOUR,
        alarm_at=3,
        senders_at=2,
    )


def test_alarm_needs_messages_and_innocent_senders() -> None:
    window = Window()
    assert not _refuse(window, "login:a", 1.0)
    assert not _refuse(window, "login:a", 2.0)
    assert not _refuse(window, "login:a", 3.0)  # one sender only
    assert not _refuse(window, "login:thief", 4.0, innocent=False)
    assert _refuse(window, "login:b", 5.0)
    assert window.open
    assert (window.since, window.messages) == (1.0, 5)
    assert window.senders == {"login:a", "login:b"}
    assert window.text == "no, login:b"
    assert not _refuse(window, "login:c", 6.0)  # told once
    assert window.messages == 6


def test_old_refusals_do_not_count() -> None:
    window = Window()
    _refuse(window, "login:a", 0.0)
    _refuse(window, "login:b", 1.0)
    assert not _refuse(window, "login:c", HOUR + 2.0)


def test_it_ends_after_a_quiet_window_with_a_delivery() -> None:
    window = Window()
    for number, sender in enumerate("abc"):
        _refuse(window, sender, 10.0 + number)
    assert not window.over(12.0 + HOUR, HOUR)  # nothing was delivered
    window.accepted(11.0)  # before the last refusal: another of its hosts
    assert not window.over(12.0 + HOUR, HOUR)
    window.accepted(13.0)
    assert not window.over(11.0 + HOUR, HOUR)
    assert window.over(12.0 + HOUR, HOUR)
    window.close()
    assert not window.open
    assert not _refuse(window, "a", 20.0 + HOUR)


def test_it_ends_when_nothing_was_heard_for_ten_windows() -> None:
    window = Window()
    for sender in "abc":
        _refuse(window, sender, 10.0)
    assert not window.over(9.0 * HOUR, HOUR)
    assert window.over(10.0 + 10.0 * HOUR, HOUR)


_EVENTS = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.booleans(), st.floats(0.0, 10.0 * HOUR)),
    max_size=60,
)


@given(_EVENTS)
@settings(max_examples=100, deadline=None)
def test_the_window_agrees_with_plain_counting(
    events: list[tuple[str, bool, float]],
) -> None:
    window = Window()
    seen: list[tuple[float, str]] = []
    for sender, innocent, now in sorted(events, key=lambda e: e[2]):
        alarmed = _refuse(window, sender, now, innocent=innocent)
        if window.open and not alarmed:
            break
        seen.append((now, sender if innocent else ""))
        recent = [(at, who) for at, who in seen if at > now - HOUR]
        expected = len(recent) >= 3 and len({w for _, w in recent if w}) >= 2
        assert alarmed is expected
        if alarmed:
            break
