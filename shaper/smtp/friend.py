"""The friends' listener: a friendly host hands us its mail to deliver, one hop only.

Everything is as for the MTA's own mail (judged, held, passed on), but nobody speaks
here without TLS and a login (RFC 4954, PLAIN), the facts of the connection are never
replaced (no XFORWARD, no XCLIENT), and mail must be from a domain that the
friend was given. The whole host is one sender, ``friend:NAME``.

A message that some mailshaper took for a friend before is refused 5.7.1: a friend
relays for its friends and never for theirs.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from shaper.core.author import author_domains
from shaper.core.envelope import domain_of
from shaper.core.reply import Phase, Reply
from shaper.core.text import bland
from shaper.smtp.parameters import CommandError, parse_path
from shaper.smtp.routing import ONE_HOP
from shaper.smtp.session import Session

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from shaper.core.envelope import Client
    from shaper.core.header import HeaderFacts
    from shaper.smtp.shared import Shared

__all__ = ["FriendSession"]

log = logging.getLogger(__name__)

_WRONG = 3  # logins that may fail in one connection
_NO_DOMAIN = Reply(
    554,
    ("5.7.1 The From field is of a domain that this friend may not use",),
    Phase.END,
)
_QUOTA = "4.7.1 The daily quota of this friend is used up, try again tomorrow"


class FriendSession(Session):
    """One connection of a friend."""

    def __init__(self, shared: Shared) -> None:
        self._friend = ""
        self._failed = 0
        super().__init__(shared)

    def _who(self) -> Client:
        return replace(super()._who(), friend=self._friend)

    def _keywords(self) -> list[str]:
        # AUTH is offered under TLS only (RFC 4954 4).
        return ["STARTTLS" if self._tls_protocol is None else "AUTH PLAIN"]

    async def smtp_AUTH(self, arg: str) -> None:  # noqa: N802
        """RFC 4954 4, mechanism PLAIN (RFC 4616)."""
        if self._tls_protocol is None:
            raise CommandError(538, "5.7.11 Encryption required: STARTTLS first")
        if self._friend or self._sender is not None:
            raise CommandError(503, "5.5.1 Logged in already")
        mechanism, _, initial = arg.partition(" ")
        if mechanism.upper() != "PLAIN":
            raise CommandError(504, "5.5.4 Only AUTH PLAIN is known here")
        if not initial:
            self._say("334 ")
            initial = await self._answer()
        name = self._known(initial)
        if name:
            self._friend = name
            log.info("friend %s logged in from %s", name, self._peer)
            self._say("235 2.7.0 Welcome")
            return
        self._failed += 1
        log.warning("a login on the friends' listener failed, from %s", self._peer)
        self._say("535 5.7.8 Name or password is wrong")
        if self._failed >= _WRONG:
            self._goodbye()

    async def _answer(self) -> str:
        await self._flush()
        while (line := self._next_line()) is None:
            await self._fill()
        text = line.rstrip(b"\r").decode("ascii", "replace")
        if text == "*":
            raise CommandError(501, "5.7.0 Login cancelled")  # RFC 4954 4
        return text

    def _known(self, response: str) -> str:
        """Return the friend's name, "" for a wrong name or password."""
        try:
            raw = base64.b64decode(response.encode("ascii"), validate=True)
            _, name, password = raw.split(b"\0")
        except (ValueError, binascii.Error):
            return ""
        known = name.decode("utf-8", "replace")
        account = self._shared.settings.friends.get(known)
        wanted = account.password if account else "-"
        # Compared also for an unknown name: the time tells nothing.
        same = hmac.compare_digest(wanted.encode(), password)
        return known if account and account.password and same else ""

    async def smtp_MAIL(self, arg: str | None) -> None:  # noqa: N802
        """RFC 5321 4.1.1.2, of a domain of the friend's."""
        if not self._friend:
            raise CommandError(530, "5.7.0 Log in first: STARTTLS, then AUTH PLAIN")
        sender, _ = parse_path(arg or "", "FROM")
        if not self._may(domain_of(sender)):
            raise CommandError(
                554, "5.7.1 This friend may not send from that domain, nor bounces"
            )
        await super().smtp_MAIL(arg)

    async def smtp_RCPT(self, arg: str | None) -> None:  # noqa: N802
        """RFC 5321 4.1.1.3, within the friend's quota."""
        guests = self._shared.guests
        waiting = self._asked + 1
        if guests is not None and not guests.room(self._friend, waiting):
            self._owed.append((None, Reply(450, (_QUOTA,), Phase.RCPT)))
            return
        await super().smtp_RCPT(arg)

    def _vet(self, facts: HeaderFacts) -> Reply | None:
        if facts.relayed:
            log.warning(
                "friend %s offered mail that another host relayed already", self._friend
            )
            return replace(ONE_HOP, phase=Phase.END)
        # Without readable addresses DMARC has nothing to check either (RFC 7489 6.6.1).
        authors = author_domains(facts.authors)
        if not authors or not all(map(self._may, authors)):
            log.warning(
                "friend %s may not write as %s", self._friend, bland(facts.author)
            )
            return _NO_DOMAIN
        return None

    def _may(self, domain: str) -> bool:
        account = self._shared.settings.friends.get(self._friend)
        return account is not None and domain in account.domains

    async def smtp_refuse(self, arg: str) -> None:
        """Do not let a friend replace the facts of its connection."""
        del arg
        raise CommandError(550, "5.7.0 Not allowed on this listener")

    COMMANDS: ClassVar[dict[bytes, Callable[[Any, str], Awaitable[None]]]] = {
        **Session.COMMANDS,
        b"AUTH": smtp_AUTH,
        b"MAIL": smtp_MAIL,
        b"RCPT": smtp_RCPT,
        b"XFORWARD": smtp_refuse,
        b"XCLIENT": smtp_refuse,
    }
