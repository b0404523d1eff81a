"""The detector on small stories: who is slowed, who is not, and what is said."""

import random

import pytest

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
from shaper.core.model import Model
from shaper.core.pace import next_release_after
from shaper.core.profile import Profile

MODEL = Model.default()
HOUR = 3600.0
DAY = 24 * HOUR
MONDAY = 1_700_438_400.0  # midnight, UTC


def office_worker(days=60, seed=1):
    """Four messages a day at office hours, to 30 people, now and then a new one."""
    rng = random.Random(seed)
    profile = Profile.new(MONDAY, "login")
    for day in range(days):
        for i in range(4):
            now = MONDAY + day * DAY + (9 + 2 * i) * HOUR + rng.random() * HOUR
            whom = [rng.randrange(30) if rng.random() < 0.95 else rng.getrandbits(64)]
            assert weigh(profile, MODEL, whom, now).level < Level.SLOW
            learn(profile, MODEL, whom, now)
    return profile, MONDAY + days * DAY


def sent_before_alarm(profile, now, gap, known=None, bounces=0):
    rng = random.Random(2)
    for i in range(3000):
        whom = [rng.choice(known) if known else rng.getrandbits(64)]
        if weigh(profile, MODEL, whom, now + i * gap).level >= Level.SLOW:
            return i
        learn(profile, MODEL, whom, now + i * gap)
        if bounces and i % bounces == 0:
            kind = OutcomeKind.HARD_BOUNCE
            record_outcome(profile, MODEL, kind, 1, now + i * gap + 0.5)
    pytest.fail("never slowed")


def test_a_theft_by_night_is_slowed_within_a_handful():
    profile, end = office_worker()
    assert sent_before_alarm(profile, end + 3 * HOUR, 1.0) <= 5


def test_a_patient_theft_by_day_is_slowed_too():
    profile, end = office_worker()
    assert sent_before_alarm(profile, end + 10 * HOUR, 300.0) <= 40


def test_night_weighs_more_than_day():
    profile, end = office_worker()
    night = sent_before_alarm(Profile.decode(profile.encode()), end + 3 * HOUR, 30.0)
    day = sent_before_alarm(profile, end + 10 * HOUR, 30.0)
    assert night < day


def test_writing_to_friends_only_does_not_hide_a_theft():
    profile, end = office_worker()
    assert sent_before_alarm(profile, end + 3 * HOUR, 60.0, known=range(30)) < 60


def test_bounces_shorten_a_theft():
    profile, end = office_worker()
    without = sent_before_alarm(
        Profile.decode(profile.encode()), end + 10 * HOUR, 300.0
    )
    assert sent_before_alarm(profile, end + 10 * HOUR, 300.0, bounces=4) < without


def test_one_message_to_a_new_list_is_one_surprise():
    profile, end = office_worker()
    evidence = weigh(profile, MODEL, range(10_000, 10_020), end + 10 * HOUR)
    assert evidence.level < Level.SLOW


def test_a_hundred_thousand_recipients_block():
    profile, end = office_worker()
    evidence = weigh(profile, MODEL, range(100_000), end + 10 * HOUR)
    assert evidence.level is Level.BLOCK


def test_a_message_without_recipients_weighs_nothing():
    profile, end = office_worker()
    before = standing(profile, MODEL, end)
    assert weigh(profile, MODEL, [], end) == before


def test_a_slow_ramp_does_not_lift_its_own_limit():
    profile, end = office_worker()
    rng = random.Random(3)
    reached = 0
    for day in range(90):
        count = round(2 * 1.1**day)
        for i in range(count):
            now = end + day * DAY + 9 * HOUR + i * 8 * HOUR / count
            whom = [rng.getrandbits(64)]
            if weigh(profile, MODEL, whom, now).level >= Level.SLOW:
                assert reached <= 300
                return
            learn(profile, MODEL, whom, now)
            reached += 1
    pytest.fail("the ramp was never slowed")


def test_an_innocent_burst_is_learned_from_the_acquittal():
    profile, end = office_worker()
    start = end + 10 * HOUR
    slowed = sent_before_alarm(profile, start, 20.0)
    for i in range(slowed, 60):
        weigh(profile, MODEL, [10**9 + i], start + i * 20)
    acquit(profile, MODEL, start + 2 * HOUR)
    assert standing(profile, MODEL, start + 2 * HOUR).total == 0
    again = start + 7 * DAY
    for i in range(50):
        level = weigh(profile, MODEL, [10**10 + i], again + i * 20).level
        assert level < Level.SLOW
        learn(profile, MODEL, [10**10 + i], again + i * 20)


def test_a_conviction_leaves_the_limits_as_they_were():
    profile, end = office_worker()
    now = end + 3 * HOUR
    standing(profile, MODEL, now)
    limits = [p.limit for p in standing(profile, MODEL, now).parts]
    contacts = len(profile.contacts)
    sent_before_alarm(profile, now, 1.0)
    convict(profile, MODEL, now + HOUR)
    later = standing(profile, MODEL, now + 2 * DAY)
    assert [p.limit for p in later.parts] == pytest.approx(limits)
    assert len(profile.contacts) == contacts


