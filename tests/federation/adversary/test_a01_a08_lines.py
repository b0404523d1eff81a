"""Attacks 1 to 8: lines that are not what they seem."""

import json

from federation.format.event import parse
from federation.format.profile import b64, encode
from federation.format.signing import EVENT, ROTATE
from tests.support.federation_store import NOW, Node, facts
from tools.federation_vectors.case import NET
from tools.federation_vectors.curve import L, P, packed, with_y
from tools.federation_vectors.fork import resigned
from tools.federation_vectors.writer import Writer, hard, seeded

A = seeded(1)


def _node():
    return Node(1).admit(A.public)


def _offer(node, *lines):
    return node.admission.take(lines, peer="mallory", now=NOW)


def _line(raw, signer=A, context=EVENT):
    return b"%s %s\n" % (b64(signer.sign(context, raw)).encode(), raw)


def test_a01_any_single_bit_flipped():
    node = _node()
    (event,) = facts(A, [1], A.public)
    before = node.shown()
    flipped = []
    for bit in range(8 * (len(event.line) - 1)):
        line = bytearray(event.line)
        line[bit // 8] ^= 1 << bit % 8
        flipped.append(bytes(line))
    codes = _offer(node, *flipped)
    # A flipped letter in `net` is another network; in `org` or `key` the signature
    # is of somebody else. All of them before anything is stored.
    assert set(codes) <= {"bad-form", "bad-sig", "wrong-net"}
    assert codes.count("wrong-net") < 8 * len(NET)
    assert node.admission.faults["mallory"] > 3000
    assert node.shown() == before
    assert _offer(node, event.line) == ["ok"]


def test_a01_a_forged_copy_before_the_right_line():
    node = _node()
    (event,) = facts(A, [1], A.public)
    forged = b"A" * 86 + event.line[86:]
    assert _offer(node, forged, event.line) == ["bad-sig", "ok"]


def test_a02_the_same_meaning_in_other_bytes():
    node = _node()
    (event,) = facts(A, [1], A.public)
    value = json.loads(event.raw)
    for raw in (
        json.dumps(value, sort_keys=True).encode(),
        json.dumps(dict(reversed(value.items())), separators=(",", ":")).encode(),
        event.raw.replace(b'"v":1', b'"v":01'),
        event.raw.replace(b"rcpt", b"\\u0072cpt"),
        event.raw + b" ",
    ):
        assert _offer(node, _line(raw)) == ["bad-form"]


def test_a03_a_key_twice():
    node = _node()
    (event,) = facts(A, [1], A.public)
    raw = event.raw.replace(b'"seq":1,', b'"seq":1,"seq":2,')
    assert _offer(node, _line(raw)) == ["bad-form"]


def test_a04_points_and_scalars_that_libraries_judge_differently():
    node = _node()
    (event,) = facts(A, [1], A.public)
    r, s = event.sig[:32], int.from_bytes(event.sig[32:], "little")
    small = packed(with_y(P - 1))
    zero = (1).to_bytes(32, "little")
    for sig in (
        r + (s + L).to_bytes(32, "little"),
        small + event.sig[32:],
        zero + bytes(32),
    ):
        line = b"%s %s\n" % (b64(sig).encode(), event.raw)
        assert _offer(node, line) == ["bad-sig"]
    # The neutral element as a key signs everything where S = 0 and R = 0 count.
    value = json.loads(event.raw)
    for key in (zero, small, (P + 1).to_bytes(32, "little")):
        node.admit(key)
        raw = encode(value | {"key": b64(key), "org": b64(key)})
        line = b"%s %s\n" % (b64(zero + bytes(32)).encode(), raw)
        assert _offer(node, line) == ["bad-sig"]


def test_a05_a_second_valid_signature_is_no_fork():
    node = _node()
    events = facts(A, [1, 2], A.public)
    twin = resigned(A, events[0])
    assert twin.sig != events[0].sig
    assert node.take([events[0], twin, events[1]]) == ["ok", "dup", "ok"]
    assert node.store.forks(A.public) == {}
    # And the other way round: the first line that came is the one that is kept.
    node = _node()
    assert node.take([twin, events[0], events[1]]) == ["ok", "dup", "ok"]
    assert twin.line in node.lines()


def test_a06_replayed_ten_thousand_times():
    node = _node()
    events = facts(A, range(10), A.public)
    node.take(events)
    before, verified = node.store.counter(), node.admission.verified
    changes = node.store.db.total_changes
    for _ in range(10):
        codes = _offer(node, *[event.line for event in events] * 100)
        assert set(codes) == {"dup"}
    assert node.admission.verified == verified == 10
    assert (node.store.counter(), node.store.db.total_changes) == (before, changes)


def test_a07_an_event_of_another_network():
    node = _node()
    foreign = Writer(A, "h", net="prod").add(hard(1))
    assert _offer(node, foreign.line) == ["wrong-net"]


def test_a08_signed_in_another_context():
    node = _node()
    (event,) = facts(A, [1], A.public)
    for context in (b'"@method": ', ROTATE, b""):
        assert _offer(node, _line(event.raw, context=context)) == ["bad-sig"]
    assert parse(_line(event.raw), NET).id == event.id
