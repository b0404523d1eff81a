"""One Postfix log line as a value: who, which queue id, what happened.

Knows the forms of smtp, lmtp, relay, local, virtual, pipe, error, discard,
bounce, qmgr, cleanup, smtpd, pickup, verify and postsuper; lines with and without
the syslog prefix, of any instance ("postfix-out/smtp", "postfix/submission/smtpd"),
with short and long queue ids. Joining lines to messages is the duty of
``postfix_log``. Total: every line gives a value or None, in linear time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "Delivery",
    "Expired",
    "Header",
    "Intake",
    "Notice",
    "Payload",
    "Queued",
    "Refusal",
    "Removed",
    "Trouble",
    "is_payload",
    "parse_payload",
    "split_prefix",
]

MAX_LINE = 16_384  # rsyslog's default is 8 KiB; what is longer is cut


@dataclass(slots=True)
class Intake:
    """A message came in: smtpd's client line, or pickup's uid line."""

    queue_id: str
    client: str = ""
    login: str = ""
    uid: str = ""
    sender: str = ""


@dataclass(slots=True)
class Header:
    """cleanup: the message id."""

    queue_id: str
    message_id: str


@dataclass(slots=True)
class Queued:
    """qmgr: envelope sender and number of recipients."""

    queue_id: str
    sender: str
    recipients: int


@dataclass(slots=True)
class Delivery:
    """One recipient's attempt, with Postfix's status word."""

    queue_id: str
    recipient: str
    original: str
    relay: str
    dsn: str
    status: str
    text: str
    next_queue_id: str = ""


@dataclass(slots=True)
class Trouble:
    """smtp: a server's refusal or a lost connection, without a recipient field."""

    queue_id: str
    text: str
    remote: str = ""


@dataclass(slots=True)
class Expired:
    """qmgr: the whole message was given up."""

    queue_id: str
    sender: str
    text: str


@dataclass(slots=True)
class Notice:
    """bounce: a notification was sent, under its own queue id."""

    queue_id: str
    what: str
    notice_id: str


@dataclass(slots=True)
class Refusal:
    """smtpd, cleanup, postscreen: our own refusal of an incoming attempt."""

    queue_id: str
    stage: str
    text: str
    sender: str
    recipient: str
    client: str


@dataclass(slots=True)
class Removed:
    """qmgr, postsuper: the queue id is free again."""

    queue_id: str


Payload = (
    Intake | Header | Queued | Delivery | Trouble | Expired | Notice | Refusal | Removed
)

# Short ids are hexadecimal, long ones base 52 without vowels (postconf(5),
# enable_long_queue_ids).
_ID = re.compile(
    r"(NOQUEUE|[0-9A-F]{5,20}|[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-z]{10,30}): "
)
# Lines of interest to others, so that they are not taken for replies.
_OTHER_FORMS = (
    r"(?:warning|fatal|panic|statistics|info): ",
    r"(?:connect|disconnect) from ",
    r"(?:lost connection|timeout|improper command pipelining) after ",
    r"(?:bare <LF> received|too many errors) after ",
    r"SSL_(?:accept|connect) error ",
    r"(?:Anonymous|Trusted|Untrusted|Verified) TLS connection ",
    r"(?:setting up|initializing the) ",
    r"certificate verification failed for ",
    r"discarding EHLO keywords: ",
    r"cache \S+ |addr \S+ listed by ",
    r"PREGREET |DNSBL rank |HANGUP |COMMAND [A-Z]+ |NON-SMTP |BARE NEWLINE ",
    r"CONNECT from |PASS (?:OLD|NEW) |(?:WHITE|ALLOW|BLACK|DENY)LIST",
    r"NOQUEUE: |proxy-accept: ",
    r"(?:Deleted|Requeued|Placed on hold|Released)\b[^:]{0,20}: ",
    r"daemon started |terminating on signal |reload -- |refreshing the ",
)
_OTHER = re.compile("|".join(_OTHER_FORMS))
# A long id begins with the seconds since 1970 in base 52, so with a digit until 2090.
_ID_BEGINS = frozenset("0123456789ABCDEFN")
# A quoted local part may hold what looks like the end of the address and more
# fields (RFC 5321 4.1.2); its writer is the client.
_PATH = r'<("(?:[^"\\]|\\.)*"[^>]*|[^>]*)>'
_DELIVERY = re.compile(
    rf"to=(?:{_PATH}|([^,]*)), (?:orig_to=(?:{_PATH}|([^,]*)), )?relay=([^,]*), "
    r"[^(]*?dsn=(\d\.\d{1,3}\.\d{1,3}), status=(\S+) ?(?:\((.*)\))?"
)
_SASL = re.compile(r"sasl_username=([^,\s]+)")
_ACTIVE = re.compile(rf"from={_PATH}, size=\d+, nrcpt=(\d+)")
_EXPIRED = re.compile(rf"from={_PATH}, (status=(?:force-)?expired[^\n]*)")
_PICKUP = re.compile(rf"uid=(\d+) from={_PATH}")
_MESSAGE_ID = re.compile(r"(?:resent-)?message-id=(.*)")
_NOTICE = re.compile(
    r"(sender non-delivery notification|sender delay notification|"
    r"sender delivery status notification|postmaster [a-z -]{1,40}notification): (\S+)"
)
_REFUSED = re.compile(
    r"((?:proxy-|milter-)?(?:reject|discard)|milter-hold|hold): "
    r"([A-Z-]{1,20}|header|body)[^\s:]{0,20}"
    r"(?: from (\S{0,300}\[[^\]]*\])(?::\d+)?)?:? ?(.*)"
)
_FROM = re.compile(r"; from=<([^>]*)>")
_TO = re.compile(r"[ ,]to=<([^>]*)>")
_SAID = re.compile(
    r"host (\S{1,300}) (?:said|refused to talk to me): |"
    r"(?:lost connection|conversation) with (\S{1,300}) |"
    r"connect to (\S{1,300}): "
)
_TLS_OR_SASL = re.compile(r"(?:SASL authentication failed|Cannot start TLS)")


