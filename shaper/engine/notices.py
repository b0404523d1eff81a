"""Tells people of every step of a case: once each, also after a crash.

A notice is put into the spool like any mail, so it survives restarts and is
retried until the next hop takes it; it travels in a lane of its own and is never
judged. What was told is a line in the journal. A crash between the two repeats
a notice rather than losing it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shaper.core.case import Case
    from shaper.core.envelope import Envelope
    from shaper.engine.casebook import Casebook
    from shaper.engine.context import Context
    from shaper.engine.delivery import Delivery

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
        delivery: Delivery,
        compose: Compose | None,
    ) -> None:
        """``compose`` may be replaced at a reload."""
        self._context = context
        self._casebook = casebook
        self._delivery = delivery
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
        envelope, content = compose(case, self._context.clock())
        message_id = f"{case.id}.{step.replace('@', '.')}"
        subject = f"notice about {case.id}"
        await self._delivery.post(message_id, envelope, content, subject)
        log.info("notice about case %s (%s) queued", case.id, case.state)
