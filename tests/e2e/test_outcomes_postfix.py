"""Real Postfix bounces what the shaper passed; log and DSN find the sender, once."""

import asyncio

import pytest
import pytest_asyncio

from shaper.feedback.mail import read_mail
from shaper.feedback.table import shipped_table
from tests.support.road import road
from tests.support.submit import submit
from tests.support.waiting import poll_async

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

GONE = "550 5.1.1 <gone@example.net>: Recipient address rejected: User unknown"
DIRECTORIES = ("new", "cur", "tmp")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared():
    # Postfix takes everything back at once; what became of it only it can tell.
    async with road("reinject") as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def way(shared):
    await shared.begin()
    shared.hop.on("rcpt", GONE, match="gone")
    return shared


def listen(way, *, log):
    """Have the daemon read bounces, and the log or not."""
    maildir = way.daemon.directory / "bounces"
    for name in DIRECTORIES:
        (maildir / name).mkdir(parents=True, exist_ok=True)
    logs = [str(way.postfix.directory / "maillog")] if log else []
    way.daemon.configure({"feedback": {"logs": logs, "maildir": str(maildir)}})
    way.daemon.restart()
    return maildir


async def write_to(way, recipient):
    message = f"Message-ID: <{way.who}@x.test>\r\nSubject: hi\r\n\r\nhi\r\n".encode()
    await submit(way.submission, message, account=way.account, recipients=[recipient])
    await way.logged("status=bounced")


async def the_dsn(way):
    """Return the DSN that Postfix sent to the sender, as a mailbox has it."""

    def look():
        return next((t for t in way.hop.transactions if t.sender == ""), None)

    dsn = await poll_async(look, "DSN")
    return dsn.content.replace(b"\r\n", b"\n")


async def bounces(way, *, more_than=-1.0):
    """Return the value of the part "bounces" of the sender's evidence."""
    value = -1.0
    for _ in range(150):
        found = await way.daemon.ask("explain", sender=way.who)
        value = {part[0]: part[1] for part in found["evidence"]["parts"]}["bounces"]
        if value > more_than:
            break
        await asyncio.sleep(0.1)
    assert value > more_than
    return value


async def taken(maildir):
    await poll_async(lambda: not list((maildir / "new").iterdir()), "empty Maildir")
    await asyncio.sleep(0.5)


async def test_the_log_counts_and_the_dsn_of_the_same_does_not(way):
    maildir = listen(way, log=True)
    await write_to(way, "gone@example.net")
    value = await bounces(way, more_than=0.0)
    dsn = await the_dsn(way)
    (outcome,) = read_mail(dsn, shipped_table())
    assert outcome.trace_id
    (maildir / "new" / "1.dsn.x").write_bytes(dsn)
    await taken(maildir)
    way.daemon.restart()  # what follows reads the log from where it was
    await asyncio.sleep(1)
    assert await bounces(way) == pytest.approx(value, rel=0.05)


# Another address: the first one is suppressed by now.
async def test_the_dsn_counts_and_the_log_read_later_does_not(way):
    maildir = listen(way, log=False)
    await write_to(way, "gone2@example.net")
    dsn = await the_dsn(way)
    assert await bounces(way) == 0.0
    forged = dsn.replace(b"gone2@example.net", b"other@example.net")
    (maildir / "new" / "1.forged.x").write_bytes(
        forged.replace(b"x.test>", b"y.test>").replace(b" (mailshaper) ", b" ")
    )
    await taken(maildir)
    assert await bounces(way) == 0.0
    (maildir / "new" / "2.dsn.x").write_bytes(dsn)
    value = await bounces(way, more_than=0.0)
    listen(way, log=True)
    await asyncio.sleep(2)
    assert await bounces(way) == pytest.approx(value, rel=0.05)
