"""Read the notifications of Amazon SES: JSON in the body of a mail.

SNS mails what SES publishes about bounces, complaints and deliveries. Documented
in the SES developer guide, "Amazon SNS notification contents". Total.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from shaper.core.meaning import Signals, Table, judge
from shaper.core.outcome import Kind, Meaning, Outcome
from shaper.feedback.reply import parse_said, prefer_status

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["read_notification"]

_MAX_TEXT = 256 * 1024
_MAX_DEPTH = 40  # of brackets; the real ones have six


def _object(text: str) -> dict[str, Any]:
    """Return the JSON object that a text begins with, or {}."""
    start = text.find("{", 0, 4000)
    if start < 0 or (
        "otificationType" not in text[:_MAX_TEXT] and "eventType" not in text
    ):
        return {}
    depth = deepest = 0
    for character in text[start:_MAX_TEXT]:
        if character in "{[":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "}]":
            depth -= 1
    if deepest > _MAX_DEPTH:
        return {}
    # Mailers fold long lines; a raw line end is not allowed inside JSON strings.
    body = text[start:_MAX_TEXT].replace("\r", "").replace("\n", "")
    try:
        value, _ = json.JSONDecoder(strict=False).raw_decode(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _dicts(value: object) -> list[dict[str, Any]]:
    items = value if isinstance(value, list) else []
    return [item for item in items[:1000] if isinstance(item, dict)]


def _string(value: object) -> str:
    return value[:4000] if isinstance(value, str) else ""


def read_notification(text: str, table: Table) -> list[Outcome]:
    """Return the outcomes of a notification; [] when the text is none."""
    event = _object(text)
    if isinstance(event.get("Message"), str):
        event = _object(event["Message"])  # SNS's own envelope
    kind = _string(event.get("notificationType") or event.get("eventType")).lower()
    mail = _dict(event.get("mail"))
    if kind == "bounce":
        return list(_bounced(_dict(event.get("bounce")), mail, table))
    if kind == "complaint":
        return list(_complained(_dict(event.get("complaint")), mail))
    if kind == "delivery":
        return list(_delivered(_dict(event.get("delivery")), mail))
    return []


def _message_id(mail: dict[str, Any]) -> str:
    common = _dict(mail.get("commonHeaders"))
    return (_string(common.get("messageId")) or _string(mail.get("messageId"))).strip(
        "<>"
    )


def _bounced(
    bounce: dict[str, Any], mail: dict[str, Any], table: Table
) -> Iterator[Outcome]:
    final = _string(bounce.get("bounceType")).lower() == "permanent"
    for item in _dicts(bounce.get("bouncedRecipients")):
        said = parse_said(_string(item.get("diagnosticCode")))
        status = prefer_status(_string(item.get("status")), said.status)
        text = said.text or _string(bounce.get("bounceSubType"))
        verdict = judge(Signals(status, said.code, text, said.phase), table)
        yield Outcome(
            kind=Kind.DSN,
            meaning=verdict.meaning,
            recipient=_string(item.get("emailAddress")),
            status=status,
            code=said.code,
            permanent=final,
            reason=verdict.reason,
            message_id=_message_id(mail),
            sender=_string(mail.get("source")),
            remote_mta=_string(bounce.get("reportingMTA")),
            diagnostic=text,
            rule=verdict.rule,
        )


def _complained(complaint: dict[str, Any], mail: dict[str, Any]) -> Iterator[Outcome]:
    feedback = _string(complaint.get("complaintFeedbackType")) or "abuse"
    for item in _dicts(complaint.get("complainedRecipients")):
        yield Outcome(
            kind=Kind.ARF,
            meaning=Meaning.COMPLAINT,
            recipient=_string(item.get("emailAddress")),
            reason=f"a feedback report of type {feedback}",
            message_id=_message_id(mail),
            feedback_type=feedback,
            sender=_string(mail.get("source")),
            diagnostic=_string(complaint.get("userAgent")),
        )


def _delivered(delivery: dict[str, Any], mail: dict[str, Any]) -> Iterator[Outcome]:
    said = parse_said(_string(delivery.get("smtpResponse")))
    recipients = delivery.get("recipients")
    for recipient in (recipients if isinstance(recipients, list) else [])[:1000]:
        yield Outcome(
            kind=Kind.DSN,
            meaning=Meaning.DELIVERED,
            recipient=_string(recipient),
            status=said.status,
            code=said.code,
            reason="the provider says delivered",
            message_id=_message_id(mail),
            sender=_string(mail.get("source")),
            diagnostic=said.text,
        )
