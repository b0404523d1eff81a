"""Which recipients of which message were weighed, so that a retry costs nothing.

An MTA offers a message again after a temporary failure, perhaps with fewer
recipients, perhaps in several pieces. Only recipients that were not weighed
under the same message count. The message is known by the MTA's queue id; where
there is none, by its Message-ID, which the writer chooses: it then counts as the
same only until it has been accepted, or a thief would repeat one for ever.

In memory of this instance, bounded: after a restart a retry counts once more.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shaper.core.message import Submission

__all__ = ["Weighed"]

_KEPT = 50_000  # messages; about 200 octets each
_LIFE = 5 * 86400.0  # seconds; the MTA gives up then


class Weighed:
    """Recipient hashes by message, oldest first."""

    def __init__(self) -> None:
        """Start empty."""
        self._seen: OrderedDict[bytes, tuple[float, frozenset[int]]] = OrderedDict()

    def fresh(self, submission: Submission, hashes: Sequence[int]) -> list[int]:
        """Return the recipients that were not weighed under this message."""
        _, seen = self._seen.get(_key(submission), (0.0, frozenset[int]()))
        return [recipient for recipient in hashes if recipient not in seen]

    def note(self, submission: Submission, hashes: Sequence[int], now: float) -> None:
        """Remember recipients as weighed; ``now`` in Unix seconds."""
        key = _key(submission)
        if not key or not hashes:
            return
        _, seen = self._seen.pop(key, (0.0, frozenset[int]()))
        self._seen[key] = (now, seen.union(hashes))
        while self._seen:
            oldest, (at, _) = next(iter(self._seen.items()))
            if len(self._seen) <= _KEPT and now - at <= _LIFE:
                return
            del self._seen[oldest]

    def accepted(self, submission: Submission) -> None:
        """Forget a message that only its writer names, now that it is taken."""
        if not submission.client.ident:
            self._seen.pop(_key(submission), None)


def _key(submission: Submission) -> bytes:
    """Return what names the message, b"" when nothing does."""
    ident, message_id = submission.client.ident, submission.message_id
    if not ident and not message_id:
        return b""
    text = f"{submission.sender}\0{ident}\0{message_id}"
    return blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).digest()
