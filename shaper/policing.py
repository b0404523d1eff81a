"""Placement ``policy``: puts the listener that the MTA asks before the engine."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from shaper.core.asked import PASS
from shaper.engine.asking import Asking
from shaper.policy.postfix import PolicyServer, PolicySettings
from shaper.policy.request import question, written

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping

    from shaper.config import Settings
    from shaper.core.asked import Question
    from shaper.engine.assembly import Engine

__all__ = ["apply", "server"]

# Octets. Exim tells all recipients of a message in one request; a message that is
# too large to be asked about would pass unjudged.
_MOST_REQUEST = 4 * 1024 * 1024


def apply(engine: Engine, settings: Settings) -> None:
    """Put what a reload may change into the engine."""
    if engine.release is not None:
        engine.release.rules.grace = settings.policy.hold_grace
        engine.release.rules.requeue_after = settings.policy.requeue_after


def server(engine: Engine) -> PolicyServer:
    """Return what answers the MTA; nothing listens yet."""
    asking = Asking(engine.context, engine.gate, engine.held, engine.suppression, _name)

    async def judged(asked: Question) -> bytes:
        return written(await asking.answer(asked))

    def handle(values: Mapping[str, str]) -> Awaitable[bytes] | bytes:
        asked = question(values)
        return written(PASS) if asked is None else judged(asked)

    return PolicyServer(handle, PolicySettings(max_request=_MOST_REQUEST))


def _name(queue_id: str) -> str:
    """Return a name that shows the queue id; a short one may be used again."""
    return f"{queue_id}-{secrets.token_hex(3)}"
