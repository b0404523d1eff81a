"""Contact memory: familiarity by age, bounded size, nothing to turn back."""

import random

import pytest

from shaper.core.contacts import CAPACITY, Contacts, contact_hash

DAY = 86400.0
START = 1_700_000_000.0


def at(now, *added):
    contacts = Contacts(epoch=int(now // 21600))
    contacts.add(added)
    return contacts


@pytest.mark.parametrize(
    ("days", "tier"), [(0, 0), (1, 0), (2, 1), (59, 1), (61, 2), (4000, 2)]
)
def test_familiarity_fades_with_time(days, tier):
    contacts = at(START, 7)
    contacts.elapse(START + days * DAY)
    assert contacts.tier(7) == tier
    assert contacts.tier(8) == 3


def test_writing_again_refreshes():
    contacts = at(START, 7)
    contacts.elapse(START + 50 * DAY)
    contacts.add([7])
    contacts.elapse(START + 100 * DAY)
    assert contacts.tier(7) == 1
    assert len(contacts) == 1


def test_two_entries_do_not_make_a_third():
    """A mark that lies astride two entries is nobody's."""
    contacts = at(START, 0x0201, 0x0403)
    assert contacts.tier(0x0302) == 3
    assert contacts.tier(0x0403) == 0


def test_a_found_mark_astride_hides_no_real_one():
    contacts = at(START, 0x0201, 0x0403, 0x0302)
    assert contacts.tier(0x0302) == 0


def test_memory_is_bounded_and_drops_the_longest_unused():
    contacts = at(START, 1)
    contacts.elapse(START + DAY)
    contacts.add(range(2, CAPACITY + 2))
    assert len(contacts) == CAPACITY
    assert contacts.tier(1) == 3
    assert contacts.tier(CAPACITY + 1) == 0


def test_forgetting_a_run_keeps_what_was_known_before():
    contacts = at(START, 1, 2)
    contacts.mark = len(contacts)
    contacts.add([2, 3, 4])
    contacts.forget_run()
    assert [contacts.tier(i) for i in (1, 2, 3, 4)] == [0, 0, 3, 3]


def test_strangers_are_rarely_taken_for_friends():
    rng = random.Random(5)
    contacts = at(START, *(rng.getrandbits(64) for _ in range(500)))
    wrong = sum(contacts.tier(rng.getrandbits(64)) < 3 for _ in range(10_000))
    assert wrong < 150  # 500 of 65,536 marks are taken: 76 are expected


def test_a_step_back_of_the_clock_ages_nothing():
    contacts = at(START, 7)
    contacts.elapse(START - 100 * DAY)
    assert contacts.tier(7) == 0


def test_hash_is_keyed_and_folds_case():
    assert contact_hash(b"k", "Ann@Example.org") == contact_hash(
        b"k", "ann@example.org"
    )
    assert contact_hash(b"k", "ann@example.org") != contact_hash(
        b"l", "ann@example.org"
    )
    assert 0 <= contact_hash(b"", "x") < 2**64
