"""Logs and bounces that a real Postfix and a real Exim write, understood.

A scripted next hop refuses, defers and accepts; what the MTA wrote about it must
give each recipient its meaning and each message its sender.
"""

import pytest

from shaper.feedback.classify import classify_bytes
from shaper.feedback.exim_log import EximLog
from shaper.feedback.history import HistoryReader
from shaper.feedback.mail import read_mail
from shaper.feedback.postfix_log import PostfixLog
from shaper.feedback.table import shipped_table
from tests.support.exim import Exim
from tests.support.postfix import Postfix
from tests.support.submit import ALICE, submit

pytestmark = pytest.mark.e2e

FATES = {
    "ok@example.net": ("", "delivered"),
    "dead@example.net": ("550 5.1.1 <dead@example.net>: User unknown", "dead_address"),
    "bare@example.net": ("550 No such user here", "dead_address"),
    "full@example.net": ("552 5.2.2 Mailbox full", "temporary"),
    "later@example.net": ("451 4.7.1 Greylisted", "temporary"),
    "policy@example.net": ("554 5.7.1 Spam refused", "message_refused"),
    "listed@example.net": (
        "550 5.7.1 Client host blocked using zen.spamhaus.org",
        "host_refused",
    ),
}
MEANINGS = {recipient: meaning for recipient, (_, meaning) in FATES.items()}


def _script(hop):
    for recipient, (reply, _) in FATES.items():
        if reply:
            hop.on("rcpt", reply, match=recipient)


def _meanings(outcomes):
    return {o.recipient: o.meaning.value for o in outcomes if o.recipient in FATES}


async def test_the_log_and_the_bounces_of_a_real_postfix(next_hop, tmp_path):
    _script(next_hop)
    main = {"enable_long_queue_ids": "yes"}
    with Postfix(relay=next_hop.port, main=main) as postfix:
        await submit(postfix.submission_port, account=ALICE, recipients=list(FATES))
        await next_hop.wait_for(2)  # the delivery, and the bounce to alice
        await postfix.wait_for_log("status=deferred")
        log = postfix.log()
    joined = PostfixLog(shipped_table())
    outcomes = [o for line in log.splitlines() if (o := joined.feed(line))]
    about = [o for o in outcomes if o.recipient in FATES]
    assert _meanings(about) == MEANINGS
    assert {o.sender for o in about} == {f"login:{ALICE.login}"}
    told = classify_bytes(log.encode(), shipped_table())
    assert _meanings(t.outcome for t in told) == MEANINGS

    path = tmp_path / "mail.log"
    path.write_text(log)
    reader = HistoryReader()
    (sent,) = reader.read([path])
    assert sent.sender == f"login:{ALICE.login}"
    assert set(sent.recipients) == set(FATES)
    assert (reader.corrupt, reader.nobody) == (0, 1)

    bounce = next(t for t in next_hop.transactions if t.sender == "")
    found = _meanings(read_mail(bounce.content, shipped_table()))
    returned = {
        r: m
        for r, m in MEANINGS.items()
        if r not in ("ok@example.net", "later@example.net")
    }
    assert found == returned


async def test_the_log_and_the_bounce_of_a_real_exim(next_hop, tmp_path):
    _script(next_hop)
    with Exim(relay=next_hop.port) as exim:
        await submit(exim.port, account=ALICE, recipients=list(FATES))
        await next_hop.wait_for(2)
        await exim.wait_for_log("Completed")
        log = exim.log()
    joined = EximLog(shipped_table())
    outcomes = [o for line in log.splitlines() if (o := joined.feed(line))]
    about = [o for o in outcomes if o.recipient in FATES]
    assert _meanings(about) == MEANINGS
    assert {o.sender for o in about} == {f"login:{ALICE.login}"}

    path = tmp_path / "mainlog"
    path.write_text(log)
    (sent,) = HistoryReader().read([path])
    assert (sent.sender, set(sent.recipients)) == (f"login:{ALICE.login}", set(FATES))

    bounce = next(t for t in next_hop.transactions if t.sender == "")
    found = _meanings(read_mail(bounce.content, shipped_table()))
    returned = {
        r: m
        for r, m in MEANINGS.items()
        if r not in ("ok@example.net", "later@example.net")
    }
    assert found == returned
