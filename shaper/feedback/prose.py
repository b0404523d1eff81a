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
from dataclasses import replace
from email import message_from_bytes, policy
from functools import cached_property
from typing import TYPE_CHECKING

from flufl.bounce import all_failures

from shaper.feedback.forms import (
    MAX_DIAGNOSTIC,
    MAX_FINDINGS,
    MAX_LINES,
    Finding,
    failures,
)
from shaper.feedback.reply import ADDRESS
from shaper.feedback.transcript import Step, read_transcript

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "Prose",
    "find_failures",
    "mentioned",
    "split_returned",
]

# It logs a traceback before it raises; we answer for what it raises here.
logging.getLogger("flufl.bounce").setLevel(logging.CRITICAL + 1)
_FLUFL_BYTES = 128 * 1024
_FLUFL_LINES = 3000

# Where the returned message begins.
_MARKS = (
    r"below this line is a copy of the message",
    (
        r"(?:this|enclosed|the following|included|here|attached|below) is "
        r"(?:a )?(?:copy|the copy|your) ?(?:of )?(?:the|your)?"
        r"[^\n]{0,40}(?:message|mail|header)"
    ),
    (
        r"(?:the )?(?:headers? of the |start of |start )?"
        r"(?:original|returned|unsent|undelivered|bounced) (?:e-?mail |mail )?"
        r"(?:message|mail)"
        r"(?: (?:headers?|text|follows?|details|starts?|begins?|attached|is|was))*"
        r"\b[^\n]{0,30}[:. -]*$"
    ),
    r"message (?:text|header|headers|body|contents?) follows?",
    r"(?:the )?headers? of (?:the|your) (?:original )?(?:message|mail)",
    r"message headers? follow",
    r"returned mail follows|old message:|original message:|message header:",
)
_MARK = re.compile(
    rf"^[ \t>|*=_-]{{0,80}}(?:{'|'.join(_MARKS)})", re.IGNORECASE | re.MULTILINE
)
_HEADER_DUMP = re.compile(
    r"^(?:Return-Path|Received|Delivered-To|X-Received):", re.IGNORECASE | re.MULTILINE
)

_PLAIN = re.compile(rf"(?<![\w.+@=/:-])({ADDRESS})")


def split_returned(text: str) -> tuple[str, str]:
    """Split a text into what the server wrote and the returned message."""
    cut = len(text)
    head = text[:64]
    if mark := _MARK.search(text):
        cut = mark.start()
    if (dump := _HEADER_DUMP.search(text)) and dump.start() > len(head):
        cut = min(cut, dump.start())
    return text[:cut], text[cut:]


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
    def _steps(self) -> list[Step]:
        return read_transcript(self.text)

    @cached_property
    def _phase(self) -> str:
        """The command of a refusal that the session does not tie to a recipient."""
        return next((step.phase for step in self._steps if not step.recipient), "")

    @cached_property
    def _known(self) -> dict[str, Finding]:
        known: dict[str, Finding] = {}
        for step in self._steps:
            if step.recipient:
                finding = Finding(step.recipient, step.reply, step.phase)
                known.setdefault(step.recipient.lower(), finding)
        for finding in self.failures:
            if finding.diagnostic:
                told = replace(finding, phase=finding.phase or self._phase)
                known.setdefault(finding.recipient.lower(), told)
        return known

    @cached_property
    def _lines(self) -> list[str]:
        return self.text.split("\n", MAX_LINES)[:MAX_LINES]

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
                    return Finding(recipient, joined[:MAX_DIAGNOSTIC], self._phase)
        whole = " ".join(self.text[:MAX_DIAGNOSTIC].split())
        return Finding(recipient, whole, self._phase)


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
