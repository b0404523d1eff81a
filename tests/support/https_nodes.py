"""Nodes of this process that talk HTTPS on the loopback address."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from federation.exchange import tls
from federation.exchange.client import Client, Target
from federation.exchange.joining import Door
from federation.exchange.rounds import Exchange
from federation.format.limits import Limits
from tests.support.exchanging import Member

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

__all__ = ["PEPPER", "Host", "host"]

PEPPER = bytes(range(32))


class Host:
    """A member with its exchange, its listener, and a client that signs as it."""

    def __init__(self, name: str, directory: Path, limits: Limits) -> None:
        now = int(time.time())
        self.shift = 0
        self.directory = directory
        self.member = Member(name, limits=limits, now=now)
        self.client = Client(self.member.signer, limits, self.clock)
        self.target = Target("https://127.0.0.1:1")
        self.exchange: Exchange

    def clock(self) -> int:
        """Return this host's idea of the time."""
        return int(time.time()) + self.shift

    async def listen(self, port: int) -> None:
        """Serve on a port."""
        files = tls.self_made(self.directory, "127.0.0.1")
        self.target = Target(f"https://127.0.0.1:{port}", tls.pin_of_file(files[0]))
        member = self.member
        door = Door(
            member.replica, member.own, name=member.name, peppers=lambda: [PEPPER]
        )
        self.exchange = Exchange(
            member.replica,
            member.signer,
            own=member.own,
            url=self.target.url,
            clock=self.clock,
            join=door.answer,
        )
        await self.exchange.listen("127.0.0.1", port, tls.server_context(*files))


@contextlib.asynccontextmanager
async def host(
    name: str, directory: Path, port: int, limits: Limits | None = None
) -> AsyncIterator[Host]:
    """Run a host's listener, and its sessions, while the block runs."""
    directory.mkdir(exist_ok=True)  # noqa: ASYNC240 - a test may block its loop
    found = Host(name, directory, limits or Limits())
    await found.listen(port)
    running = asyncio.create_task(found.exchange.run())
    try:
        yield found
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        found.member.store.close()
