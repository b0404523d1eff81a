"""Recipients that were refused when no message followed.

A thief with a bad list meets next hops that refuse every recipient; then there is
no DATA and nothing to judge, but the refusals are evidence all the same. The
permanent ones come once: an MTA offers such a recipient no second time (RFC 5321
4.2.1).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from shaper.core.envelope import Envelope
from shaper.core.identity import identify_early
from shaper.core.message import Submission

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from shaper.core.envelope import Client, Recipient
    from shaper.core.reply import Reply
    from shaper.smtp.shared import Shared

__all__ = ["report", "tell_refusals"]

log = logging.getLogger(__name__)

# Postfix verifies addresses with mail of this sender that never comes to DATA.
_PROBE = "double-bounce@"


async def report(message_id: str, telling: Awaitable[None]) -> None:
    """Tell the engine; its failure must not change what has happened.

    The message is delivered, durable or refused by now: any other reply than the
    true one would send it twice.
    """
    try:
        await telling
    except Exception:  # per attempt; logged with its traceback
        log.exception("%s: the engine failed to note the outcome", message_id)


async def tell_refusals(
    shared: Shared,
    sender: str,
    parameters: tuple[str, ...],
    client: Client,
    offers: list[tuple[Recipient, Reply]],
) -> None:
    """Tell the gate of a transaction whose recipients were all refused."""
    message_id = shared.new_id()
    await report(
        message_id, _tell(shared, message_id, (sender, parameters, client), offers)
    )


async def _tell(
    shared: Shared,
    message_id: str,
    mail: tuple[str, tuple[str, ...], Client],
    offers: list[tuple[Recipient, Reply]],
) -> None:
    sender, parameters, client = mail
    envelope = Envelope(sender, (), parameters)
    settings = shared.settings
    identity = identify_early(
        envelope,
        client,
        policy_login=await shared.gate.login_of(client.ident) if client.ident else None,
        login_header=settings.login_header,
        trust_auth=settings.trust_auth_parameter,
    )
    nobody = identity in {"", f"from:{sender.casefold()}"}
    if nobody and sender.casefold().startswith(_PROBE):
        return
    submission = Submission(message_id, identity, envelope, client, shared.clock())
    await shared.gate.refused(submission, {r.address: reply for r, reply in offers})
