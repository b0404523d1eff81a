"""Whether the next hop can be reached, from what transactions met there.

Nothing is asked while mail goes through: the last transaction is the answer. Only
after one that got no connection the next hop is dialled again, at most once in a few
seconds and only when somebody asks, so that an instance that got no more mail
because of this learns when that is over.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from shaper.core.reply import Phase, Reply
from shaper.smtp.dial import dial

if TYPE_CHECKING:
    from collections.abc import Callable

    from shaper.smtp.settings import ForwardSettings

__all__ = ["HopWatch"]

_BEFORE_MAIL = (Phase.CONNECT, Phase.EHLO, Phase.TLS, Phase.AUTH)
_AGAIN = 5.0  # seconds between two dials
_PATIENCE = 2.0  # seconds; whoever asks waits with us


class HopWatch:
    """Hears of every transaction and answers ``reachable``."""

    def __init__(
        self,
        settings: Callable[[], ForwardSettings],
        tell: Callable[[Reply, float], None],
    ) -> None:
        """``settings`` are those of now; ``tell`` hears what this one hears."""
        self._settings = settings
        self._tell = tell
        self.again = _AGAIN
        self._down = False
        self._asked = 0.0

    def ended(self, reply: Reply, seconds: float) -> None:
        """Take the end of a transaction (``shaper.smtp.forward.NextHop.on_end``)."""
        self._down = reply.synthetic and reply.phase in _BEFORE_MAIL
        self._tell(reply, seconds)

    async def reachable(self) -> bool:
        """Whether the next hop takes connections."""
        now = time.monotonic()
        if self._down and now - self._asked >= self.again:
            self._asked = now
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE):
                    link = await dial(self._settings())
                if not isinstance(link, Reply):
                    link.quit()
                    self._down = False
        return not self._down
