"""Placement ``policy``: puts the listener that the MTA asks before the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shaper.core.asked import PASS, Stage
from shaper.policy.postfix import PolicyServer, PolicySettings
from shaper.policy.request import question, written

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from shaper.config import Settings
    from shaper.core.asked import Question
    from shaper.engine.assembly import Engine

__all__ = ["apply", "server"]

# Octets. Exim tells all recipients of a message in one request, 50,000 by default
# (recipients_max) of 256 octets (RFC 5321 4.5.3.1.3) in base64, and its client may
# greet with 16,000. A message that is too large to be asked about would pass unjudged.
_MOST_REQUEST = 20 * 1024 * 1024
# Seconds. Below the 5 that our snippets let the MTA wait: what it no longer hears
# it does not do, and a message would be held here and not there.
_PATIENCE = 4.0


def apply(engine: Engine, settings: Settings) -> None:
    """Put what a reload may change into the engine."""
    if engine.release is not None:
        engine.release.rules.grace = settings.policy.hold_grace
        engine.release.rules.requeue_after = settings.policy.requeue_after


def server(engine: Engine, logged_in: Callable[[], None]) -> PolicyServer:
    """Return what answers the MTA; nothing listens yet.

    ``logged_in`` hears of each message that comes with a login.
    """

    async def judged(asked: Question) -> bytes:
        if asked.client.login and asked.stage is Stage.END:
            logged_in()
        return written(await engine.asking.answer(asked))

    def handle(values: Mapping[str, str]) -> Awaitable[bytes] | bytes:
        asked = question(values)
        return written(PASS) if asked is None else judged(asked)

    settings = PolicySettings(
        max_request=_MOST_REQUEST, max_value=_MOST_REQUEST, answer_timeout=_PATIENCE
    )
    return PolicyServer(handle, settings)
