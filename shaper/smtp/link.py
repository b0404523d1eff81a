"""One open SMTP connection to the next hop, pipelined (RFC 2920).

A plain asyncio protocol that takes over a transport after the greeting. Every
command has a sink that gets its reply; replies come in order. Where the next
hop does not offer PIPELINING, commands wait in an outbox and leave one by one.
Whatever goes wrong (loss, silence, nonsense) gives every open sink one
synthetic 4yz reply and closes; nothing raises. It knows no mail transaction.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, NamedTuple, cast

from shaper.core.reply import Phase, Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Link", "ReplyParser", "lost_reply"]

log = logging.getLogger(__name__)

# Octets. RFC 5321 4.5.3.1.5 gives a reply line 512; servers exceed it with
# long texts, and EHLO answers have many lines. Beyond this it is not SMTP.
_MAX_LINE = 4096
_MAX_REPLY = 64 * 1024
_CODE_LENGTH = 3


class _Expected(NamedTuple):
    sink: Callable[[Reply], None]
    phase: Phase
    timeout: float


def lost_reply(phase: Phase, why: str) -> Reply:
    """Return the synthetic reply for a connection that ended (RFC 3463 X.4.2)."""
    return Reply(451, (f"4.4.2 {why}",), phase, synthetic=True)


class ReplyParser:
    """Cuts octets into replies (RFC 5321 4.2). Pure; raises ValueError."""

    __slots__ = ("_buffer", "_code", "_lines", "_size")

    def __init__(self) -> None:
        self._buffer = b""
        self._lines: list[str] = []
        self._code = b""
        self._size = 0

    def feed(self, data: bytes) -> list[tuple[int, tuple[str, ...]]]:
        """Return the replies that ``data`` completes."""
        replies: list[tuple[int, tuple[str, ...]]] = []
        lines = (self._buffer + data if self._buffer else data).split(b"\n")
        self._buffer = lines.pop()
        if len(self._buffer) > _MAX_LINE:
            raise ValueError("reply line too long")
        for raw in lines:
            line = raw[:-1] if raw.endswith(b"\r") else raw
            code = line[:_CODE_LENGTH]
            number = _CODES.get(code)
            mark = line[_CODE_LENGTH : _CODE_LENGTH + 1]
            if len(line) > _MAX_LINE or number is None or mark not in _MARKS:
                raise ValueError("not an SMTP reply")
            if self._code and code != self._code:
                raise ValueError("reply changes its code midway")
            self._size += len(line)
            if self._size > _MAX_REPLY:
                raise ValueError("reply too long")
            text = line[_CODE_LENGTH + 1 :].decode("utf-8", "replace")
            self._lines.append(text)
            if mark == b"-":
                self._code = code
                continue
            replies.append((number, tuple(self._lines)))
            self._lines = []
            self._code = b""
            self._size = 0
        return replies


_MARKS = frozenset((b" ", b"-", b""))
# Reply codes as on the wire: 2yz to 5yz (RFC 5321 4.2.1).
_CODES = {b"%d" % number: number for number in range(200, 600)}


class Link(asyncio.Protocol):
    """A connection whose EHLO is done."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        extensions: Mapping[str, str],
        block_timeout: float,
    ) -> None:
        self.extensions = {k.upper(): v for k, v in extensions.items()}
        self.last_used = loop.time()
        self.messages = 0
        self.lent = False  # to a transaction, ever
        self.generation = 0  # of the settings it was opened with
        self.resets = 0  # RSET in a row, without a delivered message
        self.on_close: Callable[[Link], None] | None = None
        self.closed = False
        self._loop = loop
        self._pipelining = "PIPELINING" in self.extensions
        self._block_timeout = block_timeout
        self._parser = ReplyParser()
        self._expected: deque[_Expected] = deque()
        self._outbox: deque[bytes] = deque()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._progress = 0.0
        self._paused_since = 0.0
        self._drained: asyncio.Future[None] | None = None

    @property
    def idle(self) -> bool:
        """Whether no reply is owed (a RSET may still be)."""
        return not self._expected

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over the transport; called by hand after the greeting."""
        self._transport = cast("asyncio.Transport", transport)

    def command(
        self,
        line: bytes,
        sink: Callable[[Reply], None],
        phase: Phase,
        timeout: float,
    ) -> None:
        """Send one command (CRLF included); its reply goes to ``sink``."""
        if self.closed or self._transport is None or self._expected:
            self.commands([(line, sink, phase)], timeout)
            return
        self._progress = self._loop.time()
        self._expected.append(_Expected(sink, phase, timeout))
        self._arm(self._progress + timeout)
        self._transport.write(line)

    def commands(
        self,
        batch: list[tuple[bytes, Callable[[Reply], None], Phase]],
        timeout: float,
    ) -> None:
        """Send several commands, in one segment where pipelining allows it."""
        if self.closed or self._transport is None:
            for _, sink, phase in batch:
                sink(lost_reply(phase, "Connection to the next hop lost"))
            return
        now = self._loop.time()
        if not self._expected:
            self._progress = now
        waiting = bool(self._expected)
        self._expected.extend(_Expected(s, p, timeout) for _, s, p in batch)
        self._arm(now + timeout)
        lines = [line for line, _, _ in batch]
        if not self._pipelining:
            self._outbox.extend(lines)
            if not waiting:
                self._transport.write(self._outbox.popleft())
            return
        self._transport.write(b"".join(lines) if len(lines) > 1 else lines[0])

    async def write(self, data: bytes) -> None:
        """Send content; waits while the transport's buffer is full."""
        if self.closed or self._transport is None:
            return
        self._transport.write(data)
        if self._paused_since:
            self._arm(self._paused_since + self._block_timeout)
            self._drained = self._loop.create_future()
            await self._drained

    def finish(
        self,
        data: bytes,
        sink: Callable[[Reply], None],
        timeout: float,
    ) -> None:
        """Send the last content, which ends with the final dot."""
        self.command(data, sink, Phase.END, timeout)

    def data_received(self, data: bytes) -> None:
        """Hand replies to their sinks in order."""
        try:
            replies = self._parser.feed(data)
        except ValueError as error:
            log.warning("next hop speaks no SMTP, connection closed: %s", error)
            self._fail(
                Reply(451, ("4.5.0 Next hop speaks no SMTP",), synthetic=True),
            )
            return
        self._progress = self._loop.time()
        for code, lines in replies:
            if not self._expected:
                # Unsolicited: a server that says 421 before it hangs up, or one
                # whose answers we would pair wrongly from here on.
                self._fail(None)
                return
            expected = self._expected.popleft()
            if self._outbox and self._transport is not None:
                self._transport.write(self._outbox.popleft())
            expected.sink(Reply(code, lines, expected.phase))

    def pause_writing(self) -> None:
        """Remember that the transport's buffer is full."""
        self._paused_since = self._loop.time()

    def resume_writing(self) -> None:
        """Let the writer go on."""
        self._paused_since = 0.0
        self._release()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Answer everything that is still open."""
        self._fail(None)

    def quit(self) -> None:
        """Close an idle connection politely; the 221 is not waited for."""
        if self.closed or self._transport is None:
            return
        self._transport.write(b"QUIT\r\n")
        self._fail(None, abort=False)

    def abort(self) -> None:
        """Close at once, dropping what is not sent: never ends content early."""
        self._fail(None)

    def _release(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def _fail(self, reply: Reply | None, *, abort: bool = True) -> None:
        if self.closed:
            return
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._transport is not None:
            if abort:
                self._transport.abort()
            else:
                self._transport.close()
        self._release()
        self._outbox.clear()
        expected, self._expected = self._expected, deque()
        # The owner hears first: it may redo a transaction that was cut off on
        # an old connection, and then answers these sinks itself.
        if self.on_close is not None:
            self.on_close(self)
        for item in expected:
            why = "Connection to the next hop lost"
            item.sink(
                Reply(reply.code, reply.lines, item.phase, synthetic=True)
                if reply
                else lost_reply(item.phase, why)
            )

    def _watch(self) -> None:
        """Check, once in a while, that the next hop still moves.

        One timer per connection, re-armed lazily, instead of one per command.
        """
        self._timer = None
        now = self._loop.time()
        due: list[float] = []
        if self._expected:
            due.append(self._progress + self._expected[0].timeout)
        if self._paused_since:
            due.append(self._paused_since + self._block_timeout)
        if not due:
            return
        if min(due) <= now:
            phase = self._expected[0].phase if self._expected else Phase.DATA
            log.warning("next hop silent during %s, connection closed", phase)
            self._fail(
                Reply(451, (f"4.4.2 Next hop timed out in {phase}",), synthetic=True)
            )
            return
        self._arm(min(due))

    def _arm(self, due: float) -> None:
        if self._timer is not None:
            if self._timer.when() <= due:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(due, self._watch)
