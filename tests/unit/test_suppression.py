"""When an address is refused, for whom, and what ends it."""

import pytest

from shaper.core.contacts import Contacts
from shaper.core.meaning import Signals, judge
from shaper.core.outcome import Meaning
from shaper.core.profile import Profile
from shaper.core.suppression import (
    BULK,
    MARK,
    Action,
    Entry,
    Event,
    Rules,
    Why,
    bulk_reason,
    fold,
    note,
    probe_due,
    verdict,
)
from shaper.feedback.table import shipped_table

HOUR, DAY = 3600.0, 86400.0
T = 1_800_000_000.0
RULES = Rules()
BOB = "bob@example.net"


def dead(at=T, text="550 5.1.1 User unknown"):
    return Event(Meaning.DEAD_ADDRESS, True, at, "5.1.1", text)


def soft(at=T):
    return Event(Meaning.TEMPORARY, True, at, "5.2.2", "552 mailbox full")


def told(entry, *events, bulk=False, now=T + 400 * DAY):
    for event in events:
        entry = note(entry, BOB, event, bulk=bulk, now=now)
    return entry


def action(entry, *, bulk=False, now=T + HOUR):
    return verdict(entry, bulk=bulk, now=now, rules=RULES).action


def test_a_dead_address_is_refused_to_everybody_at_once():
    entry = told(None, dead())
    assert entry.why is Why.DEAD
    for bulk in (True, False):
        found = verdict(entry, bulk=bulk, now=T + HOUR, rules=RULES)
        assert found.action is Action.REFUSE
        assert found.evidence


@pytest.mark.parametrize(
    ("meaning", "permanent"),
    [
        (Meaning.MESSAGE_REFUSED, True),
        (Meaning.HOST_REFUSED, True),
        (Meaning.UNKNOWN, True),
        (Meaning.COMPLAINT, True),
        (Meaning.TEMPORARY, False),
        (Meaning.DEAD_ADDRESS, False),
        (Meaning.DELIVERED, True),
    ],
)
def test_nothing_else_lists_an_address(meaning, permanent):
    assert told(None, Event(meaning, permanent, T)) is None


def test_our_own_refusal_lists_nothing_and_is_read_as_no_news():
    lines = verdict(told(None, soft()), bulk=False, now=T, rules=RULES).lines
    text = " ".join(lines)
    assert MARK in text
    assert "mailbox full" in text
    assert told(None, dead(text=text)) is None
    meaning = judge(Signals("5.1.1", "550", text), shipped_table())
    assert meaning.meaning is Meaning.MESSAGE_REFUSED


def test_the_reply_tells_reason_time_and_way_out_in_lines_that_smtp_allows():
    entry = told(None, dead(text="550 5.1.1 \x1b[2J" + "é" * 900))
    entry = Entry.from_json(entry.to_json() | {"address": "x'" + "a" * 300 + "@b.c"})
    found = verdict(entry, bulk=False, now=T, rules=RULES)
    assert all(len(line) + len("550-\r\n") <= 512 for line in found.lines)
    assert all(line.startswith("5.1.1 ") and line.isascii() for line in found.lines)
    assert "does not exist, since 2027-01-15" in found.lines[1]
    assert "mailshaper suppress remove" in found.lines[2]


def test_a_soft_bounce_stops_personal_mail_for_a_day_and_is_no_evidence():
    entry = told(None, soft())
    found = verdict(entry, bulk=False, now=T + 23 * HOUR, rules=RULES)
    assert found.action is Action.REFUSE
    assert not found.evidence
    assert "2027-01-16" in found.lines[2]
    assert action(entry, now=T + 24 * HOUR) is Action.PASS
    assert action(entry, bulk=True) is Action.PASS


def test_five_occasions_suppress_for_bulk_senders_only():
    entry = told(None, *(soft(T + n * DAY) for n in range(4)), bulk=True)
    now = T + 10 * DAY
    assert action(entry, bulk=True, now=now) is Action.PASS
    entry = told(entry, soft(T + 4 * DAY), bulk=True)
    assert entry.since(RULES) == T + 4 * DAY
    assert action(entry, bulk=True, now=now) is Action.REFUSE
    assert action(entry, bulk=False, now=now) is Action.PASS


def test_bounces_of_one_evening_are_one_occasion_and_personal_ones_none():
    entry = told(None, *(soft(T + n * 2 * HOUR) for n in range(5)), bulk=True)
    assert entry.occasions() == 1
    entry = told(None, *(soft(T + n * DAY) for n in range(9)), bulk=False)
    assert entry.occasions() == 0


def test_half_a_year_ends_a_series():
    times = (0, 1, 2, 3, 190)
    entry = told(None, *(soft(T + n * DAY) for n in times), bulk=True)
    assert entry.occasions() == 1


