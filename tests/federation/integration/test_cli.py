"""The command line on one node: keys, peers, reports, a person's rights, mistakes."""

import json
import re
import shutil
import sqlite3
import time

import pytest

from federation.format.profile import b64
from federation.format.signing import Signer
from federation.library import Federation, FederationError
from tests.support.fednode import FederationNode

pytestmark = pytest.mark.timeout(120)

FRIEND = b64(Signer(bytes(32)).public)


@pytest.fixture(scope="module")
def node():
    with FederationNode("club", quick=True) as made:
        made("init", "--name", "Our club", "--network", "test")
        yield made


def failed(node, *words, status=64, given=""):
    done = node.run(*words, given=given)
    assert done.returncode == status, done.stdout + done.stderr
    assert done.stderr.startswith("mailshaper federation: ")
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_second_init_overwrites_nothing(node):
    before = {path.name: path.read_bytes() for path in node.state.glob("*.key")}
    assert "already" in failed(node, "init", "--name", "Other", "--network", "test")
    assert before == {path.name: path.read_bytes() for path in node.state.glob("*.key")}
    assert len(before) == 3
    for path in node.state.iterdir():
        assert path.stat().st_mode & 0o077 == 0, path
    assert node.state.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("status", "--nonsense"), "no such option"),
        (("trust", "Nobody", "known"), "no organisation 'Nobody'"),
        (("trust", "Our club", "known"), "own"),
        (("refuse", "Our club"), "itself"),
        (("clear", "Our club"), "forked"),
        (("invite", "Asso"), "server"),
        (("invite", "Asso", "--level", "best"), "best"),
        (("join", "nonsense", "--name", "X"), "sm2tp1"),
        (("lookup", "nobody"), "nobody"),
        (("lookup", "a@[192.0.2.1]"), "a@[192.0.2.1]"),
        (("report", "a@example.org"), "what happened"),
        (("report", "a@example.org", "--code", "9.9.9"), "5.1.1"),
        (("report", "a@example.org", "--code", "550"), "5.1.1"),
        (("report", "a@example.org", "--alive", "--delivered"), "one thing"),
        (("report", "a@example.org", "--delivered", "--at", "soon"), "soon"),
        (("reopen",), "forked"),
        (("peers", "add", "abc", "https://a.example"), "43 characters"),
        (("peers", "add", FRIEND, "http://a.example"), "https"),
        (("peers", "remove", "Our club"), "no peer"),
        (("keys", "revoke", "abcd", "lost"), "abcd"),
        (("keys", "grant", "abc", "mx2"), "count nowhere"),
        (("pepper", "--add", "abc"), "--add"),
        (("conformance",), "program"),
    ],
)
def test_mistakes_are_told_and_change_nothing(node, words, told):
    before = node.events()
    assert told.lower() in failed(node, *words).lower()
    assert node.events() == before


def test_a_bounce_is_evidence_and_waits_to_be_told(node):
    told = node("report", "dead@example.org", "--code", "5.1.1")
    assert "quarter of an hour" in told
    found = node.json("lookup", "dead@example.org")
    assert (found["outcome"], found["rule"], found["own"]) == ("suppress", "D2", True)
    assert node.run("lookup", "-q", "dead@example.org").returncode == 2
    assert node.run("lookup", "-q", "fine@example.org").returncode == 0
    many = node("lookup", "-", given="dead@example.org\nfine@example.org\n")
    assert [line.split()[0] for line in many.splitlines()] == ["suppress", "allow"]


def test_a_refusal_of_the_message_is_never_for_others(node):
    told = node("report", "picky@example.org", "--code", "5.7.1", "--at-once")
    assert "Nothing of it is for others" in told
    assert node.json("lookup", "picky@example.org")["outcome"] == "allow"


def test_facts_from_a_pipe_are_taken_one_by_one(node):
    good = {
        "v": 1, "kind": "bounce", "address": "gone@example.org", "code": "5.1.1",
        "smtp": 550, "via": "dsn", "at": time.time(),
    }  # fmt: skip
    lines = f"{json.dumps(good)}\nnonsense\n"
    done = json.loads(node("report", "-", "--json", given=lines))
    assert done["taken"] == 1
    assert sum(done["refused"].values()) == 1
    assert node.run("report", "-", given="nonsense\n").returncode == 65


def test_a_person_is_told_everything_and_then_forgotten(node):
    node("report", "person@example.org", "--code", "5.1.1", "--at-once")
    found = node.json("subject-access", "person@example.org")
    assert [one["kind"] for one in found["events"]] == ["rcpt.hard"]
    assert [one["what"] for one in found["own"]] == ["bounced"]
    ident = found["events"][0]["id"]
    tag = found["events"][0]["body"]["r"]
    before = node.events()
    node("erase", "person@example.org", "--dry-run")
    assert node.events() == before
    node("erase", "person@example.org")
    after = node.json("subject-access", "person@example.org")
    assert after["events"] == []
    assert after["own"] == []
    lines = node("export")
    assert " h " in next(
        line for line in lines.splitlines() if ident in line and line.startswith("-")
    )
    assert tag not in lines
    assert node.json("lookup", "person@example.org")["outcome"] == "allow"


