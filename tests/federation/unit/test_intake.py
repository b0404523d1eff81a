"""From facts to own events: what is published, when, and how often."""

import pytest

from federation.format.errors import Refused
from federation.format.kinds import HARD_CODES, SOFT_CODES
from federation.format.profile import b64
from federation.trust.emitter import BETWEEN, JITTER, Share
from tests.support.federated import (
    DAY,
    HOUR,
    NOW,
    OLDER,
    PEPPER,
    Host,
    fact,
    tag,
)

WHO = "nobody@example.org"


def test_a_bounce_becomes_one_event_with_rounded_time(us):
    us.fact("bounce", address="Nobody@Example.org", at=NOW + 0.5, provider="x.example")
    assert us.intake.emit(NOW) == {"rcpt.hard": 1}
    (event,) = us.own_events("rcpt.hard")
    assert event.body == {
        "pk": b64(PEPPER.id),
        "r": tag(WHO),
        "code": "5.1.1",
        "smtp": 550,
        "cnt": 1,
        "last": NOW - NOW % HOUR,
        "via": "smtp",
        "prov": "x.example",
    }
    assert us.intake.emit(NOW + 9 * DAY) == {}


def test_publication_waits_for_the_jitter(us):
    us.jitter = JITTER
    us.fact("bounce", address=WHO)
    assert us.intake.emit(NOW + JITTER - 1) == {}
    assert us.evidence.waiting() == 1
    assert us.intake.emit(NOW + JITTER) == {"rcpt.hard": 1}


def test_one_event_a_day_for_a_tag_and_the_count_carries_the_rest(us):
    us.fact("bounce", address=WHO)
    us.intake.emit(NOW)
    for n in range(1, 4):
        us.fact("bounce", address=WHO, at=NOW + n, via="dsn", smtp=0, now=NOW + n)
    assert us.intake.emit(NOW + BETWEEN - 1) == {}
    assert us.intake.emit(NOW + BETWEEN) == {"rcpt.hard": 1}
    second = max(us.own_events("rcpt.hard"), key=lambda event: event.seq)
    assert (second.body["cnt"], second.body["via"], second.body["smtp"]) == (
        3,
        "dsn",
        550,
    )


def test_the_newest_of_joined_bounces_tells_and_the_count_is_bounded(us):
    us.jitter = JITTER
    us.fact("bounce", address=WHO, at=NOW, code="5.2.1")
    us.fact("bounce", address=WHO, at=NOW - 9 * HOUR)
    (draft,) = us.evidence.due(NOW + JITTER, 9)
    assert (draft.body["code"], draft.body["cnt"]) == ("5.2.1", 2)
    draft.body["cnt"] = 9999
    us.evidence.enqueue(draft, NOW, 0)
    assert us.evidence.due(NOW + JITTER, 9)[0].body["cnt"] == 9999


@pytest.mark.parametrize(
    "code", ["5.7.1", "5.6.0", "5.3.4", "5.1.2", "5.7.26", "x", ""]
)
def test_a_refusal_of_something_else_is_told_to_nobody(us, code):
    us.fact("bounce", address=WHO, code=code)
    assert us.intake.emit(NOW) == {}
    # Nor is it evidence for ourselves.
    assert us.verdict(WHO).rule == "D5"


@pytest.mark.parametrize("code", ["4.7.1", "4.4.1", "5.2.3", "5.1.1"])
def test_a_passing_failure_of_something_else_is_told_to_nobody(us, code):
    us.fact("soft", address=WHO, code=code)
    assert us.intake.emit(NOW) == {}


@pytest.mark.parametrize("code", sorted(HARD_CODES | SOFT_CODES))
def test_every_code_that_is_published_counts_at_others(us, friend, code):
    friend.believe(us, "trusted")
    kind = "bounce" if code in HARD_CODES else "soft"
    us.fact(kind, address=WHO, code=code, smtp=0)
    us.intake.emit(NOW)
    (event,) = us.own_events("rcpt.hard", "rcpt.soft")
    assert event.body["smtp"] // 100 == int(code[0])
    line = us.store.lines((event.key, event.st, event.inc), 1, 1, most=1, size=9999)
    assert friend.admission.take(line, peer="us", now=NOW) == ["ok"]
    assert friend.verdict(WHO).e > 0


