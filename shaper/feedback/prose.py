"""Find recipients and diagnostics in bounces that follow no standard.

Two sources, in this order: forms of whole families of servers (an address in
angle brackets that opens a paragraph, an indented address line, "Unknown user:
x"), and flufl.bounce, whose detectors know sixteen more. Text behind the mark
that introduces the returned message is never searched, since it is the sender's
own and may say anything.

The texts come bounded from ``shaper.feedback.mime``; all patterns are linear.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from email import message_from_bytes, policy
from functools import cached_property
from typing import TYPE_CHECKING

from flufl.bounce import all_failures

from shaper.feedback.reply import ADDRESS
from shaper.feedback.transcript import read_transcript

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "Finding",
    "Prose",
    "failures",
    "find_failures",
    "mentioned",
    "split_returned",
]

MAX_FINDINGS = 200
_MAX_DIAGNOSTIC = 2000
# It logs a traceback before it raises; we answer for what it raises here.
logging.getLogger("flufl.bounce").setLevel(logging.CRITICAL + 1)
_MAX_LINES = 600
_FLUFL_BYTES = 128 * 1024
_FLUFL_LINES = 3000

# Where the returned message begins.
_MARK = re.compile(
    r"^[ \t>|*=_-]{0,80}(?:"
    r"below this line is a copy of the message|"
    r"(?:this is|enclosed is|the following is|included is|here is|attached is|below is) (?:a )?(?:copy|the copy|your) ?(?:of )?(?:the|your)?[^\n]{0,40}(?:message|mail|header)|"
    r"(?:the )?(?:headers? of the |start of |start )?(?:original|returned|unsent|undelivered|bounced) (?:e-?mail |mail )?(?:message|mail)(?: (?:headers?|text|follows?|details|starts?|begins?|attached|is|was))*\b[^\n]{0,30}[:. -]*$|"
    r"message (?:text|header|headers|body|contents?) follows?|"
    r"(?:--- ?)?(?:the )?headers? (?:of (?:the|your) (?:original )?(?:message|mail))|"
    r"message headers? follow|"
    r"returned mail follows|old message:|original message:|message header:"
    r")",
    re.IGNORECASE | re.MULTILINE,
)
_HEADER_DUMP = re.compile(
    r"^(?:Return-Path|Received|Delivered-To|X-Received):", re.IGNORECASE | re.MULTILINE
)

_BRACKETED = re.compile(rf"^[ \t*]{{0,3}}[<\"]({ADDRESS})[>\"][:.]{{0,2}}[ \t]*(.*)$")
_ALONE = re.compile(
    rf"^[ \t*-]{{0,40}}(?:To: )?<?({ADDRESS})>?[ \t]*:?[ \t]*(\((?:generated|expanded|ultimately)[^)\n]{{0,200}}\)?)?$",
    re.IGNORECASE,
)
_DOTTED = re.compile(rf"^[ \t]{{0,8}}<?({ADDRESS})>? ?(?:\.\.\.|:| - |; )[ \t]*(.+)$")
_LABELLED = re.compile(
    r"^[ \t]{0,8}(unknown user|unknown local user|invalid final delivery userid|undeliverable to|"
    r"user mailbox exceeds allowed size|delivery failed \d{1,4} attempts|could not be delivered to|"
    r"(?:was )?unable to deliver (?:message|mail|your message) to|recipient address|failed recipient|recipient|"
    r"undeliverable address|intended recipient|addressed to|delivery to|failed to deliver to|mailbox|user|"
    r"final recipient|rcpt to|message to|to address|error sending message to|your message to|"
    r"the following address failed|destinataire|empf.nger|user not listed in public name & address book)(?:[ \t]{0,4}(?::|is|was)[ \t]*|[ \t]+)"
    rf"[<'\"\[(]{{0,2}}(?:smtp:|rfc822;)?({ADDRESS})(.*)$",
    re.IGNORECASE,
)
_ZOHO = (
    re.compile(
        rf"address: <({ADDRESS})>, responsecode ([^\]\n]{{0,500}})", re.IGNORECASE
    ),
    re.compile(
        rf"^({ADDRESS}) (Invalid Address, ERROR_CODE :.{{0,500}})", re.MULTILINE
    ),
)
_PLAIN = re.compile(rf"(?<![\w.+@=/:-])({ADDRESS})")


@dataclass(frozen=True, slots=True)
class Finding:
    """A recipient and the text beside it."""

    recipient: str
    diagnostic: str = ""
    phase: str = ""  # where the text itself does not tell it


def split_returned(text: str) -> tuple[str, str]:
    """Split a text into what the server wrote and the returned message."""
    cut = len(text)
    head = text[:64]
    if mark := _MARK.search(text):
        cut = mark.start()
    if (dump := _HEADER_DUMP.search(text)) and dump.start() > len(head):
        cut = min(cut, dump.start())
    return text[:cut], text[cut:]


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
        if size > _MAX_DIAGNOSTIC:
            break
    return " ".join(kept)


def failures(text: str) -> list[Finding]:
    """Return the recipients that a server's own text names as failed."""
    lines = [line[:1000] for line in text.split("\n", _MAX_LINES)[:_MAX_LINES]]
    found: dict[str, Finding] = {}

    def note(address: str, diagnostic: str) -> None:
        key = address.lower().rstrip(".")
        old = found.get(key)
        if old is None or (len(old.diagnostic) < 12 and diagnostic):  # noqa: PLR2004
            found[key] = Finding(address.rstrip("."), diagnostic[:_MAX_DIAGNOSTIC])

    for pattern in _ZOHO:
        for match in pattern.finditer(text[:40_000]):
            note(match[1], match[2])
    # The strictest form that finds anything is believed alone: a looser one also
    # takes addresses that are merely mentioned.
    for number, line in enumerate(lines if not found else []):
        if match := _BRACKETED.match(line):
            rest = match[2].strip()
            more = (
                _paragraph(lines, number + 1)
                if not _blank(lines, number + 1) or not rest
                else ""
            )
            note(match[1], f"{rest} {more}".strip())
    if not found:
        for step in read_transcript(text):
            if step.recipient:
                key = step.recipient.lower()
                found.setdefault(key, Finding(step.recipient, step.reply, step.phase))
    if not found:
        for number, line in enumerate(lines):
            if match := _LABELLED.match(line):
                note(match[2], _paragraph(lines, number, paragraphs=2))
    if not found:
        for number, line in enumerate(lines):
            if (match := _ALONE.match(line)) and number:
                note(match[1], _paragraph(lines, number + 1, paragraphs=3))
            elif match := _DOTTED.match(line):
                note(match[1], f"{match[2]} {_paragraph(lines, number + 1)}".strip())
    return list(found.values())[:MAX_FINDINGS]


