"""Tells people of every step of a case: once each, also after a crash.

A notice is put into the spool like any mail, so it survives restarts and is
retried until the next hop takes it; it travels in a lane of its own and is never
judged. What was told is a line in the journal. A crash between the two repeats
a notice rather than losing it. Of several instances that know a step, the one
that claims it in Redis tells; without Redis each tells what it saw.

Never a flood: after ``_AN_HOUR`` mails within an hour, what else happens is told
in one mail for many cases, with ``_PAUSE`` between two of these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from shaper import journal
from shaper.core.ports import StateUnavailableError
from shaper.core.state import State
from shaper.core.text import bland

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from shaper.core.case import Case
    from shaper.core.envelope import Envelope
    from shaper.core.foreign import ForeignSender
    from shaper.core.host import HostDay
    from shaper.core.receivers import ReceiverTrouble
    from shaper.engine.casebook import Casebook
    from shaper.engine.context import Context
    from shaper.engine.delivery import Delivery
    from shaper.engine.heldmail import HeldMail
    from shaper.engine.outbox import Outbox

__all__ = ["PREFIX", "Compose", "Describe", "Notices"]

PREFIX = "notice."  # of the ids of these mails in the spool

_AN_HOUR = 20  # mails about one case each
_HOUR = 3600.0  # seconds
_PAUSE = 600.0  # seconds between two mails about many cases
_A_ROUND = 200  # steps: other work must go on
_CLAIMED = 30 * 86400  # seconds

Counted = tuple[int, int]
Mail = tuple["Envelope", bytes]
Pending = list[tuple["Case", str]]


class Compose(Protocol):
    """Write mails about cases as they stand (``shaper.notify``)."""

    def case(self, case: Case, waiting: Counted, now: float, *, first: bool) -> Mail:
        """Return the mail about one step; ``waiting`` is what is held now."""

    def summary(self, cases: Sequence[tuple[Case, Counted]], now: float) -> Mail:
        """Return one mail about many."""

    def digest(self, cases: Sequence[tuple[Case, Counted]], now: float) -> Mail:
        """Return the daily list of open cases."""

    def trouble(self, trouble: ReceiverTrouble, now: float) -> Mail:
        """Return the mail about a receiver that refuses this host, or did."""

    def host(self, alarm: HostDay, now: float) -> Mail:
        """Return the mail of a day on which many senders deviate."""

    def foreign(self, sender: str, signal: ForeignSender, now: float) -> Mail:
        """Return the mail about a sender that another host blocked."""

    def owner(self, case: Case, now: float) -> Mail | None:
        """Return the mail to the account's owner, None when nobody is to get it."""


class Describe(Protocol):
    """Put a case into words for a program (``shaper.notify``)."""

    def __call__(self, case: Case, waiting: Counted, *, first: bool) -> dict[str, Any]:
        """Return the facts of an event."""


