"""Join Postfix log lines to messages, and their deliveries to outcomes.

A delivery line names a queue id; who sent it stands in other lines of the same
id. The join keeps at most ``limit`` open messages (the oldest is forgotten
first), so memory does not grow with the log. Ids are told apart by instance and
forgotten at "removed", because short ids are used again.

Verification probes are outcomes without a sender, and our own refusals are no
outcomes of sent mail: neither blames anybody. Total: any line is taken.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from shaper.core.outcome import Kind, Meaning, Outcome
from shaper.feedback.postfix_line import (
    Delivery,
    Expired,
    Header,
    Intake,
    Notice,
    Payload,
    Queued,
    Refusal,
    Removed,
    Trouble,
    parse_payload,
    split_prefix,
)
from shaper.feedback.reply import find_address, outcome_of_text

if TYPE_CHECKING:
    from shaper.core.meaning import Table
    from shaper.feedback.logtime import LogClock

__all__ = [
    "DAEMONS",
    "Message",
    "PostfixLog",
    "Said",
    "outcome_of_delivery",
    "outcome_of_payload",
]

DAEMONS = frozenset(
    {
        "smtp", "lmtp", "relay", "local", "virtual", "pipe", "error", "retry",
        "discard", "bounce", "qmgr", "nqmgr", "cleanup", "smtpd", "pickup", "verify",
        "postsuper", "submission", "smtps", "submissions", "relayed", "dnsblog",
    }
)  # fmt: skip
_STATUS_MEANING = {"sent": Meaning.DELIVERED, "deliverable": Meaning.DELIVERED}
_NAMES_RECIPIENT = re.compile(r"recipient address|user unknown|rcpt to:<", re.I)  # noqa: FURB167
# Of a deferral: meaning, name of the rule, reason.
Said = tuple[Meaning, str, str]
_SILENT = frozenset({Intake, Header, Queued, Removed, Notice})


@dataclass(slots=True)
class Message:
    """What is known of one queue id so far."""

    queue_id: str
    login: str = ""
    uid: str = ""
    client: str = ""
    sender: str | None = None  # None: not told yet; "" is the null sender
    message_id: str = ""
    time: float | None = None
    # What was said of each last, where somebody keeps it.
    recipients: dict[str, Said | None] = field(default_factory=dict)
    expected: int = 0  # recipients when it was first queued
    told: bool = False  # for whoever tells each message once
    leaves: bool = False  # a recipient is elsewhere

    @property
    def identity(self) -> str:
        """The sender as the product names it: login, uid, or envelope sender."""
        if self.login:
            return f"login:{self.login.lower()}"
        if self.uid:
            return f"uid:{self.uid}"
        return f"from:{self.sender.lower()}" if self.sender else ""


_NOBODY = Message("")


def outcome_of_delivery(
    event: Delivery,
    table: Table,
    message: Message | None = None,
    time: float | None = None,
) -> Outcome:
    """Judge one delivery line (status words: bounce(5), qmgr(8), verify(8))."""
    known = message or _NOBODY
    if event.status in _STATUS_MEANING:
        # Positional, in the order of the fields: most lines of a log end here.
        text = event.text
        return Outcome(
            Kind.LOG,
            _STATUS_MEANING[event.status],
            event.recipient,
            event.dsn,
            text[:3] if text[:3].isdigit() else "",
            False,  # noqa: FBT003
            "accepted",
            known.message_id,
            "",
            event.original,
            known.identity,
            event.queue_id,
            event.next_queue_id,
            event.relay,
            "",
            text,
            "",
            time,
        )
    outcome = outcome_of_text(
        event.text,
        table,
        kind=Kind.LOG,
        recipient=event.recipient,
        status=event.dsn,
    )
    final = not event.status.startswith("deferred")
    meaning, reason = outcome.meaning, outcome.reason
    if not final and meaning in (
        Meaning.DEAD_ADDRESS,
        Meaning.UNKNOWN,
        Meaning.DELIVERED,
        Meaning.MESSAGE_REFUSED,
    ):
        meaning, reason = Meaning.TEMPORARY, "deferred: it will be tried again"
    elif meaning is Meaning.DELIVERED:
        meaning, reason = (
            Meaning.UNKNOWN,
            "bounced, though the reply quoted says accepted",
        )
    return replace(
        outcome,
        meaning=meaning,
        reason=reason,
        permanent=final,
        original_recipient=event.original,
        queue_id=event.queue_id,
        remote_mta=event.relay,
        sender=known.identity,
        message_id=known.message_id,
        time=time,
    )


def _of_trouble(event: Trouble, table: Table) -> Outcome:
    """An attempt that failed at one server; Postfix goes on to the next."""
    outcome = outcome_of_text(event.text, table, kind=Kind.LOG)
    if outcome.meaning is not Meaning.HOST_REFUSED:
        # Only a delivery line says that Postfix gave up.
        reason = (
            outcome.reason
            if outcome.meaning is Meaning.TEMPORARY
            else "this attempt failed; Postfix tries on"
        )
        outcome = replace(outcome, meaning=Meaning.TEMPORARY, reason=reason)
    return replace(
        outcome,
        permanent=False,
        queue_id=event.queue_id,
        remote_mta=event.remote,
        recipient=outcome.recipient if _NAMES_RECIPIENT.search(event.text) else "",
    )


def _of_refusal(event: Refusal, table: Table) -> Outcome:
    """Our own server refused somebody; told for completeness, blames nobody."""
    outcome = outcome_of_text(
        event.text, table, kind=Kind.LOG, recipient=event.recipient
    )
    return replace(
        outcome,
        recipient=event.recipient
        or (find_address(event.text) if event.stage in ("RCPT", "VRFY") else ""),
        sender=event.sender,
        queue_id=event.queue_id,
        remote_mta=event.client,
        reason=f"refused by this server at {event.stage}: {outcome.reason}",
    )


def outcome_of_payload(event: Payload, table: Table) -> Outcome | None:
    """Return what one parsed line tells alone, or None when it is no outcome."""
    if isinstance(event, Delivery):
        return outcome_of_delivery(event, table)
    if isinstance(event, Trouble):
        return _of_trouble(event, table)
    if isinstance(event, Refusal):
        return _of_refusal(event, table)
    if isinstance(event, Expired):
        return Outcome(
            kind=Kind.LOG,
            meaning=Meaning.TEMPORARY,
            permanent=True,
            reason="expired in the queue and was returned",
            sender=event.sender,
            queue_id=event.queue_id,
            diagnostic=event.text,
            rule="postfix-expired",
        )
    return None


class PostfixLog:
    """Feeds on lines, in order; tells deliveries with their senders."""

    def __init__(
        self, table: Table, clock: LogClock | None = None, *, limit: int = 200_000
    ) -> None:
        """Start with no open message; ``limit`` bounds their number."""
        self._table = table
        self.clock = clock
        self._limit = limit
        self.messages: dict[tuple[str, str], Message] = {}
        self.lines = 0
        self.skipped = 0  # lines of other programs and of no interest
        self.forgotten = 0  # open messages dropped at the limit

    def feed(self, line: str) -> Outcome | None:
        """Take one line; return the outcome that it tells, if any."""
        event, message = self.read(line)
        if event is None or event.__class__ in _SILENT:
            return None
        time = self.clock.read(line) if self.clock else None
        if isinstance(event, Delivery):
            return outcome_of_delivery(event, self._table, message, time)
        outcome = outcome_of_payload(event, self._table)
        if outcome is None:
            return None
        if message is None or event.__class__ is Refusal:
            return replace(outcome, time=time) if time is not None else outcome
        return replace(
            outcome,
            sender=message.identity or outcome.sender,
            message_id=message.message_id,
            time=time,
        )

    def read(
        self, line: str, split: tuple[str, str, str] | None = None
    ) -> tuple[Payload | None, Message | None]:
        """Take one line; return its event and the message it belongs to.

        ``split`` spares the splitting where the caller has done it.
        """
        self.lines += 1
        instance, daemon, payload = split or split_prefix(line)
        if daemon and daemon not in DAEMONS:
            self.skipped += 1
            return None, None
        event = parse_payload(payload)
        if event is None:
            self.skipped += 1
            return None, None
        return event, self._join(instance, event, line)

    def _join(self, instance: str, event: Payload, line: str) -> Message | None:
        key = (instance, event.queue_id)
        kind = event.__class__
        if kind is Delivery or kind is Trouble:
            return self.messages.get(key)
        if kind is Removed:
            return self.messages.pop(key, None)
        if isinstance(event, Intake):
            # A new intake under a known id: the id is used again.
            message = self._open(key, line)
            message.login, message.uid = event.login, event.uid
            message.client = event.client
            if event.uid:
                message.sender = event.sender
        elif isinstance(event, Header):
            message = self.messages.get(key) or self._open(key, line)
            message.message_id = event.message_id
        elif isinstance(event, Queued):
            message = self.messages.get(key) or self._open(key, line)
            message.sender = event.sender
            # Later the queue manager names only those that are still to be tried.
            message.expected = message.expected or event.recipients
        else:
            return self.messages.get(key) if event.queue_id else None
        return message

    def _open(self, key: tuple[str, str], line: str) -> Message:
        self.messages.pop(key, None)
        if len(self.messages) >= self._limit:
            self.messages.pop(next(iter(self.messages)))
            self.forgotten += 1
        time = self.clock.read(line) if self.clock else None
        message = self.messages[key] = Message(key[1], time=time)
        return message
