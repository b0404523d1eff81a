"""Lines of an MTA's log become messages: who sent, to whom, when; once each.

Serves old logs (``history``) and the live one (``shaper.watch``). A message is told
as soon as each of its recipients was tried once, at the latest when it leaves the
queue: a thief's mail that receivers defer is seen at once, not days later. Of Exim's
log that is so where it tells the recipients of an arrival (+received_recipients);
else it does not tell when all were tried. Copies that a content filter or the
shaper's own hop puts back are not told again; what becomes of them is told of the
sender of the first.

The sender is the login where there is one, else the local user, else the envelope
sender. Bounces (null sender) and verification probes are nobody's mail unless
somebody logged in; what strangers send to our own mailboxes is not ours to judge.
Memory is bounded by the open messages and a fixed number of ids.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from shaper.core.outcome import Meaning
from shaper.feedback.exim_log import EximLog, EximMessage
from shaper.feedback.postfix_line import Delivery, Removed, split_prefix
from shaper.feedback.postfix_log import (
    DAEMONS,
    Message,
    PostfixLog,
    outcome_of_delivery,
)
from shaper.feedback.table import shipped_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from shaper.core.outcome import Outcome
    from shaper.feedback.logtime import LogClock

__all__ = ["Counts", "Fate", "Joiner", "Sent"]

_MAX_IDS = 30_000  # message ids and re-injected queue ids remembered
_LOOPBACK = ("[127.", "[::1]", "localhost")
# Nearly half of the lines of a log; told apart before anything is parsed.
_NOISE = (
    "connect from ",
    "disconnect from ",
    "Anonymous TLS connection ",
    "Untrusted TLS connection ",
    "Trusted TLS connection ",
    "Verified TLS connection ",
    "warning: ",
    "statistics: ",
)
# Daemons that end in our own mailboxes; lmtp does when it gets no queue id back.
_HERE = frozenset({"local", "virtual", "pipe"})
_PROBES = frozenset({"deliverable", "undeliverable", "undeliverable-but-not-cached"})


class Sent(NamedTuple):
    """A message that somebody sent; ``time`` in epoch seconds."""

    sender: str
    recipients: tuple[str, ...]
    time: float
    client: str | None
    message_id: str | None


class Fate(NamedTuple):
    """What became of a recipient: delivered, or a dead address."""

    sender: str
    recipient: str
    time: float
    dead: bool


@dataclass(slots=True)
class Counts:
    """How much was read, and what it was."""

    limit: int = 200_000
    lines: int = 0
    corrupt: int = 0  # lines without a readable time, or cut within a known form
    other: int = 0  # lines of other programs, and those that tell nothing
    messages: int = 0
    copies: int = 0  # re-injected copies of a message already counted
    inbound: int = 0  # mail from elsewhere to our own mailboxes
    nobody: int = 0  # null sender, probes, and those whose sender is not told
    damaged: int = 0  # archives that end too early
    forgotten: int = 0  # open messages dropped at ``limit``


class Joiner:
    """Turns lines into messages; one for all files of a reader.

    ``message`` is what is known of the message told last, ``tried`` of that of which
    the line fed last tells an attempt or the end.
    """

    def __init__(
        self, counts: Counts, on_fate: Callable[[Fate], None] | None = None
    ) -> None:
        """``counts`` is counted on; ``on_fate`` hears what becomes of recipients."""
        self._counts = counts
        self._on_fate = on_fate
        self._table = table = shipped_table()
        self._postfix = PostfixLog(table, limit=counts.limit)
        self._exim = EximLog(table, limit=counts.limit)
        self._ids: dict[str, str] = {}  # message id -> queue id that had it first
        self._owners: dict[str, str] = {}  # message id -> who sent it
        self._copies: dict[str, str] = {}  # queue id given at re-injection -> sender
        self.message: Message | EximMessage | None = None
        self.tried: Message | EximMessage | None = None

    def start(self, clock: LogClock) -> None:
        """Read the times of what follows by this clock."""
        self._clock = clock
        self._postfix.clock = clock
        self._exim.clock = clock

    def feed(self, line: str) -> Sent | None:
        """Take one line; return the message that it completes, if any."""
        self._counts.lines += 1
        self.tried = None
        split = split_prefix(line)
        if split[1] in DAEMONS:
            if split[2].startswith(_NOISE):
                self._counts.other += 1
                return None
            return self._feed_postfix(line, split)
        if split[2] is not line and split[1]:
            self._counts.other += 1  # another program of Postfix
            return None
        return self._feed_exim(line)

    def _feed_exim(self, line: str) -> Sent | None:
        skipped = self._exim.skipped
        outcome = self._exim.feed(line)
        if self._exim.completed is not None:
            return self._once(self._exim.completed)
        if (new := self._exim.arrived) is not None and new.message_id:
            # Now: the copy that comes back may have left before the first has.
            if self._first(new.message_id, new.queue_id) == new.queue_id:
                _remember(self._owners, new.message_id, new.identity)
            return None
        if outcome is None and self._exim.skipped > skipped:
            if self._clock.read(line) is None:
                self._counts.corrupt += 1
            else:
                self._counts.other += 1
        return self._attempt(outcome) if outcome is not None else None

    def _attempt(self, outcome: Outcome) -> Sent | None:
        """Take an attempt of Exim; tell its message, if its recipients are known."""
        self.tried = message = self._exim.messages.get(outcome.queue_id)
        if message is None:
            return None
        identity = message.identity
        dead = outcome.meaning is Meaning.DEAD_ADDRESS
        if self._exim.within:
            if outcome.next_queue_id:
                _remember(self._copies, outcome.next_queue_id, identity)
        elif self._on_fate and (dead or outcome.meaning is Meaning.DELIVERED):
            owner = self._owner(message)
            if owner and message.sender and outcome.time:
                self._on_fate(Fate(owner, outcome.recipient, outcome.time, dead))
        # Whether an envelope sender's mail leaves is known at the end only.
        if identity.startswith("from:") or not message.complete:
            return None
        return self._once(message)

    def _owner(self, message: Message | EximMessage) -> str:
        """Return whose a message is: of a copy that came back, the first one's."""
        if not any(part in message.client for part in _LOOPBACK):
            return message.identity
        return (
            self._copies.get(message.queue_id)
            or self._owners.get(message.message_id)
            or message.identity
        )

    def _feed_postfix(self, line: str, split: tuple[str, str, str]) -> Sent | None:
        event, message = self._postfix.read(line, split)
        if event is None:
            known = line.rstrip().endswith((".", ")", "]", "removed"))
            if self._clock.read(line) is None or (not known and ": to=<" in line):
                self._counts.corrupt += 1
            else:
                self._counts.other += 1
            return None
        if event.__class__ is Delivery:
            return self._delivery(event, message, line, split[1])
        if event.__class__ is Removed:
            return self._removed(message) if message else None
        if message is not None and message.message_id:
            self._first(message.message_id, message.queue_id)
        return None

    def _delivery(
        self, event: Delivery, message: Message | None, line: str, daemon: str
    ) -> Sent | None:
        within = any(part in event.relay for part in _LOOPBACK)
        identity = message.identity if message is not None else ""
        if event.next_queue_id and within:
            _remember(self._copies, event.next_queue_id, identity)
        if message is None or event.status in _PROBES:
            return None
        self.tried = message
        message.recipients[event.original or event.recipient] = None
        here = daemon in _HERE or (daemon == "lmtp" and not event.next_queue_id)
        message.leaves |= not here
        if self._on_fate and not within:
            self._fate(event, message, line, self._on_fate)
        if len(message.recipients) < message.expected or not message.expected:
            return None
        return self._once(message)

    def _fate(
        self,
        event: Delivery,
        message: Message,
        line: str,
        on_fate: Callable[[Fate], None],
    ) -> None:
        dead = False
        if event.status == "bounced":
            meaning = outcome_of_delivery(event, self._table).meaning
            dead = meaning is Meaning.DEAD_ADDRESS
        if not dead and event.status != "sent":
            return
        owner = self._owner(message)
        if owner and message.sender and (time := self._clock.read(line)) is not None:
            on_fate(Fate(owner, event.original or event.recipient, time, dead))

    def _removed(self, message: Message) -> Sent | None:
        sent = self._once(message)
        self._copies.pop(message.queue_id, None)  # the id may be used again
        return sent

    def _once(self, message: Message | EximMessage) -> Sent | None:
        self.tried = message
        if message.told:
            return None
        message.told = True
        return self._sent(message, copy=message.queue_id in self._copies)

    def _first(self, message_id: str, queue_id: str) -> str:
        return self._ids.get(message_id) or _remember(self._ids, message_id, queue_id)

    def _sent(self, message: Message | EximMessage, *, copy: bool) -> Sent | None:
        identity, counts = message.identity, self._counts
        sender = message.sender
        # A thief may write as the MTA does; a login is somebody all the same.
        probe = sender == "" or (sender or "").startswith("double-bounce@")
        if (probe and not message.login) or not identity or not message.recipients:
            counts.nobody += 1
            return None
        if message.message_id:
            first = self._first(message.message_id, message.queue_id)
            near = any(part in message.client for part in _LOOPBACK)
            copy = copy or (first != message.queue_id and near)
        if copy:
            counts.copies += 1
            return None
        if identity.startswith("from:") and not message.leaves:
            counts.inbound += 1
            return None
        if message.time is None:
            counts.corrupt += 1
            return None
        if message.message_id:
            _remember(self._owners, message.message_id, identity)
        counts.messages += 1
        self.message = message
        return Sent(
            identity,
            tuple(message.recipients),
            message.time,
            message.client or None,
            message.message_id or None,
        )

    def finish(self) -> Iterator[Sent]:
        """Yield what was still in a queue when the logs ended."""
        for message in self._postfix.messages.values():
            if (sent := self._once(message)) is not None:
                yield sent
        for late in self._exim.messages.values():
            if (sent := self._once(late)) is not None:
                yield sent
        self._postfix.messages.clear()
        self._exim.messages.clear()
        self._counts.forgotten = self._postfix.forgotten + self._exim.forgotten


_V = TypeVar("_V")


def _remember(memory: dict[str, _V], key: str, value: _V) -> _V:
    if len(memory) >= _MAX_IDS:
        memory.pop(next(iter(memory)))
    memory[key] = value
    return value