def test_an_old_bounce_is_told_no_more(us):
    us.fact("bounce", address=WHO, at=NOW - 181 * DAY)
    us.fact("soft", address=WHO, at=NOW - 31 * DAY)
    assert us.intake.emit(NOW) == {}


def test_a_strange_provider_is_left_out(us):
    us.fact("bounce", address=WHO, provider="X y\n")
    us.intake.emit(NOW)
    assert "prov" not in us.own_events("rcpt.hard")[0].body


def test_a_delivery_is_told_only_against_a_claim_that_we_believe(us, friend):
    us.fact("delivered", address=WHO)
    assert us.intake.emit(NOW) == {}
    claim = friend.says("rcpt.hard", WHO, NOW - DAY)
    us.store.set_trust(friend.org, "seen", now=0)
    assert us.hear(claim) == ["ok"]
    # Who has no weight cannot ask by claiming whether we write to somebody.
    us.fact("delivered", address=WHO)
    assert us.intake.emit(NOW) == {}
    us.believe(friend, "known")
    us.fact("delivered", address=WHO)
    assert us.intake.emit(NOW) == {"rcpt.ok": 1}
    (event,) = us.own_events("rcpt.ok")
    assert event.body == {
        "pk": b64(PEPPER.id),
        "r": tag(WHO),
        "last": NOW - NOW % HOUR,
    }


def test_several_deliveries_are_one_event(us, friend):
    us.believe(friend, "trusted")
    us.jitter = JITTER
    us.hear(friend.says("rcpt.hard", WHO, NOW - DAY))
    for hours in (2, 0, 1):
        us.fact("delivered", address=WHO, at=NOW - hours * HOUR)
    assert us.intake.emit(NOW + JITTER) == {"rcpt.ok": 1}
    assert us.own_events("rcpt.ok")[0].body["last"] == NOW - NOW % HOUR


def test_a_delivery_is_not_told_when_the_claim_is_gone_meanwhile(us, friend):
    us.believe(friend, "trusted")
    us.jitter = JITTER
    claim = friend.says("rcpt.hard", WHO, NOW - DAY)
    us.hear(claim)
    us.fact("delivered", address=WHO)
    us.hear(*friend.own.retract([claim.id], "error", NOW))
    assert us.intake.emit(NOW + JITTER) == {}
    assert us.evidence.waiting() == 0


def test_an_expired_claim_is_not_disputed(us, friend):
    us.believe(friend, "trusted")
    us.hear(friend.says("rcpt.soft", WHO, NOW - 29 * DAY))
    us.fact("delivered", address=WHO, at=NOW + 9 * DAY, now=NOW + 9 * DAY)
    assert us.intake.emit(NOW + 9 * DAY) == {}


def test_a_delivery_withdraws_what_waits_and_takes_back_what_was_told(us):
    us.jitter = JITTER
    us.fact("bounce", address=WHO)
    us.fact("delivered", address=WHO, at=NOW + 1, now=NOW + 1)
    assert us.intake.emit(NOW + DAY) == {}
    us.fact("bounce", address=WHO, at=NOW + DAY, now=NOW + DAY)
    us.intake.emit(NOW + DAY + JITTER)
    assert us.own_events("rcpt.hard")
    later = NOW + 2 * DAY
    us.fact("delivered", address=WHO, at=later, now=later)
    assert us.intake.emit(later + JITTER) == {"fix.retract": 1}
    assert not us.own_events("rcpt.hard")
    (retract,) = us.own_events("fix.retract")
    assert (retract.st, retract.body["why"]) == ("h", "stale")


def test_a_person_says_that_the_address_lives(us, friend):
    us.believe(friend, "trusted")
    us.hear(friend.says("rcpt.hard", WHO))
    us.fact("bounce", address=WHO)
    us.intake.emit(NOW)
    assert us.verdict(WHO).rule == "D2"
    us.fact("override", address=WHO, at=NOW + 1, now=NOW + 1)
    # No delivery happened, so none is told; our own word is taken back.
    assert us.intake.emit(NOW + 1) == {"fix.retract": 1}
    assert us.own_events("fix.retract")[0].body["why"] == "error"
    assert us.verdict(WHO, NOW + 1).rule == "D1"


