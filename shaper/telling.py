"""Puts notices, webhook and digest of one daemon together, and keeps them current.

``apply`` is called at the start and at each reload; a webhook that is no longer
configured gets nothing more, what it was owed is given up in time.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from shaper import wiring
from shaper.config import ConfigError
from shaper.notify.webhook import Webhook

if TYPE_CHECKING:
    import asyncio
    from pathlib import Path

    from shaper.config import Settings
    from shaper.core.case import Case
    from shaper.engine.assembly import Engine
    from shaper.notify.mail import Composer

__all__ = ["Telling", "describe"]


def describe(
    composer: Composer, case: Case, waiting: tuple[int, int], *, first: bool
) -> dict[str, Any]:
    """Return what a webhook says of a case (docs/webhook.md)."""
    latest = case.latest
    return {
        "case": case.id,
        "sender": case.sender,
        "state": case.state.value,
        "step": latest.event if latest else "",
        "step_at": latest.at if latest else case.opened,
        "by": latest.by if latest else "",
        "reason": latest.reason if latest else "",
        "first": first,
        "onset_at": case.onset or case.opened,
        "opened_at": case.opened,
        "closed_at": case.closed or None,
        "outcome": case.outcome or None,
        "escaped": _counted(case.escaped),
        "held_now": _counted(waiting),
        "held_in_all": _counted(case.held),
        "subjects": case.subjects,
        "domains": dict(case.domains.most_common(_MOST)),
        "clients": dict(case.clients.most_common(_MOST)),
        **composer.facts(case),
    }


_MOST = 10


def _counted(pair: tuple[int, int]) -> dict[str, int]:
    return {"messages": pair[0], "recipients": pair[1]}


class Telling:
    """What one daemon tells people and programs by itself."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        """Raises ConfigError when the webhook's secret cannot be read."""
        self._engine = engine
        self._webhook: Webhook | None = None
        self.apply(settings)

    def apply(self, settings: Settings) -> None:
        """Follow the configuration. Raises ConfigError, changing nothing."""
        notify, engine = settings.notify, self._engine
        secret = _secret(notify.webhook_secret_file)
        composer = wiring.writer(settings)
        engine.notices.compose = composer if notify.mail_to else None
        engine.digest.at = notify.digest_at
        if not notify.webhook_url:
            engine.outbox.post = engine.notices.describe = None
            return
        if self._webhook is None:
            self._webhook = Webhook(notify.webhook_url, secret, time.time)
        self._webhook.url, self._webhook.secret = notify.webhook_url, secret
        engine.outbox.post = self._webhook

        def write(
            case: Case, waiting: tuple[int, int], *, first: bool
        ) -> dict[str, Any]:
            return describe(composer, case, waiting, first=first)

        engine.notices.describe = write

    async def run(self, stop: asyncio.Event) -> None:
        """Send what the webhook is owed until ``stop`` is set."""
        try:
            await self._engine.outbox.run(stop)
        finally:
            if self._webhook is not None:
                await self._webhook.close()


def _secret(path: Path | None) -> bytes:
    if path is None:
        return b""
    try:
        secret = path.read_bytes().strip()
    except OSError as error:
        raise ConfigError(
            f"notify.webhook_secret_file: {error.filename}: {error.strerror}"
        ) from error
    if not secret:
        raise ConfigError(f"notify.webhook_secret_file: {path} is empty")
    return secret
