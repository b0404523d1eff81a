"""Read complaints: ARF reports and the forms of providers that predate it.

RFC 5965 (the format), RFC 6591 (authentication failures), RFC 6650 (use). The
recipient is often redacted; then the message id, the trace field or the
envelope sender of the returned message must identify what was complained about.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from shaper.feedback.mime import Headers, Part, parse_headers
from shaper.feedback.reply import ADDRESS

__all__ = ["Complaint", "read_complaints"]

MAX_COMPLAINTS = 100
_ADDRESS = re.compile(ADDRESS)
_OLD_SUBJECT = re.compile(
    r"complaint about message from [\da-fA-F.:]{3,45}", re.IGNORECASE
)
_RECIPIENT_FIELDS = ("original-rcpt-to", "removal-recipient", "original-recipient")
_OLD_FIELDS = (
    "x-hmxmroriginalrecipient",  # Microsoft's Junk Mail Reporting Program
    "x-hmhmxmroriginalrecipient",
    "x-apple-original-recipient",
)


@dataclass(frozen=True, slots=True)
class Complaint:
    """One complaint; recipients are empty when redacted away."""

    feedback_type: str
    recipients: tuple[str, ...]
    sender: str = ""
    source: str = ""  # Source-IP
    agent: str = ""
    text: str = ""
    returned: Headers = field(default_factory=Headers)


def _addresses(values: list[str]) -> list[str]:
    found: dict[str, str] = {}
    for value in values:
        for match in _ADDRESS.finditer(value[:2000]):
            found.setdefault(match[0].lower(), match[0])
    return list(found.values())[:MAX_COMPLAINTS]


def _fields(part: Part) -> Headers:
    lines = [line for line in part.text.split("\n") if line.strip()]
    return parse_headers([line.encode("utf-8", "replace") for line in lines])[0]


def _returned(parts: list[Part], start: int) -> Headers:
    """Return the header of the message complained about, behind a report."""
    for part in parts[start:]:
        if part.content_type == "message/feedback-report":
            break
        if part.content_type in (
            "message/rfc822",
            "text/rfc822-headers",
            "message/rfc822-headers",
            "message/global",
        ):
            headers, _ = parse_headers(_unindented(part))
            if headers:
                return headers
    return Headers()


def _unindented(part: Part) -> list[bytes]:
    lines = part.text.split("\n")
    first = next((i for i, line in enumerate(lines) if line.strip()), 0)
    return [line.encode("utf-8", "replace") for line in lines[first:]]


def _one(report: Headers, returned: Headers, text: str) -> Complaint:
    recipients = _addresses([v for f in _RECIPIENT_FIELDS for v in report.all(f)])
    if not recipients:
        recipients = _addresses([v for f in _OLD_FIELDS for v in returned.all(f)])
    if not recipients:
        recipients = _addresses(returned.all("to")[:1])[:1]
    if not recipients:
        recipients = _addresses(returned.all("x-original-to")[:1])[:1]
    senders = _addresses(
        report.all("original-mail-from") or returned.all("return-path")
    )
    return Complaint(
        feedback_type=report.get("feedback-type", "abuse")
        .split("(")[0]
        .strip()
        .lower(),
        recipients=tuple(recipients),
        sender=senders[0] if senders else "",
        source=report.get("source-ip") or report.get("source"),
        agent=report.get("user-agent"),
        text=text,
        returned=returned,
    )


def read_complaints(parts: list[Part]) -> list[Complaint]:
    """Return the complaints that a mail carries; empty when it is none."""
    if not parts:
        return []
    plain = (p for p in parts if p.content_type == "text/plain" and p.lines)
    text = " ".join(p.text[:2000].split()) if (p := next(plain, None)) else ""
    found = [
        _one(_fields(part), _returned(parts, number + 1), text)
        for number, part in enumerate(parts)
        if part.content_type == "message/feedback-report"
    ][:MAX_COMPLAINTS]
    if found:
        return found
    top = parts[0].headers
    subject, sender = top.get("subject"), top.get("from").lower()
    old = _OLD_SUBJECT.search(subject) and (
        "hotmail" in sender
        or "live.com" in sender
        or "outlook" in sender
        or "staff@" in sender
    )
    if old or top.get("x-loop").strip().lower() == "scomp":
        returned = _returned(parts, 1)
        if not returned:
            return []
        return [_one(Headers(), returned, subject)]
    return []
