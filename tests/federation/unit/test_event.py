"""Lines, ids, signatures; most forms of damage are vectors of group event."""

import hashlib
import hmac

import pytest

from federation.format.errors import CODES, PEERS_FAULT, Refused
from federation.format.event import Stub, authentic, parse, write
from federation.format.kinds import KINDS, defect, fits, stream_of
from federation.format.profile import b64, decode, encode, unb64
from federation.format.signing import EVENT, ROTATE, Signer, event_id, verify
from federation.format.tags import NotShareable, Pepper, canon
from tools.federation_vectors.case import NODE, PEPPERS, ROOT
from tools.federation_vectors.event import WORKED, WORKED_ID
from tools.federation_vectors.keys import public, signature

LINE = WORKED.encode()


def rewritten(event, **changes):
    names = ("net", "org", "st", "inc", "seq", "prev", "ts", "k", "n", "b")
    fields = {name: getattr(event, name) for name in names} | changes
    return write(NODE, **fields)


def test_the_worked_example_follows_from_its_seeds_by_the_book():
    """Standard library and schoolbook curve only: nothing of federation/."""
    sig, raw = LINE[:86], LINE[87:-1]
    node = bytes(range(32, 64))
    expected = b64(signature(node, b"SM2TP-FED/1 event\n" + raw)).encode()
    assert sig == expected
    assert f'"org":"{b64(public(bytes(range(32))))}"'.encode() in raw
    assert f'"key":"{b64(public(node))}"'.encode() in raw
    ident = hashlib.sha256(b"SM2TP-FED/1 id\n" + raw).digest()
    assert b64(ident) == WORKED_ID
    pepper = hashlib.sha256(b"sm2tp test pepper 1").digest()
    pk = hashlib.sha256(b"SM2TP-FED/1 pepper\n" + pepper).digest()[:6]
    assert f'"pk":"{b64(pk)}"'.encode() in raw
    assert len(LINE) == 433


def test_the_worked_example_is_read_and_written():
    event = parse(LINE, "test")
    assert authentic(event)
    assert event.line == LINE
    assert (event.org, event.key) == (ROOT.public, NODE.public)
    assert (event.st, event.inc, event.seq, event.prev) == ("h", 1790000000, 1, b"")
    assert b64(event.id) == WORKED_ID
    assert defect(event) == ""
    assert rewritten(event) == event


def test_every_bit_matters():
    event = parse(LINE, "test")
    accepted, codes = [], set()
    for place in range(len(LINE)):
        for bit in range(8):
            changed = bytearray(LINE)
            changed[place] ^= 1 << bit
            try:
                other = parse(bytes(changed), "test")
            except Refused as refusal:
                codes.add(refusal.code)
                continue
            assert other != event
            if authentic(other):
                accepted.append((place, bit))
    assert accepted == []
    assert codes == {"bad-form", "wrong-net"}


def test_a_second_event_names_the_first():
    first = parse(LINE, "test")
    second = rewritten(first, seq=2, prev=first.id)
    assert second.prev == first.id == event_id(first.raw)


def test_writing_refuses_what_reading_would():
    event = parse(LINE, "test")
    for changes, code in (
        ({"b": {}}, "bad-form"),
        ({"b": {"Big": 1}}, "bad-form"),
        ({"b": {"a": "x" * 2000}}, "too-long"),
        ({"b": {"a": 1.5}}, "bad-form"),
        ({"b": {"a": None}}, "bad-form"),
        ({"b": {"a": ("x",)}}, "bad-form"),
        ({"b": {1: "x"}}, "bad-form"),
        ({"b": "x"}, "bad-form"),
        ({"inc": event.ts + 1}, "bad-form"),
        ({"seq": True}, "bad-form"),
        ({"seq": 2}, "bad-form"),
        ({"n": b"short"}, "bad-form"),
        ({"net": "Test"}, "bad-form"),
    ):
        with pytest.raises(Refused) as refusal:
            rewritten(event, **changes)
        assert refusal.value.code == code, changes


