"""A machine whose disk was set back to a snapshot does not fork its own log.

Two daemons with the command line between them. The file is overwritten in its place,
so that only the peer can know that there was more (adversary 17).
"""

import pytest

from federation.format.profile import b64
from federation.format.signing import Signer
from tests.support.fednode import FederationNode
from tests.support.waiting import poll

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

OTHER = b64(Signer(bytes([9]) * 32).public)


def meet(one, other):
    one("init", "--name", one.name, "--network", "test")
    one.start()
    word = one("invite", other.name, "--level", "trusted").split(" join ")[1].split()[0]
    other("join", word, "--name", other.name, "--level", "trusted")
    other.start()


def settled(node):
    return node.json("status")["daemon"].get("settled")


def grants(node):
    """Return how many grants of asso have arrived."""
    return len(node.lines("log", "--kind", "ctl.grant", "--org", "asso"))


def write_back(node, saved):
    for path in node.state.glob("federation.sqlite-*"):
        path.unlink()
    with (node.state / "federation.sqlite").open("r+b") as file:
        file.write(saved)
        file.truncate()


def test_commands_wait_for_a_peer_and_nothing_forks():
    with (
        FederationNode("club", listen=True, quick=True) as club,
        FederationNode("asso", listen=True, quick=True) as asso,
    ):
        meet(club, asso)
        poll(lambda: settled(asso), "the first session", 30)
        asso.stop()
        saved = (asso.state / "federation.sqlite").read_bytes()
        asso.start()
        poll(lambda: settled(asso), "a session after the start", 30)
        asso("keys", "grant", OTHER, "mx2")
        poll(lambda: grants(club) == 2, "the grant at the other host", 30)

        asso.stop()
        write_back(asso, saved)
        words = ("keys", "grant", OTHER, "mx3")
        done = asso.run(*words)
        assert done.returncode == 75, done.stderr
        asso.start()
        poll(lambda: settled(asso), "a session after the snapshot", 30)
        asso(*words)
        poll(lambda: grants(club) == 3, "the new grant at the other host", 30)
        poll(lambda: club.events() == asso.events(), "equal logs", 30)
        for node in (club, asso):
            assert node.json("status")["forks"] == []


def test_a_host_that_has_just_started_lets_nobody_in_yet():
    with (
        FederationNode("hub", listen=True, quick=True) as hub,
        FederationNode("pal", listen=True, quick=True) as pal,
        FederationNode("new", quick=True) as new,
    ):
        meet(hub, pal)
        poll(lambda: settled(hub), "the first session", 30)
        word = hub("invite", "new").split(" join ")[1].split()[0]
        pal.stop()
        hub.stop()
        hub.start()
        done = new.run("join", word, "--name", "New")
        assert done.returncode == 64
        assert "just started" in done.stderr
        pal.start()
        poll(lambda: settled(hub), "a session with the peer", 60)
        new("join", word, "--name", "New")
