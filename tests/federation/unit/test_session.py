"""Sessions between two or three stores: what is pulled, pushed, left alone."""

from itertools import pairwise

import pytest

from federation.exchange.session import (
    PULL,
    VECTOR,
    Answer,
    PeerFault,
    Unavailable,
    split,
)
from federation.exchange.sync import compare, digest, where
from federation.format.profile import b64, decode, encode
from federation.log.chain import Entry, LogKey
from tests.support.exchanging import NOW, Member, Wire, acquaint, converse


def equal(*members: Member) -> bool:
    return len({digest(one.replica.vector()) for one in members}) == 1


def test_one_session_makes_two_stores_equal_whoever_asks():
    a, b = Member("a"), Member("b")
    acquaint(a, b)
    a.say(30)
    b.say(7, first=1000)

    report = converse(a, b)

    assert equal(a, b)
    assert (report.pulled, report.pushed, report.behind) == (8, 31, 0)
    assert a.knows() == b.knows() == 39


def test_equal_stores_need_one_request():
    a, b = Member("a"), Member("b")
    acquaint(a, b)
    converse(a, b)
    wire = Wire()

    report = converse(a, b, wire=wire)

    assert report.same
    assert (wire.requests, wire.both < 300) == (1, True)


def test_the_second_session_is_told_only_what_changed():
    a, b = Member("a"), Member("b")
    others = [Member(f"other {number}") for number in range(20)]
    acquaint(a, b, *others)
    for one in others:
        converse(b, one)
    converse(a, b)
    b.say(1)
    wire = Wire()

    report = converse(a, b, wire=wire)

    assert report.pulled == 1
    assert wire.requests == 2
    assert wire.received < 1000  # one entry and one line, not forty entries


def test_many_events_take_several_requests_of_bounded_size():
    a, b = Member("a"), Member("b")
    acquaint(a, b, level="sole")
    b.say(2500)
    wire = Wire()

    report = converse(a, b, wire=wire)
    # The burst of an organisation's day bounds what comes in at once.
    assert report.codes == {"ok": 2001, "quota": 1, "bad-chain": 499}
    assert report.behind == 500

    again = converse(a, b, now=NOW + 700)
    assert again.behind < report.behind  # it lags and goes on, nothing is broken


def test_a_push_in_several_requests():
    a, b = Member("a"), Member("b")
    acquaint(a, b, level="sole")
    a.say(1500)

    report = converse(a, b)

    assert (report.pushed, equal(a, b)) == (1501, True)
    assert report.rounds == 1 + 1 + 2  # vector, pull, two pushes


def test_an_unknown_organisation_is_left_alone_and_admitted_by_an_introduction():
    a, b, c = Member("a"), Member("b"), Member("c")
    acquaint(a, b)
    acquaint(b, c)
    c.say(3)
    converse(b, c)
    first = converse(a, b)
    assert first.codes["unknown-org"] > 0
    assert not a.store.logs_of(c.org)

    b.own.append("ctl.peer", {"peer": b64(c.org)}, NOW)
    # In one session: the new control event opens the shelf again.
    converse(a, b)

    assert equal(a, b)
    assert sum(log.head for log in a.store.logs_of(c.org)) == 4


def test_a_refused_organisation_is_not_asked_for_nor_pushed():
    a, b, c = Member("a"), Member("b"), Member("c")
    acquaint(a, b, c)
    c.say(5)
    converse(b, c)
    a.store.set_trust(c.org, "refused", now=NOW)

    pulled = converse(a, b)
    pushed = converse(b, a)

    assert not a.store.logs_of(c.org)
    assert "refused" not in pulled.codes  # not even offered
    assert pushed.pushed == 0
    assert pushed.rounds == 1


def test_relayed_without_hop_limit():
    chain = [Member(f"c{number}") for number in range(1, 8)]
    acquaint(*chain)
    chain[0].say(2)
    for asker, peer in pairwise(chain):
        converse(asker, peer)
    assert all(sum(x.head for x in one.store.logs_of(chain[0].org)) for one in chain)
    assert chain[-1].admission.verified == chain[-1].knows() - 1


def test_a_head_that_was_only_promised_costs_one_request():
    a, b = Member("a"), Member("b")
    acquaint(a, b)
    b.say(1)
    converse(a, b)

    def lying(ask, answer: Answer) -> Answer:
        if ask.path != VECTOR:
            return answer
        value = decode(answer.body)
        value.pop("same", None)
        key = b.signer.public
        value["vec"] = [[b64(key), "h", NOW, 0, 2**53 - 1, b64(bytes(16))]]
        return Answer(200, encode(value))

    report = _with(a, b, lying)
    assert report.shelved == 1
    again = _with(a, b, lying)
    assert again.rounds == 1  # the log stays on its shelf
    assert equal(a, b)