def test_held_mail_teaches_nothing():
    profile, end = office_worker()
    now = end + 3 * HOUR
    sent_before_alarm(profile, now, 1.0)
    contacts, tiers = len(profile.contacts), list(profile.tiers)
    days = profile.days
    for i in range(500):
        weigh(profile, MODEL, [10**12 + i], now + 100 + i * HOUR)
    assert len(profile.contacts) == contacts
    assert profile.tiers == tiers
    assert profile.days == days


def test_evidence_fades_at_the_stated_pace():
    profile, end = office_worker()
    now = end + 10 * HOUR
    weigh(profile, MODEL, [1], now)
    first = standing(profile, MODEL, now).parts[0].value
    later = standing(profile, MODEL, now + 60.0).parts[0].value
    assert later == pytest.approx(first / 2.718281828)


def test_a_suppressed_recipient_counts_as_a_bounce_and_a_soft_failure_does_not():
    totals = {}
    for kind in OutcomeKind:
        profile, end = office_worker(days=5)
        record_outcome(profile, MODEL, kind, 3, end)
        totals[kind] = standing(profile, MODEL, end).total
    assert totals[OutcomeKind.SUPPRESSED_ATTEMPT] == totals[OutcomeKind.HARD_BOUNCE]
    assert totals[OutcomeKind.COMPLAINT] > totals[OutcomeKind.HARD_BOUNCE]
    assert totals[OutcomeKind.SOFT] == totals[OutcomeKind.DELIVERED]


def test_a_sender_that_does_not_exist_is_a_twentieth_of_a_bounce_and_no_bounce():
    found = {}
    for kind in (OutcomeKind.BAD_SENDER, OutcomeKind.HARD_BOUNCE):
        profile, end = office_worker(days=5)
        before = profile.bad
        record_outcome(profile, MODEL, kind, 1, end)
        found[kind] = profile.cusum, profile.bad > before
    little, lost = found[OutcomeKind.BAD_SENDER]
    whole, counted = found[OutcomeKind.HARD_BOUNCE]
    assert 0.0 < little == pytest.approx(whole / 20.0)
    assert (lost, counted) == (False, True)


def test_the_sentence_has_the_numbers():
    profile, end = office_worker()
    for i in range(20):
        evidence = weigh(profile, MODEL, [10**9 + i], end + i)
    text = sentence(evidence)
    part = next(p for p in evidence.parts if p.name == evidence.main)
    assert f"{part.value:.1f}" in text
    assert f"{part.limit:.1f}" in text
    assert sentence(standing(Profile.new(0, "login"), MODEL, 0)) == "Nothing unusual."


@pytest.mark.parametrize(
    "bad", [{}, {"total": 1}, "[]", {"total": 1, "limits": [1], "level": "slow"}]
)
def test_what_is_no_evidence_record_is_refused(bad):
    with pytest.raises(ValueError, match=r"no evidence record|unpack"):
        Evidence.from_json(bad)


def test_friends_leave_the_trickle_before_strangers():
    profile, end = office_worker()
    whom = [[10**9], [5], [5, 10**9]]
    known = [familiarity(profile, w, end) for w in whom]
    assert known[1] > max(known[0], known[2])
    assert known[2] >= known[0]
    assert familiarity(profile, [], end) == 0


def test_the_trickle_lengthens_while_evidence_stays_and_recovers_with_it():
    pauses = [next_release_after(n, 1.0) for n in range(12)]
    assert pauses[:4] == [60.0, 120.0, 240.0, 480.0]
    assert pauses[-1] == 3600.0
    assert next_release_after(10, 0.4) == 60.0
    assert next_release_after(10**9, 1.0) == 3600.0
    # Four hours until the block by time: no more than ten leave.
    spent, released = 60.0, 0
    while spent <= 4 * HOUR:
        released += 1
        spent += next_release_after(released - 1, 1.0)
    assert released <= 10


@pytest.mark.parametrize("pause", [10.0, 60.0])
def test_a_second_list_of_strangers_right_after_the_first_is_held(pause):
    profile, end = office_worker()
    rng = random.Random(3)
    lists = [[rng.getrandbits(64) for _ in range(20)] for _ in range(2)]
    now = end + 10 * HOUR
    first = weigh(profile, MODEL, lists[0], now)
    assert first.level < Level.SLOW
    learn(profile, MODEL, lists[0], now)
    second = weigh(profile, MODEL, lists[1], now + pause)
    assert second.level >= Level.SLOW


def test_one_list_and_some_answers_to_strangers_are_not_repeated_lists():
    profile, end = office_worker()
    rng = random.Random(3)
    now = end + 10 * HOUR
    whom = [rng.getrandbits(64) for _ in range(20)]
    weigh(profile, MODEL, whom, now)
    learn(profile, MODEL, whom, now)
    for n in range(3):
        evidence = weigh(profile, MODEL, [rng.getrandbits(64)], now + 60 * n)
        part = next(p for p in evidence.parts if p.name.startswith("repeated"))
        assert part.value < part.limit / 2
