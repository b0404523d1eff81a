"""The decision about one recipient, by rule, with the design's worked numbers."""

import pytest

from federation.trust.decision import (
    HALVES,
    Outcome,
    Own,
    Rules,
    claimed_at,
    decayed,
    decide,
    lives,
    probe_number,
)
from tests.support.federated import DAY, NOW, claim, org, trust

RULES = Rules()
NOTHING = Own()
TWO = trust(a="trusted", b="trusted")


def outcome(claims, table=TWO, own=NOTHING, now=NOW, rules=RULES):
    found = decide(claims, own, table, now, rules)
    return found.outcome.value, found.rule


def test_nothing_said_nothing_follows():
    verdict = decide([], Own(), TWO, NOW, RULES)
    assert (verdict.outcome, verdict.rule, verdict.e) == (Outcome.ALLOW, "D5", 0)
    assert (verdict.by, verdict.since, verdict.own) == ((), 0, False)


def test_two_trusted_claims_suppress_for_37_days_then_caution_until_136():
    claims = [claim("a"), claim("b")]
    states = [
        decide(claims, Own(), TWO, NOW + day * DAY, RULES).outcome for day in range(181)
    ]
    assert [str(state) for state in (states[0], states[37], states[39])] == [
        "suppress",
        "suppress",
        "caution",
    ]
    assert (states[135], states[138]) == (Outcome.CAUTION, Outcome.ALLOW)
    order = ["suppress", "caution", "allow"]
    assert [order.index(state) for state in states] == sorted(
        order.index(state) for state in states
    )


def test_one_trusted_claim_is_caution_for_about_46_days():
    claims = [claim("a")]
    assert outcome(claims) == ("caution", "D4")
    assert outcome(claims, now=NOW + 45 * DAY) == ("caution", "D4")
    assert outcome(claims, now=NOW + 48 * DAY) == ("allow", "D5")


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ({"a": "trusted", "b": "known"}, "caution"),  # 140
        ({"a": "known", "b": "known", "c": "known", "d": "known"}, "suppress"),  # 160
        ({"a": "known"}, "allow"),
        ({"a": "known", "b": "known"}, "caution"),  # 80
        ({"a": "sole"}, "suppress"),
        ({"a": "seen", "b": "seen"}, "allow"),
        ({"a": "refused", "b": "refused"}, "allow"),
        ({"a": "self"}, "allow"),  # own claims go by own evidence
        ({"a": "trusted/g", "b": "trusted/g"}, "caution"),
        ({"a": "trusted/g", "b": "trusted/h"}, "suppress"),
    ],
)
def test_levels_and_groups(levels, expected):
    found = decide([claim(who) for who in levels], Own(), trust(**levels), NOW, RULES)
    assert found.outcome == expected


def test_a_sole_organisation_suppresses_while_its_own_claim_is_enough():
    table = trust(a="sole", b="known")
    assert outcome([claim("a", age=30 * DAY)], table) == ("suppress", "D3")
    assert outcome([claim("a", age=45 * DAY)], table) == ("caution", "D4")
    quorum = Rules(quorum=3)
    # With the help of another it is no longer alone, and the quorum is asked.
    both = [claim("a", age=45 * DAY), claim("b")]
    assert outcome(both, table, rules=quorum) == ("caution", "D4")
    assert outcome(both, table) == ("suppress", "D3")


def test_a_quorum_of_three_asks_for_three_groups():
    table = trust(a="trusted", b="trusted", c="trusted")
    rules = Rules(quorum=3)
    assert outcome([claim("a"), claim("b")], table, rules=rules) == ("caution", "D4")
    three = [claim("a"), claim("b"), claim("c")]
    assert outcome(three, table, rules=rules) == ("suppress", "D3")


def test_a_bounce_message_weighs_less_than_an_answer():
    found = decide([claim("a", via="dsn")], Own(), TWO, NOW, RULES)
    assert found.e == 70_000


def test_own_delivery_after_all_claims_allows():
    claims = [claim("a", age=3 * DAY), claim("b", age=2 * DAY)]
    assert outcome(claims, own=Own(ok=NOW - DAY)) == ("allow", "D1")
    assert outcome(claims, own=Own(ok=NOW - 2 * DAY)) == ("suppress", "D3")
    assert decide(claims, Own(ok=NOW - DAY), TWO, NOW, RULES).own


def test_own_bounce_suppresses_for_180_days_unless_we_delivered_since():
    assert outcome([], own=Own(hard=NOW - 180 * DAY)) == ("suppress", "D2")
    assert outcome([], own=Own(hard=NOW - 180 * DAY - 1)) == ("allow", "D5")
    assert outcome([], own=Own(hard=NOW - 2, ok=NOW - 1)) == ("allow", "D1")
    assert outcome([], own=Own(hard=NOW - 1, ok=NOW - 2)) == ("suppress", "D2")
    assert decide([], Own(hard=NOW), TWO, NOW, RULES).own


def test_an_open_breaker_leaves_own_evidence_only():
    rules = Rules(remote=False)
    claims = [claim("a"), claim("b")]
    assert outcome(claims, rules=rules) == ("allow", "D5")
    assert outcome(claims, own=Own(hard=NOW), rules=rules) == ("suppress", "D2")


def test_complaints_and_soft_failures_never_suppress():
    table = trust(**dict.fromkeys("abcdefgh", "trusted"))
    complaints = [claim(name, "rcpt.complaint") for name in "abcdefgh"]
    assert outcome(complaints, table) == ("caution", "D4")
    soft = [
        claim(name, "rcpt.soft", age=age, cnt=9)
        for name in "abcdefgh"
        for age in (0, 6 * DAY)
    ]
    assert outcome(soft, table) == ("caution", "D4")
    assert outcome([*soft, claim("a")], table) == ("caution", "D4")


