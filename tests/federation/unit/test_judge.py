"""Store, own evidence, trust and audit put together."""

from federation.format.profile import b64
from federation.trust.audit import BREAK_FOR
from federation.trust.decision import Outcome, Verdict
from federation.trust.judge import Change, Signal, worst
from federation.trust.levels import Level
from tests.support.federated import DAY, HOUR, NOW, PEPPER

WHO = "nobody@example.org"
JOE = "joe@us.example"


def test_claims_that_arrive_decide(us, friend, other):
    us.believe(friend, "trusted")
    us.believe(other, "trusted")
    us.hear(friend.says("rcpt.hard", WHO))
    assert us.verdict(WHO).outcome is Outcome.CAUTION
    claim = other.says("rcpt.hard", WHO)
    us.hear(claim)
    assert us.verdict(WHO).by == tuple(sorted([friend.org, other.org]))
    us.hear(*other.own.retract([claim.id], "error", NOW))
    assert us.verdict(WHO).outcome is Outcome.CAUTION
    us.believe(friend, "seen")
    assert us.verdict(WHO).outcome is Outcome.ALLOW
    us.believe(friend, "refused")
    assert us.judge.trust().standing(friend.org).level is Level.REFUSED


def test_own_claims_have_no_weight_of_their_own(us):
    us.says("rcpt.hard", WHO)
    assert us.verdict(WHO).e == 0
    us.store.set_trust(us.org, "sole", now=NOW)  # a slip of the operator
    assert us.verdict(WHO).e == 0


def test_a_canary_takes_weight_at_once_until_the_operator_says_so(us, friend):
    us.canaries = ["alive@us.example"]
    us.believe(friend, "trusted")
    us.hear(friend.says("rcpt.hard", WHO))
    assert us.judge.watch(NOW) == []
    us.hear(friend.says("rcpt.hard", "alive@us.example"), now=NOW + 1)
    assert us.judge.watch(NOW + 1) == [Change(friend.org, 0, "canary")]
    assert us.judge.watch(NOW + 1) == []
    assert us.verdict(WHO).outcome is Outcome.ALLOW
    us.believe(friend, "trusted", at=NOW + 2)
    assert us.judge.watch(NOW + 2) == [Change(friend.org, 1000, "")]
    assert us.verdict(WHO).outcome is Outcome.CAUTION


def test_contradicted_claims_take_weight(us, friend):
    us.believe(friend, "trusted")
    for n in range(20):
        us.hear(friend.says("rcpt.hard", f"{n}@example.org", NOW - DAY), now=NOW - DAY)
        us.fact("delivered" if n < 3 else "bounce", address=f"{n}@example.org")
    us.hear(friend.says("rcpt.hard", WHO))
    assert us.judge.audit(NOW) == [Change(friend.org, 500, "contradicted")]
    assert us.judge.records[friend.org].met == 20
    assert us.verdict(WHO).e == 50_000
    found = us.judge.benefit(NOW)[friend.org]
    assert (found.right, found.wrong) == (17, 3)
    # Another judge on the same file says the same.
    again = type(us.judge)(us.store, us.evidence, us.org, us.judge.rules(NOW))
    again.audit(NOW)
    assert again.trust() == us.judge.trust()


def test_the_breaker_opens_and_is_closed_by_time_or_by_hand(us, friend):
    us.believe(friend, "sole")
    us.hear(friend.says("rcpt.hard", WHO))
    for n in range(11):
        us.fact("stopped", address=f"{n}@example.org", at=NOW + n, now=NOW + n)
    us.judge.watch(NOW + 10)
    assert us.judge.breaker_until == NOW + 10 + BREAK_FOR
    assert us.verdict(WHO, NOW + 11).outcome is Outcome.ALLOW
    assert us.verdict(WHO, NOW + 10 + BREAK_FOR).outcome is Outcome.SUPPRESS
    us.judge.close_breaker(NOW + 11)
    assert us.verdict(WHO, NOW + 11).outcome is Outcome.SUPPRESS


def test_an_address_that_is_tried_again_and_again_is_one_stop_an_hour(us):
    for n in range(50):
        us.fact("stopped", address=WHO, at=NOW + n, now=NOW + n)
    us.judge.watch(NOW + 50)
    assert us.judge.breaker_until == 0


def test_the_breaker_knows_yesterdays_mail(us):
    begin = NOW - NOW % DAY - DAY
    counts = dict.fromkeys(("hard", "soft", "complaints", "suppressed"), 0)
    us.fact("day", sent=24 * 1000, **counts, **{"from": begin, "to": begin + DAY})
    for n in range(20):
        us.fact("stopped", address=f"{n}@example.org")
    us.judge.watch(NOW)
    assert us.judge.breaker_until == 0
    us.fact("stopped", address=WHO)
    us.judge.watch(NOW)
    assert us.judge.breaker_until == NOW + BREAK_FOR


def test_senders_that_others_stopped(us, friend, other):
    us.believe(friend, "known")
    us.hear(friend.says("send.blocked", JOE))
    us.store.set_trust(other.org, "seen", now=0)
    us.hear(other.says("send.blocked", JOE))
    tag, until = PEPPER.sender(JOE), NOW - NOW % HOUR + 9 * DAY
    assert us.judge.senders(NOW) == {tag: Signal((friend.org,), "compromised", until)}
    us.believe(other, "trusted")
    us.hear(other.says("send.blocked", JOE, why="spam", until=until + HOUR))
    longer = Signal(tuple(sorted([friend.org, other.org])), "spam", until + HOUR)
    assert us.judge.senders(NOW) == {tag: longer}
    assert us.judge.senders(until + HOUR) == {}


def test_a_block_lasts_30_days_at_most_and_ends_with_its_release(us, friend):
    us.believe(friend, "known")
    block = friend.says("send.blocked", JOE, until=NOW - NOW % HOUR + 400 * DAY)
    us.hear(block)
    (signal,) = us.judge.senders(NOW).values()
    assert signal.until == NOW + 30 * DAY
    us.hear(friend.own.append("send.released", {"ref": b64(block.id)}, NOW))
    assert us.judge.senders(NOW) == {}


def test_names(us, friend, other):
    for host, name in ((friend, "asso"), (other, "asso"), (us, "us")):
        event = host.own.append("ctl.org", {"name": "old"}, NOW - DAY)
        newer = host.own.append("ctl.org", {"name": name}, NOW)
        if host is not us:
            us.store.set_trust(host.org, "seen", now=0)
            assert us.hear(event, newer) == ["ok", "ok"]
    # Two with one name are told apart by their keys.
    assert us.judge.names() == {
        us.org: "us",
        friend.org: f"asso {b64(friend.org)[:8]}",
        other.org: f"asso {b64(other.org)[:8]}",
    }


def test_the_strictest_of_several_verdicts():
    allow, caution = Verdict(Outcome.ALLOW, "D5"), Verdict(Outcome.CAUTION, "D4")
    assert worst([allow, caution, allow]) is caution
    assert worst([]) is None
