"""Writing the delivery status notification for held mail that cannot go on.

One function: a held message and what became of some of its recipients go in,
an envelope and the octets of a report (RFC 3464 in RFC 6522's multipart/report)
come out, or None where nobody may be told (null sender: RFC 3461 6.1; NOTIFY
without FAILURE: RFC 3461 4.1). Only the header of the original is returned
(RFC 3461 4.3 allows it without RET=FULL): the body of suspected spam stays here.
"""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import format_datetime
from typing import TYPE_CHECKING

from shaper.core.envelope import Envelope, Recipient
from shaper.core.message import RecipientFate
from shaper.core.text import bland

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from shaper.core.message import HeldMessage
    from shaper.core.reply import Reply

__all__ = ["Report", "failure_report", "may_tell"]

# Header lines that go back to the sender are bounded; a real header is far smaller.
_MOST_HEADER = 64 * 1024
_MOST_VALUE = 900  # octets

_STATUS = {
    RecipientFate.REFUSED: "5.0.0",
    RecipientFate.EXPIRED: "4.4.7",
    RecipientFate.BOUNCED: "5.7.1",
}

# The part that people read: whose language it is nobody knows, so that English
# follows any other.
_WORDS: dict[str, dict[str, str]] = {
    "en": {
        "head": "This is the mail system at {hostname}.",
        "lost": "Your message could not be delivered to:",
        RecipientFate.REFUSED: "the next mail server refused it",
        RecipientFate.EXPIRED: "it was held for review for the longest time allowed",
        RecipientFate.BOUNCED: "a postmaster decided not to deliver it",
    },
    "fr": {
        "head": "Ici le serveur de courrier {hostname}.",
        "lost": "Votre message n'a pas pu être remis à\N{NO-BREAK SPACE}:",
        RecipientFate.REFUSED: "le serveur suivant l'a refusé",
        RecipientFate.EXPIRED: "il est resté en examen jusqu'au délai maximal",
        RecipientFate.BOUNCED: "un responsable a décidé de ne pas le remettre",
    },
}


@dataclass(frozen=True, slots=True)
class Report:
    """A notification ready to be sent: its content is in wire form."""

    envelope: Envelope
    content: bytes


def may_tell(message: HeldMessage, position: int, fate: RecipientFate) -> bool:
    """Whether the sender wants to hear of this fate of a recipient."""
    if fate not in _STATUS:
        return False
    envelope = message.submission.envelope
    if envelope.is_null:
        return False
    notify = envelope.recipients[position].parameter("NOTIFY")
    return notify is None or "FAILURE" in notify.upper().split(",")


def failure_report(
    message: HeldMessage,
    fates: Mapping[int, RecipientFate],
    replies: Mapping[int, Reply],
    header: bytes,
    hostname: str,
    when: datetime,
    language: str = "en",
) -> Report | None:
    """Return the notification about the failed recipients, or None.

    ``fates`` and ``replies`` are by position; ``header`` is the original's header
    block in wire form; ``when`` is an aware datetime. The part for people is in
    ``language`` (``en`` or ``fr``) and in English.
    """
    told = sorted(
        position
        for position, fate in fates.items()
        if may_tell(message, position, fate)
    )
    if not told:
        return None
    original = message.submission.envelope
    recipients = [original.recipients[position] for position in told]
    utf8 = not all(
        address.isascii()
        for address in (original.sender, *(r.address for r in recipients))
    )
    boundary = f"=_mailshaper_{message.id}"
    kind = "global-delivery-status" if utf8 else "delivery-status"
    lines = [
        f"Date: {format_datetime(when)}",
        f"From: Mail Delivery System <MAILER-DAEMON@{hostname}>",
        f"To: <{_short(original.sender)}>",
        f"Message-ID: <{message.id}.dsn.{told[0]}@{hostname}>",
        "Subject: Undelivered mail returned to sender",
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type={kind}; boundary="{boundary}"',
        "",
        f"--{boundary}",
        "Content-Type: text/plain; charset=utf-8",
        "Content-Transfer-Encoding: 8bit",
        "",
    ]
    for spoken in dict.fromkeys((language, "en")):
        lines += _told(
            _WORDS[spoken],
            hostname,
            list(zip(told, recipients, strict=True)),
            fates,
            replies,
        )
    lines += [
        f"--{boundary}",
        f"Content-Type: message/{kind}",
        *(["Content-Transfer-Encoding: 8bit"] if utf8 else []),
        "",
        f"Reporting-MTA: dns; {hostname}",
    ]
    if envid := original.parameter("ENVID"):
        lines.append(f"Original-Envelope-Id: {_short(envid)}")
    for position, recipient in zip(told, recipients, strict=True):
        lines.append("")
        lines += _fields(recipient, fates[position], replies.get(position))
    lines += [
        "",
        f"--{boundary}",
        f"Content-Type: {'message/global-headers' if utf8 else 'text/rfc822-headers'}",
        "Content-Transfer-Encoding: 8bit",
        "",
    ]
    head = "".join(f"{line}\r\n" for line in lines).encode("utf-8", "surrogateescape")
    tail = f"\r\n--{boundary}--\r\n".encode()
    envelope = Envelope(
        "",
        (Recipient(original.sender),),
        ("BODY=8BITMIME", "SMTPUTF8") if utf8 else ("BODY=8BITMIME",),
    )
    # The generated lines never begin with a dot; the header block still has
    # the dots that were stuffed on its way in (RFC 5321 4.5.2).
    return Report(envelope, head + _whole_lines(header) + tail)


def _told(
    words: Mapping[str, str],
    hostname: str,
    recipients: list[tuple[int, Recipient]],
    fates: Mapping[int, RecipientFate],
    replies: Mapping[int, Reply],
) -> list[str]:
    """Return the lines that people read."""
    lines = [words["head"].format(hostname=hostname), "", words["lost"], ""]
    for position, recipient in recipients:
        lines.append(f"  <{_short(recipient.address)}>: {words[fates[position]]}")
        if position in replies:
            lines.append(f"    {_short(replies[position].text)}")
    return [*lines, ""]


def _fields(
    recipient: Recipient, fate: RecipientFate, reply: Reply | None
) -> list[str]:
    """Return the per-recipient fields (RFC 3464 2.3; RFC 6533 3 for UTF-8)."""
    fields = []
    if orcpt := recipient.parameter("ORCPT"):
        fields.append(f"Original-Recipient: {_short(orcpt)}")
    kind = "rfc822" if recipient.address.isascii() else "utf-8"
    status = (reply.enhanced if reply else None) or _STATUS[fate]
    # RFC 3464 2.3.4 "failed": the status class must not say "delayed".
    if fate is not RecipientFate.EXPIRED and not status.startswith("5"):
        status = _STATUS[fate]
    fields += [
        f"Final-Recipient: {kind}; {_short(recipient.address)}",
        "Action: failed",
        f"Status: {status}",
    ]
    if reply is not None and not reply.synthetic:
        fields.append(f"Diagnostic-Code: smtp; {_short(reply.text)}")
    return fields


def _short(text: str) -> str:
    """Return outside text harmless and short enough for a line (RFC 5322 2.1.1)."""
    return bland(text).encode()[:_MOST_VALUE].decode(errors="ignore")


def _whole_lines(header: bytes) -> bytes:
    """Return the header cut to a bounded number of whole lines."""
    if len(header) > _MOST_HEADER:
        header = header[: header.rfind(b"\r\n", 0, _MOST_HEADER) + 2]
    return header if header.endswith(b"\r\n") or not header else header + b"\r\n"
