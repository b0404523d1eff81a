"""Attacks on what follows for recipients and senders, by their numbers.

The list is in docs/federation.md, "Attacks". What is attacked here is the decision;
whole hosts take the lines through their own checks, as they would from a peer.
"""

import os

import pytest

from federation.format.event import write
from federation.format.profile import b64
from federation.format.tags import Pepper
from federation.log.housekeeping import erase
from federation.trust.audit import BREAK_FOR
from federation.trust.benefit import Benefit
from federation.trust.decision import Outcome, Own, Rules, decide
from federation.trust.facts import BadFactError, read
from federation.trust.scores import Score
from federation.trust.shaperlink import Projection, connect
from shaper.core.foreign import FLOOR, raise_floor
from shaper.core.profile import Profile
from tests.support.federated import (
    DAY,
    HOUR,
    NOW,
    PEPPER,
    Host,
    claim,
    fact,
    tag,
    trust,
)

WHO = "somebody@example.org"
JOE = "joe@us.example"


def test_a26_a_hundred_thousand_living_addresses_called_dead_by_one_trusted():
    table = trust(mallory="trusted", honest="trusted")
    worst = {
        decide([claim("mallory", age=n % 7)], Own(), table, NOW, Rules()).outcome
        for n in range(100_000)
    }
    # Bulk mail is held and personal mail tries: none of it is lost.
    assert worst == {Outcome.CAUTION}


def test_a26_a_canary_among_them_ends_it_all(us, mallory):
    us.believe(mallory, "trusted")
    us.canaries = ["living@us.example"]
    lies = [mallory.says("rcpt.hard", f"{n}@example.org") for n in range(200)]
    us.hear(*lies, mallory.says("rcpt.hard", "living@us.example"))
    assert us.verdict("1@example.org").outcome is Outcome.CAUTION
    us.judge.watch(NOW)
    assert {us.verdict(f"{n}@example.org").e for n in range(200)} == {0}


def test_a26_the_breaker_bounds_what_is_held(us, mallory):
    us.believe(mallory, "trusted")
    us.hear(*(mallory.says("rcpt.hard", f"{n}@example.org") for n in range(50)))
    held = 0
    for n in range(50):
        address, now = f"{n}@example.org", NOW + n
        if us.verdict(address, now).outcome is not Outcome.ALLOW:
            held += 1
            us.fact("stopped", address=address, at=now, now=now)
            us.judge.watch(now)
    assert held == 11
    assert us.judge.breaker_until == NOW + 10 + BREAK_FOR


def test_a26_what_personal_mail_finds_out_takes_the_weight(us, mallory):
    us.believe(mallory, "trusted")
    then = NOW - DAY
    lies = [mallory.says("rcpt.hard", f"{n}@example.org", then) for n in range(60)]
    us.hear(*lies, now=then)
    for n in range(20):
        us.fact("delivered", address=f"{n}@example.org")
    us.judge.audit(NOW)
    assert us.verdict("59@example.org").outcome is Outcome.ALLOW
    assert us.judge.benefit(NOW)[mallory.org] == Benefit(wrong=20)


def test_a27_a_thousand_sybils_claim_one_address():
    table = trust(honest="trusted")
    honest = [claim("honest")]
    crowd = [claim(f"sybil{n}") for n in range(1000)]
    found = decide(crowd + honest, Own(), table, NOW, Rules())
    assert found == decide(honest, Own(), table, NOW, Rules())


def test_a27_introduced_sybils_use_up_their_sponsors_introductions(us, mallory):
    us.believe(mallory, "known")
    codes = []
    for n in range(25):
        with Host(f"sybil{n}") as sybil:
            peer = {"peer": b64(sybil.org)}
            assert us.hear(mallory.own.append("ctl.peer", peer, NOW + n)) == ["ok"]
            codes += us.hear(sybil.says("rcpt.hard", WHO, NOW + n), now=NOW + n)
    assert codes == ["ok"] * 20 + ["unknown-org"] * 5
    assert us.verdict(WHO, NOW + 30).e == 0
    assert us.verdict(WHO, NOW + 30).by == ()


