"""Attacks 19, 20 and 22 to 24: wrong clocks, relays that hide and invent."""

from federation.format.event import Stub
from federation.format.profile import b64
from federation.log.chain import LogKey
from federation.log.housekeeping import erase, expire
from tests.support.federation_store import NOW, Node, facts
from tools.federation_vectors.case import T0
from tools.federation_vectors.writer import Writer, hard, seeded

A, B = seeded(1), seeded(2)
DAY = 86400
LOG = LogKey(A.public, "h", T0)


def _node(number=1):
    return Node(number).admit(A.public, B.public)


def test_a19_ten_years_ahead():
    node = _node()
    log = Writer(A, "h")
    first = log.add(hard(1))
    ahead = log.add(hard(2), ts=NOW + 10 * 365 * DAY)
    after = log.add(hard(3))
    others = facts(B, range(3), B.public)
    codes = node.take([first, ahead, after, *others])
    assert codes == ["ok", "future", "bad-chain", "ok", "ok", "ok"]
    assert ahead.id not in node.counting()
    parked = node.store.rows("SELECT org, why, ts FROM park")
    assert parked == [(A.public, "future", ahead.ts)]
    # The log waits, alone; asked again it answers the same.
    assert node.take([ahead, after]) == ["dup", "bad-chain"]
    # It comes in when its time has come: nothing is lost for ever.
    node.admission.retry(NOW + DAY + 1)  # dropped after a day
    assert node.take([ahead], ahead.ts) == ["ok"]
    assert node.take([after], ahead.ts) == ["ok"]


def test_a20_backdated_to_live_again():
    node = _node()
    kind, body = hard(1)
    log = Writer(A, "h", inc=T0 - 400 * DAY)
    old = log.add((kind, body), ts=T0 - 200 * DAY)
    assert node.take([old]) == ["ok"]
    # Its age is that of its own time; and it is gone with the next expiry.
    (claim,) = node.store.claims([_tag(1)])
    assert min(claim.ts, claim.recv) == old.ts
    expire(node.store, NOW)
    assert node.store.claims([_tag(1)]) == []
    # Sent again it is neither stored nor news.
    assert node.take([old]) == ["dup"]
    # Backdating inside a log is impossible.
    new = log.add((kind, body), ts=T0)
    back = log.branch(2)
    assert node.take([new, back.add((kind, body), ts=T0 - DAY)]) == ["ok", "bad-chain"]


def _tag(number):
    return number.to_bytes(16)


def test_a22_a_relay_leaves_events_out():
    origin, honest, node = _node(1), _node(2), _node(3)
    log = facts(A, range(6), A.public)
    origin.take(log)
    honest.take(log)
    # A relay may shorten a log; it cannot leave out the middle of it.
    assert node.take([*log[:2], *log[3:]]) == ["ok", "ok", *["bad-chain"] * 3]
    (mine,) = [entry for entry in node.store.vector() if entry.key == A.public]
    (theirs,) = [entry for entry in honest.store.vector() if entry.key == A.public]
    assert mine.head < theirs.head  # another vector shows it
    lines = honest.store.lines(
        LOG, mine.head + 1, theirs.head, most=1000, size=1_000_000
    )
    assert set(node.admission.take(lines, peer="honest", now=NOW)) == {"ok"}
    (mine,) = [entry for entry in node.store.vector() if entry.key == A.public]
    assert mine == theirs


def test_a22_a_relay_leaves_the_beginning_out():
    node, log = _node(), Writer(A, "h", inc=NOW - 181 * DAY)
    for number in range(4):
        log.add(hard(number), ts=NOW - 10 * DAY + number)
    # The log is old enough to have lost its beginning, so this may be the truth.
    assert node.take(log.events[2:]) == ["ok", "ok"]
    # Whoever still has it gives it back, in whatever batches.
    assert node.take([log.events[1]]) == ["ok"]
    assert node.take(log.events) == ["ok", "dup", "dup", "dup"]
    assert {event.id for event in log.events} <= node.counting()


def test_a23_a_relay_calls_events_erased():
    node = _node()
    log = facts(A, range(6), A.public)
    stub = _stub(log[2])
    # Not without an event that proves its place.
    assert node.admission.take([log[0].line, stub.line], peer="m", now=NOW) == [
        "ok",
        "bad-chain",
    ]
    lines = [log[1].line, stub.line, log[3].line]
    assert node.admission.take(lines, peer="m", now=NOW) == ["ok", "ok", "ok"]
    # The origin has said nothing, so the event stays wanted.
    assert node.store.wanted() == [(LOG, 3)]
    # Another stub with the same id or an event that is not the one: no.
    forged = Writer(A, "h", events=log[:2]).add(hard(99))
    assert node.take([forged]) == ["bad-chain"]
    assert node.store.forks(A.public) == {}
    assert node.take([log[2]]) == ["ok"]
    assert node.store.wanted() == []
    assert log[2].id in node.counting()


def test_a23_a_stub_that_the_origin_covers():
    origin, node = _node(1), _node(2)
    log = Writer(A, "h")
    for number in range(3):
        log.add(hard(number))
    log.add(("fix.retract", {"ids": [b64(log.events[1].id)], "why": "erasure"}))
    origin.take(log.events)
    assert erase(origin.store) == 1
    row = origin.store.row(
        "SELECT raw, sig, tag, k FROM ev WHERE id=?", log.events[1].id
    )
    assert row == (None, None, None, None)
    lines = origin.lines()
    assert _stub(log.events[1]).line in lines
    assert log.events[1].line not in lines
    node.admission.take(lines, peer="origin", now=NOW)
    assert node.store.wanted() == []
    assert node.take([log.events[1]]) == ["dup"]
    assert node.store.claims([_tag(1)]) == []
    mine, theirs = (
        [entry for entry in one.store.vector() if entry.key == A.public]
        for one in (node, origin)
    )
    assert mine == theirs


def test_a23_a_stub_with_the_id_of_another_event():
    node = _node()
    log, others = facts(A, range(4), A.public), facts(B, range(2), B.public)
    node.take(others)
    # In a run only the last id is proven; an id that has its place is refused.
    lines = [
        log[0].line,
        Stub(A.public, "h", T0, 2, others[0].id).line,
        _stub(log[2]).line,
        log[3].line,
    ]
    codes = node.admission.take(lines, peer="m", now=NOW)
    assert codes == ["ok", "bad-chain", "bad-chain", "bad-chain"]
    lines[1] = Stub(A.public, "h", T0, 2, log[2].id).line
    assert "ok" not in node.admission.take(lines, peer="m", now=NOW)


def test_a24_a_huge_head_and_huge_numbers():
    node = _node()
    log = facts(A, range(3), A.public)
    node.take(log)
    most = 2**53 - 1
    before = node.shown()
    assert len(node.store.lines(LOG, 1, most, most=1000, size=1_000_000)) == 3
    assert node.store.lines(LOG, most, most, most=1000, size=1_000_000) == []
    huge = Writer(A, "h", events=log).add(hard(9), seq=most)
    stubs = [Stub(A.public, "h", T0, seq, bytes(32)).line for seq in (4, most)]
    codes = node.admission.take([huge.line, *stubs], peer="m", now=NOW)
    assert codes == ["bad-chain"] * 3
    assert node.shown() == before


def _stub(event):
    return Stub(event.key, event.st, event.inc, event.seq, event.id)
