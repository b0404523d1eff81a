"""The policy service alone: `python -m bench.policy.server PORT [REDIS_URL]`."""

from __future__ import annotations

import asyncio
import signal
import sys

from shaper.ledger.ledger import RedisLedger
from shaper.policy.postfix import PolicyServer, remembering

_TTL = 432_000.0  # seconds, the shipped default


async def main(port: int, url: str) -> None:
    """Serve until SIGTERM."""
    ledger = RedisLedger.connect(url) if url else None

    async def remember(queue_id: str, login: str) -> None:
        if ledger is not None:
            await ledger.put_login(queue_id, login, _TTL)

    policy = PolicyServer(remembering(remember))
    await policy.listen("127.0.0.1", port)
    done = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, done.set)
    await done.wait()
    policy.close()
    if ledger is not None:
        await ledger.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), "".join(sys.argv[2:])))