def test_a28_two_colluding_trusted_suppress_until_our_own_mail_heals_it(
    us, mallory, other
):
    for one in (mallory, other):
        us.believe(one, "trusted")
        us.hear(one.says("rcpt.hard", WHO, NOW - 8 * DAY), now=NOW - 8 * DAY)
    # Documented: with a quorum of two, two liars are believed.
    assert us.verdict(WHO).outcome is Outcome.SUPPRESS
    us.fact("delivered", address=WHO)  # a probe
    assert us.verdict(WHO).rule == "D1"
    us.hear(mallory.says("rcpt.hard", "x@example.org"))
    us.hear(other.says("rcpt.hard", "x@example.org"))
    us.fact("override", address="x@example.org", at=NOW + HOUR, now=NOW + HOUR)
    assert us.verdict("x@example.org", NOW + HOUR).outcome is Outcome.ALLOW


def test_a28_with_a_quorum_of_three_they_cannot(mallory, other):
    with Host(rules=Rules(quorum=3)) as us:
        for one in (mallory, other):
            us.believe(one, "trusted")
            us.hear(one.says("rcpt.hard", WHO))
        assert us.verdict(WHO).outcome is Outcome.CAUTION


def test_a29_two_organisations_of_one_owner_count_once(us, mallory, other):
    for one in (mallory, other):
        us.believe(one, "trusted", group="holding")
        us.hear(one.says("rcpt.hard", WHO))
    assert us.verdict(WHO).outcome is Outcome.CAUTION
    assert us.verdict(WHO).e == 100_000


def test_a30_a_bounce_message_weighs_less_and_no_other_way_is_known(us, other):
    # That it belongs to a message of ours is checked before it becomes a fact.
    other.fact("bounce", address=WHO, via="dsn", smtp=0)
    other.intake.emit(NOW)
    (event,) = other.own_events("rcpt.hard")
    assert event.body["via"] == "dsn"
    us.believe(other, "trusted")
    which = (event.key, event.st, event.inc)
    us.admission.take(
        other.store.lines(which, 1, 1, most=1, size=9999), peer="x", now=NOW
    )
    assert us.verdict(WHO).e == 70_000
    with pytest.raises(BadFactError):
        read(fact("bounce", address=WHO, via="somebody wrote to our bounce address"))


def test_a31_a_captured_file_without_pepper_tells_no_address(tmp_path, mallory):
    path = tmp_path / "file"
    with Host(path=path) as us:
        us.believe(mallory, "trusted")
        us.hear(mallory.says("rcpt.hard", WHO))
        us.fact("bounce", address="victim@example.org")
        us.fact("blocked", sender=JOE, why="spam", until=NOW + DAY, case="case-7")
        us.fact("stopped", address=WHO)
        us.intake.emit(NOW)
        stored = b"".join(one.read_bytes() for one in tmp_path.iterdir())
        for secret in (b"somebody", b"victim", b"joe", b"example.org", b"us.example"):
            assert secret not in stored
        guess = Pepper(os.urandom(32)).recipient("victim@example.org")
        assert guess not in stored
        # Documented: with the pepper each guess can be tried.
        assert PEPPER.recipient("victim@example.org") in stored


def test_a32_a_sender_cannot_be_found_among_recipients(us, mallory):
    assert PEPPER.sender(WHO) != PEPPER.recipient(WHO)
    us.believe(mallory, "sole")
    us.hear(mallory.says("send.blocked", WHO))
    assert us.verdict(WHO).e == 0
    swapped = b64(PEPPER.recipient(WHO))
    us.hear(mallory.says("send.blocked", WHO, s=swapped))
    # The recipient's own tag in a sender's signal is still no claim about it.
    assert us.verdict(WHO).e == 0


def test_a33_an_erased_address_cannot_be_guessed_from_the_id(us, mallory):
    us.believe(mallory, "trusted")
    first = mallory.says("rcpt.hard", WHO)
    with Host("mallory") as twin:  # the same key, body and time
        second = twin.says("rcpt.hard", WHO)
    assert (first.b, first.ts, first.seq) == (second.b, second.ts, second.seq)
    assert first.id != second.id  # 16 random bytes apart
    us.hear(first, *mallory.own.retract([first.id], "erasure", NOW))
    assert us.verdict(WHO).e == 0
    erase(us.store)
    row = us.store.row("SELECT raw, sig, tag FROM ev WHERE id=?", first.id)
    assert row == (None, None, None)


