"""Attacks found by reading the code as an enemy would: each was possible once."""

import asyncio
import os
import socket
import ssl
import time
from pathlib import Path

import pytest

from federation.config import load
from federation.exchange.server import network_of
from federation.exchange.service import Rates, error
from federation.exchange.session import (
    PUSH,
    VECTOR,
    Answer,
    Memory,
    PeerFault,
    Unavailable,
)
from federation.format import keyfile
from federation.format.limits import Limits
from federation.format.profile import b64, decode, encode
from federation.log.housekeeping import erase
from federation.log.tables import Peer
from federation.node import Node as Whole
from federation.node import NodeError, Profile
from federation.upkeep import Upkeep
from tests.federation.adversary.test_exchange_attacks import (
    friends,
    port,
    post,
    signed,
)
from tests.support.exchanging import NOW as MEMBERS_NOW
from tests.support.exchanging import Member, acquaint, converse
from tests.support.federation_store import NOW, Node, facts
from tests.support.waiting import poll_async
from tools.federation_vectors.writer import Writer, hard, seeded

__all__ = ["friends", "port"]

A, E = seeded(1), seeded(2)


# -- erasure


def test_a_flood_of_demands_to_erase_the_events_of_others_keeps_none_from_its_right():
    node = Node(1).admit(A.public, E.public)
    mine = Writer(A, "h")
    for number in range(9):
        mine.add(hard(number))
    node.take(mine.events)
    ids = [b64(event.id) for event in mine.events]
    evil = Writer(E, "h")
    evil.add(("fix.retract", {"ids": ids, "why": "erasure"}))
    node.take(evil.events)
    mine.add(("fix.retract", {"ids": ids[-1:], "why": "erasure"}))
    node.take(mine.events[-1:])

    done = sum(erase(node.store, step=2) for _ in range(3))

    assert done == 1
    row = node.store.row("SELECT raw FROM ev WHERE id=?", mine.events[8].id)
    assert row == (None,)


def test_a_line_that_a_relay_calls_erased_comes_back_from_another_peer():
    a, relay, honest = Member("a"), Member("relay"), Member("honest")
    acquaint(a, relay, honest)
    said = relay.say(4)
    converse(honest, relay)
    with relay.store.writing():
        relay.store.db.execute(
            "UPDATE ev SET raw=NULL, sig=NULL, tag=NULL, k=NULL WHERE id=?",
            (said[1].id,),
        )
    converse(a, relay)
    assert len(a.store.wanted()) == 1
    # The heads are equal: nothing but the place itself tells that a line is missing.
    converse(a, honest)
    assert a.store.wanted() == []
    assert said[1].id in {claim.id for claim in a.store.counting()}


def test_wanted_places_are_found_behind_many_that_are_rightly_erased():
    node = Node(1).admit(A.public)
    log = Writer(A, "h")
    for number in range(30):
        log.add(hard(number))
    gone = [b64(event.id) for event in log.events[:25]]
    log.add(("fix.retract", {"ids": gone, "why": "erasure"}))
    node.take(log.events)
    while erase(node.store):
        pass
    # One that nobody asked to erase.
    node.store.db.execute(
        "UPDATE ev SET raw=NULL, sig=NULL WHERE id=?", (log.events[28].id,)
    )
    assert [seq for _, seq in node.store.wanted(1)] == [29]


# -- keys


def _settings(directory: Path):
    config = directory / "federation.toml"
    config.write_text(f'[node]\nstate_directory = "{directory / "state"}"\n')
    return load(config)


