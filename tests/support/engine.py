"""A real engine on real Redis, spool and journal, with a clock the test turns.

    async with EngineBox(redis_url, tmp_path) as box:
        box.hop.on("rcpt", "450 4.2.0 later")     # the real next hop's moods
        await box.offer("login:alice", ["bob@example.net"])
        box.now += 60
        await box.step()                          # the trickle, once
        box.hop.transactions                      # what left

Nothing sleeps: ``step`` begins what is due at ``box.now`` and waits until it is
done. ``crash`` forgets the engine without any farewell and starts a new one on
the same directories.
"""

from __future__ import annotations

import itertools
from datetime import UTC
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from shaper import wiring
from shaper.audit import AuditJournal
from shaper.core.envelope import Client, Envelope, Recipient
from shaper.core.message import Action, Decision, Submission
from shaper.core.reply import Phase, Reply
from shaper.engine.assembly import Engine
from shaper.engine.context import Context
from shaper.engine.control import Change, Control
from shaper.engine.upkeep import Upkeep
from shaper.feedback.table import shipped_table
from shaper.ledger.ledger import RedisLedger
from shaper.notify.mail import Composer, NoticeSettings
from shaper.smtp.forward import NextHop as Forwarder
from shaper.smtp.send import send
from shaper.smtp.settings import ForwardSettings
from shaper.spool.spool import FileSpool, Limits
from tests.support.nexthop import NextHop

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType


START = 1_800_000_000.0


