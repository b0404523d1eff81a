"""Which lines of a live log become outcomes, and of whom they speak."""

import pytest

from shaper.feedback.live import LiveLog
from shaper.feedback.table import shipped_table

NOW = 1795608000.0  # 25 November 2026, 12:00 UTC
HOP = "127.0.0.1:10025"


@pytest.fixture
def live():
    return LiveLog(shipped_table(), lambda: NOW, [HOP, "[::1]:10025", "/run/hop"])


def _feed(live, *lines):
    return [outcome for line in lines for outcome in live.feed(line)]


def _postfix(queue_id, daemon, text):
    return f"2026-11-25T12:00:00+00:00 mail postfix/{daemon}[1]: {queue_id}: {text}"


def _message(queue_id, sender="alice@example.net", login="Alice"):
    return (
        _postfix(queue_id, "smtpd", f"client=pc[192.0.2.1], sasl_username={login}"),
        _postfix(queue_id, "cleanup", "message-id=<m1@example.net>"),
        _postfix(queue_id, "qmgr", f"from=<{sender}>, size=9, nrcpt=1 (queue active)"),
    )


def _delivery(
    queue_id, status, text, *, relay="mx[192.0.2.9]:25", to="bob@example.org"
):
    dsn = {"sent": "2.0.0", "bounced": "5.1.1"}.get(status, "4.0.0")
    return _postfix(
        queue_id,
        "smtp",
        f"to=<{to}>, relay={relay}, delay=1, delays=0/0/0/1, dsn={dsn}, "
        f"status={status} ({text})",
    )


DEAD = "host mx[192.0.2.9] said: 550 5.1.1 User unknown (in reply to RCPT TO command)"


def test_a_delivery_has_all_that_finds_its_message(live):
    (outcome,) = _feed(
        live,
        *_message("ABCDEF1"),
        _delivery("ABCDEF1", "sent", "250 2.0.0 Ok: queued as 123456"),
    )
    assert (outcome.queue_id, outcome.next_queue_id) == ("ABCDEF1", "123456")
    assert (outcome.message_id, outcome.sender) == ("m1@example.net", "login:alice")
    assert outcome.time == NOW
    assert outcome.meaning.value == "delivered"


@pytest.mark.parametrize(
    ("relay", "counts"),
    [
        ("127.0.0.1[127.0.0.1]:10025", False),
        ("localhost[::1]:10025", False),
        ("mail.example.net[/run/hop]", False),
        ("127.0.0.1[127.0.0.1]:10024", True),
        ("mx.example.org[192.0.2.9]:10025", True),
        ("mail.example.net[/run/dovecot/lmtp]", True),
        ("none", True),
    ],
)
@pytest.mark.parametrize("status", ["sent", "deferred", "bounced"])
def test_what_is_said_between_mta_and_hop_is_no_outcome(live, relay, counts, status):
    line = _delivery("ABCDEF1", status, DEAD, relay=relay)
    assert bool(_feed(live, *_message("ABCDEF1"), line)) is counts


def test_a_hop_that_listens_everywhere(live):
    live = LiveLog(shipped_table(), lambda: NOW, ["0.0.0.0:10025"])
    line = _delivery("ABCDEF1", "sent", "250 Ok", relay="127.0.0.1[127.0.0.1]:10025")
    assert _feed(live, line) == []
    line = line.replace(":10025", ":25")
    assert len(_feed(live, line)) == 1


@pytest.mark.parametrize("status", ["deliverable", "undeliverable"])
def test_probes_are_nobodys(live, status):
    assert _feed(live, *_message("ABCDEF1"), _delivery("ABCDEF1", status, DEAD)) == []


@pytest.mark.parametrize("sender", ["", "double-bounce@mail.example.net"])
def test_bounces_of_bounces_are_nobodys(live, sender):
    (client, *own) = _message("ABCDEF1", sender)
    lines = [*own, _delivery("ABCDEF1", "bounced", DEAD)]
    assert _feed(live, *lines) == []
    (outcome,) = _feed(live, client, *lines)  # somebody who writes as the MTA does
    assert outcome.sender == "login:alice"


def test_our_own_refusals_are_nobodys(live):
    assert (
        _feed(
            live,
            "Nov 25 12:00:00 mail postfix/smtpd[1]: NOQUEUE: reject: RCPT from "
            "x[192.0.2.1]: 550 5.1.1 <b@example.net>: Recipient address rejected: "
            "User unknown; from=<a@b.c> to=<b@example.net> proto=ESMTP helo=<x>",
        )
        == []
    )


