"""Tells the federation daemon what this host learned, as facts in Redis.

Dead and soft recipients, deliveries that may contradict somebody's claim, blocked
and released senders, receivers that refuse this host, and each day's numbers. What
of that leaves the host, and in which form, is the federation daemon's duty; here is
neither a key nor a peer.

Facts wait in memory for at most a second. A crash loses those: a dead address tells
again with its next bounce. While Redis is away the newest wait, up to a bound.
"""

from __future__ import annotations

import json
import re
import secrets
from collections import Counter, deque
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from shaper.core.foreign import address_of
from shaper.core.message import RecipientFate
from shaper.core.outcome import Kind, Meaning
from shaper.core.state import State
from shaper.core.suppression import MARK, fold
from shaper.engine.gate import Watcher
from shaper.engine.tags import tags

if TYPE_CHECKING:
    from collections.abc import Callable

    from shaper.core.judgement import Judgement, Transition
    from shaper.core.message import HeldMessage, Submission
    from shaper.core.outcome import Outcome
    from shaper.core.ports import FederationStore
    from shaper.core.receivers import ReceiverTrouble
    from shaper.core.reply import Reply
    from shaper.engine.context import Context

__all__ = ["Federating"]

_MOST = 20_000
_A_ROUND = 1000
_BLOCK_TOLD = 30 * 86400.0  # seconds for which a block of a sender is told
_DAYS = 3 * 86400  # seconds in which a day's numbers are claimed
# A status whose meaning every host knows; the shaper's own table found the others
# dead by their text, and says so in the same word (RFC 3463 3.2).
_DEAD = re.compile(r"5\.1\.(1|2|3|6|10)|5\.2\.1")
_NO_SUCH_MAILBOX = "5.1.1"
_SOFT = re.compile(r"4\.\d{1,3}\.\d{1,3}|5\.2\.2")
_FULL = "5.2.2"
_STATUS = re.compile(r"\b[45]\.\d{1,3}\.\d{1,3}\b")
_REFUSED = "5.7.1"


