"""Canary, contradicted claims, breaker: what our own mail says about others."""

import math

import pytest

from federation.trust.audit import (
    BREAK_FOR,
    Record,
    Sign,
    canaries_hit,
    exceeds,
    open_until,
    records,
    shares,
)
from federation.trust.levels import FULL, Level, Standing, Trust
from tests.support.federated import DAY, HOUR, NOW, claim, org, trust

TABLE = trust(a="trusted", b="known", me="self")


def wilson(part: int, whole: int) -> float:
    z, p = 1.96, part / whole
    spread = z * math.sqrt(p * (1 - p) / whole + z * z / (4 * whole**2))
    return (p + z * z / (2 * whole) - spread) / (1 + z * z / whole)


@pytest.mark.parametrize("percent", [2, 10])
def test_the_bound_is_wilsons(percent):
    for whole in range(1, 120):
        for part in range(whole + 1):
            assert exceeds(part, whole, percent) == (
                wilson(part, whole) > percent / 100
            ), (part, whole)


@pytest.mark.parametrize(
    ("contradicted", "met", "share"),
    [
        (19, 19, FULL),  # too few to say anything
        (0, 1000, FULL),
        (1, 20, FULL),  # 5 percent, but one may be chance
        (3, 20, FULL // 2),
        (6, 20, 0),
        (20, 20, 0),
        (30, 1000, FULL // 2),
    ],
)
def test_shares_by_record(contradicted, met, share):
    assert Record(met, contradicted).share == share


def test_a_canary_ends_all_belief_until_the_operator_forgives():
    hit = canaries_hit([claim("a"), claim("b", "rcpt.soft"), claim("me")], TABLE)
    assert hit == {org("a")}
    assert shares(hit, {}) == {org("a"): 0}
    forgiven = Trust({org("a"): Standing(Level.TRUSTED, since=NOW + 1)})
    assert canaries_hit([claim("a")], forgiven) == set()
    # Backdating does not help: our clock at its arrival counts.
    backdated = [claim("a", age=9 * DAY, recv=NOW + 2)]
    assert canaries_hit(backdated, forgiven) == {org("a")}


def test_what_our_mail_met_within_a_week_is_counted():
    met = [
        ([claim("a", age=3 * DAY)], [Sign(alive=True, at=NOW)]),
        ([claim("a", age=3 * DAY)], [Sign(alive=False, at=NOW)]),
        ([claim("a", age=8 * DAY)], [Sign(alive=True, at=NOW)]),  # too late to tell
        ([claim("a")], [Sign(alive=True, at=NOW - DAY)]),  # before the claim
        ([claim("a")], [Sign(alive=True, at=NOW + HOUR - 1)]),  # within the hour
        ([claim("a", "rcpt.soft", age=DAY)], [Sign(alive=True, at=NOW)]),
        ([claim("me", age=DAY)], [Sign(alive=True, at=NOW)]),
        ([claim("b", age=DAY)], []),
    ]
    assert records(met, TABLE) == {org("a"): Record(2, 1)}


def test_an_address_counts_once_however_often_it_is_claimed():
    claims = [claim("a", age=age * DAY) for age in range(1, 7)]
    alive = [(claims, [Sign(alive=True, at=NOW)])]
    assert records(alive, TABLE) == {org("a"): Record(1, 1)}
    both = [(claims, [Sign(alive=True, at=NOW), Sign(alive=False, at=NOW - DAY)])]
    assert records(both, TABLE) == {org("a"): Record(1, 0)}


def test_the_operators_word_starts_the_record_anew():
    table = Trust({org("a"): Standing(Level.TRUSTED, since=NOW - DAY)})
    met = [([claim("a", age=2 * DAY)], [Sign(alive=True, at=NOW)])]
    assert records(met, table) == {}


def test_shares_name_only_those_who_lose():
    of = {org("a"): Record(20, 20), org("b"): Record(20, 3), org("c"): Record(20, 0)}
    assert shares([], of) == {org("a"): 0, org("b"): 500}
    assert shares([org("b"), org("d")], of) == {
        org("a"): 0,
        org("b"): 0,
        org("d"): 0,
    }


def test_the_breaker_opens_at_the_eleventh_stop_within_an_hour():
    ten = [NOW + n for n in range(10)]
    assert open_until(ten, sent_a_day=0) == 0
    assert open_until([*ten, NOW + HOUR - 1], 0) == NOW + HOUR - 1 + BREAK_FOR
    assert open_until([*ten, NOW + HOUR], 0) == 0
    assert open_until(reversed([*ten, NOW + 10]), 0) == NOW + 10 + BREAK_FOR


def test_the_breaker_knows_how_much_we_send():
    # 2 percent of an hour of 120,000 messages a day.
    stops = [NOW + n for n in range(100)]
    assert open_until(stops, sent_a_day=120_000) == 0
    assert open_until([*stops, NOW + 100], sent_a_day=120_000) == NOW + 100 + BREAK_FOR


def test_the_operator_closes_the_breaker():
    stops = [NOW + n for n in range(50)]
    assert open_until(stops, 0, since=NOW + 50) == 0
    assert open_until(stops, 0, since=NOW + 10) == NOW + 49 + BREAK_FOR
