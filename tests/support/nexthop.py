r"""A next hop that does what the test tells it and remembers every byte.

    async with NextHop() as hop:
        hop.on("rcpt", "450 4.2.0 try later", match="bob@", times=2)
        hop.on("dot", DROP)                       # took the mail, never said so
        ... send something to ("127.0.0.1", hop.port) ...
        first, second = await hop.wait_for(2)
        assert first.mail == b"MAIL FROM:<a@example.test> SIZE=10\r\n"

It is a receiver in plain asyncio, not built on the library under test, so a
mistake there cannot hide here. A message ends at <CRLF>.<CRLF> and nowhere else
(RFC 5321 4.1.1.4): a lone LF is content, and a test sees it.

Rules are asked newest first; a rule with ``times`` is forgotten after so many
uses. Without a rule everything is accepted. The phases are those in `Phase`.
"""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Self

Phase = Literal[
    "connect",  # the greeting
    "ehlo",
    "xforward",
    "mail",
    "rcpt",
    "data",  # the answer to the DATA command itself
    "body",  # the first line of content: only DROP, HANG and Slow make sense
    "dot",  # the answer after the final dot
    "rset",
    "quit",
]

MODERN: Final = ("PIPELINING", "SIZE 52428800", "8BITMIME", "SMTPUTF8", "DSN")
"""What the hop announces unless told otherwise (a lively modern receiver)."""

_MAX_LINE = 64 * 2**20  # bytes; content without any CRLF arrives as one line


@dataclass(frozen=True, slots=True)
class Hang:
    """Never answer; the connection stays open until the hop closes."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Close the connection instead of answering."""


@dataclass(frozen=True, slots=True)
class Slow:
    """Answer ``then`` (None: as if there were no rule) after ``seconds``."""

    seconds: float
    then: str | None = None


HANG: Final = Hang()
DROP: Final = Drop()
Step = str | Hang | Drop | Slow
"""A reply line such as "451 4.7.1 later" (lines parted by \\n), or trouble."""


@dataclass(slots=True)
class Transaction:
    """One message as it came in, down to the bytes."""

    session: int
    """Number of the connection, from 1: equal numbers mean reuse."""
    helo: str
    xforward: dict[str, str]
    """Attributes of XFORWARD since the last transaction, xtext decoded."""
    mail: bytes
    """The MAIL line, CRLF included."""
    rcpts: list[bytes] = field(default_factory=list)
    """RCPT lines that were answered 2xx, CRLF included."""
    refused: list[bytes] = field(default_factory=list)
    """RCPT lines that were not."""
    wire: bytes = b""
    """Content as sent: dots still doubled, final dot left out."""
    reply: str | None = None
    """The answer to the final dot; None if there was none."""

    @property
    def content(self) -> bytes:
        """The message: content with dot-stuffing undone (RFC 5321 4.5.2)."""
        return re.sub(rb"(^|\r\n)\.", rb"\1", self.wire)

    @property
    def accepted(self) -> bool:
        """Whether the hop took responsibility and said so."""
        return self.reply is not None and self.reply.startswith("2")

    @property
    def sender(self) -> str:
        """The envelope sender without brackets; empty for a bounce."""
        return _path(self.mail)

    @property
    def recipients(self) -> list[str]:
        """The accepted recipients without brackets."""
        return [_path(line) for line in self.rcpts]


@dataclass(slots=True)
class _Rule:
    phase: Phase
    step: Step
    match: str | None
    times: int | None


class _Closed(Exception):  # noqa: N818 - it ends a conversation, it is no error
    """The client left, a rule said DROP, or we said 421 (then ``reply``)."""

    def __init__(self, reply: str | None = None) -> None:
        super().__init__(reply)
        self.reply = reply


