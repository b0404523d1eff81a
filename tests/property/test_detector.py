"""What must hold of the detector whatever is sent, whenever, and stored."""

import math
from itertools import pairwise

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from shaper.core.evidence import (
    Evidence,
    Level,
    OutcomeKind,
    acquit,
    convict,
    familiarity,
    learn,
    record_outcome,
    sentence,
    standing,
    weigh,
)
from shaper.core.judgement import Rules, judge, review
from shaper.core.model import Model
from shaper.core.networks import FRESH
from shaper.core.profile import Profile
from shaper.core.record import Record

MODEL = Model.default()
START = 1_700_000_000.0

recipients = st.lists(st.integers(0, 2**64 - 1), max_size=30)
gaps = st.floats(0, 5e5)
history = st.lists(st.tuples(gaps, recipients), max_size=25)


def lived(sendings, start=START):
    """Return a profile that sent all this normally, and the time it is then."""
    profile = Profile.new(start, "login")
    now = start
    for gap, whom in sendings:
        now += gap
        weigh(profile, MODEL, whom, now)
        learn(profile, MODEL, whom, now)
    return profile, now


def copy(profile):
    return Profile.decode(profile.encode())


def share(evidence):
    return evidence.total / evidence.limits[1]


@given(history, st.lists(recipients, min_size=1, max_size=20), st.integers(0, 19))
def test_more_spam_is_never_less_evidence(past, spam, extra):
    """At every moment, and with a further message slipped in anywhere."""
    profile, now = lived(past)
    fewer, more = copy(profile), copy(profile)
    before = share(standing(fewer, MODEL, now))
    for i, whom in enumerate(spam):
        a = share(weigh(fewer, MODEL, whom, now))
        if i == extra % len(spam):
            weigh(more, MODEL, [2**63 + i], now)
        b = share(weigh(more, MODEL, whom, now))
        assert a >= before
        before = a
        if i >= extra % len(spam):
            assert b >= a * (1 - 1e-9)


@given(history, st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=40))
def test_more_recipients_are_never_less_evidence(past, whom):
    profile, now = lived(past)
    few, many = copy(profile), copy(profile)
    a = weigh(few, MODEL, whom[:1], now)
    b = weigh(many, MODEL, whom, now)
    # The buckets that count recipients; one message to many is one surprise in
    # the others, whose cost depends on the least familiar.
    assert b.parts[7].value >= a.parts[7].value
    assert b.parts[8].value >= a.parts[8].value
    assert b.parts[9].value >= a.parts[9].value


@given(history, gaps, gaps)
def test_time_alone_only_lowers_evidence(past, first, second):
    profile, now = lived(past)
    totals = [
        [p.value for p in standing(profile, MODEL, when).parts]
        for when in (now, now + first, now + first + second)
    ]
    for earlier, later in pairwise(totals):
        assert all(b <= a for a, b in zip(earlier, later, strict=True))


@given(history, history)
def test_the_order_of_independent_senders_does_not_matter(ours, theirs):
    alone, _ = lived(ours)
    other, _ = lived(theirs)
    mixed_a, mixed_b = Profile.new(START, "login"), Profile.new(START, "login")
    events = [(0, e) for e in _timed(theirs)] + [(1, e) for e in _timed(ours)]
    for who, (now, whom) in sorted(events, key=lambda e: e[1][0]):
        profile = mixed_b if who == 0 else mixed_a
        weigh(profile, MODEL, whom, now)
        learn(profile, MODEL, whom, now)
    assert mixed_a == alone
    assert mixed_b == other


def _timed(sendings):
    now = START
    out = []
    for gap, whom in sendings:
        now += gap
        out.append((now, whom))
    return out


@given(history)
def test_a_stored_profile_comes_back_the_same(past):
    profile, now = lived(past)
    stored = profile.encode()
    back = Profile.decode(stored)
    assert back.encode() == stored
    assert back == profile
    a, b = standing(profile, MODEL, now + 60), standing(back, MODEL, now + 60)
    assert math.isclose(a.total, b.total, rel_tol=1e-5, abs_tol=1e-9)


@given(history, recipients)
def test_equal_inputs_give_equal_evidence_and_it_can_be_kept(past, whom):
    profile, now = lived(past)
    stored = profile.encode()
    first, second = Profile.decode(stored), Profile.decode(stored)
    a, b = weigh(first, MODEL, whom, now), weigh(second, MODEL, whom, now)
    assert a == b
    assert first.encode() == second.encode()
    assert Evidence.from_json(a.to_json()) == a
    assert sentence(a) == sentence(Evidence.from_json(b.to_json()))


@given(history, st.lists(st.floats(allow_nan=True), min_size=1, max_size=10))
def test_no_clock_breaks_or_inflates(past, clocks):
    profile, now = lived(past)
    start = [p.value for p in standing(profile, MODEL, now).parts]
    for clock in clocks:
        evidence = standing(profile, MODEL, clock)
        assert all(p.value <= s for p, s in zip(evidence.parts, start, strict=True))
        assert math.isfinite(evidence.total)
    days = profile.days
    for clock in [*clocks, now]:
        evidence = weigh(profile, MODEL, [1], clock)
        assert math.isfinite(evidence.total)
        learn(profile, MODEL, [1], clock)
        familiarity(profile, [1], clock)
    # A clock that dances makes no days: each call ends one at most.
    assert profile.days <= days + 2 * len(clocks) + 2
    assert Profile.decode(profile.encode()) == profile