class Federating(Watcher):
    """Off unless ``enabled``; hears of everything and stops nothing.

    ``peppers`` gives those of the federation, to see which deliveries matter.
    """

    def __init__(
        self,
        context: Context,
        store: FederationStore,
        peppers: Callable[[], list[bytes]],
    ) -> None:
        """Start with nothing to tell."""
        self.enabled = False
        self._context = context
        self._store = store
        self._peppers = peppers
        self._facts: deque[bytes] = deque(maxlen=_MOST)
        self._delivered: deque[tuple[str, float]] = deque(maxlen=_MOST)
        self._numbers: Counter[str] = Counter()
        self._told_day = ""

    # -- what is heard

    async def note(self, outcome: Outcome, sender: str) -> None:
        """Hear what became of a recipient that ``sender`` itself wrote to."""
        address = fold(outcome.recipient)
        # A bounce that belongs to nothing we sent may be forged.
        if not self.enabled or not sender or not address or MARK in outcome.diagnostic:
            return
        at = min(outcome.time or self._context.clock(), self._context.clock())
        if outcome.meaning is Meaning.DELIVERED and outcome.kind is not Kind.REPLY:
            self._delivered.append((address, at))
        elif not outcome.permanent:
            return
        elif outcome.meaning is Meaning.DEAD_ADDRESS:
            code = outcome.status
            code = code if _DEAD.fullmatch(code) else _NO_SUCH_MAILBOX
            self._recipient("bounce", outcome, address, code, at)
        elif outcome.meaning is Meaning.TEMPORARY:
            code = outcome.status if _SOFT.fullmatch(outcome.status) else _FULL
            self._recipient("soft", outcome, address, code, at)
        elif outcome.meaning is Meaning.COMPLAINT:
            self._put("complaint", address=address, src="arf", at=at)

    def _recipient(
        self, kind: str, outcome: Outcome, address: str, code: str, at: float
    ) -> None:
        via = "dsn" if outcome.kind is Kind.DSN else "smtp"
        smtp = int(outcome.code) if outcome.code.isdecimal() else 0
        self._put(kind, address=address, code=code, smtp=smtp, via=via, at=at)

    def outcome(self, outcome: Outcome, sender: str) -> None:
        """Count what became of a recipient."""
        if not sender:
            return
        if outcome.meaning is Meaning.COMPLAINT:
            self._count("complaints", 1)
        elif not outcome.permanent:
            return
        elif outcome.meaning is Meaning.DEAD_ADDRESS:
            self._count("hard", 1)
        elif outcome.meaning is Meaning.TEMPORARY:
            self._count("soft", 1)

    def judged(self, submission: Submission, judgement: Judgement) -> None:
        """Count what a log tells of as sent; otherwise the answer counts."""
        if self._context.placement == "watch" and judgement.weighed:
            self._count("sent", len(submission.envelope.recipients))

    def answered(self, submission: Submission, end: Reply) -> None:
        """Count recipients that the next hop took."""
        if end.positive:
            self._count("sent", len(submission.envelope.recipients))

    def finished(self, message: HeldMessage) -> None:
        """Count recipients of held mail that left."""
        if not message.notice:
            fates = list(message.fates.values())
            self._count("sent", fates.count(RecipientFate.DELIVERED))

    def suppressed(self, sender: str) -> None:
        """Count a recipient that the list spared."""
        del sender
        self._count("suppressed", 1)

    def moved(self, sender: str, case_id: str, transition: Transition) -> None:
        """Tell of a block, and of a release from it.

        What the machine alone says while nothing is held is a remark, and told to
        nobody.
        """
        if not self.enabled or not self._context.enforce:
            return
        now = self._context.clock()
        if transition.new is State.BLOCKED and transition.old is not State.BLOCKED:
            if address := address_of(sender):
                self._put(
                    "blocked",
                    sender=address,
                    why="compromised",
                    until=now + _BLOCK_TOLD,
                    at=now,
                    case=case_id,
                )
        elif transition.old is State.BLOCKED and transition.new is State.NORMAL:
            self._put("released", case=case_id)

    def trouble(self, trouble: ReceiverTrouble) -> None:
        """Tell of a receiver that refuses this host."""
        if self.enabled:
            found = _STATUS.search(trouble.text)
            self._put(
                "receiver",
                provider=trouble.receiver,
                code=found.group() if found else _REFUSED,
                n=trouble.messages,
                **{"from": trouble.since, "to": trouble.last},
            )

    def overridden(self, address: str) -> None:
        """Tell that an operator or the recipient says the address is alive."""
        if self.enabled:
            self._put("override", address=address, at=self._context.clock())

    def stopped(self, address: str) -> None:
        """Tell that a recipient was refused only because of what others say."""
        if self.enabled:
            self._put("stopped", address=address, at=self._context.clock())

    def _count(self, name: str, number: int) -> None:
        if self.enabled and number:
            self._numbers[f"{self._day()} {name}"] += number

    def _put(self, kind: str, **more: Any) -> None:  # noqa: ANN401
        fact = {"v": 1, "kind": kind, **more}
        self._facts.append(json.dumps(fact, separators=(",", ":")).encode())

    # -- what is told

    async def flush(self) -> None:
        """Write what waits. Raises StateUnavailableError; nothing is lost then."""
        if not self.enabled:
            return
        await self._contradictions()
        while self._facts:
            some = [self._facts[n] for n in range(min(_A_ROUND, len(self._facts)))]
            await self._store.put_facts(some)
            for _ in some:
                self._facts.popleft()
        while self._numbers:
            day = next(iter(self._numbers)).partition(" ")[0]
            names = [key for key in self._numbers if key.startswith(day)]
            await self._store.count(
                day, {key.partition(" ")[2]: self._numbers[key] for key in names}
            )
            for key in names:
                del self._numbers[key]
        await self._yesterday()

    async def _contradictions(self) -> None:
        """Tell of deliveries to addresses that somebody calls dead, and no other.

        To tell of each delivery would give away who writes to whom.
        """
        peppers = self._peppers()
        while self._delivered:
            some = [self._delivered[n] for n in range(min(200, len(self._delivered)))]
            found = [tags(peppers, address) for address, _ in some]
            flat = [tag for one in found for tag in one]
            said = await self._store.recipients(flat) if flat else []
            known = {tag for tag, raw in zip(flat, said, strict=True) if raw}
            for (address, at), own in zip(some, found, strict=True):
                self._delivered.popleft()
                if known.intersection(own):
                    self._put("delivered", address=address, at=at)

    async def _yesterday(self) -> None:
        """Tell the numbers of the day that is over, once over all instances."""
        now = self._context.clock()
        end = datetime.fromtimestamp(now, UTC).replace(
            hour=0, minute=0, second=0, microsecond=0
        )
        begin = end - timedelta(days=1)
        day = begin.date().isoformat()
        if self._told_day == day:
            return
        counts = await self._store.counted(day)
        # Lost by a crash right here rather than told twice.
        mine = await self._context.ours(
            f"federation day {day}", _DAYS, secrets.token_hex(8)
        )
        self._told_day = day
        if mine and counts:
            names = ("sent", "hard", "soft", "complaints", "suppressed")
            self._put(
                "day",
                **{"from": begin.timestamp(), "to": end.timestamp()},
                **{name: counts.get(name, 0) for name in names},
            )

    def _day(self) -> str:
        return datetime.fromtimestamp(self._context.clock(), UTC).date().isoformat()
