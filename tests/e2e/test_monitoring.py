"""What admins see of a theft: real Prometheus, real Alertmanager, every query.

One run with a stolen account, bounces, a release and a restart. Afterwards every
query of every panel, variable, annotation, rule and alert must have found data, or
be listed in ``EMPTY`` with the reason; what is listed must be empty, so that the
list stays honest. With MAILSHAPER_PICTURE=FILE the overview of the run is kept:

    MAILSHAPER_PICTURE=docs/overview.png python -m pytest tests/e2e/test_monitoring.py
"""

import asyncio
import http.server
import itertools
import json
import math
import os
import re
import smtplib
import threading
import time
from pathlib import Path

import pytest

from tests.support import needs
from tests.support.daemon import Daemon
from tests.support.nexthop import NextHop
from tests.support.prometheus import Alertmanager, Prometheus
from tests.support.submit import submit
from tests.support.waiting import poll_async
from tools.grafana.boards import BOARDS
from tools.grafana.build import variables as choices
from tools.grafana.federation import FEDERATION
from tools.grafana.picture import draw, resolved

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(180)]

RULES = needs.REPOSITORY / "grafana" / "prometheus"
THIEF = "carol@example.test"
EMPTY = {
    "offset 1w": "nothing was there a week before the run",
    "mailshaper_friend_": "nobody's friend in this run",
    "mailshaper_receiver_troubles": "no receiver refuses the host in this run",
}


class Hook(threading.Thread):
    """Takes what Alertmanager posts."""

    def __init__(self):
        super().__init__(daemon=True)
        self.alerts = []
        hook = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                size = int(self.headers["Content-Length"])
                hook.alerts += json.loads(self.rfile.read(size))["alerts"]
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port

    def run(self):
        self.server.serve_forever(0.1)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def names(self):
        return {a["labels"]["alertname"] for a in self.alerts}


def routes(hook, smtp):
    """Return the committed routes, with this test's receivers and patience."""
    text = (RULES / "alertmanager.yml").read_text()
    for old, new in (
        ("http://127.0.0.1:9095/abuse", f"http://127.0.0.1:{hook}/abuse"),
        ("127.0.0.1:25", f"127.0.0.1:{smtp}"),
        ("group_wait: 10s", "group_wait: 1s"),
    ):
        assert old in text
        text = text.replace(old, new)
    return text


async def login(daemon, queue_id, name):
    """Say what Postfix says at DATA."""
    reader, writer = await asyncio.open_connection("127.0.0.1", daemon.policy_port)
    words = (
        "request=smtpd_access_policy\nprotocol_state=DATA\n"
        f"queue_id={queue_id}\nsasl_username={name}\n\n"
    )
    writer.write(words.encode())
    assert await reader.readuntil(b"\n\n") == b"action=DUNNO\n\n"
    writer.close()


class Run:
    """The run: its servers and what happens in it."""

    def __init__(self, hop, daemon, prometheus):
        self.hop, self.daemon, self.prometheus = hop, daemon, prometheus
        self.numbers = itertools.count()

    async def everyday(self, rounds):
        """Let ordinary people write to each other."""
        for _ in range(rounds):
            for name in ("ann", "ben", "dan"):
                await submit(
                    self.daemon.port,
                    sender=f"{name}@example.test",
                    recipients=["friend@example.net"],
                )
            await asyncio.sleep(0.3)

    async def steal(self, count, account=THIEF):
        """Send spam to strangers as fast as it goes."""
        for _ in range(count):
            stranger = f"stranger{next(self.numbers)}@example.com"
            await submit(self.daemon.port, sender=account, recipients=[stranger])

    async def until_held(self, account):
        """Send spam until the first message of it waits."""
        for _ in range(60):
            await self.steal(1, account)
            if self.daemon.held(f"sender=from:{account}"):
                return
        raise AssertionError("a thief is not noticed")

    async def refused(self, recipient, reply):
        """Write to somebody whose server refuses."""
        self.hop.on("rcpt", reply, match=recipient)
        with pytest.raises(smtplib.SMTPException, match=reply[4:9]):
            await submit(
                self.daemon.port, sender="ben@example.test", recipients=[recipient]
            )

    async def fires(self, name, within=30.0):
        """Wait until an alert fires."""

        async def look():
            return name in await asyncio.to_thread(self.prometheus.firing)

        end = time.monotonic() + within
        while not await look():
            assert time.monotonic() < end, f"{name} does not fire"
            await asyncio.sleep(0.3)

    async def logged(self, log):
        """Write to somebody; the next hop's log tells later that it arrived."""
        to, ours = "logged@example.net", "4XLggd0DkRz9qxB"
        self.hop.on("dot", f"250 2.0.0 Ok: queued as {ours}", match=to)
        await submit(self.daemon.port, sender="dan@example.test", recipients=[to])
        head = time.strftime("%b %e %H:%M:%S mx1 postfix/")
        with log.open("a") as file:
            file.write(
                f"{head}qmgr[1]: {ours}: from=<dan@example.test>, size=9, nrcpt=1\n"
                f"{head}smtp[2]: {ours}: to=<{to}>, relay=mx.test[192.0.2.1]:25, "
                "delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 2.0.0 OK)\n"
                f"{head}qmgr[1]: {ours}: removed\n"
            )