def test_soft_failures_weigh_more_once_they_last():
    once = [claim("a", "rcpt.soft", cnt=9999)]
    assert decide(once, Own(), TWO, NOW, RULES).e == 10_000
    # Five in number but within a few days, or over days but few.
    near = [claim("a", "rcpt.soft", cnt=4), claim("a", "rcpt.soft", age=4 * DAY)]
    assert decide(near, Own(), TWO, NOW, RULES).e == 10_000
    few = [claim("a", "rcpt.soft", cnt=3), claim("a", "rcpt.soft", age=5 * DAY)]
    assert decide(few, Own(), TWO, NOW, RULES).e == 10_000
    lasting = [claim("a", "rcpt.soft", cnt=4), claim("a", "rcpt.soft", age=5 * DAY)]
    assert decide(lasting, Own(), TWO, NOW, RULES).e == 50_000


def test_a_group_that_delivered_takes_its_older_claims_back():
    table = trust(a="trusted/g", b="trusted/g")
    claims = [claim("a", age=DAY), claim("b", "rcpt.ok")]
    assert decide(claims, Own(), table, NOW, RULES).e == 0
    newer = [claim("a"), claim("b", "rcpt.ok", age=DAY)]
    assert decide(newer, Own(), table, NOW, RULES).e == 100_000


def test_a_delivery_of_another_relieves_by_its_weight():
    table = trust(a="trusted", b="trusted", c="known", d="trusted")
    claims = [claim("a", age=DAY), claim("b", age=DAY)]
    full = decide(claims, Own(), table, NOW, RULES).e
    by_known = decide([*claims, claim("c", "rcpt.ok")], Own(), table, NOW, RULES)
    assert by_known.e == full - 40_000
    by_two = [*claims, claim("c", "rcpt.ok"), claim("d", "rcpt.ok")]
    assert decide(by_two, Own(), table, NOW, RULES).e == full - 140_000
    # A claim that is newer than the delivery is not relieved.
    late = [claim("a"), claim("b", age=2 * DAY), claim("d", "rcpt.ok", age=DAY)]
    alone = decide([claim("a")], Own(), table, NOW, RULES).e
    assert decide(late, Own(), table, NOW, RULES).e == alone


def test_deliveries_alone_leave_no_evidence_below_nothing():
    claims = [claim("a", "rcpt.ok"), claim("b", "rcpt.ok", age=DAY)]
    assert decide(claims, Own(), TWO, NOW, RULES).e == 0


def test_the_verdict_says_who_and_since_when():
    claims = [claim("b", age=DAY), claim("a", age=3 * DAY), claim("a", age=0)]
    table = trust(a="trusted", b="trusted", c="seen")
    found = decide([*claims, claim("c", age=9 * DAY)], Own(), table, NOW, RULES)
    assert found.by == (org("a"), org("b"))
    assert found.since == NOW - 3 * DAY
    assert [(part.org, part.k, part.at) for part in found.parts] == [
        (org("a"), "rcpt.hard", NOW),
        (org("b"), "rcpt.hard", NOW - DAY),
    ]


def test_the_best_of_an_organisations_claims_counts():
    # A newer bounce message does not lower what an older answer is worth.
    claims = [claim("a", via="dsn"), claim("a", age=DAY)]
    assert decide(claims, Own(), TWO, NOW, RULES).e == 100_000


def test_what_the_audit_took_is_missing():
    table = trust({"a": 500}, a="trusted", b="trusted")
    assert decide([claim("a")], Own(), table, NOW, RULES).e == 50_000
    gone = trust({"a": 0}, a="trusted", b="trusted")
    assert decide([claim("a"), claim("b")], Own(), gone, NOW, RULES).by == (org("b"),)


def test_what_faded_to_nothing_is_not_named():
    faint = trust({"a": 1}, a="known")
    claims = [claim("a", "rcpt.soft", age=25 * DAY)]
    assert decide(claims, Own(), faint, NOW, RULES).by == ()


def test_other_kinds_say_nothing_about_a_recipient():
    strange = [
        claim("a", "send.blocked"),
        claim("b", "xfoo.bar"),
        claim("b", "rcpt.new"),
    ]
    assert outcome(strange) == ("allow", "D5")
    assert not lives(strange[0], NOW)


def test_a_claim_is_as_old_as_what_it_speaks_of():
    assert claimed_at(claim("a", last=NOW - 9 * DAY)) == NOW - 9 * DAY
    assert claimed_at(claim("a", last=NOW + 9 * DAY)) == NOW
    assert claimed_at(claim("a", "rcpt.complaint")) == NOW


def test_decay_halves_and_never_grows():
    assert (len(HALVES), HALVES[0]) == (64, 65536)
    half = 90 * DAY
    assert [decayed(100_000, n * half, half) for n in range(4)] == [
        100_000,
        50_000,
        25_000,
        12_500,
    ]
    assert decayed(100_000, half // 2, half) == 70_710
    assert decayed(100_000, -5, half) == 100_000
    values = [decayed(100_000, n * DAY, half) for n in range(400)]
    assert values == sorted(values, reverse=True)
    assert decayed(100_000, 10**9, half) == 0


def test_probes_come_after_14_28_56_days():
    days = [
        probe_number(NOW, NOW + day * DAY) for day in (13, 14, 41, 42, 97, 98, 209, 210)
    ]
    assert days == [0, 1, 1, 2, 2, 3, 3, 4]
    assert probe_number(0, NOW * 10**6) == 16