def _delivery(queue_id: str, rest: str) -> Payload | None:
    match = _DELIVERY.match(rest)
    if not match:
        return None
    to, bare, original, bare_original, relay, dsn, status, text = match.groups()
    text = text or ""
    following = ""
    if status == "sent":
        at = text.rfind("queued as ")
        if at >= 0:
            following = (
                text[at + 10 :].split(None, 1)[0].rstrip(").;,")
                if text[at + 10 :].strip()
                else ""
            )
        elif (at := text.find(" OK id=")) >= 0 or (at := text.find(" Ok id=")) >= 0:
            following = (
                text[at + 7 :].split(None, 1)[0] if text[at + 7 :].strip() else ""
            )
    return Delivery(
        queue_id,
        (to if to is not None else bare) or "",
        (original if original is not None else bare_original) or "",
        relay,
        dsn,
        status,
        text,
        following,
    )


def _client(queue_id: str, rest: str) -> Payload:
    end = rest.find(",")
    client = rest[7:] if end < 0 else rest[7:end]
    login = ""
    if "sasl_username=" in rest and (match := _SASL.search(rest)):
        login = match[1]
    return Intake(queue_id, client=client, login=login)


def _from(queue_id: str, rest: str) -> Payload | None:
    if match := _ACTIVE.match(rest):
        return Queued(queue_id, match[1], int(match[2][:9]))
    if match := _EXPIRED.match(rest):
        return Expired(queue_id, match[1], match[2])
    return None


def _pickup(queue_id: str, rest: str) -> Payload | None:
    match = _PICKUP.match(rest)
    return Intake(queue_id, uid=match[1], sender=match[2]) if match else None


def _header(queue_id: str, rest: str) -> Payload | None:
    match = _MESSAGE_ID.match(rest)
    if not match:
        return None
    value = match[1].strip()
    if value.startswith("<") and value.endswith(">"):
        value = value[1:-1]
    return Header(queue_id, value)


def _other(queue_id: str, rest: str) -> Payload | None:
    if match := _NOTICE.match(rest):
        return Notice(queue_id, match[1], match[2])
    if match := _REFUSED.match(rest):
        text = match[4]
        sender, recipient = _FROM.search(text), _TO.search(text)
        cut = text.find("; from=<")
        return Refusal(
            queue_id,
            match[2],
            text if cut < 0 else text[:cut],
            sender[1] if sender else "",
            recipient[1] if recipient else "",
            match[3] or "",
        )
    if rest == "removed":
        return Removed(queue_id)
    if match := _SAID.match(rest):
        return Trouble(queue_id, rest, match[1] or match[2] or match[3])
    return Trouble(queue_id, rest) if _TLS_OR_SASL.match(rest) else None


_HANDLERS: dict[str, Callable[[str, str], Payload | None]] = {
    "to": _delivery,
    "client": _client,
    "from": _from,
    "uid": _pickup,
    "message-id": _header,
    "resent-message-id": _header,
}


def parse_payload(payload: str) -> Payload | None:
    """Read what stands behind the syslog prefix."""
    if payload[:1] not in _ID_BEGINS:
        # More than half of all lines: connections, TLS, warnings.
        if payload.startswith("connect to ") and (match := _SAID.match(payload)):
            return Trouble("", payload.rstrip(), match[3])
        if payload.startswith("proxy-reject: "):
            return _other("", payload.rstrip("\r\n"))
        return None
    match = _ID.match(payload)
    if match is None:
        return None
    rest = payload[match.end() :].rstrip("\r\n")
    handler = _HANDLERS.get(rest[: rest.find("=")])
    if handler is not None:
        return handler(match[1], rest)
    return _other(match[1], rest)


_MAX_PROGRAMS = 1000
_PROGRAMS: dict[str, tuple[str, str]] = {}  # a cache: program name, taken apart


def is_payload(line: str) -> bool:
    """Whether a line without prefix is Postfix's, though it tells nothing here."""
    return bool(_ID.match(line) or _OTHER.match(line))


def split_prefix(line: str) -> tuple[str, str, str]:
    """Split a line into instance, daemon and payload.

    Instance and daemon are "" for a line without a Postfix prefix, which is then
    all payload. So is the line of another program: what looks like a prefix behind
    its name was written by others (Dovecot logs the Message-ID of any mail).
    """
    line = line[:MAX_LINE]
    end = line.find("]: ")
    if end > 0:
        start = line.rfind("[", 0, end)
        begin = line.rfind(" ", 0, start) + 1
        if line.find(": ", 0, begin) >= 0:
            return "", "", line
        program = line[begin:start]
        known = _PROGRAMS.get(program)
        if known is None:
            instance, slash, daemon = program.rpartition("/")
            if not slash or not line[start + 1 : end].isdigit():
                return "", "", line
            known = instance.partition("/")[0], daemon
            if len(_PROGRAMS) < _MAX_PROGRAMS:
                _PROGRAMS[program] = known
        return known[0], known[1], line[end + 3 :]
    return "", "", line