def test_a_rotation_that_was_interrupted_anywhere_is_done_by_calling_it_again(tmp_path):
    settings = _settings(tmp_path)
    with Whole.create(settings, "test", Profile("Club"), NOW) as node:
        state = node.directory
        first = node.store.identity(node.org).root
        moved = (state / "next-root.key").read_bytes()
        node.rotate(NOW + 1)
        # As if it had died between the event and the files.
        (state / "root.key").unlink()
        (state / "root.key.old").rename(state / "root.key")
        (state / "next-root.key").write_bytes(moved)
        with node.store.writing():
            node.store.db.execute(
                "DELETE FROM ev WHERE log IN (SELECT id FROM log WHERE key=?)",
                (keyfile.load(state / "next-root.key").public,),
            )
            node.store.db.execute(
                "DELETE FROM log WHERE key=?",
                (keyfile.load(state / "next-root.key").public,),
            )
        node.store.forget()
    with Whole(settings) as node:
        assert node.own.root.public == first
        node.rotate(NOW + 2)
        identity = node.store.identity(node.org)
        assert identity.root == node.own.root.public != first
        assert not identity.conflict
        assert identity.nextroot
    with Whole(settings) as node:
        # As if it had died before its successor was announced.
        node.store.db.execute(
            "DELETE FROM ev WHERE log IN (SELECT id FROM log WHERE key=?)",
            (node.own.root.public,),
        )
        node.store.db.execute("DELETE FROM log WHERE key=?", (node.own.root.public,))
        node.store.forget()
        assert not node.store.identity(node.org).nextroot
        node.rotate(NOW + 3)
        identity = node.store.identity(node.org)
        assert (len(identity.roots), bool(identity.nextroot)) == (2, True)


def test_nobody_is_believed_for_calling_itself_by_the_key_of_another(tmp_path):
    with Whole.create(_settings(tmp_path), "test", Profile("Club"), NOW) as node:
        victim = b64(A.public)
        for org in (A.public, E.public):
            node.store.set_trust(org, "seen", now=NOW)
        thief = Writer(E, "c")
        thief.add(("ctl.org", {"name": victim}))
        node.admission.take([one.line for one in thief.events], peer="x", now=NOW)
        assert node.name_of(E.public) == victim
        assert node.org_of(victim) == A.public
        thief.add(("ctl.org", {"name": victim[:12]}))
        node.admission.take([thief.events[-1].line], peer="x", now=NOW)
        with pytest.raises(NodeError, match="several"):
            node.org_of(victim[:12])


def test_proofs_about_keys_without_rights_do_not_weigh_on_an_organisation():
    node = Node(1).admit(A.public, E.public)
    node.take(facts(A, range(2), A.public))
    junk = Writer(E, "c")
    for number in range(5):
        stranger = seeded(100 + number)
        one, other = (Writer(stranger, "h", org=A.public) for _ in range(2))
        body = {"a": b64(one.add(hard(1)).line), "b": b64(other.add(hard(2)).line)}
        junk.add(("proof.fork", body))
    assert set(node.take(junk.events)) == {"ok"}
    assert node.store.identity(A.public).forks == {}


# -- exchange


def _with(asker, peer, change, memory=None):
    """Run a session in which a peer's answers are changed on the way."""
    dialogue = asker.start(peer)
    ask = next(dialogue)
    while True:
        answer = peer.service.answer(
            ask.path, ask.body, peer=asker.org, now=MEMBERS_NOW
        )
        try:
            ask = dialogue.send(change(ask, answer))
        except StopIteration as end:
            return end.value


def test_a_peer_cannot_fill_the_memory_with_logs_that_do_not_exist():
    a, b = Member("a"), Member("b")
    acquaint(a, b)
    count = 0

    def inventing(ask, answer: Answer) -> Answer:
        nonlocal count
        if ask.path != VECTOR:
            return Answer(503, encode({"err": "not now", "now": MEMBERS_NOW}))
        value = decode(answer.body)
        value.pop("full", None)
        value.pop("same", None)
        value["vec"] = [
            [b64((count * 9000 + one).to_bytes(32)), "h", 1, 0, 1, b64(bytes(16))]
            for one in range(9000)
        ]
        count += 1
        return Answer(200, encode(value))

    for _ in range(5):
        with pytest.raises(Unavailable):
            _with(a, b, inventing)
    with pytest.raises(PeerFault, match="logs"):
        _with(a, b, inventing)
    assert len(a.memory[b.org].theirs) == 0
    assert a.memory[b.org].token == ""


