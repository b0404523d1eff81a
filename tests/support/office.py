"""A whole engine behind its admin socket: what operators' tools talk to.

    async with office(redis_url, directory) as place:
        await place.steal("login:alice")
        done = await place.cli("show", "login:alice")

The engine, spool, journal and ledger are the real ones; only the next hop is
left out, and the trickle does not run, so that held mail stays where it is.
"""

import asyncio
import itertools
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from shaper.admin import AdminServer
from shaper.admin_proofs import proof_commands
from shaper.admin_suppress import suppress_commands
from shaper.audit import AuditJournal
from shaper.core.envelope import Client, Envelope, Recipient
from shaper.core.message import Action, Submission
from shaper.core.reply import Reply
from shaper.engine.assembly import Engine
from shaper.engine.context import Context
from shaper.engine.control import Control
from shaper.ledger import RedisLedger
from shaper.spool import FileSpool


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    def rows(self) -> list[Any]:
        """Return what ``--json`` printed, one object per line."""
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass
class Office:
    """An engine, its admin socket, and the command line in front of it."""

    engine: Engine
    audit: AuditJournal
    path: Path
    server: AdminServer
    numbers: Any = field(default_factory=lambda: itertools.count(1))

    async def offer(
        self,
        sender: str,
        recipients: tuple[str, ...],
        subject: str = "Invoice",
        content: bytes = b"Subject: Invoice\r\n\r\nPay.\r\n",
    ) -> Action:
        """Offer a message as the hop would; hold or pass it as decided."""
        submission = Submission(
            f"M{next(self.numbers):06d}",
            sender,
            Envelope("alice@example.org", tuple(map(Recipient, recipients))),
            Client(address="192.0.2.7"),
            time.time(),
            subject=subject,
        )
        gate = self.engine.gate
        decision = await gate.decide(submission)
        if decision.action is Action.HOLD:
            writer = gate.hold(submission, decision)
            writer.write(content)
            await gate.held(await writer.commit())
        else:
            await gate.passed(submission, {}, Reply(250, ("2.0.0 ok",)))
        return decision.action

    async def steal(self, sender: str, subject: str = "You have won") -> None:
        """Send to strangers until three messages are held."""
        held = 0
        for number in range(300):
            to = tuple(f"v{number}-{i}@example.net" for i in range(10))
            held += await self.offer(sender, to, subject) is Action.HOLD
            if held == 3:
                return
        raise AssertionError("the engine holds nothing")

    async def ask(self, raw: bytes) -> list[dict[str, Any]]:
        """Send octets to the socket and return the lines of the answer."""
        reader, writer = await asyncio.open_unix_connection(self.path, limit=2**24)
        try:
            writer.write(raw)
            await writer.drain()
            lines = []
            async with asyncio.timeout(20):
                while line := await reader.readline():
                    lines.append(json.loads(line))
                    if "ok" in lines[-1]:
                        break
            return lines
        finally:
            writer.close()

    async def request(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Ask for a command and return the last line of its answer."""
        data = {"command": command, "arguments": arguments}
        return (await self.ask(json.dumps(data).encode() + b"\n"))[-1]

    async def cli(
        self, *words: str | bytes, env: Mapping[str, str] | None = None
    ) -> Done:
        """Run the command line as a process of its own."""
        return await cli(
            *words, env={"MAILSHAPER_SOCKET": str(self.path), **(env or {})}
        )


async def cli(*words: str | bytes, env: Mapping[str, str] | None = None) -> Done:
    """Run the command line with a clean environment."""
    base = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "TZ": "UTC"}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from shaper.cli import main; main()",
        *words,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        stdin=asyncio.subprocess.DEVNULL,
        env={**base, **(env or {})},
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return Done(process.returncode, out.decode(), err.decode())


@asynccontextmanager
async def office(redis_url: str, directory: Path) -> AsyncIterator[Office]:
    """Run an engine on ``redis_url`` with its files in ``directory``."""
    audit = await AuditJournal.open(directory / "audit")
    spool = await FileSpool.open(directory / "spool")
    ledger = RedisLedger.connect(redis_url)
    context = Context(ledger, spool, audit, time.time, b"k" * 32)

    async def send(
        envelope: Envelope,
        client: Client,
        chunks: AsyncIterator[bytes],
        recipients: Sequence[int],
    ) -> tuple[Mapping[int, Reply], Reply]:
        del client, chunks, recipients
        raise AssertionError(f"{envelope} is sent though no trickle runs")

    numbers = itertools.count(1)
    engine = Engine(context, send, lambda: f"c{next(numbers)}")
    await engine.restore([])

    async def forget(address: str) -> dict[str, int]:
        return await engine.forget(address, audit.forget)

    server = AdminServer(
        Control(engine),
        journal=audit.replay,
        forget=forget,
        more=suppress_commands(engine.suppression_list) | proof_commands(audit.replay),
    )
    path = directory / "admin.sock"
    await server.start(path)
    try:
        yield Office(engine, audit, path, server)
    finally:
        await server.stop()
        await ledger.close()
        await spool.close()
        await audit.close()
