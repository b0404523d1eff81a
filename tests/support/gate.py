"""A gate that does what the test says, and the hop around it, over real sockets.

    async with hop_before(next_hop.port) as stage:
        stage.gate.action = Action.HOLD
        with stage.client() as client: ...

The gate is real code with the same duties as the engine: held content goes to a
file, and what it was told is kept for the test to read.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from shaper.core.message import Action, Decision, HeldMessage, Submission
from shaper.core.ports import SpoolFullError
from shaper.core.reply import Reply
from shaper.smtp.forward import NextHop
from shaper.smtp.ingress import Ingress
from shaper.smtp.settings import ForwardSettings, IngressSettings

CLOCK = 1_800_000_000.0
"""The time that the hop under test believes in."""


class FileWriter:
    """Writes to a file and makes it visible at commit."""

    def __init__(self, gate: "Gate", path: Path, submission: Submission) -> None:
        """Open ``path`` for ``submission``."""
        self._gate = gate
        self._path = path
        self._submission = submission
        self._file = path.open("wb")

    def write(self, chunk: bytes) -> None:
        """Append."""
        self._file.write(chunk)

    async def drain(self) -> None:
        """Take everything at once."""

    async def commit(self) -> HeldMessage:
        """Close; the file stays."""
        if self._gate.spool_full == "commit":
            self.abort()
            raise SpoolFullError
        self._file.close()
        return HeldMessage(self._submission, self._path.stat().st_size)

    def abort(self) -> None:
        """Remove the file unless it was committed."""
        if not self._file.closed:
            self._file.close()
            self._path.unlink()


@dataclass
class Gate:
    """Implements ``shaper.core.ports.Gate``."""

    directory: Path
    action: Action = Action.PASS
    reply: Reply | None = None
    logins: dict[str, str] = field(default_factory=dict)
    bug: str = ""
    """Name of the method that raises."""
    spool_full: str = ""
    """"hold" or "commit": where the spool is full."""
    decided: list[Submission] = field(default_factory=list)
    outcomes: list[tuple[dict[str, Reply], Reply]] = field(default_factory=list)
    refusals: list[tuple[Submission, dict[str, Reply]]] = field(default_factory=list)
    held_messages: list[HeldMessage] = field(default_factory=list)

    def _fail(self, name: str) -> None:
        if self.bug == name:
            raise RuntimeError("secret detail of the bug")

    async def login_of(self, queue_id: str) -> str | None:
        """Look into ``logins``."""
        self._fail("login_of")
        return self.logins.get(queue_id)

    async def decide(self, submission: Submission) -> Decision:
        """Do what the test said."""
        self._fail("decide")
        self.decided.append(submission)
        return Decision(self.action, self.reply)

    def hold(self, submission: Submission, decision: Decision) -> FileWriter:  # noqa: ARG002
        """Open a file."""
        self._fail("hold")
        if self.spool_full == "hold":
            raise SpoolFullError
        return FileWriter(self, self.directory / submission.id, submission)

    async def passed(
        self, submission: Submission, refused: Mapping[str, Reply], end: Reply
    ) -> None:
        """Write it down."""
        self._fail("passed")
        assert submission.id
        self.outcomes.append((dict(refused), end))

    async def refused(
        self, submission: Submission, refused: Mapping[str, Reply]
    ) -> None:
        """Write it down."""
        self._fail("refused")
        self.refusals.append((submission, dict(refused)))

    async def held(self, message: HeldMessage) -> None:
        """Write it down."""
        self._fail("held")
        self.held_messages.append(message)

    def content(self, number: int = 0) -> bytes:
        """Return the content of a held message."""
        return (self.directory / self.held_messages[number].id).read_bytes()


@dataclass
class Stage:
    """The hop under test and what surrounds it."""

    gate: Gate
    ingress: Ingress
    hop: NextHop
    port: int
    clients: list["RawClient"] = field(default_factory=list)

    async def connect(self, *, greet: bool = True) -> "RawClient":
        """Open a conversation with the hop."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        client = RawClient(reader, writer)
        self.clients.append(client)
        if greet:
            assert (await client.reply()).startswith(b"220 ")
            await client.ask("EHLO client.example.test")
        return client


@dataclass
class RawClient:
    """Speaks SMTP by hand, octet by octet."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def reply(self) -> bytes:
        """Return the next reply, all its lines; b"" when the hop hung up."""
        lines = []
        async with asyncio.timeout(20):
            while True:
                line = await self.reader.readline()
                lines.append(line)
                if line[3:4] != b"-":
                    return b"".join(lines)

    async def ask(self, command: str | bytes) -> bytes:
        """Send a command line and return its reply."""
        raw = command if isinstance(command, bytes) else command.encode()
        await self.send(raw + b"\r\n")
        return await self.reply()

    async def send(self, data: bytes) -> None:
        """Send octets."""
        self.writer.write(data)
        await self.writer.drain()

    async def open_mail(
        self,
        sender: str = "alice@example.test",
        recipients: tuple[str, ...] = ("bob@example.net",),
    ) -> bytes:
        """Say MAIL, RCPT and DATA; return the reply to DATA."""
        await self.ask(f"MAIL FROM:<{sender}>")
        for recipient in recipients:
            await self.ask(f"RCPT TO:<{recipient}>")
        return await self.ask("DATA")

    async def mail(self, wire: bytes, **envelope: Any) -> bytes:
        """Send a message in wire form without the final dot; return its reply."""
        answer = await self.open_mail(**envelope)
        assert answer.startswith(b"354 "), answer
        await self.send(wire + b".\r\n")
        return await self.reply()

    def close(self) -> None:
        """Hang up without a word."""
        self.writer.transport.abort()


@asynccontextmanager
async def hop_before(
    port: int,
    directory: Path,
    *,
    forward: dict[str, Any] | None = None,
    **settings: Any,
) -> AsyncIterator[Stage]:
    """Run the hop on a free port, forwarding to 127.0.0.1:``port``."""
    gate = Gate(directory)
    out = replace(
        ForwardSettings(port=port, helo="hop.example.test"), **(forward or {})
    )
    hop = NextHop(out)
    numbers = iter(range(1, 1_000_000))
    ingress = Ingress(
        replace(IngressSettings(hostname="hop.example.test"), **settings),
        gate,
        hop,
        clock=lambda: CLOCK,
        new_id=lambda: f"ID{next(numbers)}",
    )
    await ingress.listen("127.0.0.1", 0)
    stage = Stage(gate, ingress, hop, ingress.sockets[0].getsockname()[1])
    try:
        yield stage
    finally:
        for client in stage.clients:
            client.close()
        await ingress.stop(grace=0)
        hop.close()