@given(st.binary(max_size=700))
def test_garbage_is_no_profile(raw):
    with pytest.raises(ValueError, match="stored profile"):
        Profile.decode(raw)


@given(history, st.data())
def test_damaged_profiles_are_refused_or_harmless(past, data):
    profile, now = lived(past)
    raw = bytearray(profile.encode())
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    try:
        damaged = Profile.decode(bytes(raw))
    except ValueError:
        return
    evidence = weigh(damaged, MODEL, [1, 2], now)
    assert not math.isnan(evidence.total)
    learn(damaged, MODEL, [1, 2], now)
    assert damaged.encode()


@given(history, st.sampled_from(OutcomeKind), st.integers(-5, 10**6))
def test_outcomes_keep_everything_finite(past, kind, count):
    profile, now = lived(past)
    before = standing(profile, MODEL, now)
    after = record_outcome(profile, MODEL, kind, count, now)
    assert math.isfinite(after.total)
    if kind in {OutcomeKind.HARD_BOUNCE, OutcomeKind.COMPLAINT} and count > 0:
        assert share(after) >= share(before)
    assert Profile.decode(profile.encode()) == profile


@given(history, st.lists(recipients.filter(bool), min_size=1, max_size=40))
@example(
    past=[(0.0, list(range(first, first + 9))) for first in (1, 11, 21)], spam=[[1]]
)
def test_a_verdict_clears_and_conviction_unlearns(past, spam):
    profile, now = lived(past)
    assume(standing(profile, MODEL, now + 10 * 86400).level is Level.NONE)
    now += 10 * 86400
    # The day of an alarm that has faded ends with the next mail that passes.
    learn(profile, MODEL, [], now)
    tiers = list(profile.tiers)
    innocent, thief = copy(profile), copy(profile)
    for other in (innocent, thief):
        for i, whom in enumerate(spam):
            if weigh(other, MODEL, whom, now + i).level < Level.SLOW:
                learn(other, MODEL, whom, now + i)
    end = now + len(spam)
    acquit(innocent, MODEL, end)
    convict(thief, MODEL, end)
    assert standing(innocent, MODEL, end).total == 0
    assert standing(thief, MODEL, end).total == 0
    assert not thief.flagged
    assert thief.tiers == tiers
    assert not any(thief.today)


networks = st.integers(0, 0xFFFF)


@given(
    history,
    st.lists(st.tuples(recipients, networks), min_size=1, max_size=20),
    st.integers(0, 19),
    networks,
)
def test_more_spam_from_anywhere_is_never_less_evidence(past, spam, extra, network):
    """Also where the further message comes from a network of its own."""
    profile, now = lived(past)
    fewer, more = copy(profile), copy(profile)
    for i, (whom, place) in enumerate(spam):
        a = share(weigh(fewer, MODEL, whom, now, place))
        if i == extra % len(spam):
            weigh(more, MODEL, [2**63 + i], now, network)
        b = share(weigh(more, MODEL, whom, now, place))
        if i >= extra % len(spam) and len(more.networks.fresh) < 2 * FRESH:
            assert b >= a * (1 - 1e-9)


@given(history, st.lists(st.integers(1, 40), min_size=2, max_size=8))
def test_many_short_lists_are_never_less_than_their_first(past, sizes):
    """The bucket of repeated lists only grows while lists go on."""
    profile, now = lived(past)
    stranger, before = 2**62, 0.0
    for n, size in enumerate(sizes):
        whom = range(stranger, stranger + size)
        stranger += size
        part = weigh(profile, MODEL, whom, now).parts[8]
        assert part.value >= before
        before = part.value
        if not past and n == 0:
            assert before == 0


@settings(max_examples=3, deadline=None)
@given(history, st.integers(1, 2**63))
def test_a_hundred_thousand_recipients_break_nothing(past, first):
    profile, now = lived(past)
    whom = range(first, first + 100_000)
    evidence = weigh(profile, MODEL, whom, now)
    assert math.isfinite(evidence.total)
    assert evidence.level >= Level.SLOW
    learn(profile, MODEL, whom, now)
    assert len(profile.encode()) < 5000
    assert Profile.decode(profile.encode()) == profile


@given(
    history,
    st.lists(
        st.tuples(
            st.sampled_from(["send", "review", "bounce"]),
            st.floats(0, 4 * 3600),
            st.lists(st.integers(0, 60), min_size=1, max_size=4),
            networks,
        ),
        max_size=60,
    ),
)
def test_a_slowed_sender_is_let_go_once_a_week_at_most(past, events):
    """Whatever it does; and a record comes back as it was stored at every step."""
    profile, now = lived(past)
    rules = Rules()
    record = Record("login:x", profile, since=now)
    let_go = []
    for what, gap, whom, network in events:
        now += gap
        if what == "send":
            judge(record, MODEL, rules, whom, 1, now, network)
        elif what == "bounce":
            kind = OutcomeKind.HARD_BOUNCE
            record_outcome(record.profile, MODEL, kind, 1, now)
        else:
            caught = record.caught
            if review(record, MODEL, rules, 1, now) and record.eased == now:
                assert caught <= 2 * rules.most_eased
                let_go.append(now)
        stored = record.encode()
        record = Record.decode(stored)
        assert record.encode() == stored
    assert all(b - a >= rules.ease_again for a, b in pairwise(let_go))