def test_a_stopped_sender_is_told_and_freed(node):
    node("report", "thief@example.org", "--blocked", "compromised", "--at-once")
    (event,) = node.lines("log", "--kind", "send.blocked")
    assert event["body"]["why"] == "compromised"
    node("report", "thief@example.org", "--released", "--at-once")
    assert len(node.lines("log", "--kind", "send.released")) == 1


def test_a42_a_strangers_name_does_nothing_to_the_terminal(node):
    name = "x\x1b[2J\x07\u202e\nsecond line"
    node("peers", "add", FRIEND, "https://fed.example.net", "--name", name)
    for words in (("peers",), ("trust",), ("trust", FRIEND), ("status",), ("scores",)):
        text = node(*words)
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)
        assert all(len(line) <= 80 for line in text.splitlines())
    assert "second line" not in node("peers").splitlines()
    node("peers", "remove", FRIEND)


def test_levels_and_refusal(node):
    node("peers", "add", FRIEND, "https://fed.example.net", "--name", "Friend")
    node("trust", "Friend", "trusted", "--group", "family", "--note", "met in Lyon")
    (row,) = [row for row in node.lines("trust") if row["name"] == "Friend"]
    assert (row["level"], row["group"], row["note"]) == (
        "trusted", "family", "met in Lyon",
    )  # fmt: skip
    words = ("refuse", "Friend", "--force", "--public")
    assert "bad-form" not in failed(node, *words, "dislike")
    node(*words, "abuse")
    (row,) = [row for row in node.lines("trust") if row["org"] == FRIEND]
    assert row["level"] == "refused"
    assert node.lines("peers") == []
    assert len(node.lines("log", "--kind", "ctl.refuse")) == 1


def test_a_machine_is_granted_and_revoked(node):
    other = b64(Signer(bytes([1]) * 32).public)
    node("keys", "grant", other, "mx2")
    rows = {row["key"]: row for row in node.lines("keys")}
    assert (rows[other]["is"], rows[other]["label"]) == ("machine", "mx2")
    node("keys", "revoke", other[:8], "retired")
    rows = {row["key"]: row for row in node.lines("keys")}
    assert rows[other]["is"] == "revoked"
    assert sum(bool(row.get("here")) for row in rows.values()) == 1


def test_the_root_key_is_rotated_twice(node):
    keys = [(node.state / "next-root.key").read_bytes()]
    org = node.json("status")["org"]
    for _ in range(2):
        node("keys", "rotate")
        assert (node.state / "root.key").read_bytes() == keys[-1]
        keys.append((node.state / "next-root.key").read_bytes())
    assert len(set(keys)) == 3
    roots = [row["is"] for row in node.lines("keys") if "root" in row["is"]]
    assert roots == ["old root", "old root", "root"]
    assert node.json("status")["org"] == org
    node("keys", "grant", b64(Signer(bytes([2]) * 32).public), "mx3")


def test_without_the_root_key_only_its_own_commands_fail(node):
    path = node.state / "root.key"
    kept = node.directory / "root.key"
    path.rename(kept)
    try:
        assert node.json("status")["root_key_here"] is False
        assert "root key" in failed(node, "keys", "grant", FRIEND, "mx9")
        node("report", "late@example.org", "--code", "5.1.1", "--at-once")
    finally:
        kept.rename(path)


def test_peppers_are_made_and_old_ones_looked_up(node):
    node("report", "old@example.org", "--code", "5.1.1", "--at-once")
    (first,) = node("pepper").splitlines()
    shown = node("pepper", "--new", "--show").splitlines()
    assert shown[1].startswith(first.split()[0])
    assert node.json("lookup", "old@example.org")["outcome"] == "suppress"


def test_a_restored_copy_opens_a_new_incarnation(node, tmp_path):
    """Adversary 17: what the copy writes does not fork what the original wrote."""
    saved = tmp_path / "backup"
    shutil.copytree(node.state, saved)
    node("report", "one@example.org", "--code", "5.1.1", "--at-once")
    shutil.rmtree(node.state)
    shutil.copytree(saved, node.state)
    before = {log[:3] for log in node.events()}
    node("report", "two@example.org", "--code", "5.1.1", "--at-once")
    assert {log[:3] for log in node.events()} - before


