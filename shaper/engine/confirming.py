"""Asks suppressed recipients by mail whether they are alive, and hears the answer.

The mail takes the way of notices: through the spool, never judged, its id made of
the suppression it is about, so that a repetition replaces it. The link is signed
and names nobody; ``confirm`` lifts what it stands for. The page behind the link is
the duty of ``shaper.confirm``.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from shaper.core.suppression import Why, digest
from shaper.core.token import LIFETIME, derive, read, sign

if TYPE_CHECKING:
    from shaper.core.envelope import Envelope
    from shaper.core.suppression import Entry
    from shaper.engine.context import Context
    from shaper.engine.delivery import Delivery
    from shaper.engine.suppression import Suppression

__all__ = ["ComposeConfirmation", "Confirming", "link"]

log = logging.getLogger(__name__)

_AT_ONCE = 3600.0  # seconds between two mails to one address


class ComposeConfirmation(Protocol):
    """Write the mail (``shaper.notify.confirm``)."""

    def __call__(
        self, address: str, link: str, message_id: str, when: datetime
    ) -> tuple[Envelope, bytes]:
        """Return the envelope and the content in wire form."""


class Confirming:
    """Mails and answers of this instance. ``compose`` None: nobody is asked."""

    def __init__(
        self, context: Context, delivery: Delivery, suppression: Suppression
    ) -> None:
        """Becomes the list's way to ask once ``configure`` gives it a page."""
        self._context = context
        self._delivery = delivery
        self._suppression = suppression
        self._key = derive(context.contact_key)
        self.page = ""  # URL of the page that was opened at the start
        self._url = ""
        self._compose: ComposeConfirmation | None = None

    def configure(self, url: str, compose: ComposeConfirmation) -> None:
        """Use this page and mail from now on; "" asks nobody."""
        self._url = url
        self._compose = compose
        self._suppression.ask = self.ask if url else None

    def link(self, address: str, now: float) -> str:
        """Return the link for a folded address."""
        return link(self._url, sign(self._key, digest(address), now + LIFETIME))

    async def ask(self, entry: Entry, now: float) -> bool:
        """Mail the link; False when it was mailed a short while ago.

        Raises SpoolFullError, StateUnavailableError.
        """
        if self._compose is None or 0 <= now - entry.told < _AT_ONCE:
            return False
        since = int(entry.since(self._suppression.settings.rules) or now)
        message_id = f"confirm.{digest(entry.address)[:16]}.{since}"
        envelope, content = self._compose(
            entry.address,
            self.link(entry.address, now),
            message_id,
            datetime.fromtimestamp(now, UTC),
        )
        await self._delivery.post(message_id, envelope, content, "confirmation mail")
        await self._suppression.change(
            entry.address, lambda e: None if e is None else replace(e, told=now)
        )
        return True

    def valid(self, token: str) -> bool:
        """Whether a token is one of ours and still good."""
        return read(self._key, token, self._context.clock()) is not None

    async def confirm(self, token: str) -> bool:
        """Lift what a token stands for; False for a bad one.

        True also when nothing is to be lifted any more. Raises
        StateUnavailableError.
        """
        now = self._context.clock()
        name = read(self._key, token, now)
        if name is None or self._suppression.store is None:
            return False
        entry = await self._suppression.named(name)
        if entry is None or entry.why is Why.MANUAL:
            # What an operator entered is the operator's; the page need not tell.
            return True

        def lift(found: Entry | None) -> Entry | None:
            if found is None or found.why is Why.MANUAL:
                return found
            return replace(found.free(now, "confirmed by the recipient"), confirmed=now)

        await self._suppression.change(entry.address, lift)
        self._suppression.overridden(entry.address)
        log.info("a suppressed recipient confirmed its address")
        return True


def link(url: str, token: str) -> str:
    """Return the URL of the page with a token."""
    return f"{url}{'&' if urlsplit(url).query else '?'}t={token}"
