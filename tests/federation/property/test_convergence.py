"""The same events in any order, any number of times, by any path: the same state."""

import itertools
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.format.profile import b64
from tests.support.federation_store import NOW, Node, exchange
from tools.federation_vectors.case import T0
from tools.federation_vectors.fork import proof
from tools.federation_vectors.writer import Writer, consent, hard, seeded, soft

ROOT, NODE, SPARE, HEIR = seeded(1), seeded(2), seeded(3), seeded(4)
B = seeded(5)


def _scenario():
    """Return events of two organisations in which everything happens at once."""
    promise = b64(sha256(HEIR.public).digest())
    facts = Writer(NODE, "h", org=ROOT.public)
    for number in range(4):
        facts.add(hard(number))
    facts.add(("fix.retract", {"ids": [b64(facts.events[1].id)], "why": "error"}))
    beyond = facts.branch(5)
    beyond.add(hard(8))
    twin = Writer(SPARE, "s", org=ROOT.public)
    twin.add(soft(1))
    other = twin.branch(1)
    twin.add(soft(2))
    twin.add(soft(3))
    other.add(soft(4))
    control = Writer(ROOT, "c")
    control.add(("ctl.org", {"name": "A", "nextroot": promise}))
    for key in (NODE, SPARE):
        control.add(("ctl.grant", {"key": b64(key.public), "label": "x"}))
    cut = [["h", T0, 5, b64(facts.events[4].id)]]
    control.add(("ctl.revoke", {"key": b64(NODE.public), "why": "lost", "cut": cut}))
    control.add(("ctl.rotate", consent(ROOT.public, HEIR)))
    heir = Writer(HEIR, "c", org=ROOT.public)
    heir.add(("ctl.grant", {"key": b64(B.public), "label": "late"}))
    again = Writer(SPARE, "s", org=ROOT.public, inc=T0 + 60)
    again.add(soft(5))
    opened = {"key": b64(SPARE.public), "st": "s", "inc": T0 + 60}
    heir.add(("ctl.open", opened))
    late = Writer(B, "h", org=ROOT.public)
    late.add(hard(6))
    told = Writer(B, "c")
    told.add(proof(twin.events[1], other.events[1]))
    own = Writer(B, "s")
    own.add(soft(7))
    own.add(("xnew.kind", {"a": 1}))
    logs = (control, heir, facts, beyond, twin, other, again, late, told, own)
    return [log.events for log in logs]


LOGS = _scenario()
EVENTS = list({event.id: event for log in LOGS for event in log}.values())


def _node(number=1):
    return Node(number).admit(ROOT.public, B.public)


def _state(node):
    keys = {one.public for one in (ROOT, NODE, SPARE, HEIR, B)}
    vector = [one for one in node.shown() if one.key in keys]
    counting = {
        claim.id
        for claim in node.store.counting()
        if claim.org in {ROOT.public, B.public}
    }
    return (
        vector,
        counting,
        [node.store.identity(org.public).frozen for org in (ROOT, B)],
    )


def _feed(node, events, size):
    """Offer events in batches, again and again until nothing changes."""
    before = None
    while before != (before := node.store.counter()):
        for start in range(0, len(events), size):
            node.take(events[start : start + size])


@pytest.fixture(scope="module")
def expected():
    node = _node()
    _feed(node, EVENTS, 1000)
    state = _state(node)
    # What must be so is said once, so that "equal" does not mean "equally wrong".
    tags = {claim.body.get("r") for claim in node.store.counting()} - {None}
    wanted = [hard(0), hard(2), hard(3), soft(1), soft(5), hard(6), soft(7)]
    assert tags == {body["r"] for _, body in wanted}
    assert state[2] == ["", ""]
    return state


@settings(max_examples=40, deadline=None)
@given(st.permutations(EVENTS), st.lists(st.sampled_from(EVENTS)), st.integers(1, 30))
def test_shuffled_and_duplicated(expected, events, more, size):
    node = _node()
    try:
        _feed(node, events + more, size)
        assert _state(node) == expected
    finally:
        node.store.close()


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.integers(0, 6)),
        min_size=len(LOGS),
        max_size=len(LOGS),
    )
)
def test_partitioned_and_healed(expected, shares):
    """Of each log one of two nodes has all, the other one a beginning."""
    nodes = [_node(1), _node(2)]
    try:
        for index, node in enumerate(nodes):
            node.admit(nodes[1 - index])
            parts = [
                log if whole == index else log[:part]
                for log, (whole, part) in zip(LOGS, shares, strict=True)
            ]
            _feed(node, [event for part in parts for event in part], 100)
        exchange(*nodes)
        one, two = nodes
        assert one.shown() == two.shown()
        assert one.counting() == two.counting()
        assert _state(one) == expected
    finally:
        for node in nodes:
            node.store.close()


def _four():
    """Return a grant, and a fork with a tail of the key that it grants."""
    control = Writer(ROOT, "c")
    grant = control.add(("ctl.grant", {"key": b64(NODE.public), "label": "x"}))
    log = Writer(NODE, "h", org=ROOT.public)
    first = log.add(hard(1))
    other = Writer(NODE, "h", org=ROOT.public)
    second = other.add(hard(2))
    return [grant, first, second, other.add(hard(3))]


def _pairs():
    """Return the orders in which three pairs meet, twice each."""
    return list(itertools.permutations([(0, 1), (1, 2), (0, 2)]))


@pytest.mark.timeout(300)
def test_three_nodes_four_events_every_interleaving():
    """Every placement of four events on three nodes, every order of meetings."""
    events = _four()
    finals = set()
    # The nodes have no names: where the first event is, is node 0.
    for places in itertools.product((0,), range(3), range(3), range(3)):
        for meetings in _pairs():
            nodes = [Node(number) for number in range(3)]
            for node in nodes:
                node.admit(ROOT.public, *(one for one in nodes if one is not node))
            for place, event in zip(places, events, strict=True):
                nodes[place].take([event])
            for one, other in meetings * 2:
                exchange(nodes[one], nodes[other])
            vectors = {tuple(node.shown()) for node in nodes}
            counts = {frozenset(node.counting()) for node in nodes}
            assert len(vectors) == len(counts) == 1, (places, meetings)
            ours = [one for one in vectors.pop() if one.key == NODE.public]
            finals.add(tuple(ours))
            for node in nodes:
                node.store.close()
    assert finals == {()}  # forked at seq 1: nothing of that log is left anywhere


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_four_events_every_order_in_one_node(order):
    node = _node()
    events = _four()
    _feed(node, [events[index] for index in order], 1)
    assert [one for one in node.store.vector() if one.key == NODE.public] == []
    assert node.admission.retry(NOW) == 0
    node.store.close()
