"""Read Exim's main log: lines as values, joined to messages and outcomes.

Exim's specification, chapter "Log files": ``<=`` arrival, ``=>`` delivery, ``->``
further recipient of one delivery, ``>>`` cutthrough, ``*>`` suppressed by -N,
``**`` bounced, ``==`` deferred, ``Completed``. The sender is in ``A=`` (login) or
``U=`` (local user) of the arrival line; the line that our own ACL writes before it
(conf/exim) tells the uid. Same bounds as ``postfix_log``. Total.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from shaper.core.outcome import Kind, Meaning, Outcome
from shaper.feedback.reply import ADDRESS, outcome_of_text

if TYPE_CHECKING:
    from shaper.core.meaning import Table
    from shaper.feedback.logtime import LogClock

__all__ = ["EximLog", "EximMessage", "is_exim_line", "to_mailshaper"]

MAX_LINE = 16_384
# 23 characters since 4.97, 16 before.
_LINE = re.compile(
    r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d{1,6})?(?: [+-]\d{4})?) (?:\[\d+\] )?"
    r"([0-9A-Za-z]{6}-[0-9A-Za-z]{6,11}-[0-9A-Za-z]{2,4}) "
    r"(<=|=>|->|>>|\*>|\*\*|==|Completed) ?(.*)"
)
_REJECTED = re.compile(
    r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d{1,6})?(?: [+-]\d{4})?) (?:\[\d+\] )?"
    r"(?:([0-9A-Za-z]{6}-[0-9A-Za-z]{6,11}-[0-9A-Za-z]{2,4}) )?"
    r"(?:H=[^\n]{0,600}? )?(?:F=<([^>]{0,320})> )?"
    r"((?:temporarily )?rejected (?:RCPT|MAIL|after DATA|EHLO|VRFY|connection)[^\n]*)"
)
_LOCAL = re.compile(
    r"[-0-9]{10} [0-9:.]{8,15}(?: [+-]\d{4})? (?:\[\d+\] )?"
    r"([0-9A-Za-z]{6}-[0-9A-Za-z]{6,11}-[0-9A-Za-z]{2,4}) "
    r"local mail from uid=(\d{1,10}) "
)
_MOST_LOCAL = 1000  # uids that wait for the arrival line that follows
_TIMED = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
_LOGIN = re.compile(r" A=[^:\s]{1,60}:(\S+)")
_USER = re.compile(r" U=(\S+)")
_CLIENT = re.compile(r" H=([^\n]{0,400}?\[[^\]]{1,60}\])")
_ID = re.compile(r" id=(\S+)")
_TO_HOST = re.compile(r" H=(\S{1,300})")
_NEAR = re.compile(r" H=\S{1,300} \[(?:127\.|::1\])")
_OURS = re.compile(r" T=mailshaper(?:_\w{1,40})?(?= |$|:)")
_OWN_ID = re.compile(r"[0-9A-Za-z]{6}-[0-9A-Za-z]{6,11}-[0-9A-Za-z]{2,4}")
_ACCEPTED = re.compile(r' C="([^"\n]{0,1000})"')
_NEXT_ID = re.compile(r"(?:queued as |OK id=)(\S{1,80})", re.IGNORECASE)
# What stands between the address and the error: <parent> R= T= H= [ip] defer (n).
_FIELDS = re.compile(
    r"(?: (?:<[^>]{0,320}>|[A-Z]{1,4}\*?=(?:\"[^\"]{0,400}\"|<[^>]{0,320}>|\S{1,400}))|"
    r" \([^)]{0,200}\)| \[[0-9a-fA-F.:]{2,60}\](?::\d+)?| defer \(-?\d+\))+"
)
_PARENT = re.compile(r" <([^>]{1,320})>")
_ADDRESS = re.compile(ADDRESS)
_FOR = re.compile(r" for ((?:\S+@\S+ ?)+)$")
_PATH = re.compile(r'"(?:[^"\\]|\\.)*"\S*|\S*')
# Of an arrival line: what the client writes. Its names stand in quotes (DN=, SNI=)
# and parentheses (HELO), its header in the fields at the end.
_THEIRS = re.compile(r'"(?:[^"\\]|\\.)*"|\([^)]*\)| (?:id=|T=").*')


@dataclass(slots=True)
class EximMessage:
    """What is known of one message id."""

    queue_id: str
    login: str = ""
    user: str = ""
    client: str = ""
    sender: str = ""
    message_id: str = ""
    time: float | None = None
    recipients: dict[str, None] = field(default_factory=dict)
    leaves: bool = False  # a recipient is elsewhere
    complete: bool = False  # the arrival line told all recipients
    told: bool = False  # for whoever tells each message once

    @property
    def identity(self) -> str:
        """The sender as the product names it."""
        if self.login:
            return f"login:{self.login.lower()}"
        if self.user:
            return f"uid:{self.user}"
        return f"from:{self.sender.lower()}" if self.sender else ""


def is_exim_line(line: str) -> bool:
    """Whether a line looks like one of Exim's main log (syslog prefix allowed)."""
    return bool(_find(line[:MAX_LINE]))