class NextHop:
    """A scripted SMTP receiver on 127.0.0.1; `port` is known once entered."""

    def __init__(self, keywords: Sequence[str] = MODERN, port: int = 0) -> None:
        """Announce ``keywords`` after EHLO; an empty sequence announces none."""
        self.keywords = tuple(keywords)
        self.port = port
        self.transactions: list[Transaction] = []
        """Every message that reached its final dot, oldest first."""
        self.commands: list[bytes] = []
        """Every command line of every connection, as received."""
        self.connections = 0
        self._rules: list[_Rule] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._arrival = asyncio.Condition()
        self._server: asyncio.Server | None = None

    def on(
        self,
        phase: Phase,
        step: Step,
        *,
        match: str | None = None,
        times: int | None = None,
    ) -> None:
        """Answer ``phase`` with ``step`` from now on, or ``times`` times.

        ``match`` limits the rule to command lines that contain it; for "data",
        "body" and "dot" it is looked up in the transaction's MAIL and RCPT lines.
        """
        self._rules.insert(0, _Rule(phase, step, match, times))

    def reset(self) -> None:
        """Forget rules and records; open connections stay."""
        self._rules.clear()
        self.transactions.clear()
        self.commands.clear()

    async def wait_for(self, count: int, within: float = 15.0) -> list[Transaction]:
        """Return the first ``count`` transactions as soon as they are there.

        "There" means: final dot received and answered (or dropped). Raises
        TimeoutError after ``within`` seconds.
        """
        async with asyncio.timeout(within), self._arrival:
            await self._arrival.wait_for(lambda: len(self.transactions) >= count)
        return self.transactions[:count]

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._connected, "127.0.0.1", self.port, limit=_MAX_LINE
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop listening and cut every connection; later connects are refused."""
        if self._server is None:
            return
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None

    # Own tasks rather than a coroutine callback: Python 3.11's streams report a
    # cancelled callback as an error.
    def _connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.connections += 1
        conversation = _Conversation(self, reader, writer, self.connections)
        task = asyncio.ensure_future(conversation.run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _step(self, phase: Phase, text: str) -> Step | None:
        for rule in self._rules:
            if rule.phase == phase and (rule.match is None or rule.match in text):
                if rule.times is not None:
                    rule.times -= 1
                    if rule.times <= 0:
                        self._rules.remove(rule)
                return rule.step
        return None

    async def _record(self, transaction: Transaction) -> None:
        async with self._arrival:
            self.transactions.append(transaction)
            self._arrival.notify_all()


class _Conversation:
    """One connection: reads commands, asks the rules, answers."""

    def __init__(
        self,
        hop: NextHop,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        number: int,
    ) -> None:
        self._hop = hop
        self._reader = reader
        self._writer = writer
        self._number = number
        self._helo = ""
        self._xforward: dict[str, str] = {}
        self._open: Transaction | None = None

    async def run(self) -> None:
        """Talk until either side has had enough."""
        try:
            await self._answer("connect", "", "220 hop.example.test ESMTP")
            while True:
                await self._command(await self._line())
        except (_Closed, ConnectionError):
            pass
        finally:
            self._writer.close()

    async def _line(self) -> bytes:
        try:
            return await self._reader.readuntil(b"\r\n")
        except asyncio.IncompleteReadError:
            raise _Closed from None

    async def _command(self, line: bytes) -> None:  # noqa: C901 - one arm per verb
        self._hop.commands.append(line)
        text = line.decode("utf-8", "surrogateescape").rstrip("\r\n")
        verb = text.partition(" ")[0].upper()
        match verb:
            case "EHLO" | "HELO":
                self._helo, self._open = text.partition(" ")[2], None
                names = self._hop.keywords if verb == "EHLO" else ()
                await self._answer(
                    "ehlo", text, "\n".join(["250 hop.example.test", *_250(names)])
                )
            case "XFORWARD":
                if await self._answer("xforward", text, "250 2.0.0 Ok"):
                    self._xforward |= _attributes(text)
            case "MAIL":
                if await self._answer("mail", text, "250 2.1.0 Ok"):
                    self._open = Transaction(
                        self._number, self._helo, self._xforward, line
                    )
                    self._xforward = {}
            case "RCPT" if self._open:
                taken = await self._answer("rcpt", text, "250 2.1.5 Ok")
                (self._open.rcpts if taken else self._open.refused).append(line)
            case "DATA" if self._open and self._open.rcpts:
                await self._data(self._open)
            case "RSET":
                self._open = None
                await self._answer("rset", text, "250 2.0.0 Ok")
            case "NOOP":
                await self._say("250 2.0.0 Ok")
            case "QUIT":
                await self._answer("quit", text, "221 2.0.0 Bye")
                raise _Closed
            case "RCPT" | "DATA":
                await self._say("503 5.5.1 Bad sequence of commands")
            case _:
                await self._say("502 5.5.2 Command not recognised")

    async def _data(self, transaction: Transaction) -> None:
        names = b"".join([transaction.mail, *transaction.rcpts])
        envelope = names.decode("utf-8", "surrogateescape")
        if not await self._answer(
            "data", envelope, "354 End data with <CR><LF>.<CR><LF>"
        ):
            return
        lines: list[bytes] = []
        while (line := await self._line()) != b".\r\n":
            lines.append(line)
            if len(lines) == 1:
                await self._answer("body", envelope, "")
        transaction.wire = b"".join(lines)
        self._open = None
        reply = f"250 2.0.0 Ok: queued as {len(self._hop.transactions) + 1}"
        try:
            transaction.reply = await self._answer("dot", envelope, reply, keep=True)
        except _Closed as closed:
            transaction.reply = closed.reply
            raise
        finally:
            await self._hop._record(transaction)

    async def _answer(
        self, phase: Phase, text: str, usual: str, *, keep: bool = False
    ) -> str:
        """Say what the rules want; return the reply if positive, else ''.

        ``keep`` returns negative replies too.
        """
        step = self._hop._step(phase, text)
        if isinstance(step, Slow):
            await asyncio.sleep(step.seconds)
            step = step.then
        match step:
            case Drop():
                raise _Closed
            case Hang():
                # End of input is no sign that the client left: Exim half-closes
                # after its last message and still waits for the answer.
                await asyncio.get_running_loop().create_future()
        reply = usual if step is None else str(step)
        if reply:
            await self._say(reply)
        return reply if keep or reply[:1] in {"2", "3"} else ""

    async def _say(self, reply: str) -> None:
        """Send ``reply``; several lines become one reply (RFC 5321 4.2.1)."""
        code = reply[:3]
        rest = [line.removeprefix(code).lstrip(" -") for line in reply.split("\n")]
        lines = [f"{code}-{part}" for part in rest[:-1]] + [f"{code} {rest[-1]}"]
        self._writer.write("".join(f"{line}\r\n" for line in lines).encode())
        await self._writer.drain()
        # RFC 5321 3.8: a server that says 421 closes the channel.
        if code == "421":
            raise _Closed(reply)


def _250(keywords: Sequence[str]) -> list[str]:
    return [f"250 {word}" for word in keywords]


def _path(line: bytes) -> str:
    found = re.search(rb"<([^>]*)>", line)
    return found[1].decode("utf-8", "surrogateescape") if found else ""


def _attributes(text: str) -> dict[str, str]:
    """Read XFORWARD's name=value pairs, values in xtext (RFC 3461 4)."""
    pairs = (part.partition("=") for part in text.split()[1:])
    return {name.upper(): _xtext(value) for name, _, value in pairs}


def _xtext(value: str) -> str:
    return re.sub(r"\+([0-9A-F]{2})", lambda hex_: chr(int(hex_[1], 16)), value)
