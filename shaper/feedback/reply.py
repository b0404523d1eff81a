"""Read what a server said: digits, enhanced status, phase, recipient.

The input is any text that quotes an SMTP reply: the reply itself (also of many
lines), a Postfix or Exim diagnostic, the Diagnostic-Code of a DSN or the prose
of a bounce. Nothing here judges. Total: every text gives a ``Said``, in time
linear in the (bounded) length.

RFC 5321 4.2 (replies), RFC 2034 and RFC 3463 (enhanced status).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from shaper.core.meaning import LOCAL, Signals, Table, judge
from shaper.core.outcome import Kind, Meaning, Outcome
from shaper.core.reply import queue_id

if TYPE_CHECKING:
    from shaper.core.reply import Reply

__all__ = [
    "Said",
    "find_address",
    "outcome_of_reply",
    "outcome_of_text",
    "parse_said",
    "prefer_status",
]

MAX_TEXT = 4000

_CODE = re.compile(
    r"(?:^|[\s:'\"(\[<>=;,#-])(2(?:1[14]|2[01]|35|5[0-3])|[45][0-5]\d)"
    r"(?=$|\s|-[^\s.,]|- |:[ ]|[,;'\"](?:$|\s))"
    # "421 seconds": a number of something.
    r"(?![ ](?:bytes|days?|hours?|seconds?|minutes?|more|[kKmM]?B\b|times|attempts))"
)
_STATUS = re.compile(r"(?<![\w.])([245]\.\d{1,3}\.\d{1,3})(?!\d|\.\d|\w)")
_AFTER_CODE = re.compile(
    r"[-: ]{1,3}['\"#(\[]{0,2}([245]\.\d{1,3}\.\d{1,3})(?!\d|\.\d)"
)
_QMAIL_STATUS = re.compile(r"\(#([245]\.\d{1,3}\.\d{1,3})\)")
# "Exim 4.80.1", "version 2.0.1": numbers of programs, not statuses.
_VERSION = re.compile(
    r"(?:exim|version|v|postfix|sendmail|release|build)\s*$", re.IGNORECASE
)

_PHASES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), phase)
    for pattern, phase in (
        # Postfix says "(in reply to RCPT TO command)".
        (r"in reply to (?:the )?(?:end of data|\.)", "end"),
        (r"in reply to (?:the )?data", "data"),
        (r"in reply to (?:the )?rcpt", "rcpt"),
        (r"in reply to (?:the )?mail", "mail"),
        (r"in reply to (?:the )?(?:ehlo|helo|lhlo)", "ehlo"),
        # Exim says "SMTP error from remote mail server after RCPT TO".
        (r"after (?:pipelined )?end of data", "end"),
        (r"after (?:pipelined )?(?:sending )?data", "data"),
        (r"after (?:pipelined )?rcpt (?:to|command)", "rcpt"),
        (r"after (?:pipelined )?mail command", "mail"),
        (r"most progress was rcpt to response", "rcpt"),
        (r"most progress was (?:mail from|helo|ehlo|greeting)", "mail"),
        (r"after (?:pipelined )?mail from", "mail"),
        (r"after (?:ehlo|helo|lhlo)", "ehlo"),
        (r"after (?:initial connection|connect)|initial server greeting", "connect"),
        (r"refused to talk to me|but greeting failed", "connect"),
        # qmail
        (r"does not like recipient", "rcpt"),
        (r"but sender was rejected|does not like (?:the |your )?sender", "mail"),
        (r"but my name was rejected", "ehlo"),
        (r"failed on data command", "data"),
        (r"failed after i sent the message", "end"),
        # DragonFly says "did not like our RCPT TO".
        (r"did not like our rcpt", "rcpt"),
        (r"did not like our mail", "mail"),
        (r"did not like our data", "data"),
        (r"did not like our (?:final )?(?:\.|eom)", "end"),
        # Yahoo appends the command in brackets.
        (r"\[rcpt_to\]", "rcpt"),
        (r"\[mail_from\]", "mail"),
        (r"\[(?:data|body)\]", "end"),
        (r"\[(?:helo|ehlo)\]", "ehlo"),
        # Gmail numbers its states.
        (r"\(state 1[34]\)", "rcpt"),
        (r"\(state 1[5678]\)", "end"),
        # Postfix lost the connection "while sending RCPT TO".
        (r"while sending rcpt", "rcpt"),
        (r"while sending mail", "mail"),
        (r"while sending end of data", "end"),
        (r"while sending (?:data|message)", "data"),
        (r"error from remote (?:mail )?server after transfer of mail text", "end"),
        # m-FILTER prints the command below its own line.
        (r"smtp command\s{1,9}rcpt", "rcpt"),
        (r"smtp command\s{1,9}(?:data|\.)", "data"),
        # Ours and sendmail's own transcripts
        (r"^\s*(?:>>>\s*)?rcpt to:", "rcpt"),
        (r"\brcpt to:\s?<[^<>\s]{1,255}>:?\s", "rcpt"),
    )
)

_LOCAL_PART = r"[^\s<>@:;,\"'()\[\]\\|]{1,128}"
_DOMAIN = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252}[A-Za-z0-9_])?"
_QUOTED = r"\"[^\"\r\n]{1,128}\""
ADDRESS = rf"(?:{_QUOTED}|{_LOCAL_PART})@(?:{_DOMAIN}|\[[0-9a-fA-F.:IPv]{{2,60}}\])"
_RCPT = re.compile(rf"rcpt to:\s?<({ADDRESS})>", re.IGNORECASE)
_ANGLE = re.compile(rf"<({ADDRESS})>")
_PLAIN = re.compile(rf"(?<![\w.+@=-])({ADDRESS})")
_UNWANTED = re.compile(
    r"(?:mail )?from:?\s*<?$|sender[^<]{0,20}<?$|f=\[?$", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Said:
    """The pieces of a quoted reply; "" for what is not told."""

    code: str
    status: str
    phase: str
    recipient: str
    text: str

    def signals(self, *, phase: str = "", status: str = "") -> Signals:
        """Return what the judge needs, with better knowledge where given."""
        return Signals(
            status or self.status,
            self.code,
            self.text,
            self.phase or phase,
            self.recipient,
        )


def prefer_status(*candidates: str) -> str:
    """Return the most telling status: the first that is not generic.

    A gateway that wraps "550 5.1.1" into "5.0.0" lost nothing but precision
    (RFC 3463 2). The class of the first candidate is not overruled by that of a
    later one, since "4.0.0 Action: delayed" quoting a 5.x.x has not given up.
    """
    best = ""
    for status in candidates:
        if not status:
            continue
        if not best or (
            _is_generic(best) and not _is_generic(status) and best[0] == status[0]
        ):
            best = status
    return best


def _is_generic(status: str) -> bool:
    parts = status.split(".")
    return parts[1] == "0" or parts[2] == "0"


def _find_status(text: str, code: str, code_end: int) -> str:
    if code:
        adjacent = _AFTER_CODE.match(text, code_end)
        if adjacent:
            return adjacent[1]
    if qmail := _QMAIL_STATUS.search(text):
        return qmail[1]
    found: list[str] = []
    for match in _STATUS.finditer(text):
        subject = int(match[1].split(".")[1])
        before = text[max(0, match.start() - 12) : match.start()]
        if subject > 7 or _VERSION.search(before):  # noqa: PLR2004 - RFC 3463 3: subjects 0 to 7
            continue
        if code and match[1][0] != code[0]:
            continue
        found.append(match[1])
        if len(found) == 4:  # noqa: PLR2004 - later ones belong to other commands
            break
    return prefer_status(*found)


def find_address(text: str) -> str:
    """Return the recipient that a diagnostic names, or ""."""
    text = text[:MAX_TEXT]
    if match := _RCPT.search(text):
        return match[1]
    for pattern in (_ANGLE, _PLAIN):
        for match in pattern.finditer(text):
            before = text[max(0, match.start() - 24) : match.start()]
            if not _UNWANTED.search(before):
                return match[1].rstrip(".")
    return ""


def parse_said(text: str) -> Said:
    """Take a text apart. Total and linear; reads the first 4,000 characters."""
    return _parse(text[:MAX_TEXT])


@lru_cache(maxsize=256)  # one bounce may quote one text for a thousand recipients
def _parse(text: str) -> Said:
    match = _CODE.search(text)
    # "timed out after 421 seconds" is behind the guard in the pattern; a bare number
    # in prose remains, so one that a status follows is preferred.
    for other in _CODE.finditer(text):
        if _AFTER_CODE.match(text, other.end(1)):
            match = other
            break
    code, end = (match[1], match.end(1)) if match else ("", 0)
    phase = ""
    for pattern, name in _PHASES:
        if pattern.search(text):
            phase = name
            break
    return Said(
        code=code,
        status=_find_status(text, code, end),
        phase=phase,
        recipient=find_address(text),
        text=text,
    )


def outcome_of_text(
    text: str,
    table: Table,
    *,
    kind: Kind = Kind.REPLY,
    recipient: str = "",
    status: str = "",
    phase: str = "",
) -> Outcome:
    """Judge one quoted reply; what the caller knows beats what the text says."""
    said = parse_said(text)
    best = prefer_status(status, said.status) if status else said.status
    # No digits and no command: the reporting server speaks of its own delivery.
    told = phase or ("" if said.code or said.status else LOCAL)
    signals = said.signals(phase=told, status=best)
    verdict = judge(replace(signals, recipient=recipient or said.recipient), table)
    final = verdict.permanent
    if kind is Kind.REPLY:
        # One answer to one attempt: see Outcome.permanent.
        final = verdict.meaning is Meaning.DEAD_ADDRESS
    return Outcome(
        kind=kind,
        meaning=verdict.meaning,
        recipient=recipient or said.recipient,
        status=best,
        code=said.code,
        permanent=final,
        reason=verdict.reason,
        diagnostic=said.text,
        rule=verdict.rule,
    )


def outcome_of_reply(
    reply: Reply,
    recipient: str,
    table: Table,
    *,
    sender: str = "",
    message_id: str = "",
) -> Outcome:
    """Judge what the next hop answered for one recipient.

    The phase is known here, so a user unknown at RCPT is told from one after the
    message. A lost connection is a synthetic 4yz and thereby temporary.
    """
    text = " ".join(reply.lines)[:MAX_TEXT]
    status = reply.enhanced or ""
    signals = Signals(status, str(reply.code), text, reply.phase.value, recipient)
    verdict = judge(signals, table)
    return Outcome(
        kind=Kind.REPLY,
        meaning=verdict.meaning,
        recipient=recipient,
        status=status,
        code=str(reply.code),
        permanent=verdict.meaning is Meaning.DEAD_ADDRESS,
        reason=verdict.reason,
        message_id=message_id,
        sender=sender,
        next_queue_id=queue_id(text) if reply.positive else "",
        diagnostic=text,
        rule=verdict.rule,
    )
