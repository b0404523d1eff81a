"""Exim's log where mail goes through mailshaper and comes back: told once, as sent.

The lines are those of a real Exim 4.96 (addresses shortened); the order in which two
processes write them differs from run to run.
"""

import itertools
from datetime import UTC

import pytest

from shaper.feedback.joiner import Counts, Joiner
from shaper.feedback.logtime import LogClock

AT = "2026-11-25 17:20:59 "
TO_SHAPER = 'R=mailshaper T=mailshaper H=127.0.0.1 [127.0.0.1] C="250 OK id=1xWGfz-BB"'
TO_SHAPER = TO_SHAPER.replace("BB", "0000yw-1r")
TO_WORLD = "R=dnslookup T=remote_smtp H=mx.example.net [192.0.2.1]"
FIRST = [
    "1xWGfz-0000yt-1d => a@example.net " + TO_SHAPER,
    "1xWGfz-0000yt-1d -> gone@example.net " + TO_SHAPER,
    "1xWGfz-0000yt-1d Completed",
]
SECOND = [
    (
        "1xWGfz-0000yw-1r <= alice@example.test H=(shaper.example.test) [127.0.0.1] "
        "P=esmtp S=591 id=m0@x for a@example.net gone@example.net"
    ),
    "1xWGfz-0000yw-1r => a@example.net " + TO_WORLD + ' C="250 2.0.0 Ok: queued as 1"',
    "1xWGfz-0000yw-1r ** gone@example.net "
    + TO_WORLD
    + ": SMTP error from remote mail "
    "server after RCPT TO:<gone@example.net>: 550 5.1.1 User unknown",
    "1xWGfz-0000yw-1r Completed",
]
LOGIN = (
    "1xWGfz-0000yt-1d <= alice@example.test H=(pc) [192.0.2.9] P=esmtpsa "
    "A=plain_server:Alice@example.test S=288 id=m0@x for a@example.net gone@example.net"
)
PHP = (
    "1xWGfz-0000yt-1d <= alice@example.test U=www-data P=local S=288 id=m0@x "
    "for a@example.net gone@example.net"
)
UID = '1xWGfz-0000yt-1d local mail from uid=33 cwd="/var/www" script="1:local mail"'
STRANGER = (
    "1xWGfz-0000yt-1d <= news@shop.test H=mail.shop.test [192.0.2.7] P=esmtps "
    "S=9 id=n@s"
)


def read(lines):
    counts, fates = Counts(), []
    joiner = Joiner(counts, fates.append)
    joiner.start(LogClock(zone=UTC))
    sent = [one for line in lines if (one := joiner.feed(AT + line))]
    sent += joiner.finish()
    return sent, [(f.sender, f.recipient, f.dead) for f in fates], counts


def interleavings():
    """Return every order that keeps the order within each of the two messages."""
    total = len(FIRST) + len(SECOND)
    for places in itertools.combinations(range(total), len(FIRST)):
        first, second = iter(FIRST), iter(SECOND)
        yield [next(first if n in places else second) for n in range(total)]


@pytest.mark.parametrize(
    ("intake", "who"),
    [
        ([LOGIN], "login:alice@example.test"),
        ([PHP], "uid:www-data"),
        ([UID, PHP], "uid:33"),
    ],
)
def test_in_whatever_order_two_processes_write_it_is_one_message(intake, who):
    for order in interleavings():
        sent, fates, counts = read([*intake, *order])
        assert [(s.sender, s.recipients) for s in sent] == [
            (who, ("a@example.net", "gone@example.net"))
        ]
        assert sorted(fates) == [
            (who, "a@example.net", False),
            (who, "gone@example.net", True),
        ]
        assert (counts.messages, counts.copies) == (1, 1)


@pytest.mark.parametrize(
    ("delivery", "is_sent"),
    [
        ("bob@example.net " + TO_WORLD + ' C="250 ok"', True),
        # An alias of ours sends it on; a mailbox by LMTP; a mailbox by a pipe.
        ("ann@example.org <bob@mta.test> " + TO_WORLD + ' C="250 ok"', False),
        ("bob@mta.test R=d T=dovecot H=127.0.0.1 [127.0.0.1] C=Saved", False),
        ("bob <bob@mta.test> R=local_user T=mail_spool", False),
        # Webmail on this host: handed to mailshaper, which held it.
        (
            (
                "bob@example.net R=mailshaper T=mailshaper H=127.0.0.1 [127.0.0.1] "
                'C="250 2.0.0 Held for review as 6b07"'
            ),
            True,
        ),
    ],
)
def test_an_envelope_sender_is_judged_by_what_leaves_this_host(delivery, is_sent):
    done = "1xWGfz-0000yt-1d Completed"
    sent, _, _ = read([STRANGER, "1xWGfz-0000yt-1d => " + delivery, done])
    assert [s.sender for s in sent] == ["from:news@shop.test"] * is_sent


def test_a_line_that_only_looks_like_ours_names_no_uid():
    forged = UID.replace("uid=33", "uid=0").replace(
        "1xWGfz-0000yt-1d local", "1xWGfz-0000yt-1d rejected: local"
    )
    sent, _, _ = read([forged, PHP, *FIRST])
    assert sent[0].sender == "uid:www-data"