async def story(run, log):
    """Everyday mail, a theft, bounces, a review, a restart, everyday mail."""
    daemon = run.daemon
    await login(daemon, "4ABC", "ann")
    await run.logged(log)
    await run.everyday(10)
    await run.until_held(THIEF)
    assert daemon.state_of(f"from:{THIEF}") == "slowed"
    await run.fires("MailshaperAccountSlowed")
    await run.everyday(5)
    for name in ("gone", "gone-too"):
        await run.refused(f"{name}@example.org", "550 5.1.1 no such user here")
    listed = "554 5.7.1 Client host [192.0.2.1] blocked using zen.spamhaus.org"
    await run.refused("dora@example.com", listed)
    await run.steal(40)
    await daemon.wait_for_state(f"from:{THIEF}", "blocked")
    await run.everyday(10)
    await daemon.change("release", sender=f"from:{THIEF}")
    await run.everyday(8)
    await asyncio.to_thread(daemon.restart)
    await run.everyday(8)
    await run.until_held("eve@example.test")
    await run.steal(3, "eve@example.test")
    await run.everyday(12)


def has_data(found):
    """Whether a matrix has at least one number."""
    return any(math.isfinite(float(v)) for one in found for _, v in one["values"])


def excused(expr):
    return next((part for part in EMPTY if part in expr), "")


async def test_every_query_has_data_and_the_theft_reaches_a_person(tmp_path):
    metrics = needs.free_port()
    log = tmp_path / "mail.log"
    log.touch()
    settings = {
        "feedback": {"logs": [str(log)]},
        "metrics": {"listen": f"127.0.0.1:{metrics}"},
        "trickle": {"interval": 1, "longest_interval": 4},
        "notify": {"mail_to": ["postmaster@example.org"]},
    }
    rules = [RULES / "rules.yml", RULES / "alerts.yml"]
    async with NextHop() as hop:
        with (
            Hook() as hook,
            Alertmanager(routes(hook.port, hop.port)) as manager,
            Daemon(hop.port, settings) as daemon,
            Prometheus([f"127.0.0.1:{metrics}"], rules, manager.port) as prometheus,
        ):
            await poll_async(
                lambda: prometheus.query("up == 1"), "the first scrape", 30
            )
            start = time.time()
            await story(Run(hop, daemon, prometheus), log)
            await poll_async(
                lambda: "MailshaperAccountSlowed" in hook.names(), "the webhook", 20
            )
            end = time.time()

            def fetch(expr):
                return prometheus.range(expr, start, end)

            def look():
                return silent(fetch), prometheus.rules(), variables(prometheus)

            # In a thread: the next hop answers meanwhile.
            (without, rule_list, values) = await asyncio.to_thread(look)
            picture = Path(os.environ.get("MAILSHAPER_PICTURE") or tmp_path / "o.png")
            await asyncio.to_thread(draw, BOARDS[0], fetch, picture, NOTE)
    unexplained = {expr for expr in without if not excused(expr)}
    assert unexplained == set()
    unused = {part for part in EMPTY if not any(part in expr for expr in without)}
    assert unused == set(), "listed as empty, and found data"
    assert [r["name"] for r in rule_list if r["health"] != "ok"] == []
    assert len(rule_list) > 20
    assert values == {"placement": ["hop"], "instance": [f"127.0.0.1:{metrics}"]}
    slowed = next(
        a for a in hook.alerts if a["labels"]["alertname"] == "MailshaperAccountSlowed"
    )
    assert "may be stolen" in slowed["annotations"]["summary"]
    assert picture.read_bytes().startswith(b"\x89PNG")


SELECTOR = re.compile(
    r"(?:(?:job|instance):)?\b(?:mailshaper|process)_[\w:]+(?:\{[^}]*\})?(?=[\s\[)])"
)
NOTE = "A test run: stolen account, bounces, a release, a restart; scraped each second."


def silent(fetch):
    """Return the expressions, and the parts of alerts, that found nothing."""
    exprs = [
        resolved(query.expr)
        for board in BOARDS
        if board is not FEDERATION  # tests/federation/e2e/test_monitoring.py
        for row in board.rows
        for panel in row.panels
        for query in panel.queries
    ]
    exprs.append(resolved(BOARDS[0].marks.expr))
    for name in ("rules.yml", "alerts.yml"):
        text = re.sub(r"^ *#.*$", "", (RULES / name).read_text(), flags=re.MULTILINE)
        # Alerts are silent on a good day: what they look at must be there.
        exprs += SELECTOR.findall(text)
        exprs += re.findall(r"record: (\S+)", text)
    return {expr for expr in exprs if not has_data(fetch(expr))}


def variables(prometheus):
    """Return what the variables of the dashboards offer."""
    found = {}
    for name, _, query in choices(BOARDS[0]):
        series, label = re.fullmatch(r"label_values\((.*), (\w+)\)", query).groups()
        rows = prometheus.query(resolved(series))
        found[name] = sorted({row["metric"][label] for row in rows})
    return found