@pytest.mark.parametrize(
    "body",
    [b"", b"# end", b"x\n", b"# end\nx\n", b"\x00\n# end\n", b"a\rb\n# end\n"],
)
def test_a_body_of_lines_of_wrong_form_ends_the_session(body):
    a, b = Member("a"), Member("b")
    acquaint(a, b)

    def broken(ask, answer: Answer) -> Answer:
        return Answer(200, body) if ask.path == PULL else answer

    with pytest.raises(PeerFault):
        _with(a, b, broken)
    assert not a.store.logs_of(b.org)


def test_a_line_that_was_not_asked_for_ends_the_session():
    a, b, c = Member("a"), Member("b"), Member("c")
    acquaint(a, b, c)
    (stray,) = c.say(1)

    def stuffed(ask, answer: Answer) -> Answer:
        return Answer(200, stray.line + answer.body) if ask.path == PULL else answer

    with pytest.raises(PeerFault, match="not asked for"):
        _with(a, b, stuffed)


def test_an_error_answer_tells_the_peers_clock():
    a, b = Member("a"), Member("b")
    body = encode({"err": "stale", "now": 77})

    with pytest.raises(Unavailable) as caught:
        _with(a, b, lambda _ask, _answer: Answer(401, body))

    assert (caught.value.status, caught.value.now) == (401, 77)


def test_the_beginning_that_a_relay_held_back_is_taken_afterwards():
    old = NOW - 400 * 86400
    a, b = Member("a"), Member("b")
    origin = Member("origin", now=old)
    acquaint(a, b, origin)
    origin.say(3, now=old)
    lines = origin.say(5, now=NOW - 1000)
    key, inc = lines[0].key, lines[0].inc
    log = LogKey(key, "h", inc)
    converse(b, origin)
    held = b.store.log(log)
    assert held is not None

    def hiding(ask, answer: Answer) -> Answer:
        if ask.path == PULL:
            kept = [
                line
                for line in answer.body.splitlines(keepends=True)
                if (place := where(line)) is None or place.log != log or place.seq > 6
            ]
            return Answer(200, b"".join(kept))
        if ask.path == VECTOR:
            value = decode(answer.body)
            for entry in value.get("vec", []):
                if entry[0] == b64(key) and entry[1] == "h":
                    entry[3] = 6
            return Answer(200, encode(value))
        return answer

    _with(a, b, hiding)
    cut = a.store.log(log)
    assert cut is not None
    assert (cut.floor, cut.head) == (6, 8)

    assert converse(a, b).same
    assert cut.floor == 6
    # The whole vector, once a day, tells beginnings as well.
    converse(a, b, now=NOW + 86400)
    assert cut.floor == 3  # what is older has expired


def test_where_reads_the_place_of_a_line_and_of_a_stub():
    (event,) = Member("a").say(1)
    assert where(event.line) == ((event.key, "h", event.inc), 1)
    stub = f"- {b64(event.key)} h {event.inc} 9 {b64(bytes(32))}\n".encode()
    assert where(stub) == ((event.key, "h", event.inc), 9)
    for text in (b"", b"\n", b"- \n", b"x" * 3000, event.line[:-2] + b"\n"):
        assert where(text) is None


def test_compare_orders_control_first():
    ours = {LogKey(b"a" * 32, "h", 1): Entry(b"a" * 32, "h", 1, 0, 5, b"i" * 32)}
    theirs = {
        LogKey(b"a" * 32, "s", 1): Entry(b"a" * 32, "s", 1, 0, 5, b"i" * 16),
        LogKey(b"z" * 32, "c", 1): Entry(b"z" * 32, "c", 1, 0, 1, b"i" * 16),
    }
    found = compare(ours, theirs)
    assert [want.log.st for want in found.pull] == ["c", "s"]
    assert [want.log.st for want in found.push] == ["h"]


def test_split_bounds_the_number_of_lines():
    with pytest.raises(PeerFault):
        split(b"\n" * 11, 10)


def _with(asker: Member, peer: Member, change, now: int = NOW):
    """Run a session whose answers go through ``change``."""
    dialogue = asker.start(peer, now)
    answer = None
    while True:
        try:
            ask = next(dialogue) if answer is None else dialogue.send(answer)
        except StopIteration as end:
            return end.value
        real = peer.service.answer(ask.path, ask.body, peer=asker.org, now=now)
        answer = change(ask, real)
