"""Logs, bounces and instances tell of outcomes in any order; the end is the same."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from shaper.core.digests import Digests
from shaper.core.outcome import Meaning
from shaper.core.suppression import Entry, Event, Rules, note, verdict

T = 1_800_000_000.0
HOUR = 3600.0

events = st.builds(
    Event,
    st.sampled_from([Meaning.DEAD_ADDRESS, Meaning.TEMPORARY, Meaning.DELIVERED]),
    st.booleans(),
    st.integers(0, 24 * 60).map(lambda hour: T + hour * HOUR),
)


def end(entry, told):
    for event, bulk in told:
        entry = note(entry, "a@b.example", event, bulk=bulk, now=T + 90 * 24 * HOUR)
    return entry


@given(st.data())
def test_the_order_of_outcomes_changes_nothing(data):
    told = data.draw(st.lists(st.tuples(events, st.booleans()), max_size=40))
    shuffled = data.draw(st.permutations(told))
    # An address that is known already: deliveries to others are not kept at all.
    start = Entry("a@b.example", dead=(T - HOUR,))
    one, other = end(start, told), end(start, shuffled)
    for name in ("dead", "soft", "bulk", "lifted", "placed"):
        assert getattr(one, name) == getattr(other, name)
    for hours, bulk in itertools.product((0, 100, 2000), (True, False)):
        now = T + hours * HOUR
        found = [
            verdict(e, bulk=bulk, now=now, rules=Rules()).action for e in (one, other)
        ]
        assert found[0] is found[1]


@given(st.lists(st.tuples(events, st.booleans()), max_size=20))
def test_an_outcome_that_is_told_twice_counts_once(told):
    assert end(None, [*told, *told]) == end(end(None, told), told)
    once = end(Entry("a@b.example", dead=(T - HOUR,)), told)
    assert end(once, told) == once


@given(st.lists(st.tuples(events, st.booleans()), max_size=30))
def test_an_entry_comes_back_from_its_stored_form(told):
    entry = end(None, told)
    assert entry is None or Entry.from_json(entry.to_json()) == entry


@given(
    st.sets(st.integers(0, 2**64 - 1), max_size=50),
    st.lists(st.tuples(st.booleans(), st.integers(0, 60)), max_size=60),
)
def test_digests_are_a_set(start, changes):
    digests, model = Digests(start), set(start)
    pool = [*sorted(start), *range(61)]
    for add, at in changes:
        number = pool[at % len(pool)]
        (digests.add if add else digests.discard)(number)
        (model.add if add else model.discard)(number)
    assert len(digests) == len(model)
    assert all((number in digests) == (number in model) for number in pool)
