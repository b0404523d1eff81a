"""Tells people of every step of a case: once each, also after a crash.

A notice is put into the spool like any mail, so it survives restarts and is
retried until the next hop takes it; it travels in a lane of its own and is never
judged. What was told is a line in the journal. A crash between the two repeats
a notice rather than losing it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Protocol

from shaper.core.envelope import Client
from shaper.core.message import HeldMessage, Submission

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shaper.core.case import Case
    from shaper.core.envelope import Envelope
    from shaper.engine.casebook import Casebook
    from shaper.engine.context import Context
    from shaper.engine.heldmail import HeldMail
    from shaper.engine.trickle import Trickle

__all__ = ["Compose", "Notices"]

log = logging.getLogger(__name__)

_A_ROUND = 20  # notices


class Compose(Protocol):
    """Write the notice about a case as it stands (``shaper.notify``)."""

    def __call__(self, case: Case, now: float) -> tuple[Envelope, bytes]:
        """Return the envelope and the content in wire form."""


class Notices:
    """Notices of this instance. ``compose`` is None while nobody is to be told."""

    def __init__(
        self,
        context: Context,
        casebook: Casebook,
        held: HeldMail,
        trickle: Trickle,
        compose: Compose | None,
    ) -> None:
        """``compose`` may be replaced at a reload."""
        self._context = context
        self._casebook = casebook
        self._held = held
        self._trickle = trickle
        self.compose = compose
        self._told: set[tuple[str, str]] = set()

    def restore(self, lines: Iterable[dict[str, Any]]) -> None:
        """Take over the journal's ``told`` lines."""
        self._told.update((str(line["case"]), str(line["step"])) for line in lines)

    async def tell(self) -> None:
        """Tell of steps that nobody was told of. Raises SpoolFullError."""
        left = _A_ROUND
        for case in self._casebook.all():
            # Without steps, another instance saw the change and tells of it.
            step = case.untold
            if not step:
                continue
            if left <= 0:
                return  # the rest comes in the next round: other work must go on
            left -= 1
            if (case.id, step) not in self._told:
                if self.compose is not None:
                    await self._post(case, step)
                await self._context.audit.append("told", case=case.id, step=step)
                self._told.add((case.id, step))
            self._casebook.mark_told(case.id, step)

    async def _post(self, case: Case, step: str) -> None:
        compose = self.compose
        if compose is None:
            return
        now = self._context.clock()
        envelope, content = compose(case, now)
        submission = Submission(
            id=f"{case.id}.{step.replace('@', '.')}",
            sender="",
            envelope=envelope,
            client=Client(),
            received=now,
            subject=f"notice about {case.id}",
        )
        if self._context.spool.get(submission.id) is not None:
            return  # a crash came between spool and journal
        writer = self._context.spool.begin(HeldMessage(submission, 0, notice=True))
        try:
            writer.write(content)
            message = await writer.commit()
        except BaseException:
            writer.abort()
            raise
        self._held.put(message)
        self._trickle.arrived(message, None, now)
        log.info("notice about case %s (%s) queued", case.id, case.state)
