"""Whether an envelope sender exists, and whether its domain can receive mail.

Looked at behind the path of mail: what was accepted is queued here, and a round each
second asks, seldom and one by one. No answer, or one that is not about the address
(a refusal of our host, say), is unknown and changes nothing. A failure is a little
evidence against the sender, never a refusal: at most one a day for a sender and
address, over restarts and instances while Redis is there, and ``_A_DAY`` for a sender,
so that a list with an address of its own for each recipient (VERP) that nobody
receives cannot alarm.

Answers are kept in memory of this instance, good and bad ones alike, as long as the
setting says; after a restart they are asked again.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Protocol, TypeVar

from shaper.core.envelope import domain_of
from shaper.core.evidence import OutcomeKind, record_outcome
from shaper.core.outcome import Meaning
from shaper.engine.gate import Watcher

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from shaper.core.judgement import Judgement
    from shaper.core.message import HeldMessage, Submission
    from shaper.core.record import Record
    from shaper.core.reply import Reply
    from shaper.engine.context import Context
    from shaper.engine.senders import Senders

__all__ = ["SenderCheck"]

_DAY = 86400.0
_WAITING = 1000  # addresses that wait for their turn
_ANSWERS = 20_000  # addresses and domains, about 200 octets each
_SEEN = 50_000  # senders with their addresses
_A_ROUND = 10  # questions
_LONGEST = 5.0  # seconds for one; at a stop this is waited for
_PAUSE = 60.0  # seconds after a question without an answer
_A_DAY = 3  # failures of a sender that count in a day

K = TypeVar("K")
V = TypeVar("V")


class _Bounded(OrderedDict[K, V]):
    """Remembers so many; the oldest go first."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def put(self, key: K, value: V) -> None:
        self[key] = value
        self.move_to_end(key)
        if len(self) > self._most:
            self.popitem(last=False)


class AskServer(Protocol):
    """Ask our inbound server (``shaper.smtp.callout``)."""

    async def __call__(self, address: str) -> Reply | None:
        """Return its reply to RCPT, None without one."""


class AskDomain(Protocol):
    """Ask the DNS (``shaper.smtp.mailable``)."""

    async def __call__(self, domain: str) -> bool | None:
        """Return whether the domain receives mail, None for unknown."""