def test_a_delivery_lifts_what_was_before_it_whenever_it_is_told():
    entry = told(None, dead(T), soft(T + DAY))
    lifted = told(entry, Event(Meaning.DELIVERED, True, T + 2 * DAY))
    assert lifted.why is Why.LIFTED
    assert action(lifted, now=T + 3 * DAY) is Action.PASS
    assert told(lifted, dead(T + DAY)) is lifted  # a late log
    assert told(lifted, dead(T + 3 * DAY)).why is Why.DEAD
    assert told(entry, Event(Meaning.DELIVERED, True, T - DAY)).why is Why.DEAD


def test_what_a_person_entered_only_a_person_lifts():
    entry = Entry(BOB).place(T, "root", "asked us to", manual=True)
    assert told(entry, Event(Meaning.DELIVERED, True, T + DAY)) is entry
    assert action(entry, now=T + 300 * DAY) is Action.REFUSE  # no probe
    assert entry.lift(T + DAY, "root").why is Why.LIFTED


def test_an_import_yields_to_what_happened_after_it():
    lifted = Entry(BOB).lift(T, "root")
    assert lifted.place(T - DAY, "root", "list", manual=False) is lifted
    again = lifted.place(T + DAY, "root", "list", manual=False)
    assert again.why is Why.IMPORT


def test_probes_go_after_14_28_and_56_days_and_every_56_from_then_on():
    entry, probed = told(None, dead()), []
    for hour in range(300 * 24):
        now = T + hour * HOUR
        if probe_due(entry, T, now):
            probed.append(hour / 24)
            entry = Entry.from_json(entry.to_json() | {"probed": now})
    assert probed == [14, 28, 56, 112, 168, 224, 280]


def test_after_a_long_silence_one_probe_goes_and_not_those_that_were_missed():
    entry, now = told(None, dead()), T + 100 * DAY
    assert action(entry, now=now) is Action.PROBE
    entry = Entry.from_json(entry.to_json() | {"probed": now})
    assert action(entry, now=now + 11 * DAY) is Action.REFUSE
    assert action(entry, now=now + 12 * DAY) is Action.PROBE


def test_a_time_from_the_future_counts_as_now():
    entry = told(None, dead(T + 900 * DAY), now=T)
    assert entry.since(RULES) == T


def test_a_bulk_sender_is_one_that_wrote_to_many_lately():
    profile = Profile.new(T, "login")
    assert not bulk_reason(profile)
    profile.contacts = Contacts(b"xy" * BULK, b"\1" * BULK)
    assert str(BULK) in bulk_reason(profile)
    profile.contacts = Contacts(b"xy" * BULK, b"\xf1" * BULK)  # over two months ago
    assert not bulk_reason(profile)


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Bob@Example.NET", BOB),
        ("<bob@example.net>", BOB),
        ("b.o.b+x@example.net", "b.o.b+x@example.net"),
        ('"b b"@example.net', '"b b"@example.net'),
        ("b\udce9@example.net", "b\udce9@example.net"),
        ("a b@example.net", ""),
        ("bob@example.net\n", BOB),
        ("b\x00b@example.net", ""),
        ("b\u202eb@example.net", ""),
        ("x" * 400 + "@example.net", ""),
        ("", ""),
    ],
)
def test_only_case_is_folded_and_only_addresses_are_kept(text, folded):
    assert fold(text) == folded


@pytest.mark.parametrize(
    "data",
    [None, 1, [], {}, {"v": 2, "address": "a@b"}, {"v": 1}, {"v": 1, "address": ""},
     {"v": 1, "address": "a@b", "dead": 1}, {"v": 1, "address": "a@b", "dead": ["x"]},
     {"v": 1, "address": "a@b", "placed": float("inf")},
     {"v": 1, "address": "a@b", "probes": "x"}],
)  # fmt: skip
def test_anything_but_an_entry_is_a_value_error(data):
    with pytest.raises(ValueError, match="no suppression entry"):
        Entry.from_json(data)


def test_what_a_clock_that_ran_ahead_has_written_can_be_taken_off():
    ahead = T + 400 * DAY
    entry = told(None, dead(ahead)).place(ahead, "root", "x", manual=True)
    freed = entry.free(T, "root: it lives")
    assert (freed.why, freed.lifted) == (Why.LIFTED, T)
    assert action(freed) is Action.PASS
    assert told(freed, dead(T + DAY)).why is Why.DEAD


def test_letters_that_only_look_alike_name_another_mailbox():
    assert fold("A@Stra\N{LATIN SMALL LETTER SHARP S}e.example") != fold(
        "a@strasse.example"
    )
