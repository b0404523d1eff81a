"""The forms in which servers without DSNs name the recipients that failed.

Each form is one function: it takes the server's own text and yields findings.
They are asked from the strictest to the loosest, and the first that finds
anything is believed alone, since a looser one also takes addresses that are only
mentioned. All patterns are linear.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shaper.feedback.reply import ADDRESS
from shaper.feedback.transcript import read_transcript

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MAX_DIAGNOSTIC", "MAX_FINDINGS", "MAX_LINES", "Finding", "failures"]

MAX_FINDINGS = 200
MAX_DIAGNOSTIC = 2000  # characters
MAX_LINES = 600  # of the server's own text
_MAX_LINE = 1000
_SHORT = 12  # a diagnostic that a second mention may replace

_BRACKETED = re.compile(rf"^[ \t*]{{0,3}}[<\"]({ADDRESS})[>\"][:.]{{0,2}}[ \t]*(.*)$")
_ALONE = re.compile(
    rf"^[ \t*-]{{0,40}}(?:To: )?<?({ADDRESS})>?[ \t]*:?[ \t]*"
    r"(?:\((?:generated|expanded|ultimately)[^)\n]{0,200}\)?)?$",
    re.IGNORECASE,
)
_DOTTED = re.compile(rf"^[ \t]{{0,8}}<?({ADDRESS})>? ?(?:\.\.\.|:| - |; )[ \t]*(.+)$")
_LABELS = (
    "unknown user",
    "unknown local user",
    "invalid final delivery userid",
    "undeliverable to",
    "undeliverable address",
    "user mailbox exceeds allowed size",
    r"delivery failed \d{1,4} attempts",
    "could not be delivered to",
    "(?:was )?unable to deliver (?:message|mail|your message) to",
    "failed to deliver to",
    "error sending message to",
    "delivery to",
    "message to",
    "your message to",
    "recipient address",
    "failed recipient",
    "intended recipient",
    "final recipient",
    "recipient",
    "addressed to",
    "rcpt to",
    "to address",
    "mailbox",
    "user",
    "the following address failed",
    "user not listed in public name & address book",
    "destinataire",
    "empf.nger",
)
_LABELLED = re.compile(
    rf"^[ \t]{{0,8}}(?:{'|'.join(_LABELS)})(?:[ \t]{{0,4}}(?::|is|was)[ \t]*|[ \t]+)"
    rf"[<'\"\[(]{{0,2}}(?:smtp:|rfc822;)?({ADDRESS})",
    re.IGNORECASE,
)
_ZOHO = (
    re.compile(rf"address: <({ADDRESS})>, responsecode ([^\]\n]{{0,500}})", re.I),  # noqa: FURB167 - the line is full
    re.compile(rf"^({ADDRESS}) (Invalid Address, ERROR_CODE :.{{0,500}})", re.M),  # noqa: FURB167
)


@dataclass(frozen=True, slots=True)
class Finding:
    """A recipient and the text beside it."""

    recipient: str
    diagnostic: str = ""
    phase: str = ""  # where the text itself does not tell it


def _paragraph(lines: list[str], start: int, *, paragraphs: int = 1) -> str:
    """Return the lines from ``start``, over so many paragraphs."""
    kept: list[str] = []
    size = 0
    for line in lines[start : start + 40]:
        stripped = line.strip()
        if not stripped:
            if kept and (paragraphs := paragraphs - 1) <= 0:
                break
            continue
        if kept and (_BRACKETED.match(line) or _ALONE.match(line)):
            break
        kept.append(stripped)
        size += len(stripped)
        if size > MAX_DIAGNOSTIC:
            break
    return " ".join(kept)


def _zoho(text: str, lines: list[str]) -> Iterator[Finding]:
    """Zoho: "Address: <x>, ResponseCode 421, ..." and "x Invalid Address, ..."."""
    del lines
    for pattern in _ZOHO:
        for match in pattern.finditer(text[:40_000]):
            yield Finding(match[1], match[2])


def _bracketed(text: str, lines: list[str]) -> Iterator[Finding]:
    """qmail, Postfix, Yahoo: "<x>: text", a paragraph each."""
    del text
    for number, line in enumerate(lines):
        if match := _BRACKETED.match(line):
            rest = match[2].strip()
            following = number + 1 < len(lines) and lines[number + 1].strip()
            more = _paragraph(lines, number + 1) if following or not rest else ""
            yield Finding(match[1], f"{rest} {more}".strip())


def _transcribed(text: str, lines: list[str]) -> Iterator[Finding]:
    """Sendmail and Postfix's postmaster notices: a quoted session."""
    del lines
    for step in read_transcript(text):
        if step.recipient:
            yield Finding(step.recipient, step.reply, step.phase)


def _labelled(text: str, lines: list[str]) -> Iterator[Finding]:
    """IMail, MailFoundry, EZweb and others: "Unknown user: x"."""
    del text
    for number, line in enumerate(lines):
        if match := _LABELLED.match(line):
            yield Finding(match[1], _paragraph(lines, number, paragraphs=2))


def _standing_alone(text: str, lines: list[str]) -> Iterator[Finding]:
    """Exim, Gmail, OpenSMTPD: the address on its own line, or "x: text"."""
    del text
    for number, line in enumerate(lines):
        if (match := _ALONE.match(line)) and number:
            yield Finding(match[1], _paragraph(lines, number + 1, paragraphs=3))
        elif match := _DOTTED.match(line):
            more = _paragraph(lines, number + 1)
            yield Finding(match[1], f"{match[2]} {more}".strip())


_FORMS = (_zoho, _bracketed, _transcribed, _labelled, _standing_alone)


def failures(text: str) -> list[Finding]:
    """Return the recipients that a server's own text names as failed."""
    lines = [line[:_MAX_LINE] for line in text.split("\n", MAX_LINES)[:MAX_LINES]]
    found: dict[str, Finding] = {}
    for form in _FORMS:
        for finding in form(text, lines):
            address = finding.recipient.rstrip(".")
            old = found.get(address.lower())
            if old is None or (len(old.diagnostic) < _SHORT and finding.diagnostic):
                text_beside = finding.diagnostic[:MAX_DIAGNOSTIC]
                found[address.lower()] = Finding(address, text_beside, finding.phase)
        if found:
            break
    return list(found.values())[:MAX_FINDINGS]