def _blank(lines: list[str], number: int) -> bool:
    return number >= len(lines) or not lines[number].strip()


class Prose:
    """What the server's own text says, looked up by recipient.

    A report may name a thousand recipients, so the text is taken apart once.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.lowered = text.lower()

    @cached_property
    def failures(self) -> list[Finding]:
        """The recipients that the text names as failed."""
        return failures(self.text)

    @cached_property
    def _known(self) -> dict[str, Finding]:
        known: dict[str, Finding] = {}
        for step in read_transcript(self.text):
            if step.recipient:
                finding = Finding(step.recipient, step.reply, step.phase)
                known.setdefault(step.recipient.lower(), finding)
        for finding in self.failures:
            if finding.diagnostic:
                known.setdefault(finding.recipient.lower(), finding)
        return known

    @cached_property
    def _lines(self) -> list[str]:
        return self.text.split("\n", _MAX_LINES)[:_MAX_LINES]

    @cached_property
    def _lowered_lines(self) -> list[str]:
        return [line.lower() for line in self._lines]

    def beside(self, recipient: str) -> Finding:
        """Return what the text says about a recipient, or the text as a whole."""
        wanted = recipient.lower()
        if (known := self._known.get(wanted)) is not None:
            return known
        if wanted and wanted in self.lowered:
            for number, line in enumerate(self._lowered_lines):
                if wanted in line:
                    near = self._lines[max(0, number - 3) : number + 12]
                    joined = " ".join(part.strip() for part in near if part.strip())
                    return Finding(recipient, joined[:_MAX_DIAGNOSTIC])
        return Finding(recipient, " ".join(self.text[:_MAX_DIAGNOSTIC].split()))


def mentioned(text: str, without: Iterable[str]) -> list[str]:
    """Return the distinct addresses of a text, except some."""
    known = {address.lower() for address in without}
    found: dict[str, str] = {}
    for match in _PLAIN.finditer(text[:20_000]):
        key = match[1].lower().rstrip(".")
        if key not in known:
            found.setdefault(key, match[1].rstrip("."))
        if len(found) > 8:  # noqa: PLR2004 - more is no bounce of one message
            break
    return list(found.values())


def find_failures(data: bytes, *, depth: int) -> tuple[list[str], list[str]]:
    """Ask flufl.bounce; return temporary and permanent recipients.

    Its parser is the standard library's, so it only sees what is small and flat
    enough for that.
    """
    if depth > 12 or data.count(b"\n--", 0, _FLUFL_BYTES) > 200:  # noqa: PLR2004
        return [], []
    head = data[:_FLUFL_BYTES].replace(b"\0", b"")
    lines = head.split(b"\n")
    if len(lines) > _FLUFL_LINES or max(map(len, lines)) > 4000:  # noqa: PLR2004
        head = b"\n".join(line[:4000] for line in lines[:_FLUFL_LINES])
    try:
        message = message_from_bytes(head, policy=policy.compat32)
        if not message.get("from", "").strip():
            message["From"] = "<>"  # one of its detectors insists on a sender
        temporary, permanent = all_failures(message)
    # What its detectors were seen to raise on broken mail: bad charsets, missing
    # parts (None), odd headers. A library's list of failures is not ours to fix.
    except (
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        AssertionError,
        RecursionError,
    ):
        return [], []
    return _texts(temporary), _texts(permanent)


def _texts(addresses: Iterable[object]) -> list[str]:
    texts = (
        a.decode("utf-8", "replace") if isinstance(a, bytes) else str(a)
        for a in addresses
    )
    return sorted(t for t in texts if t)[:MAX_FINDINGS]
