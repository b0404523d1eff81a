"""Attacks and accidents 14 to 18, and 55: two events with one number."""

import shutil

import pytest

from federation.format.errors import Refused
from federation.format.event import parse
from federation.format.profile import b64
from tests.support.federation_store import NOW, Node, exchange, facts
from tools.federation_vectors.case import NET, T0
from tools.federation_vectors.fork import proof
from tools.federation_vectors.writer import Writer, hard, seeded

A, MACHINE = seeded(1), seeded(3)


def _two():
    """Return two nodes that know each other and the organisation A."""
    one, two = Node(1), Node(2)
    one.admit(A.public, two)
    two.admit(A.public, one)
    return one, two


def _branches(count=3):
    one = Writer(A, "h")
    one.add(hard(1))
    other = one.branch(1)
    for number in range(count):
        one.add(hard(10 + number))
        other.add(hard(20 + number))
    return one, other


def test_a14_a_different_branch_for_everybody():
    one, two = _two()
    left, right = _branches()
    one.take(left.events)
    two.take(right.events)
    assert one.counting() != two.counting()
    exchange(one, two)
    assert one.shown() == two.shown()
    assert one.counting() == two.counting()
    (entry,) = [entry for entry in one.store.vector() if entry.key == A.public]
    assert (entry.head, entry.head_id) == (1, left.events[0].id)
    # A third one learns of it without ever having seen both branches.
    three = Node(3).admit(A.public, one, two)
    exchange(one, three)
    assert three.take(right.events[1:]) == ["fork"] * 3
    assert three.store.forks(A.public) == one.store.forks(A.public)


def test_a14_every_finder_tells_once():
    one, two = _two()
    left, right = _branches()
    one.take(left.events)
    one.take(right.events)
    assert len(one.own.publish_proofs(NOW)) == 1
    assert one.own.publish_proofs(NOW) == []
    exchange(one, two)
    assert two.own.publish_proofs(NOW) == []  # it heard of it


def test_a15_an_edited_branch_proves_nothing():
    one, _ = _two()
    left, right = _branches()
    one.take(left.events)
    wrong = right.events[1].line.replace(b'"cnt":1', b'"cnt":7')
    body = {"a": b64(left.events[1].line), "b": b64(wrong)}
    told = Writer(A, "c").add(("proof.fork", body))
    assert one.take([told]) == ["ok"]
    assert one.store.forks(A.public) == {}
    assert {event.id for event in left.events} <= one.counting()


