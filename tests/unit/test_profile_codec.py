"""The stored form of a profile: small, exact, and refusing what it did not write."""

import math
import random
import struct

import pytest

from shaper.core.evidence import learn, weigh
from shaper.core.model import Model
from shaper.core.profile import Profile

MODEL = Model.default()
START = 1_700_000_000.0


def busy(contacts):
    rng = random.Random(1)
    profile = Profile.new(START, "login")
    for i in range(contacts):
        whom = [rng.getrandbits(64)]
        weigh(profile, MODEL, whom, START + i * 3000)
        learn(profile, MODEL, whom, START + i * 3000)
    return profile


def test_five_hundred_correspondents_fit_into_two_kibibytes():
    assert len(busy(500).encode()) < 2048


def test_the_kind_is_cut_to_what_fits_without_breaking_a_character():
    profile = Profile.new(START, "formulärversand")
    assert Profile.decode(profile.encode()).kind == "formulärver"


@pytest.mark.parametrize("bad", [math.nan, math.inf, -1.0, 1e300])
def test_a_number_that_cannot_be_is_refused(bad):
    profile = busy(3)
    raw = profile.encode()
    at = raw.index(struct.pack("<d", profile.levels[9]))
    damaged = raw[:at] + struct.pack("<d", bad) + raw[at + 8 :]
    with pytest.raises(ValueError, match="number"):
        Profile.decode(damaged)


def test_a_cut_or_lengthened_profile_is_refused():
    raw = busy(3).encode()
    for damaged in (b"", raw[:20], raw[:-1], raw + b"\0", b"\xff" + raw[1:]):
        with pytest.raises(ValueError, match="stored profile"):
            Profile.decode(damaged)


def test_profiles_are_equal_by_what_is_stored():
    assert busy(3) == busy(3)
    assert busy(3) != busy(4)
    assert busy(3) != "a profile"
