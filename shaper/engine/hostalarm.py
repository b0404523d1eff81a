"""The alarm on the host as a whole: many senders deviate on the same day.

Counts for the current local day which senders wrote and which of them passed
``DEVIATES`` of their own slow limits; ``shaper.core.host`` judges the two numbers.
Told once a day, to people and programs. It slows nobody.

In memory of this instance and of what passes through it: several instances on one
Redis each count their own mail, and the first to see an alarm tells of it. After a
restart the day is counted from nothing; a sender that deviates counts again with
its next message, since its evidence is in Redis. That a day was told is in the
audit journal.
"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from heapq import nlargest
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from shaper import journal
from shaper.core.host import DEVIATES, HostDay, HostEvidence, host_evidence
from shaper.engine.gate import Watcher

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import tzinfo

    from shaper.core.judgement import Judgement
    from shaper.core.message import Submission
    from shaper.engine.context import Context
    from shaper.engine.notices import Notices

__all__ = ["HostAlarm"]

_MOST = 200_000  # senders of a day; later ones are not counted, on either side
_FEWEST = 20  # active senders; a few after midnight say nothing about a host
_LISTED = 20
_CLAIMED = 2 * 86400  # seconds
_OVER = ".over"


class HostAlarm(Watcher):
    """Hears of every judgement. ``notices`` is set before ``tell`` is called."""

    notices: Notices

    def __init__(self, context: Context, zone: tzinfo | None = None) -> None:
        """``zone`` None is the local time of this host."""
        self._context = context
        self._zone = zone
        self._told: set[str] = set()  # days, and days with _OVER
        self._day = ""
        self._start = self._end = 0.0
        self._active: set[str] = set()
        self._deviating: dict[str, float] = {}  # highest share of the slow limit
        self._alarmed = False

    def restore(self, lines: Iterable[dict[str, Any]]) -> None:
        """Take over the journal's ``told`` lines about the host."""
        self._told |= {str(line["step"]) for line in lines if line["case"] == "host"}

    def judged(self, submission: Submission, judgement: Judgement) -> None:
        """Count the sender; in constant time, for mail is waiting."""
        sender = submission.sender
        if not judgement.weighed or not sender:
            return  # a retry, or what an operator allowed beforehand
        self._roll()
        if sender not in self._active:
            if len(self._active) >= _MOST:
                return
            self._active.add(sender)
        evidence = judgement.evidence
        share = evidence.total / max(evidence.limits[1], 1e-9)
        if share >= DEVIATES and share > self._deviating.get(sender, 0.0):
            self._deviating[sender] = share

    def forget(self, sender: str) -> None:
        """Forget a sender."""
        self._active.discard(sender)
        self._deviating.pop(sender, None)

    @property
    def evidence(self) -> HostEvidence:
        """What the day so far says."""
        self._roll()
        return host_evidence(len(self._deviating), len(self._active))

    @property
    def alarmed(self) -> bool:
        """Whether today is a day of alarm; it stays one until it ends."""
        evidence = self.evidence
        self._alarmed |= evidence.alarm and evidence.active >= _FEWEST
        return self._alarmed

    @property
    def ratio(self) -> float:
        """The evidence as a share of its limit, 0 while too few senders wrote."""
        evidence = self.evidence
        few = evidence.active < _FEWEST
        return 0.0 if few else evidence.total / evidence.limit

    def status(self) -> str:
        """Return one sentence about an alarm of today, "" without one."""
        return self.evidence.sentence() if self.alarmed else ""

    async def tell(self) -> None:
        """Tell of an alarm, and of its end. Raises SpoolFullError; it comes again."""
        self._roll()
        await self._end_old()
        if self._day in self._told or not self.alarmed:
            return
        day = self._day
        if not await self._context.ours(f"host {day}", _CLAIMED):
            self._told |= {day, day + _OVER}  # another instance tells of both
            return
        evidence, now = self.evidence, self._context.clock()
        compose = self.notices.compose
        if compose is not None:
            worst = nlargest(_LISTED, self._deviating.items(), key=itemgetter(1))
            mail = compose.host(HostDay(day, evidence, tuple(worst)), now)
            await self.notices.post(f"host.{day}", mail, "notice: many senders")
            journal.notice_queued("host", 0, day)
        await self.notices.trouble("host.alarm", "", "begun", evidence.sentence())
        await self._note(day)

    async def _end_old(self) -> None:
        for day in sorted(self._told):
            over = day + _OVER
            if day.endswith(_OVER) or day == self._day or over in self._told:
                continue
            await self.notices.trouble("host.alarm", "", "over", f"{day} is over.")
            await self._note(over)

    async def _note(self, step: str) -> None:
        await self._context.audit.append("told", case="host", step=step, by="host")
        self._told.add(step)

    def _roll(self) -> None:
        """Begin a new day if one has begun."""
        now = self._context.clock()
        if self._start <= now < self._end:
            return
        day = datetime.fromtimestamp(now, UTC).astimezone(self._zone).date()
        self._day = day.isoformat()
        self._start, self._end = (
            # Without a zone a naive time is the local one, summer time included.
            datetime.combine(one, time.min, self._zone).timestamp()
            for one in (day, day + timedelta(days=1))
        )
        self._active, self._deviating = set(), {}
        self._alarmed = False
