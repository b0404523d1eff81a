"""Attacks 34 to 38: retractions, unknown things, floods, introductions."""

import itertools

from federation.format.limits import DAY, HOUR, Limits
from federation.format.profile import b64
from federation.log.identity import Identity
from federation.log.quota import admitted
from tests.support.federation_store import NOW, Node, facts
from tools.federation_vectors.case import T0
from tools.federation_vectors.writer import Writer, hard, seeded, soft

A, B = seeded(1), seeded(2)


def _node(**options):
    return Node(1, **options).admit(A.public, B.public)


def _back(*events, why="error"):
    return "fix.retract", {"ids": [b64(event.id) for event in events], "why": why}


def test_a34_taking_back_what_somebody_else_said():
    node = _node()
    log = facts(A, [1], A.public)
    for why in ("error", "erasure"):
        enemy = Writer(B, "h", inc=T0 + len(why))
        node.take([*log, enemy.add(_back(log[0], why=why))])
    assert log[0].id in node.counting()
    assert log[0].line in node.lines()
    # Also if the enemy was first: the event is not stored as erased.
    other = _node()
    other.take(enemy.events)
    other.take(log)
    assert log[0].id in other.counting()


def test_a35_a_retraction_of_a_retraction_in_any_order():
    claims = Writer(A, "h")
    said = claims.add(hard(1))
    back = Writer(A, "h", inc=T0 + 10)
    taken = back.add(_back(said))
    again = back.add(_back(taken))
    states = set()
    for order in itertools.permutations([said, taken, again]):
        node = _node()
        for _ in range(2):
            node.take(order)
        states.add(frozenset(node.counting() & {said.id, taken.id, again.id}))
        assert node.store.claims([(1).to_bytes(16)]) == []
        node.store.close()
    assert states == {frozenset({again.id})}


def test_a36_unknown_kinds_and_fields_go_on():
    node = _node()
    log = Writer(A, "h")
    kind, body = hard(1)
    for said in (
        ("xnew.kind", {"a": [1, {"b": "c"}]}),
        (kind, body | {"more": "x"}),
        (kind, body | {"smtp": "550"}),
        (kind, body | {"r": [1]}),
        soft(1),
        ("ctl.grant", {"key": b64(B.public), "label": "x"}),
        ("fix.retract", {"ids": "no", "why": "error"}),
        ("proof.fork", {"a": "x", "b": "y"}),
        hard(2),
    ):
        log.add(said)
    assert set(node.take(log.events)) == {"ok"}
    assert [line for line in node.lines() if line in {e.line for e in log.events}] == [
        event.line for event in log.events
    ]
    assert node.counting() & {event.id for event in log.events} == {log.events[-1].id}
    assert not node.store.identity(A.public).allows(B.public)


def test_a37_a_flood_lags_at_its_quota_and_nobody_else():
    node = _node()
    node.store.set_trust(A.public, "seen", now=NOW)
    flood = Writer(A, "h", inc=NOW)
    for number in range(400):
        flood.add(hard(number), ts=NOW)
    others = facts(B, range(100), B.public)
    codes = node.take([*flood.events, *others])
    assert codes[:400].count("ok") == 100  # a tenth of 1,000 a day
    assert set(codes[100:400]) == {"quota", "bad-chain"}
    assert set(codes[400:]) == {"ok"}
    # It lags, and later goes on where it stopped: nothing is broken.
    assert set(node.take(flood.events[100:], NOW + 60)) == {"quota", "bad-chain"}
    later = node.take(flood.events[100:], NOW + HOUR)
    assert later.count("ok") == 1000 // 24
    assert node.store.forks(A.public) == {}
    # A revocation of the flooding key is not kept out.
    control = Writer(A, "c")
    control.add(("ctl.grant", {"key": b64(seeded(5).public), "label": "x"}))
    assert node.take(control.events) == ["ok"]