class SenderCheck(Watcher):
    """Off while neither ``server`` nor ``domain`` is set.

    ``counts`` says how many checks found what: ``good``, ``bad_address``,
    ``bad_domain``, ``unknown``; and how many were ``dropped`` because too many waited.
    ``cache`` is in seconds.
    """

    def __init__(self, context: Context, senders: Senders) -> None:
        """Start with nothing to ask."""
        self.server: AskServer | None = None
        self.domain: AskDomain | None = None
        self.cache = _DAY
        self.counts: Counter[str] = Counter()
        self._context = context
        self._senders = senders
        self._waiting: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._due: _Bounded[tuple[str, str], float] = _Bounded(_SEEN)
        self._answers: _Bounded[str, tuple[float, bool]] = _Bounded(_ANSWERS)
        self._failures: _Bounded[str, tuple[int, int]] = _Bounded(_SEEN)
        self._silent_until = 0.0

    # -- what passes

    def answered(self, submission: Submission, end: Reply) -> None:
        """Queue the sender of a message that the next hop took."""
        if end.positive:
            self._note(submission)

    def held(self, message: HeldMessage) -> None:
        """Queue the sender of a message that is held."""
        if not message.notice:
            self._note(message.submission)

    def judged(self, submission: Submission, judgement: Judgement) -> None:
        """Queue the sender of a message that a log told of."""
        del judgement
        if self._context.placement == "watch":
            self._note(submission)

    def _note(self, submission: Submission) -> None:
        address = submission.envelope.sender
        if self.server is None and self.domain is None:
            return
        if not submission.sender or not domain_of(address):
            return  # RFC 5321 4.5.5; or a local name without a domain
        key = submission.sender, address.lower()
        now = self._context.clock()
        wait = self._due.get(key, 0.0) - now
        if key in self._waiting or 0 < wait <= max(_DAY, self.cache):
            return  # the upper bound: a clock that was set back
        if len(self._waiting) >= _WAITING:
            self.counts["dropped"] += 1
            return
        self._waiting[key] = address

    def forget(self, sender: str) -> None:
        """Forget a person: what waits, and what is known of the address."""
        for key in [k for k in (*self._waiting, *self._due) if k[0] == sender]:
            self._waiting.pop(key, None)
            self._due.pop(key, None)
        self._failures.pop(sender, None)
        self._answers.pop(sender.partition(":")[2], None)

    # -- in the background

    async def round(self) -> None:
        """Look at some of those that wait; end early when somebody is silent."""
        for _ in range(min(_A_ROUND, len(self._waiting))):
            now = self._context.clock()
            if 0 <= self._silent_until - now <= _PAUSE or not self._waiting:
                return
            key, address = self._waiting.popitem(last=False)
            found = await self._check(address)
            self.counts[found] += 1
            pause = self.cache
            if found == "unknown":
                pause = _PAUSE
            elif found != "good":
                pause = max(_DAY, self.cache)
                await self._fail(key)
            self._due.put(key, now + pause)

    async def _check(self, address: str) -> str:
        exists: bool | None = None
        mailable: bool | None = None
        if self.server is not None:
            exists = await self._known(
                address.lower(), partial(self._ask_server, address)
            )
            if exists is False:
                return "bad_address"
        if self.domain is not None:
            domain = domain_of(address)
            mailable = await self._known(f"@{domain}", partial(self.domain, domain))
            if mailable is False:
                return "bad_domain"
        return "good" if exists or mailable else "unknown"

    async def _known(
        self, name: str, ask: Callable[[], Awaitable[bool | None]]
    ) -> bool | None:
        """Return a kept answer, or ask."""
        now = self._context.clock()
        until, answer = self._answers.get(name, (0.0, False))
        if 0 < until - now <= self.cache:
            return answer
        try:
            async with asyncio.timeout(_LONGEST):
                fresh = await ask()
        except TimeoutError:
            fresh = None
            self._silent_until = self._context.clock() + _PAUSE
        if fresh is not None:
            self._answers.put(name, (now + self.cache, fresh))
        return fresh

    async def _ask_server(self, address: str) -> bool | None:
        reply = await self.server(address) if self.server is not None else None
        if reply is None:
            self._silent_until = self._context.clock() + _PAUSE
            return None
        if reply.positive:
            return True
        meaning = self._context.outcome_of(reply, address).meaning
        # A server that does not relay for a foreign address says nothing of it.
        return False if meaning is Meaning.DEAD_ADDRESS else None

    async def _fail(self, key: tuple[str, str]) -> None:
        """Take a failure as evidence, unless it was today."""
        sender, now = key[0], self._context.clock()
        day = int(now // _DAY)
        of, count = self._failures.get(sender, (day, 0))
        count = count if of == day else 0
        if count >= _A_DAY or not await self._first(key, now):
            return
        self._failures.put(sender, (day, count + 1))
        apply = partial(self._record, now)
        await self._senders.change(sender, apply, journal_first=False)

    async def _first(self, key: tuple[str, str], now: float) -> bool:
        mark = blake2b(
            "\0".join(key).encode("utf-8", "surrogateescape"), digest_size=16
        )
        # A holder of its own for each attempt: nobody gets it twice in a day.
        holder = f"{self._context.instance} {now}"
        what = f"sendercheck {mark.hexdigest()}"
        return await self._context.ours(what, int(_DAY), holder)

    def _record(self, now: float, record: Record) -> None:
        model = self._context.model
        record_outcome(record.profile, model, OutcomeKind.BAD_SENDER, 1, now)
