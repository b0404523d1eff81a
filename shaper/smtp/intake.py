"""The DATA phase of one message: read, judge, then pass on, hold or refuse.

Content is read in chunks and kept in its wire form. Only the header block is
collected (bounded); from then on chunks go straight to the next hop or into
the spool, and reading stops while either cannot take more. The reply is given
only after the next hop's final reply or the spool's fsync. A message that ends
badly on the client's side is never ended on the other side: the connection to
the next hop is closed, the spool file removed.

``passed`` is told before the client hears 250: a crash in between repeats one
message (RFC 1047, unavoidable), while the other order would let a message go
uncounted.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from shaper.core.envelope import Envelope
from shaper.core.header import read_header, split_header, without_fields
from shaper.core.identity import identify
from shaper.core.message import Action, Submission
from shaper.core.ports import SpoolFullError
from shaper.core.reply import Phase, Reply
from shaper.smtp.data import DataScanner
from shaper.smtp.refusals import report
from shaper.smtp.trace import own_mark, protocol_name, trace_field

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from shaper.core.envelope import Client, Recipient
    from shaper.core.header import HeaderFacts
    from shaper.core.message import Decision
    from shaper.core.ports import Gate
    from shaper.smtp.forward import HopTransaction
    from shaper.smtp.settings import IngressSettings

__all__ = ["Intake", "provisional"]

log = logging.getLogger(__name__)

_GO_AHEAD = 354
_LOOP = Reply(554, ("5.4.6 Message loops: too many Received fields",))
_LONG_HEADER = Reply(552, ("5.3.4 Header longer than the limit",))
_SPOOL_FULL = Reply(452, ("4.3.1 No room to hold the message, try again later",))
_NO_REASON = Reply(451, ("4.3.0 Message not accepted now, try again later",))


def provisional(reply: Reply) -> bool:
    """Whether a recipient is taken for now because no next hop could say.

    A passing message is then refused at DATA; a held one needs no next hop yet.
    """
    return reply.synthetic and not reply.permanent


class Intake:
    """One DATA phase; ``run`` once, ``drain`` after a failure of ours."""

    def __init__(  # noqa: PLR0913
        self,
        settings: IngressSettings,
        gate: Gate,
        transaction: HopTransaction,
        sender: str,
        parameters: tuple[str, ...],
        offers: list[tuple[Recipient, Reply]],
        client: Client,
        *,
        message_id: str,
        now: float,
        size_limit: int,
        protocol: tuple[bool, bool],
        read: Callable[[], Awaitable[bytes]],
        vet: Callable[[HeaderFacts], Reply | None] = lambda _facts: None,
    ) -> None:
        self._settings = settings
        self._gate = gate
        self._transaction = transaction
        self._sender = sender
        self._parameters = parameters
        self._offers = offers
        self._client = client
        self._id = message_id
        self._now = now
        self._limit = size_limit
        self._protocol = protocol
        self._read = read
        self._vet = vet
        self._endless = False  # no end of the header within the limit
        self._scanner = DataScanner(settings.max_line)

    @property
    def rest(self) -> bytes:
        """What the client sent behind the final dot."""
        return self._scanner.rest

    async def drain(self) -> None:
        """Read to the final dot and throw the content away."""
        scanner = self._scanner
        while not scanner.done:
            scanner.feed(await self._read())

    async def run(self) -> Reply:
        """Return the reply that the final dot deserves.

        Raises ConnectionError when the client is gone before it.
        """
        data, end = await self._header()
        if self._endless and (self._settings.login_header or self._settings.friends):
            # The field that tells who sent it stands at the end: without it the
            # message would be somebody else's. So may the mark of a relaying host.
            return await self._refuse(_LONG_HEADER)
        if refusal := self._refusal():
            return await self._refuse(refusal)
        settings = self._settings
        facts = read_header(
            data[:end], own_mark(settings.hostname), settings.login_header
        )
        looping = (
            facts.received > settings.max_received
            or facts.own_marks > settings.max_own_marks
        )
        if refusal := _LOOP if looping else self._vet(facts):
            return await self._refuse(refusal)
        submission = await self._submission(facts)
        decision = await self._gate.decide(submission)
        if facts.login_spans:
            data = without_fields(data, facts.login_spans)
        start = (self._trace(submission.envelope), data)
        if decision.action is Action.PASS:
            return await self._pass(submission, start)
        if decision.action is Action.HOLD:
            return await self._hold(submission, decision, start)
        reply = decision.reply or _NO_REASON
        return await self._refuse(reply)

    async def _header(self) -> tuple[bytes, int]:
        """Read until the header is complete; return the octets and where it ends."""
        scanner = self._scanner
        data = b""
        end = -1
        while True:
            looked = len(data)
            content = scanner.feed(await self._read())
            data = data + content if data else content
            end = split_header(data, looked)
            if end >= 0 or scanner.done or self._refusal():
                break
            if len(data) > self._settings.max_header:
                log.info(
                    "%s: header longer than the limit, judged by its start", self._id
                )
                self._endless = True
                break
        return data, len(data) if end < 0 else end

    def _refusal(self) -> Reply | None:
        """Return what speaks against the content read so far."""
        if self._scanner.fault:
            return Reply(554, (self._scanner.fault,))
        if self._scanner.size > self._limit:
            text = f"5.3.4 Message larger than the limit of {self._limit} octets"
            return Reply(552, (text,))
        return None

    async def _submission(self, facts: HeaderFacts) -> Submission:
        client = self._client
        login = await self._gate.login_of(client.ident) if client.ident else None
        recipients = tuple([r for r, reply in self._offers if _taken(reply)])
        envelope = Envelope(self._sender, recipients, self._parameters)
        return Submission(
            id=self._id,
            sender=identify(
                envelope,
                client,
                facts,
                policy_login=login,
                login_header=self._settings.login_header,
                trust_auth=self._settings.trust_auth_parameter,
            ),
            envelope=envelope,
            client=client,
            received=self._now,
            subject=facts.subject,
            message_id=facts.message_id,
            author=facts.author,
        )

    @property
    def _refused(self) -> dict[str, Reply]:
        """The recipients that the next hop did not take."""
        return {r.address: reply for r, reply in self._offers if not _taken(reply)}

    def _trace(self, envelope: Envelope) -> bytes:
        extended, tls = self._protocol
        utf8 = envelope.parameter("SMTPUTF8") is not None
        friend = self._client.friend
        word = protocol_name(extended=extended, tls=tls, utf8=utf8, login=bool(friend))
        return trace_field(self._settings.hostname, word, self._id, self._now, friend)

    async def _refuse(self, reply: Reply) -> Reply:
        await self._transaction.abandon()
        await self.drain()
        return reply

    async def _pass(self, submission: Submission, start: tuple[bytes, ...]) -> Reply:
        transaction = self._transaction
        unknown = next((r for _, r in self._offers if provisional(r)), None)
        if unknown is not None:
            return await self._refuse(replace(unknown, phase=Phase.DATA))
        refused = self._refused
        answer = await transaction.data()
        if answer.code != _GO_AHEAD:
            await self._refuse(answer)
            await report(self._id, self._gate.passed(submission, refused, answer))
            return answer
        for piece in start:
            await transaction.write(piece)
        scanner = self._scanner
        while not scanner.done and not transaction.lost:
            content = scanner.feed(await self._read())
            if refusal := self._refusal():
                return await self._refuse(refusal)
            await transaction.write(content)
        if not scanner.done:
            await self.drain()
        answer = await transaction.finish()
        await report(self._id, self._gate.passed(submission, refused, answer))
        return answer

    async def _hold(
        self, submission: Submission, decision: Decision, start: tuple[bytes, ...]
    ) -> Reply:
        # The next hop's place is not kept while the message waits here.
        await self._transaction.abandon()
        try:
            writer = self._gate.hold(submission, decision)
        except SpoolFullError:
            return await self._refuse(_SPOOL_FULL)
        try:
            for piece in start:
                writer.write(piece)
            while not self._scanner.done:
                content = self._scanner.feed(await self._read())
                if refusal := self._refusal():
                    return await self._refuse(refusal)
                writer.write(content)
                await writer.drain()
            message = await writer.commit()
        except SpoolFullError:
            return await self._refuse(_SPOOL_FULL)
        finally:
            writer.abort()
        await report(self._id, self._gate.held(message))
        if refused := self._refused:
            await report(self._id, self._gate.refused(submission, refused))
        return Reply(250, (f"2.0.0 Held for review as {self._id}",))


def _taken(reply: Reply) -> bool:
    return reply.positive or provisional(reply)