class EngineBox:
    """One instance; several may share a Redis and a next hop."""

    def __init__(
        self,
        redis_url: str,
        directory: Path,
        *,
        hop: NextHop | None = None,
        instance: str = "main",
        enforce: bool = True,
        limits: Limits | None = None,
        start: float = START,
        queue: Any = None,
    ) -> None:
        """Prepare; ``async with`` starts it. ``queue`` is the MTA's (``MtaQueue``)."""
        self.queue = queue
        self.now = start
        self.url = redis_url
        self.directory = directory / instance
        self.instance = instance
        self.enforce = enforce
        self.limits = limits
        self.hop = hop or NextHop()
        self._own_hop = hop is None
        self.wrap: Callable[[str, Any], Any] = lambda _name, adapter: adapter
        self.passed: list[str] = []
        self.offered: list[Submission] = []
        self._ids = itertools.count(1)
        self._boots = itertools.count(1)

    async def __aenter__(self) -> Self:
        if self._own_hop:
            await self.hop.__aenter__()
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()
        if self._own_hop:
            await self.hop.__aexit__(kind, error, trace)

    async def start(self) -> None:
        """Start on whatever the directories hold."""
        self.audit = await AuditJournal.open(self.directory / "audit", self.clock)
        self.spool = await FileSpool.open(
            self.directory / "spool", self.limits or Limits(free=0), self.clock
        )
        self.ledger = RedisLedger.connect(self.url, timeout=2.0)
        self.forwarder = Forwarder(ForwardSettings(port=self.hop.port))
        self.context = Context(
            self.wrap("ledger", self.ledger),
            self.wrap("spool", self.spool),
            self.wrap("audit", self.audit),
            self.clock,
            b"k" * 32,
            instance=self.instance,
            hostname="shaper.test",
            enforce=self.enforce,
            outcome_of=wiring.outcome_of(shipped_table()),
        )
        case_ids = (f"c{self.instance}{next(self._ids)}" for _ in itertools.count())
        notice = NoticeSettings(
            ("admin@example.org",),
            "mailshaper@shaper.test",
            enforce=self.enforce,
            zone=UTC,
        )

        self.engine = Engine(
            self.context,
            self.wrap("send", partial(send, self.forwarder)),
            lambda: next(case_ids),
            Composer(notice, "shaper.test"),
            queue=self.wrap("queue", self.queue) if self.queue else None,
        )
        self.asking = self.engine.asking
        self.upkeep = Upkeep(self.engine, f"{self.instance}-{next(self._boots)}")
        self.control = Control(self.engine)
        await self.engine.restore(self.audit.replay())
        await self.upkeep.resynchronise()

    async def stop(self) -> None:
        """Give the directories up. Nothing is stored on the way."""
        await self.engine.trickle.settle()
        await self.engine.held.settle()
        self.forwarder.close()
        await self.spool.close()
        await self.audit.close()
        await self.ledger.close()

    async def crash(self) -> None:
        """Lose everything that is only in memory, and start again."""
        self.wrap = lambda _name, adapter: adapter
        await self.stop()
        await self.start()

    def clock(self) -> float:
        """Return the time that the test set."""
        return self.now

    async def offer(  # noqa: PLR0913
        self,
        sender: str,
        recipients: Sequence[str],
        *,
        ident: str = "",
        message_id: str = "",
        refused: Mapping[str, Reply] | None = None,
        subject: str = "hello",
        parameters: Sequence[tuple[str, ...]] = (),
        accept: bool = True,
        queue_id: str = "",
    ) -> Decision:
        """Offer a message as the ingress does; pass it or hold it as decided.

        A passing message counts as taken by the next hop if ``accept``, under
        ``queue_id``. What was offered is in ``offered``.
        """
        number = next(self._ids)
        listed = tuple(
            Recipient(address, parameters[i] if i < len(parameters) else ())
            for i, address in enumerate(recipients)
        )
        envelope = Envelope(f"{sender.partition(':')[2]}@example.org", listed)
        submission = Submission(
            f"m{self.instance}{number}",
            sender,
            envelope,
            Client(address="192.0.2.1", ident=ident),
            self.now,
            subject,
            message_id or f"<{ident or number}@example.org>",
        )
        self.offered.append(submission)
        decision = await self.engine.gate.decide(submission)
        if decision.action is Action.HOLD:
            writer = self.engine.gate.hold(submission, decision)
            writer.write(f"Subject: {subject}\r\n\r\nbody {number}\r\n".encode())
            await self.engine.gate.held(await writer.commit())
        elif decision.action is Action.PASS:
            code = 250 if accept else 451
            said = f"Ok: queued as {queue_id}" if queue_id else "said the next hop"
            end = Reply(code, (f"{code // 100}.0.0 {said}",), Phase.END)
            self.passed += [subject] if accept else []
            await self.engine.gate.passed(submission, refused or {}, end)
        return decision

    async def blast(self, sender: str, count: int, *, gap: float = 1.0) -> int:
        """Offer mail to strangers, ``gap`` seconds apart; return how much passed."""
        passed = 0
        for i in range(count):
            self.now += gap
            decision = await self.offer(sender, [f"stranger{self.now}-{i}@example.net"])
            passed += decision.action is Action.PASS
        return passed

    async def step(self) -> int:
        """Do what the trickle has due now; return how many messages left."""
        before = len(self.hop.transactions)
        await self.engine.trickle.step(self.now)
        await self.engine.trickle.settle()
        return len(self.hop.transactions) - before

    async def advance(self, seconds: float, *, by: float = 10.0) -> int:
        """Let time pass in steps, trickle and review included; count what left."""
        left = 0
        end = self.now + seconds
        while self.now < end:
            self.now = min(self.now + by, end)
            await self.upkeep.review()
            left += await self.step()
        return left

    def change(self, reason: str = "test", *, dry_run: bool = False) -> Change:
        """Return an operator's change."""
        return Change("root", reason, f"order-{next(self._ids)}", dry_run=dry_run)

    async def state(self, sender: str) -> str:
        """Return the state of a sender as an operator sees it."""
        record, _ = await self.engine.senders.read(sender)
        return record.state.value

    def delivered(self) -> list[str]:
        """Return the recipients of everything that the next hop accepted."""
        return [r for t in self.hop.transactions if t.accepted for r in t.recipients]