@pytest.fixture
def with_peer():
    with FederationNode("pair", quick=True) as made:
        made("init", "--name", "Pair", "--network", "test")
        made("peers", "add", FRIEND, "https://fed.example.net", "--name", "Friend")
        made("report", "early@example.org", "--code", "5.1.1")
        yield made


def says(node, **state):
    at = {"at": int(time.time()), "pid": 1, "missing": 0, "clock": 0}
    (node.state / "daemon.json").write_text(
        json.dumps(at | {"settled": True, "stopped": "", "publishing": ""} | state)
    )


WRITING = [
    ("report", "a@example.org", "--code", "5.1.1", "--at-once"),
    ("keys", "grant", b64(Signer(bytes([7]) * 32).public), "mx7"),
    ("keys", "revoke", b64(Signer(bytes([7]) * 32).public), "retired"),
    ("keys", "rotate"),
    ("erase", "a@example.org"),
    ("refuse", "Friend", "--public", "abuse"),
]


def test_commands_write_only_after_a_peer_has_seen_our_log(with_peer):
    """A restored snapshot of the machine would fork its own log (adversary 17)."""
    node = with_peer
    for words in WRITING:
        # Each in turn, so that the next one has something to do.
        before = node.events()
        for state, told in (
            ({"at": 0}, "daemon does not run"),
            ({"at": int(time.time()) + 999}, "daemon does not run"),
            ({"settled": False}, "reached no peer"),
            ({"stopped": "this host's clock is 90000 s behind"}, "90000 s behind"),
        ):
            says(node, **state)
            text = failed(node, *words, status=75)
            assert told in " ".join(text.split()), words
            assert "--force" in text
            assert node.events() == before, words
        says(node)
        node(*words)
        assert node.events() != before, words


def test_a_command_may_be_forced_and_some_need_not_be(with_peer):
    before = with_peer.events()
    with_peer("report", "b@example.org", "--code", "5.1.1")
    with_peer("erase", "b@example.org")  # nothing of it was published
    with_peer("refuse", "Friend")
    assert with_peer.events() == before
    with_peer("peers", "add", FRIEND, "https://fed.example.net", "--name", "Friend")
    words = ("report", "c@example.org", "--code", "5.1.1", "--at-once")
    with_peer(*words, "--force")
    assert with_peer.events() != before


def test_status_tells_what_holds_the_daemon_up(with_peer):
    says(with_peer)
    assert not re.search("STOPPED|NOT", with_peer("status"))
    says(with_peer, stopped="this host's clock is 90000 s behind its peers' clocks")
    assert "STOPPED     this host's clock is 90000 s behind" in with_peer("status")
    says(with_peer, settled=False)
    assert "NOT YET     no peer was reached" in with_peer("status")
    says(with_peer, publishing="this host's log has two events with one number")
    assert "NOT WRITING this host's log has two events" in with_peer("status")


def test_a_program_uses_the_library(node):
    with Federation(node.config) as federation:
        assert federation.lookup("new@example.org").outcome == "allow"
        federation.bounced("new@example.org", code="5.1.1", smtp=550)
        answer = federation.lookup("new@example.org")
        assert (answer.outcome, answer.own, answer.by) == ("suppress", True, ())
        federation.delivered("new@example.org", at=time.time() + 1)
        assert federation.lookup("new@example.org").outcome == "allow"
        federation.blocked("s@example.org", why="spam", until=time.time() + 86400)
        federation.released("s@example.org")
        with pytest.raises(FederationError, match="no address"):
            federation.lookup("nobody")
        with pytest.raises(FederationError, match="why"):
            federation.blocked("s@example.org", why="dislike", until=0)
    with Federation(node.state) as federation:
        assert federation.lookup("dead@example.org").outcome == "suppress"
    with pytest.raises(FederationError, match="init"):
        Federation(node.directory)


def test_a_damaged_file_is_told(node, tmp_path):
    with FederationNode("other", quick=True) as other:
        assert "init" in failed(other, "status")
        other("init", "--name", "Other", "--network", "test")
        (other.state / "federation.sqlite").write_bytes(b"no database at all" * 100)
        for path in other.state.glob("*-wal"):
            path.unlink()
        assert "database" in failed(other, "status", status=66)


def test_a_file_of_a_later_version_is_left_alone(node):
    with FederationNode("later", quick=True) as later:
        later("init", "--name", "Later", "--network", "test")
        with sqlite3.connect(later.state / "federation.sqlite") as db:
            db.execute("PRAGMA user_version=99")
        assert "version" in failed(later, "status")


def test_a_key_open_to_others_is_not_used(node):
    with FederationNode("open", quick=True) as opened:
        opened("init", "--name", "Open", "--network", "test")
        (opened.state / "node.key").chmod(0o644)
        assert "chmod 600" in failed(opened, "status")
