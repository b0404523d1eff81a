"""The conversation with one SMTP client: commands in, replies out.

Replaces aiosmtpd's reading loop and its commands, since the originals answer
own bugs and unknown parameters with permanent errors, accept lines that end in
a bare LF, and wait for one command at a time (docs/adr/0002).

Replies are owed in the order of the commands. RCPTs that a pipelining client
(RFC 2920) has sent together are offered to the next hop together; before any
other command, and before more is read, all owed replies are paid. An own bug
is answered 451 4.3.0 without detail, never by a permanent error.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from aiosmtpd.smtp import TLSSetupException

from shaper.core.envelope import Client, Envelope, Recipient
from shaper.core.reply import Reply
from shaper.smtp.connection import CloseError, Connection
from shaper.smtp.intake import Intake, provisional
from shaper.smtp.parameters import (
    CommandError,
    declared_size,
    parse_attributes,
    parse_path,
)
from shaper.smtp.refusals import tell_refusals
from shaper.smtp.routing import ONE_HOP

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from shaper.core.header import HeaderFacts
    from shaper.smtp.forward import HopTransaction, NextHop
    from shaper.smtp.shared import Shared

__all__ = ["Session"]

log = logging.getLogger(__name__)

_MAX_COMMAND = 8192  # octets; RFC 5321 4.5.3.1.4 asks for 512, DSN adds 500 and more
_FLUSH = 16 * 1024  # octets of replies kept for one write
_SHUTDOWN = 421
_SEPARATELY = Reply(452, ("4.5.3 Another next hop takes this one, send separately",))
_BUG = "451 4.3.0 Internal error, try again later"

_XFORWARD = {
    "NAME": "name",
    "ADDR": "address",
    "PORT": "",
    "PROTO": "protocol",
    "HELO": "helo",
    "IDENT": "ident",
    "SOURCE": "source",
}
_XCLIENT = {
    "NAME": "name",
    "ADDR": "address",
    "PORT": "",
    "PROTO": "protocol",
    "HELO": "helo",
    "LOGIN": "login",
    "DESTADDR": "",
    "DESTPORT": "",
}


class Session(Connection):
    """See the module. Built by ``Shared.session``, one per connection."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._owed: list[tuple[Recipient | None, asyncio.Future[Reply] | Reply]] = []
        self._bad = 0
        self._peer = ""
        self._overload = False
        self._intake: Intake | None = None
        self._from_xclient: Client | None = None
        self._reset()

    @property
    def between_messages(self) -> bool:
        """Whether the client owes the next command and no mail is open."""
        return self._reading is not None and self._sender is None

    # -- the conversation -----------------------------------------------------

    async def _handle_client(self) -> None:
        shared = self._shared
        shared.sessions.add(self)
        try:
            await self._converse()
        except (CloseError, ConnectionError, TimeoutError):
            pass
        finally:
            shared.sessions.discard(self)
            await self._abandon()
            self._writer.close()

    async def _converse(self) -> None:
        self._admit()
        while True:
            line = self._next_line()
            if line is None:
                if self._owed:
                    await self._pay()
                if self._out:
                    await self._flush()
                await self._fill()
                continue
            try:
                await self._obey(line)
            except (CloseError, ConnectionError, asyncio.CancelledError):
                await self._flush()
                raise
            except Exception as error:  # noqa: BLE001 - per connection
                await self._recover(error)

    def _admit(self) -> None:
        """Greet, or turn away who may not speak to us (RFC 5321 3.1)."""
        shared = self._shared
        peer = self._writer.get_extra_info("peername")
        self._peer = peer[0] if isinstance(peer, tuple) else ""
        if self._peer and not shared.allowed(self._peer):
            log.warning("connection from %s refused: not in allow", self._peer)
            self._say("554 5.7.1 Access denied")
            self._goodbye()
        over = len(shared.sessions) - shared.settings.max_connections
        if over > shared.settings.max_connections or shared.closing:
            self._say("421 4.3.2 Too many connections, try again later")
            self._goodbye()
        # Postfix counts a failed greeting against the destination as a whole
        # and may stop all mail to it; a 451 at MAIL only defers that message.
        self._overload = over > 0
        self._say(f"220 {shared.settings.hostname} ESMTP mailshaper")

    async def _recover(self, error: Exception) -> None:
        """Answer a bug of ours: temporary, and without its text."""
        intake, self._intake = self._intake, None
        try:
            reply = await self.handle_exception(error)
        except Exception:  # aiosmtpd would answer 500 and quote it
            log.exception("error while handling an error for %s", self._peer)
            reply = _BUG
        await self._abandon()
        if intake is not None:
            await intake.drain()
            self._inbox = intake.rest + self._rest()
        self._owed.clear()
        self._reset()
        self._say(reply)

    async def handle_exception(self, error: Exception) -> str:
        """Log it; the client learns nothing but to try again."""
        log.error("error while serving %s", self._peer, exc_info=error)
        return _BUG

    async def _fill(self) -> None:
        """Read more of a command line, discarding one that is too long."""
        data = await self._receive()
        rest = self._rest()
        if len(rest) + len(data) <= _MAX_COMMAND or b"\n" in data:
            self._inbox = rest + data if rest else data
            return
        while b"\n" not in data:
            data = await self._receive()
        self._inbox = data[data.index(b"\n") + 1 :]
        self._bad_command("500 5.5.2 Command line too long")

    async def _obey(self, line: bytes) -> None:
        if not line.endswith(b"\r") or len(line) > _MAX_COMMAND:
            await self._pay()
            self._bad_command(
                "500 5.5.2 Command line too long"
                if len(line) > _MAX_COMMAND
                else "500 5.5.2 Command lines end in CR LF"
            )
            return
        verb, _, argument = line[:-1].partition(b" ")
        verb = verb.upper()
        method = self.COMMANDS.get(verb)
        if verb != b"RCPT":
            await self._pay()
        if method is None:
            self._bad_command("500 5.5.2 Command not recognized")
            return
        try:
            await method(self, argument.strip(b" ").decode("utf-8", "surrogateescape"))
        except CommandError as error:
            await self._pay()
            self._bad_command(error.reply.text)
        if len(self._out) > _FLUSH:
            await self._flush()

    def _bad_command(self, text: str) -> None:
        self._bad += 1
        if self._bad > self._shared.settings.max_bad_commands:
            self._say("421 4.7.0 Too many errors")
            self._goodbye()
        self._say(text)

    def _reply(self, reply: Reply) -> None:
        # 421 speaks about the next hop's channel, not about ours: handed back
        # as it is, it would oblige us to close (RFC 5321 3.8).
        if reply.code == _SHUTDOWN:
            reply = replace(reply, code=451)
        if len(reply.lines) == 1:
            line = f"{reply.code} {reply.lines[0]}\r\n"
            self._out += line.encode("utf-8", "surrogateescape")
        else:
            self._out += reply.wire()

    async def _pay(self) -> None:
        """Give the replies that RCPTs are owed, in order."""
        if not self._owed:
            return
        owed, self._owed = self._owed, []
        for recipient, answer in owed:
            reply = answer if isinstance(answer, Reply) else await answer
            if recipient is None:
                self._reply(reply)
                continue
            self._offers.append((recipient, reply))
            if reply.positive or provisional(reply):
                self._accepted += 1
                self._say("250 2.1.5 Ok") if reply.synthetic else self._reply(reply)
            else:
                self._reply(reply)

    # -- commands ---------------------------------------------------------------

    def _reset(self) -> None:
        """Forget the mail transaction; XFORWARD holds for one only."""
        self._sender: str | None = None
        self._parameters: tuple[str, ...] = ()
        self._offers: list[tuple[Recipient, Reply]] = []
        self._accepted = 0
        self._asked = 0
        self._transaction: HopTransaction | None = None
        self._hop: NextHop | None = None
        self._client: Client | None = None
        self._xforward: dict[str, str] = {}
        self._intake = None

    async def _abandon(self) -> None:
        transaction, self._transaction = self._transaction, None
        if transaction is None:
            return
        await transaction.abandon()
        sender, client = self._sender, self._client
        if self._offers and not self._accepted and client and sender is not None:
            await tell_refusals(
                self._shared, sender, self._parameters, client, self._offers
            )

    def _who(self) -> Client:
        """Return the client of this transaction: what the MTA told, or facts."""
        base = self._from_xclient or Client(
            address=self._peer,
            helo=self._helo,
            protocol="ESMTP" if self._extended else "SMTP",
        )
        if not self._xforward:
            return base
        return Client(**{"login": base.login, **self._xforward})

    @property
    def _helo(self) -> str:
        return (self.session.host_name if self.session else None) or ""

    @property
    def _extended(self) -> bool:
        return bool(self.session and self.session.extended_smtp)

    async def _hello(self, name: str, *, extended: bool) -> None:
        if not name or not name.isprintable() or " " in name:
            raise CommandError(501, "5.5.4 Syntax: EHLO hostname")
        await self._abandon()
        self._reset()
        if self.session is not None:
            self.session.host_name = name
            self.session.extended_smtp = extended

    async def smtp_HELO(self, hostname: str) -> None:  # noqa: N802
        """RFC 5321 4.1.1.1."""
        await self._hello(hostname, extended=False)
        self._say(f"250 {self._shared.settings.hostname}")

    async def smtp_EHLO(self, hostname: str) -> None:  # noqa: N802
        """RFC 5321 4.1.1.1."""
        await self._hello(hostname, extended=True)
        self._out += self._shared.keywords(*self._keywords())

    def _keywords(self) -> list[str]:
        """Return what this session offers beside what concerns the message."""
        found = ["XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE"]
        if self._shared.may_xclient(self._peer):
            found.append("XCLIENT NAME ADDR PORT PROTO HELO LOGIN")
        if self.tls_context and self._tls_protocol is None:
            found.append("STARTTLS")
        return found

    async def smtp_MAIL(self, arg: str | None) -> None:  # noqa: N802
        """RFC 5321 4.1.1.2: answered here, offered to the next hop with RCPT."""
        if not self._helo:
            raise CommandError(503, "5.5.1 Send EHLO first")
        if self._sender is not None:
            raise CommandError(503, "5.5.1 A transaction is open already")
        if self._overload and len(self._shared.sessions) > (
            self._shared.settings.max_connections
        ):
            self._say("451 4.3.2 Too many connections, try again later")
            return
        sender, parameters = parse_path(arg or "", "FROM")
        if parameters and not self._extended:
            raise CommandError(555, "5.5.4 Parameters need EHLO")
        if declared_size(parameters) > self._shared.size_limit:
            self._say(
                "552 5.3.4 Message larger than the limit of "
                f"{self._shared.size_limit} octets"
            )
            return
        self._sender = sender
        self._parameters = parameters
        self._client = self._who()
        self._say("250 2.1.0 Ok")

    async def smtp_RCPT(self, arg: str | None) -> None:  # noqa: N802
        """RFC 5321 4.1.1.3: the next hop answers, or the suppression list."""
        if self._sender is None or self._client is None:
            raise CommandError(503, "5.5.1 Send MAIL first")
        address, parameters = parse_path(arg or "", "TO")
        if not address:
            raise CommandError(501, "5.1.3 A recipient cannot be empty")
        if parameters and not self._extended:
            raise CommandError(555, "5.5.4 Parameters need EHLO")
        if self._asked >= self._shared.settings.max_recipients:
            text = "4.5.3 Too many recipients, send the rest separately"
            self._owed.append((None, Reply(452, (text,))))
            return
        self._asked += 1
        recipients = self._shared.recipients
        if recipients is not None:
            refusal = await recipients.check(self._client, self._sender, address)
            if refusal is not None:
                # Our own word: no offer, so nobody takes it for the next hop's.
                self._owed.append((None, refusal))
                return
        hop = self._shared.hop_of(address, self._sender)
        if self._client.friend and hop.settings.friend:
            # RFC 3463 3.8, X.7.1: one hop between friends, never a second.
            self._owed.append((None, ONE_HOP))
            return
        transaction = self._transaction
        if transaction is not None and hop is not self._hop:
            # RFC 5321 4.5.3.1.10: 452, and the client sends these again. One
            # message under one final answer goes to one next hop.
            self._owed.append((None, _SEPARATELY))
            return
        if transaction is None:
            self._hop = hop
            envelope = Envelope(self._sender, (), self._parameters)
            transaction = hop.begin(envelope, self._client)
            self._transaction = transaction
            await transaction.ready()
        recipient = Recipient(address, parameters)
        self._owed.append((recipient, transaction.offer(recipient)))

    async def smtp_DATA(self, arg: str | None) -> None:  # noqa: N802
        """RFC 5321 4.1.1.4."""
        if arg:
            raise CommandError(501, "5.5.4 Syntax: DATA")
        if self._sender is None or self._client is None or not self._asked:
            raise CommandError(503, "5.5.1 Send MAIL and RCPT first")
        if not self._accepted or self._transaction is None:
            # No mistake of the client's: it pipelines DATA behind its RCPTs.
            self._say("554 5.5.1 No valid recipients")
            return
        self._say("354 End data with <CR><LF>.<CR><LF>")
        await self._flush()
        shared = self._shared
        now = shared.clock()
        self._intake = intake = Intake(
            shared.settings,
            shared.gate,
            self._transaction,
            self._sender,
            self._parameters,
            self._offers,
            self._client,
            message_id=shared.new_id(),
            now=now,
            size_limit=shared.size_limit,
            protocol=(self._extended, self._tls_protocol is not None),
            read=self._content,
            vet=self._vet,
        )
        reply = await intake.run()
        self._inbox = intake.rest + self._rest()
        await self._abandon()
        self._reset()
        self._bad = 0
        self._reply(reply)
        if shared.closing:
            self._say("421 4.3.2 Shutting down")
            self._goodbye()

    def _vet(self, facts: HeaderFacts) -> Reply | None:
        """Return what speaks against a header; the MTA's mail is not vetted."""

    async def smtp_RSET(self, arg: str | None) -> None:  # noqa: N802
        """RFC 5321 4.1.1.5."""
        if arg:
            raise CommandError(501, "5.5.4 Syntax: RSET")
        await self._abandon()
        self._reset()
        self._say("250 2.0.0 Ok")

    async def smtp_NOOP(self, arg: str | None) -> None:  # noqa: N802, ARG002
        """RFC 5321 4.1.1.9."""
        self._say("250 2.0.0 Ok")

    async def smtp_VRFY(self, arg: str | None) -> None:  # noqa: N802, ARG002
        """RFC 5321 7.3: tells nothing."""
        self._say("252 2.1.5 Cannot verify, but will take the message")

    async def smtp_HELP(self, arg: str | None) -> None:  # noqa: N802, ARG002
        """RFC 5321 4.1.1.8."""
        self._say("214 2.0.0 See RFC 5321")

    async def smtp_EXPN(self, arg: str | None) -> None:  # noqa: N802, ARG002
        """RFC 5321 7.3."""
        raise CommandError(502, "5.5.1 Command not implemented")

    async def smtp_QUIT(self, arg: str | None) -> None:  # noqa: N802, ARG002
        """RFC 5321 4.1.1.10."""
        self._say("221 2.0.0 Bye")
        self._goodbye()

    async def smtp_STARTTLS(self, arg: str | None) -> None:  # noqa: N802
        """RFC 3207; what came in clear behind the command is not read (4.2)."""
        if not self.tls_context or self._tls_protocol is not None:
            raise CommandError(502, "5.5.1 Command not implemented")
        await self._abandon()
        self._reset()
        await self._flush()
        self._rest()
        self._discard()
        try:
            await super().smtp_STARTTLS(arg or "")
        except TLSSetupException as error:
            log.info("TLS with %s failed: %s", self._peer, error.__cause__)
            raise CloseError from error

    async def smtp_XFORWARD(self, arg: str) -> None:  # noqa: N802
        """Postfix XFORWARD_README: facts of the client the MTA serves."""
        if self._sender is not None:
            raise CommandError(503, "5.5.1 XFORWARD comes before MAIL")
        self._xforward.update(parse_attributes(arg, _XFORWARD))
        self._say("250 2.0.0 Ok")

    async def smtp_XCLIENT(self, arg: str) -> None:  # noqa: N802
        """Postfix XCLIENT_README: replaces the facts of the connection."""
        if not self._shared.may_xclient(self._peer):
            raise CommandError(550, "5.7.0 XCLIENT is not allowed from here")
        if self._sender is not None:
            raise CommandError(503, "5.5.1 XCLIENT comes before MAIL")
        values = parse_attributes(arg, _XCLIENT)
        self._from_xclient = replace(self._from_xclient or Client(), **values)
        self._reset()
        if self.session is not None:
            self.session.host_name = None
        self._say(f"220 {self._shared.settings.hostname} ESMTP mailshaper")

    COMMANDS: ClassVar[dict[bytes, Callable[[Any, str], Awaitable[None]]]] = {
        b"HELO": smtp_HELO,
        b"EHLO": smtp_EHLO,
        b"MAIL": smtp_MAIL,
        b"RCPT": smtp_RCPT,
        b"DATA": smtp_DATA,
        b"RSET": smtp_RSET,
        b"NOOP": smtp_NOOP,
        b"VRFY": smtp_VRFY,
        b"HELP": smtp_HELP,
        b"EXPN": smtp_EXPN,
        b"QUIT": smtp_QUIT,
        b"STARTTLS": smtp_STARTTLS,
        b"XFORWARD": smtp_XFORWARD,
        b"XCLIENT": smtp_XCLIENT,
    }