def test_a_peer_that_lies_about_our_own_head_opens_nothing():
    a, b = Member("a"), Member("b")
    acquaint(a, b)
    a.say(1)
    converse(a, b)

    def lying(ask, answer: Answer) -> Answer:
        if ask.path != VECTOR:
            return answer
        value = decode(answer.body)
        value.pop("same", None)
        log = a.store.vector(org=a.org)[-1]
        value["vec"] = [[b64(log.key), log.st, log.inc, 0, 10**9, b64(bytes(16))]]
        return Answer(200, encode(value))

    _with(a, b, lying)
    memory: Memory = a.memory[b.org]
    assert not a.own.check(list(memory.theirs.values()), MEMBERS_NOW + 9)
    (event,) = a.say(1, now=MEMBERS_NOW + 10)
    assert (event.inc, event.seq) == (MEMBERS_NOW, 2)


def test_the_text_of_an_error_answer_is_always_one_that_can_be_sent():
    for why in ("k does not match [a-z]+\\.[a-z]+", 'say "no"', "naïve\n\x1b[2J", ""):
        answer = error(400, why, NOW)
        assert decode(answer.body)["now"] == NOW


async def test_a_path_that_is_no_ascii_is_not_found(friends, caplog):
    a, b = friends
    fields = signed(a, b)
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", int(a.target.authority.partition(":")[2]), ssl=_unchecked()
    )
    lines = [b"POST /fed/v1/v\xc3\xa9ctor HTTP/1.1", b"Host: x", b"Content-Length: 2"]
    lines += [f"{name}: {value}".encode() for name, value in fields.items()]
    writer.write(b"\r\n".join(lines) + b"\r\n\r\n{}")
    status = await reader.readline()
    writer.close()
    assert status.split()[1] in {b"400", b"401", b"404"}, status
    assert "Traceback" not in caplog.text


async def test_garbage_from_strangers_does_not_fill_the_log(friends, caplog):
    a, _ = friends
    where = int(a.target.authority.partition(":")[2])
    for garbage in (b"\x00\x01\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"):
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", where, ssl=_unchecked()
        )
        writer.write(garbage)
        await reader.read(100)
        writer.close()
    assert not [one for one in caplog.records if one.levelname in {"ERROR", "WARNING"}]


def _unchecked():
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def test_addresses_of_one_subnet_are_one_neighbour():
    assert network_of("2001:db8:1:2::3") == network_of("2001:db8:1:2:ffff::9")
    assert network_of("2001:db8:1:2::3") != network_of("2001:db8:1:3::3")
    assert network_of("192.0.2.1") != network_of("192.0.2.2")
    assert network_of("::ffff:192.0.2.1") == network_of("192.0.2.1")
    assert network_of("no address") == "no address"


async def test_nothing_of_our_own_is_written_before_one_peer_was_heard(friends):
    """A peer that cannot be reached knows no less of us than it did before."""
    a, b = friends
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        dead = f"https://127.0.0.1:{one.getsockname()[1]}"
        a.member.store.drop_peer(b.org)
        await poll_async(a.exchange.settled.is_set, "nobody to ask")
        a.exchange.settled.clear()
        a.member.store.put_peer(Peer(b.org, dead, "", "b", 0))
        await poll_async(
            lambda: b.org in a.exchange.peers and a.exchange.peers[b.org].problem,
            "an attempt",
        )
        await asyncio.sleep(1.2)
        assert not a.exchange.settled.is_set()


async def test_a_host_that_only_answers_waits_for_a_peer_with_the_same_logs(friends):
    """Who has no address cannot be asked; what it asks tells as much."""
    a, b = friends

    async def asks(digest: bytes) -> bool:
        body = encode({"digest": b64(digest)})
        status, answer = await post(a, signed(a, b, VECTOR, body), body)
        assert status == 200
        return answer.get("same") is True

    await asyncio.sleep(1.2)
    a.exchange.settled.clear()  # there was no peer at the start
    assert not await asks(bytes(32))
    await asyncio.sleep(1.2)
    assert not a.exchange.settled.is_set()
    assert await asks(a.member.replica.whole().digest)
    await poll_async(a.exchange.settled.is_set, "a peer that has the same")


def test_a_wrong_clock_writes_nothing():
    said: list[str] = []

    class Stopped:
        def stopped(self):
            return "a day ahead"

    upkeep = Upkeep.__new__(Upkeep)
    upkeep.failing, upkeep._exchange, upkeep._due = False, Stopped(), {}
    upkeep._settled = False
    upkeep._publish = lambda now: said.append("published")
    upkeep._watch = upkeep._measure = upkeep._minute = lambda now: None
    upkeep.round(NOW, settled=True)
    assert said == []
    Stopped.stopped = lambda _: ""
    upkeep.round(NOW, settled=True)
    assert said == ["published"]


