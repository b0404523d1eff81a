"""The forwarder: mail transactions at the next hop over pooled connections.

XFORWARD, MAIL and the
RCPTs leave in one segment where the next hop pipelines; each RCPT's reply is
given back as it came. A reused connection that proves dead before the next
hop said a word about the transaction is replaced once, unseen by the caller;
after that nothing is repeated, because the next hop may have acted.

What the next hop does not offer is left out: SIZE, BODY (RFC 6152 3 allows
just sending the octets), the DSN parameters (RFC 3461 5.2.2) and AUTH=. Only
SMTPUTF8 cannot be left out: such mail is refused (RFC 6531 3.5).
"""

from __future__ import annotations

import asyncio
import re
from functools import partial
from typing import TYPE_CHECKING

from shaper.core.reply import Phase, Reply
from shaper.smtp.link import Link, lost_reply
from shaper.smtp.parameters import attribute_lines
from shaper.smtp.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from shaper.core.envelope import Client, Envelope, Recipient
    from shaper.smtp.settings import ForwardSettings

__all__ = ["HopTransaction", "NextHop"]

# Parameter -> the EHLO keyword without which it is left out.
_NEEDS = {
    "SIZE": "SIZE",  # RFC 1870
    "BODY": "8BITMIME",  # RFC 6152
    "RET": "DSN",  # RFC 3461
    "ENVID": "DSN",
    "NOTIFY": "DSN",
    "ORCPT": "DSN",
    "AUTH": "AUTH",  # RFC 4954
}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_GO_AHEAD = 354
_SHUTDOWN = 421
_COALESCE = 64 * 1024  # octets of content kept to leave in one piece

_NO_UTF8 = Reply(
    553,
    ("5.6.7 Next hop takes no internationalised addresses (SMTPUTF8)",),
    Phase.MAIL,
    synthetic=True,
)
_UNSENDABLE = Reply(
    553, ("5.1.3 Address with a control character",), Phase.RCPT, synthetic=True
)


class NextHop:
    """The forwarder of one next hop."""

    def __init__(self, settings: ForwardSettings) -> None:
        self.settings = settings
        self.pool = Pool(settings)
        # Hears each transaction's last reply and how many seconds it took.
        self.on_end: Callable[[Reply, float], None] = lambda _reply, _seconds: None

    @property
    def extensions(self) -> frozenset[str] | None:
        """EHLO keywords of the newest connection, None before the first."""
        return self.pool.extensions

    @property
    def size_limit(self) -> int:
        """The next hop's SIZE in octets, 0 when it is unknown or unlimited."""
        return self.pool.size_limit

    def begin(self, envelope: Envelope, client: Client) -> HopTransaction:
        """Start a transaction; no traffic happens before its first call."""
        return HopTransaction(self, envelope, client)

    def apply(self, settings: ForwardSettings) -> None:
        """Use other settings from now on; open transactions keep theirs."""
        self.settings = settings
        self.pool.apply(settings)

    def close(self) -> None:
        """Close idle connections and every other one when it comes back."""
        self.pool.close()