def test_a48_a_score_that_lies_is_shown_as_claimed_and_gives_nothing(us, mallory):
    us.believe(mallory, "known")
    us.hear(mallory.says("rcpt.hard", WHO))
    before = us.verdict(WHO), us.judge.trust()
    begin = NOW - NOW % DAY - DAY
    counts = {"sent": 10**9, "hard": 0, "soft": 0, "cmpl": 0, "supp": 0, "m": 1}
    span = {"from": begin, "to": begin + DAY}
    assert us.hear(mallory.own.append("stat.score", counts | span, NOW)) == ["ok"]
    assert us.judge.scores(NOW)[mallory.org] == Score(1, sent=10**9)
    assert (us.verdict(WHO), us.judge.trust()) == before
    # What we see ourselves stands beside it.
    us.judge.audit(NOW)
    assert mallory.org not in us.judge.records


async def test_a49_a_signal_against_our_customer_blocks_nobody(redis_url, us, mallory):
    us.believe(mallory, "sole")
    for n in range(30):
        us.hear(mallory.says("send.blocked", JOE, NOW + n), now=NOW + n)
    client = connect(redis_url)
    await Projection(client, "t", us.store, us.evidence, us.judge).rebuild(NOW + 60)
    # All that the shaper gets is one signal among those about senders ...
    assert await client.hkeys("t:federation:senders") == [
        b64(PEPPER.sender(JOE)).encode()
    ]
    assert await client.hlen("t:federation:recipients") == 0
    await client.aclose()
    # ... and it makes watchful, once, far from what slows anybody (9 nats).
    profile = Profile(0.0, "login")
    for _ in range(1000):
        raise_floor(profile)
    assert profile.cusum == FLOOR < 9 / 2


def test_a51_a_policy_rejection_is_no_dead_address(us, mallory):
    # Ours is never published ...
    us.fact("bounce", address=WHO, code="5.7.1", smtp=550)
    us.fact("bounce", address=WHO, code="5.7.26", smtp=550)
    assert us.intake.emit(NOW) == {}
    # ... and another's, made by hand, is stored and weighs nothing.
    us.believe(mallory, "sole")
    body = mallory.says("rcpt.hard", "x@example.org").b | {"r": tag(WHO)}
    which = {"net": "test", "org": mallory.org, "st": "h", "inc": NOW, "seq": 2}
    before = mallory.store.row("SELECT id FROM ev WHERE seq=1")
    event = write(
        mallory.signer,
        **which,
        prev=before[0],
        ts=NOW,
        k="rcpt.hard",
        n=bytes(16),
        b=body | {"code": "5.7.1"},
    )
    line = mallory.store.lines((event.key, "h", NOW), 1, 1, most=1, size=9999)
    codes = us.admission.take([*line, event.line], peer="x", now=NOW)
    assert codes == ["ok", "ok"]
    assert us.verdict(WHO).e == 0


@pytest.mark.parametrize(
    "twin",
    [
        "somebody@ex\N{CYRILLIC SMALL LETTER A}mple.org",
        "somebody@examp1e.org",
        "somebody@xn--exmple-cua.org",
        "somebody@example.org.example",
        "some.body@example.org",
        "somebody+x@example.org",
        "s\N{CYRILLIC SMALL LETTER O}mebody@example.org",
    ],
)
def test_a52_a_look_alike_is_another_address(us, mallory, twin):
    us.believe(mallory, "sole")
    us.hear(mallory.says("rcpt.hard", twin))
    assert us.verdict(twin).outcome is Outcome.SUPPRESS
    assert us.verdict(WHO).outcome is Outcome.ALLOW


@pytest.mark.parametrize(
    "same", ["Somebody@EXAMPLE.org", '"somebody"@example.org.', "somebody@example.org"]
)
def test_a52_other_spellings_of_one_address_are_one(us, mallory, same):
    us.believe(mallory, "sole")
    us.hear(mallory.says("rcpt.hard", same))
    assert us.verdict(WHO).outcome is Outcome.SUPPRESS