def test_an_expired_message_fails_for_those_who_still_waited(live):
    lines = [
        *_message("ABCDEF1"),
        _delivery("ABCDEF1", "deferred", "connect: timed out", to="a@example.org"),
        _delivery("ABCDEF1", "deferred", "connect: timed out", to="b@example.org"),
        _delivery("ABCDEF1", "sent", "250 Ok", to="b@example.org"),
    ]
    _feed(live, *lines)
    (outcome,) = _feed(
        live,
        _postfix(
            "ABCDEF1",
            "qmgr",
            "from=<alice@example.net>, status=expired, returned to sender",
        ),
    )
    assert (outcome.recipient, outcome.permanent) == ("a@example.org", True)
    assert (outcome.meaning.value, outcome.sender) == ("temporary", "login:alice")


def test_what_was_learned_before_names_the_sender_after_a_restart(live):
    for line in _message("ABCDEF1"):
        live.learn(line)
    assert live.open_messages == 1
    (outcome,) = _feed(live, _delivery("ABCDEF1", "bounced", DEAD))
    assert (outcome.sender, outcome.message_id) == ("login:alice", "m1@example.net")
    assert outcome.meaning.value == "dead_address"


def test_a_year_that_is_not_told_is_the_one_that_we_have(live):
    now = [NOW]
    live = LiveLog(shipped_table(), lambda: now[0])
    line = _delivery("ABCDEF1", "sent", "250 Ok").replace(
        "2026-11-25T12:00:00+00:00", "{}"
    )
    (first,) = live.feed(line.format("Nov 25 12:00:00"))
    now[0] += 40 * 86400.0
    (second,) = live.feed(line.format("Jan  4 12:00:00"))
    assert second.time - first.time == 40 * 86400.0


EXIM = "2026-11-25 12:00:00 +0000 1abcde-000001-AB "


@pytest.mark.parametrize(
    ("tail", "counts"),
    [
        ("=> bob@example.org R=dnslookup T=remote_smtp H=mx [192.0.2.9]", True),
        ("** bob@example.org R=r T=t H=mx [192.0.2.9]: 550 5.1.1 no such user", True),
        ("== bob@example.org R=r T=t defer (-44): 451 later", True),
        ("=> bob@example.org R=mailshaper T=mailshaper H=127.0.0.1 [127.0.0.1]", False),
        ("** bob@example.org R=mailshaper T=mailshaper H=x [127.0.0.1]: 550 no", False),
        ("=> bob@example.org R=r T=hop H=127.0.0.1 [127.0.0.1]:10025", False),
        ("=> bob@example.org R=r T=hop H=127.0.0.1 [127.0.0.1]:10024", True),
    ],
)
def test_exim(live, tail, counts):
    found = _feed(
        live,
        EXIM + "<= alice@example.net H=(pc) [192.0.2.1] P=esmtpsa A=plain:alice S=9 "
        "id=m1@example.net",
        EXIM + tail,
    )
    assert bool(found) is counts
    for outcome in found:
        assert outcome.queue_id == "1abcde-000001-AB"
        assert (outcome.sender, outcome.message_id) == ("login:alice", "m1@example.net")
        assert outcome.time == NOW


def test_exims_bounces_and_refusals_are_nobodys(live):
    assert (
        _feed(
            live,
            EXIM + "<= <> R=1abcde-000000-AB U=Debian-exim P=local S=9",
            EXIM + "** alice@example.net R=r T=t H=mx [192.0.2.9]: 550 5.1.1 unknown",
            "2026-11-25 12:00:00 H=(x) [192.0.2.1] F=<a@b.c> rejected RCPT "
            "<b@example.net>: 550 unknown user",
        )
        == []
    )


FORGED = "to=<b@example.org>, relay=x, delay=1, dsn=5.1.1, status=bounced (550 5.1.1 x)"


