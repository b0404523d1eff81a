"""Takes senders that a replay of old logs learned, so that day one has a history.

Merge rule: a learned habit replaces the daemon's own only where that saw the
sender on fewer active days, and only of a sender that is plainly normal and whose
evidence is not under judgement. States, cases and allowances are never taken: what
an old log would have slowed is not slowed today.
"""

from __future__ import annotations

from base64 import b64decode
from functools import partial
from typing import TYPE_CHECKING, Any

from shaper.core.record import Record
from shaper.core.state import State
from shaper.engine.control import RefusedError

if TYPE_CHECKING:
    from shaper.engine.context import Context
    from shaper.engine.control import Change
    from shaper.engine.senders import Senders

__all__ = ["Learned"]


class Learned:
    """The operators' request ``learn``."""

    def __init__(self, context: Context, senders: Senders) -> None:
        """Change the records of ``senders``."""
        self._context = context
        self._senders = senders

    async def take(self, change: Change, rows: list[list[Any]]) -> dict[str, Any]:
        """Take rows of a sender and its stored record (base64); say how many.

        Raises RefusedError, before anything is changed, for a row that is none.
        """
        change.check()
        given = [_parsed(row) for row in rows]
        taken = 0
        for learned in given:
            if change.dry_run:
                own, _ = await self._senders.read(learned.sender)
                taken += _poorer(own, learned)
            else:
                _, done = await self._senders.change(
                    learned.sender, partial(_merge, learned)
                )
                taken += done
        if taken and not change.dry_run:
            await self._context.audit.append(
                "learned",
                by=change.by,
                reason=change.reason,
                id=change.id,
                given=len(given),
                taken=taken,
            )
        return {"given": len(given), "taken": taken, "dry_run": change.dry_run}


def _merge(learned: Record, own: Record) -> bool:
    if not _poorer(own, learned):
        return False
    own.profile = learned.profile
    own.run = learned.run
    return True


def _poorer(own: Record, learned: Record) -> bool:
    if own.state is not State.NORMAL or own.profile.flagged:
        return False
    return own.profile.days < learned.profile.days or (
        not own.profile.days and own.profile.seen < learned.profile.seen
    )


def _parsed(row: list[Any]) -> Record:
    try:
        name, text = row
        record = Record.decode(b64decode(text, validate=True))
    except (TypeError, ValueError) as error:
        raise RefusedError(f"this is no learned sender: {error}", code=65) from error
    if record.sender != name or not name.partition(":")[2]:
        raise RefusedError(f"this is no sender: {name!r}", code=65)
    return record
