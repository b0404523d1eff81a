"""The population model: its stored form, and what a host's history changes."""

import dataclasses
import json
import random

import pytest

from shaper.core.calibration import calibrate
from shaper.core.evidence import learn, weigh
from shaper.core.model import AGES, Model, age_class
from shaper.core.profile import Profile
from shaper.core.rhythm import FLAT, note_day, oddness

SHIPPED = Model.default()
START = 1_700_006_400.0
DAY = 86400.0


def host(senders, days=20, hour=9):
    rng = random.Random(4)
    profiles = []
    for _ in range(senders):
        profile = Profile.new(START, "login")
        for day in range(days):
            now = START + day * DAY + hour * 3600
            whom = [rng.randrange(20)]
            weigh(profile, SHIPPED, whom, now)
            learn(profile, SHIPPED, whom, now)
        profiles.append(profile)
    return profiles


def test_a_model_comes_back_from_storage_the_same():
    model = calibrate(host(3), SHIPPED)
    assert Model.from_json(model.to_json()) == model
    assert Model.from_json(SHIPPED.to_json().encode()) == SHIPPED


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("tiers", [[1, 2]]),
        ("scales", [0, 1, 1, 1]),
        ("scales", [float("nan")] * 4),
        ("watch", 2),
        ("block", 0.5),
        ("hard_bounces", 1),
        ("offsets", None),
        ("factors", [[-1] * 10] * 4),
    ],
)
def test_a_garbled_model_is_refused(key, value):
    data = json.loads(SHIPPED.to_json())
    data[key] = value
    with pytest.raises(ValueError, match="stored detector model"):
        Model.from_json(json.dumps(data))


def test_a_model_that_lacks_a_part_is_refused():
    data = json.loads(SHIPPED.to_json())
    del data["rhythm"]
    with pytest.raises(ValueError, match="rhythm"):
        Model.from_json(json.dumps(data))
    with pytest.raises(ValueError, match="Expecting value"):
        Model.from_json("not json")


def test_without_history_the_shipped_model_stays_and_says_so():
    assert calibrate([], SHIPPED) is SHIPPED
    assert SHIPPED.source == "shipped"
    assert SHIPPED.sender_days == 0


def test_clean_history_leaves_the_limits_and_counts_its_days():
    model = calibrate(host(5), SHIPPED)
    assert model.scales == (1.0,) * 4
    assert model.sender_days == 5 * 19
    assert model.source != "shipped"


def test_days_over_the_limit_widen_their_age_class_only():
    profiles = host(5)
    for profile in profiles[:3]:
        profile.highs[0] = 2.5
    model = calibrate(profiles, SHIPPED)
    assert model.scales[0] > 1.4
    assert model.scales[1:] == (1.0,) * 3


def test_one_sender_cannot_widen_limits_to_its_own_height():
    profiles = host(5)
    profiles[0].highs[3] = 1000.0
    assert calibrate(profiles, SHIPPED).scales[3] < 2.0


def test_a_longer_clean_history_makes_one_high_day_matter_less():
    def scale(days):
        profiles = [Profile.new(START, "login") for _ in range(2)]
        for profile in profiles:
            profile.days = days // 2
            profile.highs[3] = 3.0
        return calibrate(profiles, SHIPPED).scales[3]

    assert scale(50_000) < scale(2_000)


def test_a_refit_always_starts_from_the_shipped_model():
    profiles = host(30)
    once = calibrate(profiles, SHIPPED)
    assert calibrate(profiles, SHIPPED) == once


def test_the_host_rhythm_is_learned_and_makes_nights_odd():
    model = calibrate(host(30, hour=9), SHIPPED)
    nobody = bytearray(31)
    assert oddness(nobody, model.rhythm, START + 9 * 3600) == 0.0
    assert oddness(nobody, model.rhythm, START + 21 * 3600) > 0.5
    assert oddness(nobody, FLAT, START + 21 * 3600) == 0.0


def test_oddness_is_bounded_and_neighbouring_hours_are_alike():
    counts = bytearray(31)
    for day in range(200):
        note_day(counts, day, 1 << 9)
    at = [oddness(counts, FLAT, hour * 3600.0) for hour in range(24)]
    assert at[9] == 0.0
    assert at[8] == 0.0
    assert at[10] == 0.0
    assert 1.0 < at[21] <= 4.0
    assert max(counts) <= 255


def test_age_classes_change_at_the_stated_days():
    assert [age_class(d) for d in (0, 1, 3, 4, 15, 16, 10**6)] == [0, 1, 1, 2, 2, 3, 3]
    assert len(AGES) == 3


def test_a_model_does_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        SHIPPED.watch = 0.1
