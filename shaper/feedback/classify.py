"""Tell what any text from the mail world means: mails, replies, log lines.

The kind is recognised: a mail by its header, an mbox by its "From " line, else
each line for itself as a Postfix or Exim log line (with or without the syslog
prefix) or as a quoted reply. This is the engine of ``mailshaper classify``;
printing is the command's duty. Total, memory bounded by the caller's input.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from shaper.core.outcome import Kind, Meaning, Outcome
from shaper.feedback.exim_log import EximLog, is_exim_line
from shaper.feedback.mail import read_mail
from shaper.feedback.postfix_line import (
    Header,
    Intake,
    Notice,
    Payload,
    Queued,
    Removed,
    is_payload,
    parse_payload,
    split_prefix,
)
from shaper.feedback.postfix_log import DAEMONS, PostfixLog
from shaper.feedback.reply import outcome_of_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shaper.core.meaning import Table

__all__ = ["Told", "classify_bytes"]

MAX_MESSAGES = 100_000  # of one mbox
_ODD_LINES = 3
_HEADER_BYTES = 256 * 1024
# RFC 4155: a separator line follows an empty line.
_NEXT_IN_MBOX = re.compile(
    rb"(?<=\n\n)(?=From \S{1,320} {1,3}(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) [A-Z][a-z]{2} )"
)
_FIELD = re.compile(rb"[!-9;-~]{1,76}:(?:[ \t]|$)")
_MAIL_FIELDS = frozenset(
    b"return-path received from to date subject message-id mime-version content-type "
    b"delivered-to x-original-to envelope-to reply-to cc sender x-received "
    b"authentication-results dkim-signature x-failed-recipients auto-submitted "
    b"arc-seal x-apparently-to delivery-date x-envelope-to x-account-key".split()
)
_CONTINUES = re.compile(r"([245]\d\d)-")
# A date, a host, and a program with its process id: some syslog's line.
_SYSLOG = re.compile(
    r"(?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\dT[\d:.+Z-]{8,30}) "
    r"\S{1,255} [\w./-]{1,60}(?:\[\d+\])?: "
)


@dataclass(frozen=True, slots=True)
class Told:
    """An outcome, where it stood, and whether anything was understood at all."""

    outcome: Outcome
    line: int | None
    understood: bool


def _is_mail(data: bytes) -> bool:
    """Whether a text begins like a mail: two fields of RFC 5322, one well known."""
    seen = known = odd = 0
    for line in data[:_HEADER_BYTES].lstrip().split(b"\n"):
        if seen and line.startswith((b" ", b"\t")):
            continue
        if not _FIELD.match(line):
            # Mail clients that saved it may have unfolded a line badly.
            odd += 1
            if not seen or odd > _ODD_LINES or not line.strip():
                break
            continue
        seen += 1
        known += line.partition(b":")[0].lower() in _MAIL_FIELDS
        if known > 1:
            return True
    return bool(known) and seen > 1


def classify_bytes(data: bytes, table: Table) -> Iterator[Told]:
    """Yield what a file or stream tells, in order."""
    head = data[:4096].lstrip()
    if head.startswith((b"From ", b">From ")) and _is_mail(head.partition(b"\n")[2]):
        for message in _NEXT_IN_MBOX.split(data)[:MAX_MESSAGES]:
            yield from _mail(message, table)
    elif _is_mail(data):
        yield from _mail(data, table)
    else:
        yield from _lines(data.decode("utf-8", "replace"), table)


def _mail(data: bytes, table: Table) -> Iterator[Told]:
    for outcome in read_mail(data, table):
        yield Told(outcome, None, understood=True)


def _lines(text: str, table: Table) -> Iterator[Told]:
    postfix, exim = PostfixLog(table), EximLog(table)
    pending: list[str] = []
    begun = 0
    for number, raw in enumerate(text.replace("\0", "").split("\n"), 1):
        line = raw.rstrip("\r")
        if pending and line[:4].rstrip() in (pending[0][:3], pending[0][:3] + "-"):
            # RFC 5321 4.2.1: the lines of one reply.
            pending.append(line)
            if line[3:4] != "-":
                yield _reply(" ".join(pending), table, begun)
                pending = []
            continue
        if pending:
            yield _reply(" ".join(pending), table, begun)
            pending = []
        if not line.strip():
            continue
        if (begins := _CONTINUES.match(line)) and f" {begins[1]} " not in line:
            pending, begun = [line], number
            continue
        if (told := _log_line(line, postfix, exim, number)) is not None:
            yield told
        elif _SYSLOG.match(line):
            yield Told(_nothing(Kind.LOG, line), number, understood=False)
        else:
            yield _reply(line, table, number)
    if pending:
        yield _reply(" ".join(pending), table, begun)


def _reply(line: str, table: Table, number: int) -> Told:
    outcome = outcome_of_text(line.strip(), table)
    understood = outcome.meaning is not Meaning.UNKNOWN or bool(
        outcome.code or outcome.status or outcome.rule
    )
    return Told(outcome, number, understood=understood)


def _log_line(
    line: str, postfix: PostfixLog, exim: EximLog, number: int
) -> Told | None:
    """Return what a line tells if it is a log's, else None."""
    if is_exim_line(line):
        outcome = exim.feed(line) or _nothing(Kind.LOG, line)
        return Told(outcome, number, understood=True)
    _, daemon, payload = split_prefix(line)
    event = parse_payload(payload)
    if event is not None and (not daemon or daemon in DAEMONS):
        outcome = postfix.feed(line) or _context(event, line)
        return Told(outcome, number, understood=True)
    if daemon or is_payload(line):
        return Told(_nothing(Kind.LOG, line), number, understood=False)
    return None


def _nothing(kind: Kind, line: str) -> Outcome:
    return Outcome(
        kind=kind, meaning=Meaning.UNKNOWN, reason="tells no outcome", diagnostic=line
    )


def _context(event: Payload, line: str) -> Outcome:
    """Return what a line says about a message that is not an outcome."""
    outcome = replace(_nothing(Kind.LOG, line), queue_id=event.queue_id)
    if isinstance(event, Header):
        return replace(
            outcome, message_id=event.message_id, reason="a message id, no outcome"
        )
    if isinstance(event, Queued):
        return replace(outcome, sender=event.sender, reason="queued, no outcome yet")
    if isinstance(event, Intake):
        sender = event.login or event.sender
        return replace(outcome, sender=sender, reason="accepted here, no outcome yet")
    if isinstance(event, Notice):
        return replace(
            outcome,
            next_queue_id=event.notice_id,
            reason=f"{event.what}, no outcome of its own",
        )
    if isinstance(event, Removed):
        return replace(outcome, reason="left the queue")
    return outcome
