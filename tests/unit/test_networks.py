"""Client networks: a new one speeds an alarm and never is one."""

import random
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shaper.core.evidence import Level, convict, learn, sentence, standing, weigh
from shaper.core.model import Model
from shaper.core.networks import KNOWN, MOST, Networks, network_hash
from shaper.core.profile import Profile

MODEL = Model.default()
START = 1_700_000_000.0 - 1_700_000_000.0 % 86400
KEY = b"key"
HOME = network_hash(KEY, "192.0.2.1")
AWAY = network_hash(KEY, "198.51.100.1")
FRIENDS = list(range(1, 9))


@cache
def _settled(days, networks):
    profile = Profile.new(START, "login")
    now = START
    for day in range(days):
        for n, whom in enumerate(FRIENDS):
            now = START + day * 86400 + 36000 + n * 1200
            weigh(profile, MODEL, [whom], now, networks[day % len(networks)])
            learn(profile, MODEL, [whom], now)
    return profile.encode(), now + 86400


def settled(days=30, networks=(HOME,)):
    stored, now = _settled(days, networks)
    return Profile.decode(stored), now


def copy(profile):
    return Profile.decode(profile.encode())


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.250", True),
        ("192.0.2.1", "192.0.3.1", False),
        ("::ffff:192.0.2.9", "192.0.2.1", True),
        ("2001:db8:1::1", "2001:db8:1:ffff::2", True),
        ("2001:db8:1::1", "2001:db8:2::1", False),
        ("fe80::1%eth0", "fe80::1%eth1", True),
    ],
)
def test_a_network_is_a_slash_24_or_a_slash_48(one, other, same):
    assert (network_hash(KEY, one) == network_hash(KEY, other)) is same
    assert network_hash(KEY, one) != network_hash(b"another host", one)


@pytest.mark.parametrize(
    "address", ["", "unknown", "127.0.0.1", "::1", "0.0.0.0", "x" * 999]
)
def test_what_is_no_client_out_there_is_no_network(address):
    assert network_hash(KEY, address) == 0


def test_a_new_network_speeds_an_alarm_and_says_so():
    profile, now = settled()
    reached = []
    for network in (HOME, AWAY):
        stolen = copy(profile)
        for n in range(100):
            evidence = weigh(stolen, MODEL, [10**9 + n], now + n * 300, network)
            if evidence.level >= Level.SLOW:
                break
            learn(stolen, MODEL, [10**9 + n], now + n * 300)
        reached.append(n)
    assert reached[1] < reached[0]
    part = evidence.parts[-1]
    assert part.name == "client network"
    assert 0 < part.value <= MOST
    assert evidence.main != part.name
    assert "network that it never used" in sentence(evidence)


@given(
    st.lists(
        st.tuples(
            st.floats(0, 20000),
            st.lists(st.integers(1, 50), min_size=1, max_size=5),
            st.integers(0, 0xFFFF),
        ),
        max_size=30,
    )
)
def test_networks_alone_never_alarm(sendings):
    """An alarm needs three quarters of the limit from what was sent."""
    profile, now = settled()
    bare = copy(profile)
    for gap, whom, network in sendings:
        now += gap
        with_network = weigh(profile, MODEL, whom, now, network)
        without = weigh(bare, MODEL, whom, now)
        assert without.total <= with_network.total
        assert with_network.total <= without.total + MOST + 1e-9
        if with_network.level >= Level.SLOW > without.level:
            assert without.total >= 0.75 * without.limits[1] - 1e-9
            return
        if without.level >= Level.SLOW:
            return
        learn(profile, MODEL, whom, now)
        learn(bare, MODEL, whom, now)


def test_a_message_to_nobody_from_anywhere_is_no_evidence():
    profile, now = settled()
    evidence = weigh(profile, MODEL, [], now + 30 * 86400, AWAY)
    assert evidence.total < 0.01


def test_without_networks_the_evidence_is_the_same_to_the_bit():
    profile, now = settled(networks=(0,))
    assert profile.networks.known == b""
    rng = random.Random(5)
    other = copy(profile)
    for n in range(40):
        whom = [rng.getrandbits(64)]
        a = weigh(profile, MODEL, whom, now + n * 60)
        b = weigh(other, MODEL, whom, now + n * 60, 0)
        assert a == b
        assert a.parts[-1].value == 0
        # total is the highest share of the others and nothing else
        highest = max(p.value / p.limit for p in a.parts)
        assert a.total == pytest.approx(highest * a.limits[1], rel=1e-15)


def test_a_new_network_is_usual_the_day_after_and_not_before():
    profile, now = settled()
    for hour in range(3):
        away = weigh(profile, MODEL, [1], now + hour * 3600, AWAY)
        learn(profile, MODEL, [1], now + hour * 3600)
    assert away.parts[-1].value > 0
    later = weigh(profile, MODEL, [1], now + 86400, AWAY)
    assert later.parts[-1].value == 0


def test_who_changes_networks_every_day_is_hardly_slowed_for_it():
    roaming, now = settled(networks=tuple(range(100, 140)))
    weigh(roaming, MODEL, [1], now, 9999)
    steady, now = settled()
    weigh(steady, MODEL, [1], now, 9999)
    assert roaming.networks.surprise() < 0.2
    assert steady.networks.surprise() > 2


def test_the_first_days_surprise_nobody():
    profile, now = settled(days=2)
    assert weigh(profile, MODEL, [1], now, AWAY).parts[-1].value == 0


def test_a_confirmed_theft_unlearns_its_network():
    profile, now = settled()
    weigh(profile, MODEL, [1], now, AWAY)
    convict(profile, MODEL, now + 1)
    standing(profile, MODEL, now + 86400)
    assert weigh(profile, MODEL, [1], now + 86400, AWAY).parts[-1].value > 0


@given(st.lists(st.integers(0, 2**20), max_size=60), st.integers(1, 9))
def test_the_memory_is_bounded_and_comes_back(networks, per_day):
    profile = Profile.new(START, "login")
    for n, network in enumerate(networks):
        profile.networks.note(network)
        if n % per_day == 0:
            profile.networks.close_day()
    nets = profile.networks
    assert len(nets.known) <= 2 * KNOWN
    assert copy(profile).encode() == profile.encode()
    assert 0 <= nets.changes <= nets.days


def test_the_most_recently_used_are_kept():
    nets = Networks()
    for network in range(1, 40):
        nets.note(HOME)
        nets.note(network)
        nets.close_day()
    nets.note(HOME)
    assert not nets.fresh