def test_complaints_are_told_only_where_the_operator_said_so(us):
    us.fact("complaint", address=WHO, src="arf")
    assert us.intake.emit(NOW) == {}
    with Host("open", share=Share(complaints=True)) as other:
        other.fact("complaint", address=WHO, src="manual", cls="bulk")
        assert other.intake.emit(NOW) == {"rcpt.complaint": 1}
        (event,) = other.own_events("rcpt.complaint")
        assert (event.body["src"], event.body["cls"]) == ("manual", "bulk")


def blocked(**more):
    return {"sender": "joe@us.example", "until": NOW + 40 * DAY} | more


def test_a_block_is_told_at_once_and_its_release_names_it(us):
    us.jitter = JITTER
    us.fact("blocked", why="compromised", case="c1", **blocked())
    assert us.intake.emit(NOW) == {"send.blocked": 1}
    (event,) = us.own_events("send.blocked")
    assert event.body["s"] == b64(PEPPER.sender("joe@us.example"))
    until = NOW + 30 * DAY
    assert event.body["until"] == until - until % HOUR
    us.fact("released", case="c1")
    us.fact("released", case="c1")
    assert us.intake.emit(NOW) == {"send.released": 1}
    assert not us.own_events("send.blocked")
    us.fact("released", case="c1")
    us.fact("released", case="c9")
    assert us.intake.emit(NOW) == {}


def test_a_block_that_was_released_before_it_was_told_is_not_told(us):
    us.fact("blocked", why="spam", case="c1", **blocked())
    us.fact("released", case="c1")
    us.fact("blocked", why="spam", case="c2", **blocked(until=NOW))
    assert us.intake.emit(NOW) == {}


def test_a_receiver_that_refuses_us(us):
    rows = {"from": NOW - 2 * HOUR - 7, "to": NOW - 9}
    us.fact("receiver", provider="mx.example", code="4.7.650", n=9, **rows)
    us.fact("receiver", provider="mx.example", code="4.7.650", n=12, **rows)
    us.fact("receiver", provider="mx.example", code="nonsense", n=9, **rows)
    us.fact("receiver", provider="MX?", code="4.7.1", n=9, **rows)
    us.fact("receiver", provider="mx.example", code="4.7.1", n=0, **rows)
    assert us.intake.emit(NOW) == {"out.blocked": 1}
    (event,) = us.own_events("out.blocked")
    assert event.body["n"] == 12
    assert event.body["from"] % HOUR == event.body["to"] % HOUR == 0
    assert event.body["from"] < event.body["to"]


def day(begin, **numbers):
    counts = dict.fromkeys(("sent", "hard", "soft", "complaints", "suppressed"), 0)
    return {"from": begin, "to": begin + DAY} | counts | numbers


def test_a_days_numbers_are_told_once(us):
    begin = NOW - NOW % DAY - DAY
    us.fact("day", **day(begin, sent=1000, hard=5, suppressed=3))
    assert us.intake.emit(NOW) == {"stat.score": 1}
    us.fact("day", **day(begin, sent=1))
    us.fact("day", **day(begin - DAY))  # nothing happened
    us.fact("day", **day(begin - 2 * DAY + 1, sent=1))  # no whole day
    assert us.intake.emit(NOW) == {}
    score = us.judge.scores(NOW)[us.org]
    assert (score.sent, score.hard, score.supp) == (1000, 5, 3)


NOTHING = dict.fromkeys(
    ("dead", "soft", "alive", "complaints", "senders", "receivers", "scores"), False
)


def test_who_shares_nothing_publishes_nothing_and_still_knows(friend):
    with Host(share=Share(**NOTHING)) as us:
        us.believe(friend, "trusted")
        us.hear(friend.says("rcpt.hard", "x@example.org", NOW - DAY))
        begin = NOW - NOW % DAY - DAY
        for kind, more in (
            ("bounce", {"address": WHO}),
            ("soft", {"address": WHO}),
            ("delivered", {"address": "x@example.org"}),
            ("complaint", {"address": WHO}),
            ("blocked", blocked(why="spam", case="c")),
            (
                "receiver",
                {"provider": "p", "code": "4.7.1", "n": 1, "from": 1, "to": 2},
            ),
            ("day", day(begin, sent=9)),
        ):
            us.fact(kind, **more)
        assert us.intake.emit(NOW) == {}
        assert us.verdict(WHO).rule == "D2"
        assert us.verdict("x@example.org").rule == "D1"


