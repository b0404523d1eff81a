"""The stored form of a profile: small, exact, and refusing what it did not write."""

import base64
import math
import random
import struct
import zlib

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


# Written by the code before client networks and the bucket of repeated lists.
VERSION_1 = base64.b85decode(
    "c-mvk$xqMBV}OGDJ`kD(h?$s}7?^={oiQU=Oa&t4@F(P^BaohJ7k1NeRp!Ega#MZ>1{CnYKJbepi"
    "|RdQhc8!MuJumkbO=*?6}dB8$|1;KeNI28ti#&{%LURFDq!$`OC;Ql59e?YHu0{UW+Uq0rWk(tiH"
    "w><z=2wgMQ3f$>=AH8<vTd&T$^S)HFB{XOr$ft&cXc5Qis#AmmO+-UN{(XvpT})|GS(Vwmezsp#I"
    "#zQ84$Jqhkt}69@}eb2;f-O@-6ne$8=g+PBg9-=}3x{hYzh3`7D*s4+5P(2QW}>&7Fy?`KtCwJ}+"
    "IqeoBrjM%ZZOPe;YINo}48LRHoMNa>27;0L6zO!%VJTH;+Gv%1RUTHVK&nMFR_r!uU%bfdyD>+Id"
    "S1C-H#Lv&q%gf8d!^6$Z&B@8h!NI}C#>UFZ%EH0|j6sNP025?=Q2"
)


def test_profiles_of_version_1_are_still_read():
    profile = Profile.decode(zlib.decompress(VERSION_1))
    assert profile.days == 4
    assert profile.tiers == [0, 0, 0, 9]
    assert len(profile.contacts) == 36
    assert profile.levels[7:10] == [
        pytest.approx(5.3091677),
        0,
        pytest.approx(11.0564333),
    ]
    assert profile.peaks[7:10] == [
        pytest.approx(5.3091677),
        0,
        pytest.approx(11.0564333),
    ]
    assert profile.powers[-3:] == [
        0,
        pytest.approx(83.474595),
        pytest.approx(211.037332),
    ]
    assert profile.held == [0] * 11
    assert profile.networks.known == b""
    stored = profile.encode()
    assert stored[0] == 2
    assert Profile.decode(stored) == profile


def test_networks_fit_too_and_damaged_ones_are_refused():
    profile = busy(500)
    for network in range(1, 40):
        profile.networks.note(network)
        if network % 2:
            profile.networks.close_day()
    for network in range(100, 110):
        profile.networks.note(network)
    raw = profile.encode()
    assert len(raw) < 2048
    at = len(raw) - 2 * (12 + 4) - 11
    assert raw[at : at + 2] == b"\x0c\x04"
    for known, fresh in ((13, 3), (11, 5), (255, 255)):
        damaged = raw[:at] + bytes((known, fresh)) + raw[at + 2 :]
        with pytest.raises(ValueError, match="stored profile"):
            Profile.decode(damaged)
    damaged = raw[: at + 3] + struct.pack("<f", math.nan) + raw[at + 7 :]
    with pytest.raises(ValueError, match="networks"):
        Profile.decode(damaged)