def test_a16_ten_thousand_branches_at_one_number():
    one, _ = _two()
    left, _ = _branches()
    one.take(left.events)
    branch = left.branch(1)
    second = branch.add(hard(99))
    assert one.take([second]) == ["fork"]
    kept = (
        one.store.row("SELECT count(*) FROM ev"),
        one.store.fork_lines((A.public, "h", T0)),
    )
    verified = one.admission.verified
    for number in range(10_000 // 500):
        bombs = [
            left.branch(1).add(hard(1000 * (number + 1) + index))
            for index in range(500)
        ]
        assert set(one.take(bombs)) == {"fork"}
    assert (
        one.store.row("SELECT count(*) FROM ev"),
        one.store.fork_lines((A.public, "h", T0)),
    ) == kept
    # They are not even verified: the log has an end.
    assert one.admission.verified == verified
    assert one.store.row("SELECT count(*) FROM fork") == (1,)


def test_a17_restored_from_yesterdays_backup(tmp_path):
    node = Node(1, tmp_path / "log.db")
    peer = Node(2).admit(node)
    node.admit(peer)
    kind, body = hard(1)
    node.own.append(kind, body, NOW)
    node.store.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    backup = tmp_path / "backup.db"
    shutil.copy(tmp_path / "log.db", backup)
    for number in range(2, 5):
        node.own.append(*hard(number), NOW + number)
    exchange(node, peer)
    node.store.close()
    # The same inode, as with a snapshot of the whole disk: nothing local tells.
    (tmp_path / "log.db").write_bytes(backup.read_bytes())
    for rest in tmp_path.glob("log.db-*"):
        rest.unlink()
    back = Node(1, tmp_path / "log.db")
    assert not back.store.moved
    theirs = peer.store.vector(org=node.org)
    assert back.own.behind(theirs)
    assert back.own.check(theirs, NOW + 100)
    event = back.own.append(*hard(9), NOW + 100)
    assert (event.seq, event.inc) == (1, NOW + 100)
    exchange(back, peer, NOW + 200)
    assert peer.store.forks(node.org) == {}
    assert back.shown() == peer.shown()
    assert event.id in peer.counting()
    tags = {claim.body.get("r") for claim in back.store.counting()}
    assert {hard(number)[1]["r"] for number in (1, 2, 3, 4, 9)} <= tags
    assert not back.own.check(peer.store.vector(org=node.org), NOW + 300)


def test_a17_a_copied_file_is_noticed_without_peers(tmp_path):
    node = Node(1, tmp_path / "log.db")
    first = node.own.append(*hard(1), NOW)
    node.store.close()
    shutil.copy(tmp_path / "log.db", tmp_path / "copy.db")
    copy = Node(1, tmp_path / "copy.db")
    assert copy.store.moved
    second = copy.own.append(*hard(2), NOW + 5)
    assert (second.inc, second.seq) == (NOW + 5, 1)
    assert not copy.store.moved
    assert copy.own.append(*hard(3), NOW + 6).seq == 2
    original = Node(1, tmp_path / "log.db")
    assert original.own.append(*hard(4), NOW + 6).prev == first.id


def test_a18_two_machines_with_one_key():
    one, twin, peer = Node(1), Node(1, empty=True), Node(2)
    for node in (one, twin):
        node.admit(peer)
    peer.admit(one)
    # The second machine got the key, not the file.
    twin.take([parse(line, NET) for line in one.lines()])
    one.own.append(*hard(1), NOW)
    twin.own.append(*hard(2), NOW)
    exchange(one, peer)
    exchange(twin, peer)
    exchange(one, peer)
    for node in (one, twin):
        assert node.own.forked()
        with pytest.raises(Refused, match="do two machines use one key") as caught:
            node.own.append(*hard(3), NOW + 50)
        assert caught.value.code == "fork"
    # One machine goes on in a new incarnation, the root says so.
    (opened,) = one.own.reopen(NOW + 60)
    assert opened.k == "ctl.open"
    new = one.own.append(*hard(4), NOW + 60)
    exchange(one, peer, NOW + 100)
    assert new.id in peer.counting()
    assert peer.shown() == one.shown()
    assert not one.own.forked()
    assert not peer.store.identity(one.org).frozen


def test_a18_reopening_needs_the_root():
    node = Node(1)
    node.own.append(*hard(1), NOW)
    other = Writer(node.key, "h", org=node.org, inc=NOW)
    assert node.take([other.add(hard(2))]) == ["fork"]
    node.own.root = None
    with pytest.raises(Refused, match="root key"):
        node.own.reopen(NOW)


def test_a55_a_stolen_node_key_forks_its_log_at_the_first_event():
    one, two = _two()
    control = Writer(A, "c")
    control.add(("ctl.grant", {"key": b64(MACHINE.public), "label": "x"}))
    log = facts(MACHINE, range(5), A.public)
    one.take([*control.events, *log])
    (bomb,) = facts(MACHINE, [77], A.public)
    assert one.take([bomb]) == ["fork"]
    # The history has no weight any more, and no false claim has got any.
    assert not one.counting() & {bomb.id, *(event.id for event in log)}
    # What still matters is published again, in a log that the root opens.
    opened = {"key": b64(MACHINE.public), "st": "h", "inc": T0 + 500}
    control.add(("ctl.open", opened))
    again = Writer(MACHINE, "h", org=A.public, inc=T0 + 500)
    for number in range(5):
        again.add(hard(number))
    assert set(one.take([control.events[1], *again.events])) == {"ok"}
    assert {event.id for event in again.events} <= one.counting()
    exchange(one, two)
    assert two.counting() == one.counting()


def test_two_forked_logs_are_for_the_operator_to_look_at():
    one, _ = _two()
    left, right = _branches()
    other = Writer(A, "s")
    other.add(("stat.score", _score(1)))
    second = Writer(A, "s")
    second.add(("stat.score", _score(2)))
    one.take([*left.events, *other.events])
    assert one.take([right.events[1], second.events[0]]) == ["fork", "fork"]
    assert one.store.identity(A.public).frozen == "two logs are forked"
    assert left.events[0].id not in one.counting()
    epoch = one.store.epoch()
    one.store.clear(A.public, now=NOW + 1)
    assert one.store.epoch() > epoch
    assert not one.store.identity(A.public).frozen
    assert left.events[0].id in one.counting()
    told = Writer(seeded(8), "c")
    one.admit(told.org)
    one.take([told.add(proof(left.events[1], right.events[1]))], NOW + 10)
    assert not one.store.identity(A.public).frozen  # the same fork is no news


def _score(sent):
    day = T0 - T0 % 86400
    return {
        "from": day, "to": day + 86400, "sent": sent, "hard": 0, "soft": 0, "cmpl": 0,
        "supp": 0, "m": 1,
    }  # fmt: skip
