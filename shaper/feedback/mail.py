"""Understand a mail that came back: complaint, DSN, or a bounce of any kind.

One intake for what a bounce mailbox, a Maildir or LMTP delivers. Complaints are
looked for first, then a standard report, a provider's JSON, then prose. A mail
that is none of these gives no outcome, so that replies of people and vacation
notes change nothing. Whether the message was ours is not decided here: the
outcome carries message id, trace field and sender for that.

Total: any octets give a list, in linear time and bounded memory.
RFC 3464, RFC 3462, RFC 5965, RFC 3834 (auto replies).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shaper.core.outcome import Kind, Meaning, Outcome
from shaper.feedback.arf import Complaint, read_complaints
from shaper.feedback.bounce import from_prose, from_report
from shaper.feedback.mime import Part, parse_mail
from shaper.feedback.returned import message_id_of, read_returned, trace_id_of
from shaper.feedback.ses import read_notification

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shaper.core.meaning import Table

__all__ = ["read_mail"]

MAX_OUTCOMES = 1000
_MAX_INSIDE = 50  # forwarded reports looked into


def read_mail(data: bytes, table: Table) -> list[Outcome]:
    """Return the outcomes that a mail tells, one per recipient; [] if none."""
    return _read(data, table, nested=False)[:MAX_OUTCOMES]


def _read(data: bytes, table: Table, *, nested: bool) -> list[Outcome]:
    parts = parse_mail(data)
    if complaints := read_complaints(parts):
        return [outcome for c in complaints for outcome in _complained(c)]
    returned = read_returned(parts)
    return (
        from_report(parts, returned, table)
        or read_notification(returned.own, table)
        or (_inside(parts, table) if _is_digest(parts, nested=nested) else [])
        or from_prose(data, parts, returned, table)
        or ([] if nested else _inside(parts, table))
    )


def _is_digest(parts: list[Part], *, nested: bool) -> bool:
    """Whether a mail only carries others (RFC 2046 5.1.5)."""
    return parts[0].content_type == "multipart/digest" and not nested


def _inside(parts: list[Part], table: Table) -> list[Outcome]:
    """Look once into attached mails: forwarded reports, digests of several."""
    outcomes: list[Outcome] = []
    attached = [
        p for p in parts if p.content_type in ("message/rfc822", "message/global")
    ]
    for part in attached[:_MAX_INSIDE]:
        inner = part.raw.lstrip()
        head = inner[:20_000].lower()
        if b"feedback-report" in head or b"delivery-status" in head:
            outcomes.extend(_read(inner, table, nested=True))
        if len(outcomes) > MAX_OUTCOMES:
            break
    return outcomes


def _complained(complaint: Complaint) -> Iterator[Outcome]:
    kind = complaint.feedback_type
    # "not-spam" (IANA registry of RFC 5965 7.3) withdraws a judgement.
    meaning = Meaning.UNKNOWN if kind == "not-spam" else Meaning.COMPLAINT
    for recipient in complaint.recipients or ("",):
        yield Outcome(
            kind=Kind.ARF,
            meaning=meaning,
            recipient=recipient,
            reason=f"a feedback report of type {kind}",
            message_id=message_id_of(complaint.returned),
            feedback_type=kind,
            sender=complaint.sender,
            remote_mta=complaint.source,
            trace_id=trace_id_of(complaint.returned),
            diagnostic=complaint.text,
        )
