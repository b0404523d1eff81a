"""Exchange over HTTPS within one process: joining, pins, bounds, answers."""

import asyncio
import base64
import hashlib
import socket
import ssl
import subprocess
import time

import pytest

from federation.exchange import tls
from federation.exchange.client import Target, Unreachable
from federation.exchange.joining import Invitation, ask, invite, joined
from federation.exchange.session import Unavailable
from federation.format.errors import Refused
from federation.format.profile import b64, decode
from tests.support.https_nodes import PEPPER, host
from tests.support.waiting import poll_async


@pytest.fixture
def ports():
    sockets = [socket.socket() for _ in range(3)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    found = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return found


def invited(member, target: Target, now: int) -> str:
    invitation = Invitation(
        "test", member.org, member.name, target.url, target.pin, bytes(16)
    )
    return invite(member.replica, invitation, level="trusted", name="friend", now=now)


async def join(newcomer, word: str):
    invitation = Invitation.read(word)
    member, target = newcomer.member, Target(invitation.url, invitation.pin)
    question = ask(
        member.replica,
        member.own,
        invitation,
        name=member.name,
        url=newcomer.target.url,
        pin=newcomer.target.pin,
    )
    async with newcomer.client.connect(target) as http:
        answer = await newcomer.client.ask(http, target, question)
    now = newcomer.clock()
    return joined(
        member.replica, member.own, invitation, answer, level="trusted", now=now
    )


async def test_joining_takes_one_word_and_seconds(tmp_path, ports):
    async with host("a", tmp_path / "a", ports[0]) as a:  # noqa: SIM117 - b needs a
        async with host("b", tmp_path / "b", ports[1]) as b:
            a.member.say(3, now=int(time.time()))
            word = invited(a.member, a.target, a.clock())
            assert len(word.split()) == 1

            found = await join(b, word)

            assert (found.org, found.peppers) == (a.member.org, (PEPPER,))
            assert a.member.store.level(b.member.org) == "trusted"
            assert a.member.store.peer(b.member.org).name == "friend"
            replicas = (a.member.replica, b.member.replica)
            await poll_async(
                lambda: replicas[0].whole().digest == replicas[1].whole().digest,
                "equal vectors",
            )
            # Each side introduced the other: others will store it.
            introduced = a.member.store.rows("SELECT peer FROM intro")
            assert {peer for (peer,) in introduced} == {a.member.org, b.member.org}

            with pytest.raises(Unavailable, match="was used"):
                await join(b, word)


async def test_a_failed_join_leaves_the_invitation_unused(tmp_path, ports):
    async with host("a", tmp_path / "a", ports[0]) as a:  # noqa: SIM117 - b needs a
        async with host("b", tmp_path / "b", ports[1]) as b:
            word = invited(a.member, a.target, a.clock())
            b.client.signer = a.member.root  # not a key of b
            with pytest.raises(Unavailable, match="does not speak"):
                await join(b, word)
            b.client.signer = b.member.signer
            await join(b, word)


def test_a_word_that_a_mail_program_broke_is_read():
    given = Invitation("test", bytes(32), "A", "https://a.example", "", bytes(16))
    assert Invitation.read(f" {given.word[:20]}\n{given.word[20:]} ") == given


@pytest.mark.parametrize(
    "url", ["http://a.example", "https://", "https://a/b", "file:///etc", "https://u@a"]
)
def test_an_invitation_names_nothing_but_https_and_a_host(url):
    given = Invitation("test", bytes(32), "A", url, "", bytes(16))
    with pytest.raises(Refused):
        Invitation.read(given.word)


async def test_another_key_than_the_pinned_one_gets_no_request(tmp_path, ports):
    async with host("a", tmp_path / "a", ports[0]) as a:
        wrong = Target(a.target.url, b64(bytes(32)))
        with pytest.raises(Unreachable, match="not the pinned"):
            await a.client.well_known(wrong)
        with pytest.raises(Unreachable):  # and no authority knows it
            await a.client.well_known(Target(a.target.url))
        assert decode((await a.client.well_known(a.target)).body)["net"] == "test"


async def test_a_long_poll_answers_when_something_changes(tmp_path, ports):
    async with host("a", tmp_path / "a", ports[0]) as a:  # noqa: SIM117 - b needs a
        async with host("b", tmp_path / "b", ports[1]) as b:
            await join(b, invited(a.member, a.target, a.clock()))
            await poll_async(
                lambda: b.exchange._state(a.member.org).sessions, "a session"
            )
            memory = b.exchange._memory[a.member.org]
            await poll_async(
                lambda: (
                    a.member.replica.whole().digest == b.member.replica.whole().digest
                ),
                "equal vectors",
            )
            state = b.exchange._state(a.member.org).sessions
            memory.token = a.member.store.token()
            poll = asyncio.create_task(
                b.exchange._question(a.member.org, a.target, memory, 30)
            )
            await poll_async(lambda: a.exchange.server._waiters, "a waiting request")
            assert not poll.done()
            a.member.say(1, now=int(time.time()))
            await asyncio.wait_for(poll, 10)
            await poll_async(
                lambda: b.exchange._state(a.member.org).sessions > state, "a session"
            )


def test_the_pin_is_the_hash_of_the_public_key(tmp_path):
    certificate, key = tls.self_made(tmp_path, "127.0.0.1")
    command = ["openssl", "pkey", "-in", str(key), "-pubout", "-outform", "DER"]
    spki = subprocess.run(command, check=True, capture_output=True).stdout
    expected = base64.urlsafe_b64encode(hashlib.sha256(spki).digest())
    assert tls.pin_of_file(certificate) == expected.decode().rstrip("=")
    assert key.stat().st_mode & 0o077 == 0
    assert tls.self_made(tmp_path, "other") == (certificate, key)


@pytest.mark.parametrize("length", [0, 1, 2, 10, 100, 300])
def test_a_certificate_that_is_cut_off_has_no_pin(tmp_path, length):
    certificate, _key = tls.self_made(tmp_path, "127.0.0.1")
    der = ssl.PEM_cert_to_DER_cert(certificate.read_text())
    with pytest.raises(ValueError, match="no certificate"):
        tls.pin_of(der[:length])
