"""The held mail of all instances, as an operator at any of them sees it.

This instance's own mail comes from its index, the others' from the copies that
they keep in Redis. Nothing is held up meanwhile: mail passes on the same loop, so
it gets its turn between any few messages.
"""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from shaper.core.message import HeldMessage, RecipientFate
from shaper.core.ports import StateUnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from shaper.engine.context import Context
    from shaper.engine.heldmail import HeldMail

__all__ = ["copied", "elsewhere", "everywhere", "uncopied"]

log = logging.getLogger(__name__)

# Messages between two turns of the loop: about 2 ms of work.
_AT_ONCE = 50


async def everywhere(
    context: Context, held: HeldMail
) -> AsyncIterator[tuple[str, HeldMessage]]:
    """Give each held message with the name of its instance, own mail first.

    Without Redis there is only the own mail.
    """
    for number, message in enumerate(list(held.all())):
        if number % _AT_ONCE == 0:
            await asyncio.sleep(0)
        if not message.notice:
            yield context.instance, message
    async for instance, message in elsewhere(context):
        yield instance, message


async def elsewhere(context: Context) -> AsyncIterator[tuple[str, HeldMessage]]:
    """Give the held messages of the other instances; none without Redis."""
    try:
        others = await context.ledger.held(besides=context.instance)
    except StateUnavailableError as error:
        log.warning("held mail of other instances is not known: %s", error)
        return
    for instance, copies in others.items():
        for number, (message_id, raw) in enumerate(copies.items()):
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
            try:
                yield instance, uncopied(raw)
            except ValueError as error:
                log.error(
                    "what Redis says of %r at %r is damaged: %s",
                    message_id,
                    instance,
                    error,
                )


def copied(message: HeldMessage) -> bytes:
    """Return the copy of a message's facts for the other instances."""
    data = message.meta_json() | {
        "size": message.size,
        "order": message.order,
        "attempts": message.attempts,
        "not_before": message.not_before,
        "fates": {str(k): v.value for k, v in message.fates.items()},
    }
    return json.dumps(data).encode()


def uncopied(raw: bytes) -> HeldMessage:
    """Rebuild a message from its copy. Raises ValueError on anything else."""
    try:
        data: Any = json.loads(raw)
        return replace(
            HeldMessage.from_meta(data, int(data["size"])),
            order=str(data["order"]),
            attempts=int(data["attempts"]),
            not_before=float(data["not_before"]),
            fates={int(k): RecipientFate(v) for k, v in data["fates"].items()},
        )
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        msg = f"a held message is not what was stored: {error}"
        raise ValueError(msg) from error