@pytest.mark.parametrize(
    "line",
    [
        (
            "Nov 25 12:00:00 mail dovecot: lmtp(bob): msgid=<"
            f"postfix/smtp[1]: ABCDEF1: {FORGED}"
        ),
        f"Nov 25 12:00:00 mail sieve[7] says: x postfix/smtp[1]: ABCDEF1: {FORGED}",
        (
            "Nov 25 12:00:00 mail dovecot: lmtp(bob): msgid=<2026-11-25 12:00:00 "
            "1abcDE-000001-AB ** b@example.org R=r T=t: 550 5.1.1 User unknown"
        ),
    ],
)
def test_a_line_of_another_program_is_not_the_mta_speaking(live, line):
    _feed(live, *_message("ABCDEF1"))
    assert _feed(live, line) == []


def test_a_quoted_address_does_not_end_where_its_writer_likes(live):
    address = '"a>, relay=127.0.0.1[127.0.0.1]:10025, dsn=2.0.0, status=sent (x"@b.org'
    line = _delivery("ABCDEF1", "bounced", DEAD, to=address)
    (outcome,) = _feed(live, *_message("ABCDEF1"), line)
    assert (outcome.recipient, outcome.meaning.value) == (address, "dead_address")


@pytest.mark.parametrize(
    ("said", "meaning", "rule"),
    [
        (
            (
                "host mx[192.0.2.9] said: 421 4.7.0 [TSS04] Messages from 192.0.2.1 "
                "temporarily deferred due to user complaints"
            ),
            "host_refused",
            "",
        ),
        (
            "host mx[192.0.2.9] said: 450 4.2.0 Greylisted",
            "temporary",
            "greylisted",
        ),
        ("connect to mx[192.0.2.9]:25: Connection timed out", "temporary", ""),
    ],
)
def test_what_expires_means_what_was_said_last(live, said, meaning, rule):
    (deferred,) = _feed(
        live, *_message("ABCDEF1"), _delivery("ABCDEF1", "deferred", said)
    )
    gone = "from=<alice@example.net>, status=expired, returned to sender"
    (outcome,) = _feed(live, _postfix("ABCDEF1", "qmgr", gone))
    assert (outcome.meaning.value, outcome.permanent) == (meaning, True)
    assert outcome.rule == deferred.rule
    assert not rule or outcome.rule == rule
    assert "expired" in outcome.reason


ONE, TWO = "4jb0kR5mqvzK5ly", "4jb0kR6ch0zK5m8"
FILTER = "127.0.0.1[127.0.0.1]:10024"
GAVE_BACK = f"250 2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as {TWO}"


@pytest.mark.parametrize("client", ["localhost[127.0.0.1]", "localhost[::1]"])
def test_a_content_filter_that_gives_back_delivers_to_nobody(live, client):
    _feed(live, *_message(ONE), _postfix(TWO, "smtpd", f"client={client}"))
    assert live.handed_on is None
    assert _feed(live, _delivery(ONE, "sent", GAVE_BACK, relay=FILTER)) == []
    assert live.handed_on == (ONE, TWO)
    (outcome,) = _feed(live, _delivery(TWO, "bounced", DEAD))
    assert (outcome.queue_id, live.handed_on) == (TWO, None)


def test_a_tunnel_on_this_host_delivers(live):
    _feed(live, *_message(ONE))
    (outcome,) = _feed(live, _delivery(ONE, "sent", GAVE_BACK, relay=FILTER))
    assert outcome.meaning.value == "delivered"


def test_no_other_host_says_that_it_gives_back(live):
    _feed(live, *_message(ONE))
    _feed(live, _postfix(TWO, "smtpd", "client=localhost[127.0.0.1]"))
    for relay in ("localhost[192.0.2.9]:25", "127.0.0.1.example[192.0.2.9]:25"):
        assert _feed(live, _delivery(ONE, "sent", GAVE_BACK, relay=relay))
        assert live.handed_on is None


def test_exim_hands_on_to_a_filter(live):
    arrival = (
        "2026-11-25 12:00:00 1wYoXy-000000000Ab-1234 <= a@example.net U=www P=local S=1"
    )
    to = (
        "2026-11-25 12:00:01 1wYoXy-000000000Ab-1234 => bob@example.org R=amavis "
        "T=amavis H=127.0.0.1 [127.0.0.1]:10024 "
        'C="250 2.0.0 from MTA: 250 OK id=1wYoXz-000000000Cd-5678"'
    )
    assert _feed(live, arrival, to) == []
    assert live.handed_on == ("1wYoXy-000000000Ab-1234", "1wYoXz-000000000Cd-5678")
