"""Scores as claimed, and what each origin's claims did for us."""

from federation.trust.audit import Sign
from federation.trust.benefit import Benefit, Met, benefit
from federation.trust.scores import Score, claimed
from tests.support.federated import DAY, HOUR, NOW, claim, org, trust

MIDNIGHT = NOW - NOW % DAY


def day(who, ago, *, age=0, id_=b"", **numbers):
    begin = MIDNIGHT - ago * DAY
    counts = dict.fromkeys(("sent", "hard", "soft", "cmpl", "supp"), 0) | numbers
    return claim(
        who,
        "stat.score",
        age=age,
        id_=id_,
        **counts,
        **{"from": begin, "to": begin + DAY, "m": 1},
    )


def test_days_add_up_and_ratios_need_two_hundred():
    events = [
        day("a", 1, sent=150, hard=3, supp=7),
        day("a", 2, sent=50, hard=1, cmpl=2),
        day("b", 1, sent=199, hard=199),
    ]
    found = claimed(events, NOW)
    assert found[org("a")] == Score(2, 200, 4, 0, 2, 7)
    assert found[org("a")].bounce_ratio == 0.02
    assert found[org("a")].complaint_ratio == 0.01
    assert found[org("b")].bounce_ratio is None
    assert found[org("b")].complaint_ratio is None


def test_a_day_told_twice_counts_once_whatever_the_order():
    first, second = day("a", 1, age=9, sent=1), day("a", 1, age=5, sent=2)
    for events in ([first, second], [second, first], [first, second, first]):
        assert claimed(events, NOW) == {org("a"): Score(1, sent=2)}
    same = [day("a", 1, id_=b"1", sent=1), day("a", 1, id_=b"2", sent=2)]
    assert claimed(same, NOW) == claimed(same[::-1], NOW) == {org("a"): Score(1, 2)}


def test_old_and_coming_days_do_not_count():
    assert claimed([day("a", 31, sent=1), day("a", -1, sent=1)], NOW) == {}
    assert claimed([claim("a", "out.blocked", **{"from": MIDNIGHT})], NOW) == {}


TABLE = trust(a="trusted", b="trusted", c="seen", me="self")


def test_stops_are_the_merit_of_those_whose_claims_stood_then():
    stops = [NOW, NOW + HOUR]
    both = Met([claim("a", age=DAY), claim("b", age=DAY), claim("me")], [], stops)
    alone = Met([claim("a", age=DAY), claim("c", age=DAY)], [], [NOW])
    late = Met([claim("b")], [], [NOW - 1])
    expired = Met([claim("b", age=181 * DAY)], [], [NOW])
    found = benefit([both, alone, late, expired], TABLE)
    assert found == {
        org("a"): Benefit(stopped=3, alone=1),
        org("b"): Benefit(stopped=2),
        org("c"): Benefit(),
    }


def test_our_own_mail_says_who_was_right_believed_or_not():
    dead, alive = Sign(alive=False, at=NOW), Sign(alive=True, at=NOW)
    before = Sign(alive=False, at=NOW - 9 * DAY)
    met = [
        Met([claim("c", age=DAY)], [dead], []),
        Met([claim("c", age=DAY)], [alive], []),
        Met([claim("c", age=DAY)], [alive, dead], []),
        Met([claim("c", age=DAY)], [before], []),
    ]
    assert benefit(met, TABLE) == {org("c"): Benefit(right=2, wrong=1)}


def test_what_was_spared_is_told_once_enough_was_met():
    assert Benefit(stopped=100, right=10, wrong=9).spared is None
    assert Benefit(stopped=100, right=15, wrong=5).spared == 75


def test_other_kinds_are_nobodys_merit():
    assert benefit([Met([claim("a", "rcpt.soft")], [], [NOW])], TABLE) == {}
