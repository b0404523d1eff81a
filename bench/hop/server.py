"""The hop alone, as a process of its own: `python -m bench.hop.server PORT NEXT`.

Ingress and forwarder as in the daemon, with a gate that passes everything. With
a Redis URL as third argument each decision is one round trip: a script that
reads a sender's record and writes it back, as the ledger does.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import TYPE_CHECKING

from redis.asyncio import Redis

from shaper.core.message import Action, Decision
from shaper.smtp.forward import NextHop
from shaper.smtp.ingress import Ingress
from shaper.smtp.settings import ForwardSettings, IngressSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shaper.core.message import HeldMessage, Submission
    from shaper.core.ports import SpoolWriter
    from shaper.core.reply import Reply

_SCRIPT = """
local n = redis.call('HINCRBY', KEYS[1], 'version', 1)
redis.call('HSET', KEYS[1], 'record', ARGV[1])
return n
"""
_PASS = Decision(Action.PASS)
_RECORD = b"x" * 400  # octets, about what a sender's record takes


class PassingGate:
    """Lets everything through, asking Redis when there is one."""

    def __init__(self, url: str) -> None:
        self._redis = Redis.from_url(url) if url else None
        self._script = self._redis.register_script(_SCRIPT) if self._redis else None

    async def login_of(self, queue_id: str) -> str | None:
        """Know nobody."""
        del queue_id
        return None

    async def decide(self, submission: Submission) -> Decision:
        """Pass, after one round trip."""
        if self._script is not None:
            await self._script(keys=[submission.sender], args=[_RECORD])
        return _PASS

    def hold(self, submission: Submission, decision: Decision) -> SpoolWriter:
        """Never happens here."""
        raise NotImplementedError(submission.id, decision)

    async def passed(
        self, submission: Submission, refused: Mapping[str, Reply], end: Reply
    ) -> None:
        """Learn nothing."""

    async def held(self, message: HeldMessage) -> None:
        """Never happens here."""


async def main(port: int, next_hop: int, redis_url: str) -> None:
    """Serve until SIGTERM."""
    hop = NextHop(ForwardSettings(port=next_hop))
    ingress = Ingress(
        IngressSettings(hostname="bench.example.test"), PassingGate(redis_url), hop
    )
    await ingress.listen("127.0.0.1", port)
    done = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, done.set)
    await done.wait()
    await ingress.stop(1)
    hop.close()


if __name__ == "__main__":
    asyncio.run(
        main(int(sys.argv[1]), int(sys.argv[2]), "".join(sys.argv[3:])),
    )