class HopTransaction:
    """One mail transaction. Methods never raise for what the next hop does."""

    def __init__(self, hop: NextHop, envelope: Envelope, client: Client) -> None:
        self._settings = hop.settings
        self._pool = hop.pool
        self._on_end = hop.on_end
        self._begun = 0.0
        self._envelope = envelope
        self._client = client
        self._link: Link | None = None
        self._reused = False
        self._heard = False  # the next hop said something about this mail
        self._failure: Reply | None = None  # no connection, and why
        self._mail: Reply | None = None
        self._mail_sent = False
        self._open: dict[asyncio.Future[Reply], Recipient] = {}
        self._content = False  # DATA was sent: only closing takes it back
        self._pending: list[bytes] = []
        self._pending_size = 0
        self._opening: asyncio.Lock | None = None
        self._reopening: asyncio.Task[None] | None = None

    async def ready(self) -> Reply | None:
        """Have a connection; return the 4yz reply when there is none."""
        if self._link is None and self._failure is None:
            if self._opening is None:
                self._opening = asyncio.Lock()
            async with self._opening:
                await self._acquire()
        return self._failure

    def offer(self, recipient: Recipient) -> asyncio.Future[Reply]:
        """Offer a recipient without waiting; ``ready`` must have been awaited."""
        future = asyncio.get_running_loop().create_future()
        if self._failure is not None:
            future.set_result(_as_phase(self._failure, Phase.RCPT))
        elif _CONTROL.search(recipient.address + "".join(recipient.parameters)):
            future.set_result(_UNSENDABLE)
        elif self._reopening is not None:
            self._open[future] = recipient  # leaves with the others
        else:
            self._send([(recipient, future)])
        return future

    async def data(self) -> Reply:
        """Send DATA; 354 means that content may follow."""
        link = self._link
        if self._failure is not None or link is None:
            return _as_phase(self._failure or _NO_LINK, Phase.DATA)
        self._content = True
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        link.command(
            b"DATA\r\n",
            partial(_settle, future),
            Phase.DATA,
            self._settings.data_timeout,
        )
        reply = await future
        if reply.code == _GO_AHEAD:
            return reply
        if not link.closed:
            self._content = False
        if reply.positive:  # neither yes nor no: not SMTP any more
            self._drop()
            return Reply(451, ("4.5.0 Next hop answers DATA with nonsense",))
        return reply

    async def write(self, chunk: bytes) -> None:
        """Pass content on as on the wire, with back-pressure."""
        if self._link is None:
            return  # the loss is told by ``finish``
        self._pending.append(chunk)
        self._pending_size += len(chunk)
        if self._pending_size >= _COALESCE:
            await self._link.write(self._take_pending())

    async def finish(self) -> Reply:
        """Send the final dot and return the reply; the connection is freed."""
        link = self._link
        if link is None:
            return _as_phase(self._failure or _NO_LINK, Phase.END)
        self._pending.append(b".\r\n")
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        link.finish(
            self._take_pending(), partial(_settle, future), self._settings.end_timeout
        )
        reply = await future
        self._on_end(reply, asyncio.get_running_loop().time() - self._begun)
        if self._link is None:  # lost meanwhile: the fate is unknown (RFC 1047)
            return reply
        if reply.code == _SHUTDOWN or 300 <= reply.code < 400:  # noqa: PLR2004
            self._drop()
            text = "4.5.0 Next hop answers the message with nonsense"
            return reply if reply.code == _SHUTDOWN else Reply(451, (text,))
        self._content = False
        self._link = None
        link.messages += 1
        if reply.positive:
            link.resets = 0
        self._pool.release(link)
        return reply

    async def abandon(self) -> None:
        """Give up: RSET before DATA, else close. Harmless when repeated."""
        if self._reopening is not None:
            self._reopening.cancel()
            self._reopening = None
        link = self._link
        if link is None:
            return
        if self._content or link.closed or not link.idle or self._shut:
            self._drop()
            return
        self._link = None
        if self._mail_sent:
            link.resets += 1
            link.command(
                b"RSET\r\n", _ignore, Phase.MAIL, self._settings.command_timeout
            )
        self._pool.release(link)

    @property
    def lost(self) -> bool:
        """Whether the connection is gone: content written now goes nowhere."""
        return self._link is None or self._link.closed

    @property
    def _shut(self) -> bool:
        return self._mail is not None and self._mail.code == _SHUTDOWN

    async def _acquire(self, *, fresh: bool = False) -> None:
        if self._link is not None or self._failure is not None:
            return  # another call got it meanwhile
        got = await self._pool.acquire(fresh=fresh)
        if isinstance(got, Reply):
            self._failure = got
            self._on_end(got, 0.0)
            return
        self._link, self._reused = got
        self._link.on_close = self._closed
        self._heard = False

    def _send(self, batch: list[tuple[Recipient, asyncio.Future[Reply]]]) -> None:
        link = self._link
        if link is None:
            for _, future in batch:
                _settle(future, _as_phase(_NO_LINK, Phase.RCPT))
            return
        if (
            self._envelope.parameter("SMTPUTF8") is not None
            and "SMTPUTF8" not in link.extensions
        ):
            for _, future in batch:
                _settle(future, _NO_UTF8)
            return
        commands: list[tuple[bytes, Callable[[Reply], None], Phase]] = []
        if not self._mail_sent:
            self._mail_sent = True
            self._begun = asyncio.get_running_loop().time()
            commands.extend((x, _ignore, Phase.MAIL) for x in self._xforward(link))
            envelope = self._envelope
            line = _line("MAIL FROM", envelope.sender, envelope.parameters, link)
            commands.append((line, self._on_mail, Phase.MAIL))
        for recipient, future in batch:
            self._open[future] = recipient
            line = _line("RCPT TO", recipient.address, recipient.parameters, link)
            commands.append((line, partial(self._on_rcpt, future), Phase.RCPT))
        link.commands(commands, self._settings.command_timeout)

    def _xforward(self, link: Link) -> list[bytes]:
        """Tell the next hop who the client is (Postfix XFORWARD_README)."""
        offered = link.extensions.get("XFORWARD")
        if offered is None or not self._settings.use_xforward:
            return []
        names = offered.upper().split()
        client = self._client
        values = (
            ("NAME", client.name),
            ("ADDR", client.address),
            ("PROTO", client.protocol),
            ("HELO", client.helo),
            ("IDENT", client.ident),
            ("SOURCE", client.source),
        )
        return attribute_lines("XFORWARD", [(n, v) for n, v in values if n in names])

    def _on_mail(self, reply: Reply) -> None:
        if self._stale(reply):
            return
        self._heard = True
        self._mail = reply

    def _on_rcpt(self, future: asyncio.Future[Reply], reply: Reply) -> None:
        if self._reopening is not None or self._stale(reply):
            return
        self._open.pop(future, None)
        mail = self._mail
        # A refused MAIL makes every RCPT "503 need MAIL": the reason is MAIL's.
        _settle(future, mail if mail and not mail.positive else reply)

    def _stale(self, reply: Reply) -> bool:
        """Whether an old connection said goodbye to a new transaction."""
        if self._reopening is not None:
            return True
        if (
            reply.code == _SHUTDOWN
            and self._reused
            and not self._heard
            and self._link is not None
        ):
            self._link.abort()  # calls _closed, which reopens
            return True
        return False

    def _closed(self, link: Link) -> None:
        """Redo or give up, when the connection ends under the transaction."""
        self._pool.lost(link)
        self._link = None
        if self._reused and not self._heard and not self._content and self._open:
            self._reused = False
            self._mail_sent = False
            self._reopening = asyncio.get_running_loop().create_task(self._reopen())
            return
        if self._failure is None:
            self._failure = lost_reply(Phase.RCPT, "Connection to the next hop lost")
            if not self._content:  # else ``finish`` tells
                self._on_end(self._failure, 0.0)

    async def _reopen(self) -> None:
        await self._acquire(fresh=True)
        self._reopening = None
        batch = [(recipient, future) for future, recipient in self._open.items()]
        self._open = {}
        if self._failure is None:
            self._send(batch)
            return
        for _, future in batch:
            _settle(future, _as_phase(self._failure, Phase.RCPT))

    def _drop(self) -> None:
        """Close the connection without ending the content."""
        link, self._link = self._link, None
        if link is not None:
            link.on_close = None
            link.abort()
            self._pool.lost(link)
        if self._failure is None:
            self._failure = _NO_LINK

    def _take_pending(self) -> bytes:
        pending = self._pending
        data = pending[0] if len(pending) == 1 else b"".join(pending)
        self._pending = []
        self._pending_size = 0
        return data


_NO_LINK = lost_reply(Phase.CONNECT, "No connection to the next hop")


def _line(verb: str, address: str, parameters: Iterable[str], link: Link) -> bytes:
    line = f"{verb}:<{address}>"
    for word in parameters:
        need = _NEEDS.get(word.partition("=")[0].upper())
        if need is None or need in link.extensions:
            line += f" {word}"
    return f"{line}\r\n".encode("utf-8", "surrogateescape")


def _as_phase(reply: Reply, phase: Phase) -> Reply:
    return Reply(reply.code, reply.lines, phase, synthetic=reply.synthetic)


def _settle(future: asyncio.Future[Reply], reply: Reply) -> None:
    if not future.done():
        future.set_result(reply)


def _ignore(reply: Reply) -> None:
    """Take a reply that changes nothing."""