def test_an_event_is_bound_to_its_key_and_context():
    event = parse(LINE, "test")
    assert not authentic(event._replace(key=ROOT.public))
    assert verify(event.key, EVENT, event.raw, event.sig)
    assert not verify(event.key, ROTATE, event.raw, event.sig)


def test_codes_are_a_closed_list():
    assert PEERS_FAULT <= CODES
    with pytest.raises(ValueError, match="no code of the protocol"):
        Refused("teapot", "x")
    refusal = Refused("bad-form", "why")
    assert (refusal.code, refusal.why, str(refusal)) == (
        "bad-form",
        "why",
        "bad-form: why",
    )


def test_no_refusal_repeats_text_from_outside():
    for line in (b"\x1b[31m\n", LINE.replace(b"rcpt.hard", b"<b>.hard")):
        with pytest.raises(Refused) as refusal:
            parse(line, "test")
        assert "\x1b" not in str(refusal.value)
        assert "<b>" not in str(refusal.value)


def test_a_stub_comes_back():
    stub = Stub(NODE.public, "h", 1790000000, 7, bytes(32))
    assert Stub.parse(stub.line) == stub


def test_streams_of_kinds():
    assert stream_of("rcpt.hard") == "h"
    assert stream_of("stat.score") == "s"
    assert stream_of("proof.fork") == "c"
    assert stream_of("fix.retract") is None
    assert stream_of("foo.bar") is None
    assert [st for st in "chs" if fits("fix.retract", st)] == ["h", "s"]
    assert not fits("foo.bar", "c")
    assert set("".join(kind.streams for kind in KINDS.values())) == set("chs")


def test_a_defect_says_what_is_wrong():
    event = parse(LINE, "test")
    for changes, words in (
        ({"k": "foo.bar"}, "unknown kind"),
        ({"st": "s"}, "does not belong to stream s"),
        ({"b": {"pk": "x"}}, "field cnt is missing"),
        ({"b": {**event.b, "x": 1}}, "has no field x"),
        ({"b": {**event.b, "cnt": 0}}, "field cnt has not its form"),
    ):
        assert words in defect(rewritten(event, **changes))


def test_a_signer_hides_its_secret():
    assert ROOT.seed.hex() not in repr(ROOT)
    assert ROOT.public.hex() in repr(ROOT)
    with pytest.raises(ValueError, match="32 bytes"):
        Signer(bytes(31))


def test_a_pepper_hides_its_secret():
    pepper = Pepper(PEPPERS[0])
    assert PEPPERS[0].hex() not in repr(pepper)
    assert pepper.id.hex() in repr(pepper)
    with pytest.raises(ValueError, match="32 bytes"):
        Pepper(bytes(16))


def test_tags_of_one_address_cannot_be_linked():
    pepper, other = map(Pepper, PEPPERS)
    tags = {
        pepper.recipient("a@example.org"),
        pepper.sender("a@example.org"),
        other.recipient("a@example.org"),
        other.sender("a@example.org"),
    }
    assert len(tags) == 4
    assert {len(tag) for tag in tags} == {16}
    key, text = PEPPERS[0], b"SM2TP-FED/1 rcpt\na@example.org"
    assert hmac.digest(key, text, "sha256")[:16] in tags


def test_a_lone_surrogate_is_not_shareable():
    for address in ("\ud800@example.org", "a@\udcff.org"):
        with pytest.raises(NotShareable):
            canon(address)


def test_binary_fields_of_any_length():
    assert unb64("") == b""
    assert unb64("AA") == b"\0"
    for bad in ("A", "AB", "AAA=", "A A", None, 7, b"AA"):
        with pytest.raises(Refused):
            unb64(bad)


def test_the_profile_keeps_types_apart():
    assert decode(b'{"a":1,"b":true}') == {"a": 1, "b": True}
    assert type(decode(b'{"a":1}')["a"]) is int
    for value in (True, 1, "x", None, [], {}):
        with pytest.raises(Refused):
            encode(value)