def _forked(number: int, inc: int):
    one, other = (Writer(A, "h", inc=inc) for _ in range(2))
    return one.add(hard(number)), other.add(hard(number + 1000))


def test_a_flood_of_forks_makes_nobody_publish_a_flood_of_proofs():
    node = Node(1).admit(A.public)
    for number in range(20):
        codes = node.take(_forked(number, NOW - 900 + number))
        assert codes == ["ok", "fork"]
    assert len(node.own.publish_proofs(NOW)) == node.limits.proofs
    assert node.own.publish_proofs(NOW) == []
    assert node.store.identity(A.public).frozen
    # Not for ever: who was cleared may fork again.
    later = NOW + 31 * 86_400
    assert node.own.publish_proofs(later) == []
    assert node.take(_forked(50, NOW - 850), later) == ["ok", "fork"]
    assert len(node.own.publish_proofs(later)) == 1


def test_an_organisation_cannot_fill_the_vectors_with_ended_logs():
    node = Node(1, limits=Limits(logs=5)).admit(A.public)
    codes = [node.take(_forked(one, NOW - 900 + one))[0] for one in range(8)]
    assert codes == ["ok"] * 5 + ["quota"] * 3


def test_a_fork_of_lines_that_fit_into_no_proof_stops_no_other_proof():
    node = Node(1).admit(A.public, E.public)
    inner = [b64(b"x" * 2000), b64(b"y" * 2000)]
    one, other = (Writer(E, "c") for _ in range(2))
    long = one.add(("proof.fork", {"a": inner[0], "b": inner[1]}))
    longer = other.add(("proof.fork", {"a": inner[1], "b": inner[0]}))
    assert node.take([long, longer]) == ["ok", "fork"]
    assert node.take(_forked(1, NOW - 900)) == ["ok", "fork"]
    assert len(node.own.publish_proofs(NOW)) == 1
    assert node.own.publish_proofs(NOW) == []


def test_nobody_looks_like_another_by_a_space(tmp_path):
    with Whole.create(_settings(tmp_path), "test", Profile("Our club"), NOW) as node:
        for signer, name in ((A, "Our  club "), (E, " ")):
            node.store.set_trust(signer.public, "seen", now=NOW)
            thief = Writer(signer, "c")
            thief.add(("ctl.org", {"name": name}))
            node.admission.take([thief.events[0].line], peer="x", now=NOW)
        assert node.name_of(A.public) == f"Our club {b64(A.public)[:8]}"
        assert node.name_of(E.public) == b64(E.public)[:12]


async def test_a_peer_that_pushes_garbage_is_not_heard_for_a_minute(friends):
    a, b = friends
    (event,) = b.say(1, now=int(time.time()))
    garbage = b"A" + event.line[1:] if event.line[:1] != b"A" else b"B" + event.line[1:]
    status, answer = await post(a, signed(a, b, PUSH, garbage), garbage, PUSH)
    assert (status, answer["err"]) == (200, [[0, "bad-sig"]])
    status, _ = await post(a, signed(a, b))
    assert status == 429


def test_lines_that_are_checked_in_vain_count_for_more():
    a, b = Member("a"), Member("b")
    body = b"".join(event.line for event in b.say(500))
    answer = a.service.answer(PUSH, body, peer=b.org, now=MEMBERS_NOW)
    assert {code for _, code in decode(answer.body)["err"]} == {"unknown-org"}
    assert answer.cost == 5
    rates = Rates(rate=1, burst=10)
    assert rates.allow(b"b", 0)
    rates.charge(b"b", 10)
    assert [rates.allow(b"b", now) for now in (0, 1, 2)] == [False, False, True]


def test_a_disk_that_gets_another_number_is_no_restored_backup(tmp_path, monkeypatch):
    node = Node(1, tmp_path / "log.db")
    real = Path.stat

    def renumbered(path, **options):
        found = list(real(path, **options))
        found[2] += 1  # st_dev
        return os.stat_result(found)

    monkeypatch.setattr(Path, "stat", renumbered)
    assert not node.store.moved
