"""Attacks 9 to 13: keys that claim a right they do not have, or lost."""

from hashlib import sha256

from federation.format.profile import b64
from tests.support.federation_store import NOW, Node, facts
from tools.federation_vectors.case import T0
from tools.federation_vectors.writer import Writer, consent, hard, seeded

VICTIM, THIEF, MACHINE = seeded(1), seeded(2), seeded(3)
DAY = 86400


def _node():
    return Node(1).admit(VICTIM.public)


def _control(*said, by=VICTIM):
    log = Writer(by, "c", org=VICTIM.public)
    return [log.add(one) for one in said]


def _grant(signer):
    return "ctl.grant", {"key": b64(signer.public), "label": "x"}


def test_a09_in_the_name_of_a_victim():
    node = _node()
    forged = facts(THIEF, range(5), VICTIM.public)
    assert set(node.take(forged)) == {"parked"}
    assert forged[0].line not in node.lines()
    assert forged[0].id not in node.counting()
    # It cannot fill the disk either, and it is forgotten after a day.
    many = facts(THIEF, range(1100), VICTIM.public)
    codes = node.take(many)
    assert codes.count("quota") == 100
    node.admission.retry(NOW + DAY + 1)
    assert node.store.row("SELECT count(*) FROM park") == (0,)


def test_a10_a_node_key_grants():
    node = _node()
    node.take(_control(_grant(MACHINE)))
    assert node.take(_control(_grant(THIEF), by=MACHINE)) == ["ok"]
    assert node.take(facts(THIEF, [1], VICTIM.public)) == ["parked"]


def test_a11_a_revoked_key_keeps_signing():
    node = _node()
    log = facts(MACHINE, range(5), VICTIM.public)
    cut = [["h", T0, 3, b64(log[2].id)]]
    revoke = ("ctl.revoke", {"key": b64(MACHINE.public), "why": "stolen", "cut": cut})
    grant, revoked = _control(_grant(MACHINE), revoke)
    node.take([grant, *log[:4]])
    assert node.take([revoked, log[4]]) == ["ok", "bad-chain"]
    assert node.counting() & {one.id for one in log} == {one.id for one in log[:3]}
    assert log[3].line not in node.lines()


def test_a12_a_revoked_key_backdates():
    node = _node()
    log = Writer(MACHINE, "h", org=VICTIM.public)
    first = log.add(hard(1), ts=T0 + 50)
    cut = [["h", T0, 1, b64(first.id)]]
    revoke = ("ctl.revoke", {"key": b64(MACHINE.public), "why": "stolen", "cut": cut})
    node.take([*_control(_grant(MACHINE), revoke), first])
    assert node.take([log.add(hard(2), ts=T0 + 50)]) == ["bad-chain"]
    older = Writer(MACHINE, "h", org=VICTIM.public, inc=T0 - DAY)
    assert node.take([older.add(hard(3))]) == ["bad-chain"]
    assert node.counting() & {first.id} == {first.id}


def test_a13_a_stolen_root_rotates_to_the_thief():
    node, heir = _node(), seeded(9)
    promise = ("ctl.org", {"name": "V", "nextroot": _hash(heir)})
    away = ("ctl.rotate", consent(VICTIM.public, THIEF))
    node.take(_control(promise, away))
    assert node.store.identity(VICTIM.public).root == VICTIM.public
    # Also not after promising himself: this freezes, it does not take over.
    other = Node(2).admit(VICTIM.public)
    himself = ("ctl.org", {"name": "V", "nextroot": _hash(THIEF)})
    other.take(_control(promise, himself, away))
    identity = other.store.identity(VICTIM.public)
    assert identity.root == VICTIM.public
    assert identity.frozen == "two successors of one root key"
    # The rightful root can go on where the thief was not fast enough to lie.
    right = ("ctl.rotate", consent(VICTIM.public, heir))
    third = Node(3).admit(VICTIM.public)
    third.take(_control(promise, right, himself))
    assert third.store.identity(VICTIM.public).root == heir.public
    assert not third.store.identity(VICTIM.public).frozen


def _hash(signer):
    return b64(sha256(signer.public).digest())


def test_a13_a_thief_pretends_to_be_older():
    """He opens a control log that claims to be from before the promise."""
    heir = seeded(9)
    promise = ("ctl.org", {"name": "V", "nextroot": _hash(heir)})
    right = ("ctl.rotate", consent(VICTIM.public, heir))
    old = Writer(VICTIM, "c", inc=T0 - DAY)
    old.add(("ctl.org", {"name": "V", "nextroot": _hash(THIEF)}))
    old.add(("ctl.rotate", consent(VICTIM.public, THIEF)))
    node = _node()
    node.take([*_control(promise, right), *old.events])
    identity = node.store.identity(VICTIM.public)
    assert identity.root == VICTIM.public
    assert identity.frozen
