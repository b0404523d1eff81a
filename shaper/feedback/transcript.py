"""Read the SMTP sessions that bounces quote: who was refused, at which command.

Sendmail's ">>> RCPT To:<x>" and "<<< 550 ..." with its own verdict lines
("550 5.1.1 <x>... User unknown"), and the " In:" and " Out:" of Postfix's notices
to postmaster. The command matters: a recipient unknown at RCPT is unknown, one
"unknown" only after the message was sent is mostly a filter or a forward.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from shaper.feedback.reply import ADDRESS

__all__ = ["Step", "read_transcript"]

_MAX_LINES = 600
_MAX_STEPS = 200
_ADDRESS = re.compile(ADDRESS)
_REFUSED = re.compile(r"[45]\d\d(?:[- ]|$)")
_VERDICT = re.compile(
    rf"[45]\d\d[- ](?:[45]\.\d{{1,3}}\.\d{{1,3}} )?<?({ADDRESS})>?\.\.\. ?(.*)"
)
_COMMANDS = (
    ("rcpt", "rcpt"),
    ("mail", "mail"),
    ("data", "data"),
    ("ehlo", "ehlo"),
    ("helo", "ehlo"),
    (".", "end"),
)


@dataclass(frozen=True, slots=True)
class Step:
    """One refusal; ``recipient`` is "" when it is not told whose."""

    recipient: str
    phase: str
    reply: str


def _phase(command: str) -> str:
    command = command.strip().lower()
    for prefix, phase in _COMMANDS:
        if command.startswith(prefix):
            return phase
    return ""


def read_transcript(text: str) -> list[Step]:
    """Return the refusals of a quoted session, in order; [] without one."""
    if "\n Out:" in text and "\n In:" in text:
        return _postfix_session(text)
    if "transcript of session" in text.lower() or ">>>" in text:
        return _sendmail_session(text)
    return []


def _sendmail_session(text: str) -> list[Step]:
    steps: list[Step] = []
    phase = asked = heard = ""
    for raw in text.split("\n", _MAX_LINES)[:_MAX_LINES]:
        line = raw.strip()[:1000]
        if line.startswith(">>>"):
            phase, heard = _phase(line[3:]), ""
            match = _ADDRESS.search(line) if phase == "rcpt" else None
            asked = match[0] if match else ""
        elif line.startswith("<<<"):
            reply = line[3:].strip()
            if _REFUSED.match(reply):
                heard = f"{heard} {reply}".strip()[:2000]
                if phase and len(steps) < _MAX_STEPS:
                    steps.append(Step(asked, phase, reply))
        elif match := _VERDICT.match(line):
            if len(steps) < _MAX_STEPS:
                # "554 <x>... 550 Host unknown": the inner digits are the cause's.
                inner = match[2] if _REFUSED.match(match[2]) else line
                reply = f"{heard} {inner}".strip()
                steps.append(Step(match[1], phase if heard else "", reply))
            heard = ""
        elif "while talking to" in line.lower():
            phase = asked = heard = ""
    return steps


def _postfix_session(text: str) -> list[Step]:
    recipients: list[str] = []
    phase = refused = refused_phase = ""
    for raw in text.split("\n", _MAX_LINES)[:_MAX_LINES]:
        line = raw.strip()[:1000]
        if line.startswith("In:"):
            phase = _phase(line[3:]) or phase
            match = _ADDRESS.search(line) if phase == "rcpt" else None
            if match and len(recipients) < _MAX_STEPS:
                recipients.append(match[0])
        elif line.startswith("Out:") and _REFUSED.match(line[4:].strip()):
            refused, refused_phase = line[4:].strip(), phase
            if phase == "rcpt" and recipients:
                return [Step(recipients[-1], phase, refused)]
    return [Step(r, refused_phase, refused) for r in recipients if refused]