def to_mailshaper(line: str) -> bool:
    """Whether a delivery went to mailshaper, by the name of its transport."""
    return bool(_OURS.search(line))


def _find(line: str) -> re.Match[str] | None:
    match = _LINE.match(line) or _REJECTED.match(line)
    if match is None and (timed := _TIMED.search(line[:200])) and timed.start():
        # Behind syslog's prefix only: in the text of others it is what somebody
        # wrote into a mail.
        if 0 <= line.find(": ") < timed.start() - 2:
            return None
        rest = line[timed.start() :]
        match = _LINE.match(rest) or _REJECTED.match(rest)
    return match


class EximLog:
    """Feeds on lines, in order; tells deliveries with their senders."""

    def __init__(
        self, table: Table, clock: LogClock | None = None, *, limit: int = 200_000
    ) -> None:
        """Start with no open message; ``limit`` bounds their number."""
        self._table = table
        self.clock = clock
        self._limit = limit
        self.messages: dict[str, EximMessage] = {}
        self.lines = 0
        self.skipped = 0
        self.forgotten = 0
        # Of the line fed last: what it completes, what arrives by it, and whether
        # it hands mail to a filter on this host, from where it comes back.
        self.completed: EximMessage | None = None
        self.arrived: EximMessage | None = None
        self.within = False
        self._uids: dict[str, str] = {}

    def feed(self, line: str) -> Outcome | None:
        """Take one line; return the outcome that it tells, if any."""
        self.lines += 1
        self.completed = self.arrived = None
        self.within = False
        line = line[:MAX_LINE].rstrip("\r\n")
        match = _find(line)
        if match is None:
            self.skipped += 1
            if local := _LOCAL.search(line):
                if len(self._uids) >= _MOST_LOCAL:
                    self._uids.pop(next(iter(self._uids)))
                self._uids[local[1]] = local[2]
            return None
        time = self.clock.read(match[1]) if self.clock else None
        if match.re is _REJECTED:
            return self._rejected(match, time)
        queue_id, flag, rest = match[2], match[3], match[4]
        if flag == "<=":
            self._arrived(queue_id, rest, time)
            return None
        if flag == "Completed":
            self.completed = self.messages.pop(queue_id, None)
            return None
        return self._delivered(queue_id, flag, rest, time)

    def _arrived(self, queue_id: str, rest: str, time: float | None) -> None:
        # The pattern takes nothing rather than fail.
        end = found.end() if (found := _PATH.match(rest)) else 0
        sender, padded = rest[:end], rest[end:]
        ours = _THEIRS.sub("", padded)
        login, user = _LOGIN.search(ours), _USER.search(ours)
        client, message_id = _CLIENT.search(padded), _ID.search(padded)
        if len(self.messages) >= self._limit:
            self.messages.pop(next(iter(self.messages)))
            self.forgotten += 1
        self.messages.pop(queue_id, None)
        uid = self._uids.pop(queue_id, "")
        message = self.arrived = self.messages[queue_id] = EximMessage(
            queue_id,
            login=login[1].partition(" ")[0] if login else "",
            user=(uid or user[1]) if user and " P=local" in ours else "",
            client=client[1] if client else "",
            sender="" if sender == "<>" else sender,
            message_id=message_id[1] if message_id else "",
            time=time,
        )
        if told := _FOR.search(rest):
            message.recipients = dict.fromkeys(told[1].split())
            message.complete = True

    def _delivered(
        self, queue_id: str, flag: str, rest: str, time: float | None
    ) -> Outcome:
        recipient, _, more = rest.partition(" ")
        more = " " + more
        recipient = recipient.rstrip(":")
        inner = _PARENT.match(more)
        original = inner[1] if inner else ""
        if "@" not in recipient and original:
            # A local delivery is logged by local part, pipe or file.
            recipient, original = original, ""
        host = _TO_HOST.search(more)
        if flag in ("=>", "->", ">>", "*>"):
            outcome = self._success(recipient, more)
        else:
            outcome = self._failure(recipient, more, final=flag == "**")
        near, following = _NEAR.search(more) is not None, outcome.next_queue_id
        self.within = to_mailshaper(more) or (
            near and bool(_OWN_ID.fullmatch(following))
        )
        message = self.messages.get(queue_id)
        if message is not None:
            message.recipients.setdefault(original or recipient)
            # On this host without a new queue id: a mailbox (LMTP). Forwarded by an
            # alias of ours: a stranger's mail, which the hop does not get either.
            here = near and not self.within and not following
            forwarded = inner is not None and message.identity.startswith("from:")
            message.leaves |= host is not None and not here and not forwarded
        return replace(
            outcome,
            original_recipient=original
            if original.lower() != recipient.lower()
            else "",
            queue_id=queue_id,
            remote_mta=host[1] if host else "",
            sender=message.identity if message else "",
            message_id=message.message_id if message else "",
            time=time,
        )

    @staticmethod
    def _success(recipient: str, more: str) -> Outcome:
        accepted = _ACCEPTED.search(more)
        text = accepted[1] if accepted else ""
        following = _NEXT_ID.search(text)
        status = re.match(r"2\d\d (2\.\d{1,3}\.\d{1,3}) ", text)
        return Outcome(
            kind=Kind.LOG,
            meaning=Meaning.DELIVERED,
            recipient=recipient,
            status=status[1] if status else "",
            code=text[:3] if text[:3].isdigit() else "",
            reason="accepted",
            next_queue_id=following[1] if following else "",
            diagnostic=text,
        )

    def _failure(self, recipient: str, more: str, *, final: bool) -> Outcome:
        fields = _FIELDS.match(more)
        text = (more[fields.end() :] if fields else more).lstrip(": ")
        outcome = outcome_of_text(text, self._table, kind=Kind.LOG, recipient=recipient)
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
                "failed, though the reply quoted says accepted",
            )
        return replace(outcome, meaning=meaning, reason=reason, permanent=final)

    def _rejected(self, match: re.Match[str], time: float | None) -> Outcome:
        """Our own server refused somebody; blames nobody."""
        text = match[4]
        named = _ADDRESS.search(text) if "RCPT" in text else None
        outcome = outcome_of_text(text, self._table, kind=Kind.LOG)
        temporary = text.startswith("temporarily")
        meaning = Meaning.TEMPORARY if temporary else outcome.meaning
        return replace(
            outcome,
            meaning=meaning,
            recipient=named[0] if named else "",
            permanent=not temporary,
            reason=f"refused by this server: {outcome.reason}",
            queue_id=match[2] or "",
            sender=match[3] or "",
            time=time,
        )
