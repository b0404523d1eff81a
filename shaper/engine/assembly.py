"""Puts the engine together and brings it back from journal and spool.

``Engine`` only owns the parts; each part does its own duty. ``restore`` needs
neither Redis nor the network: what the journal and the spool say is enough to
know every block, slowed state, exemption, plan, order and held message.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from shaper import journal
from shaper.core.ports import StateUnavailableError
from shaper.core.state import State
from shaper.engine.asking import Asking
from shaper.engine.casebook import Casebook
from shaper.engine.confirming import Confirming
from shaper.engine.delivery import Delivery, Send
from shaper.engine.digest import Digest
from shaper.engine.federating import Federating
from shaper.engine.foreign import ForeignWord
from shaper.engine.friends import Friends
from shaper.engine.gate import Gatekeeper, Watcher
from shaper.engine.heldmail import HeldMail
from shaper.engine.hostalarm import HostAlarm
from shaper.engine.notices import PREFIX, Compose, Notices
from shaper.engine.observing import Observing
from shaper.engine.orders import Orders
from shaper.engine.outbox import Outbox
from shaper.engine.outcomes import Outcomes
from shaper.engine.receivers import Receivers
from shaper.engine.reconcile import Reconcile
from shaper.engine.release import MailQueue, Release
from shaper.engine.routes import Routes
from shaper.engine.sendercheck import SenderCheck
from shaper.engine.senders import Senders
from shaper.engine.suppression import Suppression
from shaper.engine.suppressionlist import SuppressionList
from shaper.engine.trickle import Trickle
from shaper.watchers import Watchers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from shaper.core.message import HeldMessage
    from shaper.engine.context import Context

__all__ = ["Engine"]

log = logging.getLogger(__name__)


class Engine:
    """The parts of the engine, ready to use after ``restore``."""

    def __init__(
        self,
        context: Context,
        send: Send,
        case_id: Callable[[], str],
        compose: Compose | None = None,
        watcher: Watcher | None = None,
        queue: MailQueue | None = None,
    ) -> None:
        """``send`` takes a held message to the next hop, ``compose`` writes notices.

        ``queue`` is that of the MTA, which keeps held mail in placement ``policy``.
        """
        self.context = context
        self.host = HostAlarm(context)
        self.senders = Senders(context)
        self.sender_check = SenderCheck(context, self.senders)
        federation = context.ledger.federation
        self.foreign = ForeignWord(context, self.senders, federation)
        self.friends = Friends(context, federation)
        self.federating = Federating(context, federation, lambda: self.foreign.peppers)
        self.watcher = Watchers(
            self.host,
            self.sender_check,
            self.foreign,
            self.federating,
            self.friends,
            watcher or Watcher(),
        )
        self.held = HeldMail(context)
        self.casebook = Casebook(context)
        self.outcomes = Outcomes(context, self.senders, self.casebook, self.watcher)
        self.delivery = Delivery(context, self.held, send)
        self.release = (
            Release(context, self.held, self.delivery, queue) if queue else None
        )
        way = self.release or self.delivery
        self.trickle = Trickle(context, self.held, self.senders, way)
        self.reconcile = (
            Reconcile(context, self.held, self.trickle, self.release)
            if self.release
            else None
        )
        self.gate = Gatekeeper(
            context,
            self.senders,
            self.held,
            self.casebook,
            self.trickle,
            self.outcomes,
            case_id=case_id,
            watcher=self.watcher,
        )
        self.observing = Observing(
            context,
            self.senders,
            self.casebook,
            self.gate,
            self.outcomes,
            self.watcher,
        )
        self.orders = Orders(context, self.held, self.trickle)
        self.suppression = Suppression(
            context,
            self.senders,
            context.ledger.suppressed,
            self.watcher,
            self.gate.login_of,
        )
        self.asking = Asking(context, self.gate, self.held, self.suppression)
        self.outcomes.suppression = self.suppression
        self.outcomes.federation = self.federating
        self.foreign.suppression = self.suppression
        self.foreign.stopped = self.federating.stopped
        self.suppression.foreign = self.foreign
        self.suppression.overridden = self.federating.overridden
        self.confirming = Confirming(context, self.delivery, self.suppression)
        self.suppression_list = SuppressionList(context, self.suppression)
        self.outbox = Outbox(context)
        self.outbox.told = lambda channel, sent: self.watcher.notified(
            channel, sent=sent
        )
        self.notices = Notices(
            context, self.casebook, self.delivery, self.held, self.outbox, compose
        )
        self.host.notices = self.notices
        self.foreign.notices = self.notices
        self.receivers = Receivers(context, self.senders, self.notices)
        self.receivers.heard = self.federating.trouble
        self.outcomes.receivers = self.receivers
        self.routes = Routes(context, context.ledger.routes)
        self.digest = Digest(self, "")
        self.delivery.on_finished = self._finished
        self.delivery.on_notice = self._noticed
        self.delivery.on_replies = self.gate.trickled
        if self.release is not None:
            self.release.on_finished = self._finished
            self.release.on_replies = self.gate.trickled

    async def restore(self, audit: Iterable[dict[str, Any]]) -> None:
        """Rebuild everything from the journal's lines and the spool.

        The stories of cases come from Redis where it has them.
        """
        lines = list(audit)
        try:
            await self.casebook.load()
        except StateUnavailableError as error:
            log.warning("Redis is away at start: %s", error)
        told = {case.id for case in self.casebook.all()}
        self.senders.restore(line for line in lines if line["event"] == "sender")
        self.rebuild_cases()
        self.orders.restore(
            line for line in lines if line["event"] in {"order", "order-done"}
        )
        told_lines = [line for line in lines if line["event"] == "told"]
        self.notices.restore(told_lines)
        self.digest.restore(told_lines)
        self.host.restore(told_lines)
        self.foreign.restore(told_lines)
        self.outbox.restore(
            line for line in lines if line["event"] in {"hook", "hook-done"}
        )
        self.receivers.restore(line for line in lines if line["event"] == "receiver")
        self.routes.restore(line for line in lines if line["event"] == "route")
        for message in self.context.spool.all():
            self.gate.index(message)
            if message.case and message.case not in told:
                self.casebook.saw(message.case, message.submission)
        self.trickle.start(self.context.clock())

    def rebuild_cases(self) -> None:
        """Make sure that every sender known as not normal has its case."""
        for sender, line in self.senders.known.items():
            state, since = State(line["state"]), float(line["since"])
            self.casebook.rebuild(sender, str(line.get("case", "")), state, since)

    async def forget(
        self, address: str, forget_lines: Callable[[str], Awaitable[int]]
    ) -> dict[str, int]:
        """Remove what is stored about a person; return how much was found.

        A block or an allowance of that sender stays and is journaled anew without
        anything else. Mail still held is not touched: it is somebody's mail.
        """
        names = [f"login:{address.lower()}", f"from:{address.lower()}"]
        lines = await forget_lines(address)
        suppressed = await self.suppression_list.forget(address)
        sent = await self.outcomes.forget(names)
        for name in names:
            standing = self.senders.known.get(name)
            self.senders.forget(name)
            self.casebook.forget(name)
            self.outbox.forget(name)
            self.host.forget(name)
            self.sender_check.forget(name)
            await self.context.ledger.forget(name)
            if standing is not None:
                await self.senders.reinstate(name, standing)
        self.rebuild_cases()
        held = sum(len(self.held.of_sender(name)) for name in names)
        return {
            "audit_lines": lines,
            "suppression_entries": suppressed,
            "messages_remembered": sent,
            "messages_still_held": held,
        }

    def _noticed(self, message: HeldMessage) -> None:
        self.trickle.arrived(message, None, self.context.clock())

    def _finished(self, message: HeldMessage) -> None:
        delivered = sum(fate == "delivered" for fate in message.fates.values())
        self.casebook.left(message, delivered)
        self.watcher.finished(message)
        if message.id.startswith(PREFIX):
            self._told(message.id, sent=delivered > 0)

    def _told(self, message_id: str, *, sent: bool) -> None:
        """Note whether the next hop took a notice."""
        self.watcher.notified("mail", sent=sent)
        (journal.notice_sent if sent else journal.notice_failed)(message_id)
