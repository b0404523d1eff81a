"""The daily mail that lists open cases, for those who saw no notice.

Written once a day, by one instance of those that share a Redis (without Redis: by
each), within ``_WINDOW`` after the chosen local time: a daemon that starts in the
evening does not make up for the morning. Nothing is sent when nothing is open.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from shaper import journal
from shaper.engine.notices import PREFIX
from shaper.engine.overview import everywhere

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import tzinfo

    from shaper.engine.assembly import Engine

__all__ = ["Digest"]

_WINDOW = 4 * 60  # minutes
_CLAIMED = 2 * 86400  # seconds


class Digest:
    """Writes the mail when its time has come. ``at`` is "HH:MM", "" for never."""

    def __init__(self, engine: Engine, at: str, zone: tzinfo | None = None) -> None:
        """``zone`` None is the local time of this host."""
        self._engine = engine
        self._context = engine.context
        self.at = at
        self._zone = zone
        self._done: set[str] = set()

    def restore(self, lines: Iterable[dict[str, Any]]) -> None:
        """Take over the journal's ``told`` lines about digests."""
        self._done |= {str(line["step"]) for line in lines if line["case"] == "digest"}

    async def round(self) -> None:
        """Write the mail if it is due. Raises SpoolFullError; it comes again."""
        now = self._context.clock()
        local = datetime.fromtimestamp(now, UTC).astimezone(self._zone)
        day = local.date().isoformat()
        if not self.at or day in self._done or not _due(self.at, local):
            return
        compose = self._engine.notices.compose
        if not await self._context.ours(f"digest {day}", _CLAIMED):
            self._done.add(day)
            return
        cases = [case for case in await self._engine.casebook.read() if not case.closed]
        if not cases:
            self._done.add(day)
            return
        held: dict[str, tuple[int, int]] = {}
        async for _, message in everywhere(self._context, self._engine.held):
            sender = message.submission.sender
            messages, recipients = held.get(sender, (0, 0))
            held[sender] = messages + 1, recipients + len(message.waiting)
        counted = [(case, held.get(case.sender, (0, 0))) for case in cases]
        await self._engine.outbox.announce(
            "digest",
            f"digest.{day}.{self._context.instance}",
            {
                "cases": [
                    {
                        "case": case.id,
                        "sender": case.sender,
                        "state": case.state.value,
                        "opened_at": case.opened,
                        "held_messages": count[0],
                        "held_recipients": count[1],
                    }
                    for case, count in counted
                ]
            },
        )
        if compose is not None:
            envelope, content = compose.digest(counted, now)
            await self._engine.delivery.post(
                f"{PREFIX}digest.{day}", envelope, content, "digest of open cases"
            )
            journal.notice_queued("digest", len(cases), day)
        await self._context.audit.append("told", case="digest", step=day, by="digest")
        self._done.add(day)


def _due(at: str, local: datetime) -> bool:
    hour, minute = map(int, at.split(":"))
    return 0 <= local.hour * 60 + local.minute - hour * 60 - minute < _WINDOW
