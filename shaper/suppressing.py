"""Starts what belongs to the suppression list, and configures it anew at a reload."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from shaper.addresses import split_address
from shaper.core.ports import StateUnavailableError
from shaper.core.suppression import Rules
from shaper.core.token import LIFETIME
from shaper.engine.suppression import SuppressionSettings
from shaper.notify.confirm import confirmation

if TYPE_CHECKING:
    from contextlib import AsyncExitStack
    from datetime import datetime

    from shaper.config import Settings
    from shaper.core.envelope import Envelope
    from shaper.engine.assembly import Engine

__all__ = ["apply", "start"]

log = logging.getLogger(__name__)

_ANY = {"0.0.0.0", "::"}  # noqa: S104 - recognised, not bound


def apply(engine: Engine, settings: Settings) -> None:
    """Put what a reload may change into the engine."""
    suppression, notify = settings.suppression, settings.notify
    engine.suppression.settings = SuppressionSettings(
        enabled=suppression.enabled,
        rules=Rules(suppression.soft_bounces, suppression.soft_retry),
        confirm_url=engine.confirming.page,
        own=_own(settings),
        trust_auth=settings.identity.trust_auth,
        login_header=settings.identity.login_header,
    )
    # Where nothing is refused, nobody is asked to come back.
    refusing = (
        suppression.enabled
        and settings.daemon.enforce
        and settings.daemon.placement != "watch"
    )
    engine.confirming.configure(
        engine.confirming.page if refusing else "",
        partial(
            _compose,
            notify.mail_from or f"mailshaper@{settings.hostname}",
            settings.hostname,
            notify.language,
        ),
    )


def _own(settings: Settings) -> frozenset[str]:
    """Return the names and addresses under which our MTA delivers to us."""
    hosts = {settings.hostname.casefold()}
    for address in settings.hop.listen:
        if not address.startswith("/"):
            hosts.add(split_address(address)[0])
    return frozenset(hosts - _ANY)


def _compose(
    sender: str,
    hostname: str,
    language: str,
    address: str,
    link: str,
    message_id: str,
    when: datetime,
) -> tuple[Envelope, bytes]:
    return confirmation(
        address,
        link,
        sender=sender,
        hostname=hostname,
        language=language,
        days=int(LIFETIME / 86400),
        when=when,
        message_id=message_id,
    )


async def start(engine: Engine, settings: Settings, stack: AsyncExitStack) -> None:
    """Load the list and open the page. Raises OSError.

    Redis that is away now is asked again by the list's own rounds.
    """
    suppression = settings.suppression
    if suppression.confirm_listen:
        engine.confirming.page = suppression.confirm_url
    apply(engine, settings)
    try:
        await engine.suppression.refresh()
    except StateUnavailableError as error:
        log.warning("suppression list not loaded yet: %s", error)
    if not suppression.confirm_listen:
        return
    from shaper.confirm import ConfirmPage  # noqa: PLC0415 - aiohttp costs 20 MB

    page = ConfirmPage(engine.confirming, settings.hostname)
    await page.start(suppression.confirm_listen)
    stack.push_async_callback(page.stop)