class Notices:
    """Notices of this instance. ``compose`` is None while nobody is to be told."""

    def __init__(
        self,
        context: Context,
        casebook: Casebook,
        delivery: Delivery,
        held: HeldMail,
        outbox: Outbox,
        compose: Compose | None,
    ) -> None:
        """``compose`` and ``describe`` may be replaced at a reload."""
        self._context = context
        self._casebook = casebook
        self._delivery = delivery
        self._held = held
        self._outbox = outbox
        self.compose = compose
        self.describe: Describe | None = None
        self._told: set[tuple[str, str]] = set()
        self._claims: set[str] = set()  # of steps not told yet
        self._recent: list[float] = []  # when a mail about one case was written
        self._summary_at = 0.0

    def restore(self, lines: Iterable[dict[str, Any]]) -> None:
        """Take over the journal's ``told`` lines."""
        for line in lines:
            self._told.add((str(line["case"]), str(line["step"])))
            if line.get("by") == "summary":
                self._summary_at = float(line["at"])
            elif line.get("by") == "mail":
                self._recent.append(float(line["at"]))

    async def tell(self) -> None:
        """Tell of steps that nobody was told of. Raises SpoolFullError."""
        pending: Pending = []
        for case in self._casebook.all():
            # Without steps, another instance saw the change and tells of it.
            step = case.untold
            if not step:
                continue
            if (case.id, step) in self._told or not await self._ours(case, step):
                self._casebook.mark_told(case.id, step)
                continue
            pending.append((case, step))
            if len(pending) >= _A_ROUND:
                break
        now = self._context.clock()
        for case, step in pending:
            await self._announce(case, step)
        if self.compose is None:
            for case, step in pending:
                await self._note(case, step, "")
            return
        self._recent = [at for at in self._recent if 0 <= now - at < _HOUR]
        room = max(_AN_HOUR - len(self._recent), 0)
        for case, step in pending[:room]:
            await self._tell_one(self.compose, case, step, now)
        if pending[room:]:
            await self._tell_many(self.compose, pending[room:], now)

    async def _tell_one(
        self, compose: Compose, case: Case, step: str, now: float
    ) -> None:
        mail = compose.case(case, self.waiting(case), now, first=self._first(case))
        await self.post(f"{case.id}.{step}", mail, f"notice about {case.id}")
        journal.notice_queued("case", 1, step)
        await self._tell_owner(compose, case, now)
        await self._note(case, step, "mail")
        self._recent.append(now)

    async def _tell_many(self, compose: Compose, many: Pending, now: float) -> None:
        if 0 <= now - self._summary_at < _PAUSE:
            return  # they wait for the next one
        mail = compose.summary([(c, self.waiting(c)) for c, _ in many], now)
        case, step = many[0]
        await self.post(f"many.{case.id}.{step}", mail, "notice about many cases")
        journal.notice_queued("summary", len(many), step)
        self._summary_at = now
        for case, step in many:
            await self._tell_owner(compose, case, now)
            await self._note(case, step, "summary")

    async def _tell_owner(self, compose: Compose, case: Case, now: float) -> None:
        """Tell the owner once that the account is blocked; slowed is told to none.

        A slowed sender is normal again by itself as a rule, and most are innocent.
        """
        told = (case.id, "owner")
        if case.state is not State.BLOCKED or told in self._told:
            return
        if not self._context.enforce or (mail := compose.owner(case, now)) is None:
            return
        await self.post(f"{case.id}.owner", mail, f"notice to the owner, {case.id}")
        journal.notice_queued("owner", 1, "owner")
        await self._context.audit.append("told", case=case.id, step="owner", by="owner")
        self._told.add(told)

    async def _announce(self, case: Case, step: str) -> None:
        if self.describe is None:
            return
        first = self._first(case)
        event = "opened" if first else "escalated"
        await self._outbox.announce(
            f"case.{'closed' if case.closed else event}",
            f"{case.id}.{step}",
            self.describe(case, self.waiting(case), first=first),
            key=case.id,
            sender=case.sender,
        )

    async def trouble(self, event: str, name: str, state: str, detail: str) -> None:
        """Tell programs that a receiver refuses this host, or that many look odd.

        ``event`` is ``receiver.trouble`` or ``host.alarm``, ``name`` the receiver's
        group or "", ``state`` ``begun`` or ``over``. Raises SpoolFullError.
        """
        now = self._context.clock()
        if event == "receiver.trouble":
            journal.receiver_trouble(name, state, detail)
        else:
            journal.host_alarm(state, detail)
        await self._outbox.announce(
            event,
            f"{event}.{name or 'host'}.{state}.{now:.0f}.{self._context.instance}",
            {"name": name, "state": state, "detail": detail},
            key=f"{event}.{name}",
        )

    async def elsewhere(
        self, sender: str, mark: str, by: Sequence[str], why: str
    ) -> None:
        """Tell programs that other hosts blocked this sender. Raises SpoolFullError."""
        await self._outbox.announce(
            "sender.elsewhere",
            f"sender.elsewhere.{mark}",
            {"sender": sender, "by": list(by), "why": why},
            key=f"sender.elsewhere.{sender}",
            sender=sender,
        )

    def _first(self, case: Case) -> bool:
        """Whether nobody was told of this case yet, here or before a restart."""
        return not case.told and not any(told == case.id for told, _ in self._told)

    async def _note(self, case: Case, step: str, by: str) -> None:
        await self._context.audit.append("told", case=case.id, step=step, by=by)
        self._told.add((case.id, step))
        self._claims.discard(bland(f"told {case.id} {step}"))
        self._casebook.mark_told(case.id, step)

    async def _ours(self, case: Case, step: str) -> bool:
        what = bland(f"told {case.id} {step}")
        if what in self._claims:
            return True  # it waits for its turn in a mail about many
        try:
            ours = await self._context.ledger.claim(
                what, self._context.instance, _CLAIMED
            )
        except StateUnavailableError:
            return True
        if ours:
            self._claims.add(what)
        return ours

    def waiting(self, case: Case) -> Counted:
        """Count messages and recipients of a case's sender that are held here now."""
        held = [m for m in self._held.of_sender(case.sender) if not m.notice]
        return len(held), sum(len(message.waiting) for message in held)

    async def post(self, name: str, mail: Mail, subject: str) -> None:
        """Queue a mail to the admins. Raises SpoolFullError."""
        envelope, content = mail
        message_id = PREFIX + name.replace("@", ".")
        await self._delivery.post(message_id, envelope, content, subject)
