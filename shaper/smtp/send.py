"""Send one stored message through the forwarder, recipients by position.

What the trickle runner uses: the same transaction as passing mail, fed from
the spool. Replies are values; only what the source of the chunks raises comes
through, and then the next hop never sees the end of the content.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shaper.core.reply import Phase, Reply

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from shaper.core.envelope import Client, Envelope
    from shaper.smtp.forward import NextHop

__all__ = ["send"]

_GO_AHEAD = 354


async def send(
    hop: NextHop,
    envelope: Envelope,
    client: Client,
    chunks: AsyncIterator[bytes],
    recipients: Sequence[int],
) -> tuple[dict[int, Reply], Reply]:
    """Return each recipient's reply, and the one that ended the transaction.

    A recipient has the message when its reply and the final one are positive.
    ``chunks`` is content as on the wire, without the final dot. Raises what
    ``chunks`` raises.
    """
    transaction = hop.begin(envelope, client)
    try:
        await transaction.ready()
        offers = [(i, transaction.offer(envelope.recipients[i])) for i in recipients]
        replies = {i: await offer for i, offer in offers}
        accepted = [reply for reply in replies.values() if reply.positive]
        if not accepted:
            text = "4.5.0 No recipient to send to"
            none = Reply(451, (text,), Phase.RCPT, synthetic=True)
            return replies, next(reversed(replies.values()), none)
        reply = await transaction.data()
        if reply.code != _GO_AHEAD:
            return replies, reply
        async for chunk in chunks:
            await transaction.write(chunk)
            if transaction.lost:
                break
        return replies, await transaction.finish()
    finally:
        await transaction.abandon()