def test_a37_a_clock_that_jumps_gives_nothing():
    node = _node()
    node.store.set_trust(A.public, "seen", now=NOW)
    flood = Writer(A, "h", inc=NOW - DAY)
    for number in range(150):
        flood.add(hard(number), ts=NOW)
    node.take(flood.events[:100])
    assert node.take([flood.events[100]], NOW - HOUR) == ["future"]
    node.store.db.execute("DELETE FROM park")
    assert node.take([flood.events[100]], NOW - 300) == ["quota"]


def test_a37_a_first_copy_is_no_flood():
    node = _node()
    node.store.set_trust(A.public, "seen", now=NOW)
    log = Writer(A, "h", inc=NOW - 90 * DAY)
    for number in range(900):
        log.add(hard(number), ts=NOW - 90 * DAY + number * 8000)
    assert set(node.take(log.events)) == {"ok"}


def _introduction(*orgs, by=A, start=0):
    log = Writer(by, "c")
    for number, org in enumerate(orgs):
        log.add(("ctl.peer", {"peer": b64(org)}), ts=T0 + start + number)
    return log.events


def test_a38_nobody_introduces_himself():
    node, stranger = Node(1), seeded(7)
    assert node.take(_introduction(stranger.public, by=stranger)) == ["unknown-org"]
    node.admit(A.public, level="seen")
    friend = _introduction(stranger.public)
    assert node.take(friend) == ["ok"]
    # Introduced by one who is only seen: not enough.
    assert admitted(node.store, stranger.public) is None
    node.admit(A.public, level="known")
    assert admitted(node.store, stranger.public) == ("seen", A.public)


def test_a38_introductions_go_one_step_and_no_further():
    node, friend, stranger = Node(1).admit(A.public), seeded(7), seeded(8)
    node.take(_introduction(friend.public))
    node.take(_introduction(stranger.public, A.public, by=friend))
    assert admitted(node.store, friend.public) == ("seen", A.public)
    assert admitted(node.store, stranger.public) is None
    assert node.take(facts(stranger, [1], stranger.public)) == ["unknown-org"]


def test_a38_twenty_introductions_in_thirty_days():
    node = Node(1, limits=Limits(control_per_day=1000)).admit(A.public)
    invented = [seeded(3000 + number) for number in range(200)]
    node.take(_introduction(*(one.public for one in invented)))
    let_in = [one for one in invented if admitted(node.store, one.public)]
    assert let_in == invented[:20]
    # Without weight: they are in the store, and that is all.
    assert all(node.store.level(one.public) is None for one in let_in)
    # 30 days later others may come.
    late = _introduction(
        *(one.public for one in invented), seeded(5000).public, start=31 * DAY
    )
    assert node.take(late[-1:]) == ["bad-chain"]  # another log is needed
    again = Writer(A, "c", inc=T0 + 31 * DAY)
    again.add(("ctl.peer", {"peer": b64(seeded(5000).public)}))
    assert node.take(again.events, T0 + 31 * DAY + 10) == ["ok"]
    assert admitted(node.store, seeded(5000).public) == ("seen", A.public)


def test_a38_the_sponsor_pays():
    node = Node(1).admit(A.public, level="known")
    invented = [seeded(3000 + number) for number in range(8)]
    node.take(_introduction(*(one.public for one in invented)))
    taken = 0
    for one in invented:
        flood = Writer(one, "h", inc=NOW)
        for number in range(100):
            flood.add(hard(number), ts=NOW)
        taken += node.take(flood.events).count("ok")
    assert taken == 500  # what A itself may add at once, shared by all of them
    mine = Writer(A, "h", inc=NOW)
    assert node.take([mine.add(hard(1), ts=NOW)]) == ["quota"]


def test_a38_a_frozen_sponsor_lets_nobody_in():
    node = Node(1).admit(A.public)
    node.take(_introduction(B.public))
    assert admitted(node.store, B.public) is not None
    other = _introduction(seeded(8).public)
    assert node.take(other) == ["fork"]
    assert isinstance(node.store.identity(A.public), Identity)
    assert node.store.identity(A.public).frozen
    assert admitted(node.store, B.public) is None
