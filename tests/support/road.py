"""Submission to next hop, all of it real but the hop: Postfix, daemon, recorder.

    async with road("reinject") as way:
        await submit(way.postfix.submission_port, account=ALICE)
        (got,) = await way.hop.wait_for(1)

Postfix is set up by the files under ``conf/postfix``. Between Postfix and the daemon
sits a wire tap. Starting takes seconds, so tests may share one, with `begin` between
them and an account of its own for each: the daemon does not forget.
"""

import contextlib
import itertools
import shutil
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from tests.support import needs, snippets
from tests.support.daemon import Daemon, Sections
from tests.support.nexthop import MODERN, NextHop
from tests.support.postfix import Postfix
from tests.support.submit import Account
from tests.support.tap import Tap
from tests.support.waiting import poll_async

XFORWARD = "XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE"

_LOOKS = 3
ACCOUNTS = [Account(f"user{i}@example.test", "correct horse") for i in range(40)]


@dataclass(slots=True)
class Road:
    """Everything a message meets; ``back`` is Postfix' re-injection port."""

    mode: str
    hop: NextHop
    daemon: Daemon
    tap: Tap
    postfix: Postfix
    back: int
    account: Account = ACCOUNTS[0]
    """Whoever the running test logs in as."""
    _others: Iterator[Account] = field(
        default_factory=lambda: itertools.cycle(ACCOUNTS)
    )
    _mark: int = 0

    @property
    def who(self) -> str:
        """The account as the daemon names it."""
        return f"login:{self.account.login}"

    @property
    def submission(self) -> int:
        """Where mail programs hand in mail."""
        return self.postfix.submission_port

    async def begin(self) -> None:
        """Forget what earlier tests sent; take another account."""
        self.hop.reset()
        await self.queue_empties()
        self.hop.reset()
        self.tap.said.clear()
        self.account = next(self._others)
        self._mark = len(self.postfix.log())

    async def logged(self, words: str, within: float = 15.0) -> str:
        """Return Postfix' first log line with these words since `begin`."""

        def look() -> str:
            lines = self.postfix.log()[self._mark :].splitlines()
            return next((line for line in lines if words in line), "")

        return await poll_async(look, f"log line with {words!r}", within)

    async def queue_empties(self, within: float = 20.0) -> None:
        """Wait until Postfix has nothing left to deliver."""
        looks = 0

        def empty() -> bool:
            # A message that moves from one queue to another may be missed once.
            nonlocal looks
            looks = 0 if self.postfix.queue() else looks + 1
            return looks >= _LOOKS

        await poll_async(empty, "empty queue", within)


@contextlib.asynccontextmanager
async def road(
    mode: str,
    settings: Sections | None = None,
    *,
    main: Mapping[str, str] | None = None,
    master: Iterable[str] = (),
    stepping: bool = False,
) -> AsyncIterator[Road]:
    """Run it in ``mode`` "next-hop" or "reinject".

    ``main`` is for main.cf, ``master`` are lines of master.cf.
    """
    async with contextlib.AsyncExitStack() as stack:
        hop = await stack.enter_async_context(NextHop((*MODERN, XFORWARD)))
        back = needs.free_port()
        postfix = Postfix(relay=hop.port, main=main, master=master, accounts=ACCOUNTS)
        # Should the rest fail to start, nothing of it stays.
        stack.callback(shutil.rmtree, postfix.directory, ignore_errors=True)
        target = back if mode == "reinject" else hop.port
        daemon = stack.enter_context(Daemon(target, settings, stepping=stepping))
        tap = await stack.enter_async_context(Tap(daemon.port))
        configure(mode, postfix, tap.port, daemon.policy_port, back)
        stack.enter_context(postfix)
        yield Road(mode, hop, daemon, tap, postfix, back)


def configure(mode: str, postfix: Postfix, shaper: int, policy: int, back: int) -> None:
    """Put the shaper behind a Postfix as the documentation tells."""
    where = {"shaper": f"127.0.0.1:{shaper}", "policy": f"inet:127.0.0.1:{policy}"}
    if mode == "reinject":
        where["back"] = f"127.0.0.1:{back}"
        where["services"] = (
            f"127.0.0.1:{postfix.submission_port}/inet pickup/unix "
            f"127.0.0.1:{postfix.smtp_port}/inet"
        )
    snippets.apply(f"postfix/{mode}.sh", postfix.config, **where)
