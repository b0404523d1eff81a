"""Placement policy, all of it real: Postfix, daemon, queue helper, next hop.

    async with policy_road() as way:
        await submit(way.postfix.submission_port, account=ALICE)
        way.on_hold()                    # queue ids in Postfix' hold queue

As ``tests.support.road``, but mail does not go through the daemon: Postfix is set up
by ``conf/postfix/policy.sh`` and sends it to the recording next hop itself.
"""

import asyncio
import contextlib
import itertools
import shutil
import smtplib
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from email import message_from_bytes
from pathlib import Path

from tests.support import needs, snippets
from tests.support.daemon import Daemon, Sections
from tests.support.nexthop import NextHop
from tests.support.postfix import Postfix
from tests.support.queue_helper import QueueHelperProcess
from tests.support.road import ACCOUNTS
from tests.support.submit import Account

ADMIN = "postmaster@example.org"
"""Who is told of cases."""


@dataclass(slots=True)
class PolicyRoad:
    """Everything a message meets, and what was handed in."""

    hop: NextHop
    daemon: Daemon
    postfix: Postfix
    helper: QueueHelperProcess
    account: Account = ACCOUNTS[0]
    sent: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Message-ID -> recipients of what Postfix took."""
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    @property
    def socket(self) -> Path:
        """Where Postfix asks ``by_unix``; it names it by the path below its queue."""
        return self.postfix.directory / "queue/shaper/ask"

    @property
    def who(self) -> str:
        """The account as the daemon names it."""
        return f"login:{self.account.login}"

    async def send(
        self, *messages: tuple[str, ...], header: str = "", sender: str = ""
    ) -> list[smtplib.SMTPException]:
        """Hand in one message for each group of recipients, after a login.

        Returns what Postfix refused; ``sent`` has the others.
        """
        return await asyncio.to_thread(self._send, messages, header, sender)

    def _send(
        self, messages: tuple[tuple[str, ...], ...], header: str, sender: str
    ) -> list[smtplib.SMTPException]:
        refused: list[smtplib.SMTPException] = []
        port = self.postfix.submission_port
        with smtplib.SMTP("127.0.0.1", port, timeout=30) as client:
            client.ehlo()
            client.user, client.password = self.account.login, self.account.password
            client.auth("PLAIN", client.auth_plain)
            for recipients in messages:
                mid = f"<{next(self._numbers)}.{port}@example.test>"
                text = (
                    f"From: me\r\nSubject: hi\r\nMessage-ID: {mid}\r\n{header}\r\nx\r\n"
                )
                try:
                    client.sendmail(sender or self.account.login, recipients, text)
                except smtplib.SMTPException as error:
                    refused.append(error)
                else:
                    self.sent[mid] = recipients
        return refused

    def on_hold(self) -> list[str]:
        """Return the queue ids that Postfix has on hold."""
        return [
            str(one["queue_id"])
            for one in self.postfix.queue()
            if one["queue_name"] == "hold"
        ]

    def arrived(self) -> Counter[str]:
        """Return Message-ID -> how often the next hop took it; ours only."""
        found: Counter[str] = Counter()
        for one in self.hop.transactions:
            mid = message_from_bytes(one.content)["Message-ID"]
            if one.accepted and mid in self.sent:
                found[mid] += 1
        return found


@contextlib.asynccontextmanager
async def policy_road(
    settings: Sections | None = None,
    *,
    main: Mapping[str, str] | None = None,
    master: Iterable[str] = (),
    stepping: bool = False,
    by_unix: bool = False,
) -> AsyncIterator[PolicyRoad]:
    """Start everything; ``main`` is for main.cf, ``master`` are lines of master.cf.

    ``by_unix``: Postfix asks at a socket below its queue directory.
    """
    async with contextlib.AsyncExitStack() as stack:
        hop = await stack.enter_async_context(NextHop())
        postfix = Postfix(relay=hop.port, main=main, master=master, accounts=ACCOUNTS)
        stack.callback(shutil.rmtree, postfix.directory, ignore_errors=True)
        # A daemon that finds no log at its start looks again only ten seconds later.
        maillog = postfix.directory / "maillog"
        maillog.touch()
        back = needs.free_port()
        helper = stack.enter_context(
            QueueHelperProcess("--mta", "postfix", "--config", postfix.config)
        )
        ours: dict[str, dict[str, object]] = {
            "daemon": {"placement": "policy"},
            "policy": {"queue_helper": str(helper.socket), "hold_grace": 3},
            "feedback": {"logs": [str(maillog)]},
            "notify": {"mail_to": [ADMIN]},
        }
        if by_unix:
            home = postfix.directory / "queue/shaper"
            home.mkdir(mode=0o755)
            ours["policy"]["listen"] = [str(home / "ask")]
        for section, keys in (settings or {}).items():
            ours[section] = ours.get(section, {}) | dict(keys)
        daemon = Daemon(back, ours, stepping=stepping)
        port = f"inet:127.0.0.1:{daemon.policy_port}"
        snippets.apply(
            "postfix/policy.sh",
            postfix.config,
            policy="unix:shaper/ask" if by_unix else port,
            back=f"127.0.0.1:{back}",
            services=f"127.0.0.1:{postfix.submission_port}/inet",
        )
        stack.enter_context(daemon)
        stack.enter_context(postfix)
        yield PolicyRoad(hop, daemon, postfix, helper)