@pytest.mark.parametrize(
    "address",
    ["joe@[192.0.2.1]", "joe", "", "@", "joe@localhost", "\ud800@example.org"],
)
def test_an_address_without_a_tag_is_left_out(us, address):
    for kind in ("bounce", "delivered", "override", "soft", "stopped"):
        assert us.fact(kind, address=address).refused
    assert us.intake.emit(NOW) == {}


def test_two_peppers_live_the_first_publishes_and_both_know(us):
    us.peppers = [PEPPER, OLDER]
    touched = us.fact("bounce", address=WHO).touched
    assert touched == {PEPPER.recipient(WHO), OLDER.recipient(WHO)}
    assert {us.judge.verdicts([one], NOW)[one].rule for one in touched} == {"D2"}
    us.intake.emit(NOW)
    assert us.own_events("rcpt.hard")[0].body["pk"] == b64(PEPPER.id)


def test_without_a_pepper_nothing_is_taken(us):
    us.peppers = []
    assert not us.intake.ready
    assert us.fact("bounce", address=WHO).refused == {"there is no pepper yet": 1}


def test_a_stop_counts_under_the_tag_that_somebody_claims(us, friend):
    us.peppers = [OLDER, PEPPER]
    us.believe(friend, "trusted")
    us.hear(friend.says("rcpt.hard", WHO))
    us.fact("stopped", address=WHO)
    us.fact("stopped", address=WHO)
    us.fact("stopped", address="other@example.org")
    assert sorted(us.evidence.stops(NOW)) == sorted(
        [
            (NOW, PEPPER.recipient(WHO)),
            (NOW, PEPPER.recipient(WHO)),
            (NOW, OLDER.recipient("other@example.org")),
        ]
    )
    assert us.judge.benefit(NOW)[friend.org].stopped == 2


def test_a_place_is_kept_with_what_was_taken(us):
    assert us.intake.place() == "0-0"
    us.intake.take([fact("bounce", address=WHO), b"{}"], NOW, "7-1")
    assert us.intake.place() == "7-1"
    # Another process was faster.
    us.intake.take([fact("bounce", address=WHO)], NOW, "8-1", after="6-1")
    assert us.intake.place() == "7-1"
    assert us.evidence.due(NOW, 9)[0].body["cnt"] == 1


def test_a_draft_that_cannot_be_an_event_holds_up_no_other(us):
    us.fact("bounce", address=WHO)
    us.store.db.execute("UPDATE outbox SET body='{\"pk\":1}'")
    us.fact("bounce", address="other@example.org")
    assert us.intake.emit(NOW) == {"rcpt.hard": 1}
    assert us.evidence.waiting() == 0


def test_while_our_log_is_forked_drafts_wait(us, monkeypatch):
    def refuse(*_, **__):
        raise Refused("fork", "two events with one number")

    us.fact("bounce", address=WHO)
    monkeypatch.setattr(us.own, "append", refuse)
    with pytest.raises(Refused):
        us.intake.emit(NOW)
    assert us.evidence.waiting() == 1


def test_evidence_ends_and_is_erased(us):
    us.jitter = JITTER
    us.fact("bounce", address=WHO)
    us.fact("stopped", address=WHO)
    tags = [PEPPER.recipient(WHO)]
    assert [what for what, _ in us.evidence.known(tags)] == [
        "bounced",
        "stopped",
        "to be told: rcpt.hard",
    ]
    us.intake.emit(NOW + JITTER)
    us.evidence.prune(NOW + 186 * DAY)
    assert [what for what, _ in us.evidence.known(tags)] == ["bounced", "stopped"]
    us.evidence.prune(NOW + 188 * DAY)
    assert us.evidence.known(tags) == []
    us.fact("delivered", address=WHO)
    us.evidence.forget(tags)
    assert us.evidence.known(tags) == []
    assert us.verdict(WHO).rule == "D5"
