"""What became of one recipient, whoever told us, and what that means.

An outcome is a value: it is made by the parsers of ``shaper.feedback`` from a
reply, a log line, a bounce or a complaint, and read by everything that learns
from them. It carries the meaning (``Meaning``) next to the evidence, so that a
reader can check the judgement. Judging is the duty of ``shaper.core.meaning``.

RFC 3463 (enhanced status), RFC 3464 (DSN), RFC 5965 (ARF).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

__all__ = ["Kind", "Meaning", "Outcome"]


class Meaning(StrEnum):
    """What an outcome says about recipient, message and host."""

    DEAD_ADDRESS = "dead_address"
    TEMPORARY = "temporary"
    MESSAGE_REFUSED = "message_refused"
    HOST_REFUSED = "host_refused"
    DELIVERED = "delivered"
    COMPLAINT = "complaint"
    UNKNOWN = "unknown"


class Kind(StrEnum):
    """Where an outcome was read."""

    DSN = "dsn"  # any bounce mail, standard or not
    ARF = "arf"  # any complaint mail, standard or not
    REPLY = "reply"
    LOG = "log"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One recipient's outcome. Texts are as the other side wrote them.

    ``permanent`` says that nothing more will come of it. For a bounce or a log line:
    whoever speaks has given up the message (no delay warning; bounced or expired).
    For a reply, which answers one attempt: the recipient is not there, while any
    other refusal leaves another time, message or route. It does not say why: only the
    meaning ``dead_address`` condemns a recipient ("hard bounce"), and a full mailbox
    is ``temporary`` in meaning even when the one message that met it came back.
    ``status`` and ``code`` keep what was said.
    """

    kind: Kind
    meaning: Meaning
    recipient: str = ""  # "" when redacted or not told
    status: str = ""  # enhanced status code, e.g. "5.1.1"
    code: str = ""  # three reply digits, e.g. "550"
    permanent: bool = False
    reason: str = ""  # why this meaning, one sentence
    message_id: str = ""  # of the message concerned, without angle brackets
    feedback_type: str = ""  # RFC 5965 3.1, e.g. "abuse"
    original_recipient: str = ""  # where it was sent before aliases, if told
    sender: str = ""  # envelope sender or login, whichever the source knows
    queue_id: str = ""  # of the MTA that speaks
    next_queue_id: str = ""  # given by the next hop on acceptance
    remote_mta: str = ""
    trace_id: str = ""  # our id, from the Received field of a returned message
    diagnostic: str = ""  # the text that was judged
    rule: str = ""  # name of the table entry that decided
    time: float | None = None  # epoch seconds, if the source tells it

    def to_json(self) -> dict[str, Any]:
        """Return plain data; the first nine keys are the public contract."""
        return {
            "recipient": self.recipient,
            "status": self.status,
            "code": self.code,
            "meaning": self.meaning.value,
            "permanent": self.permanent,
            "kind": self.kind.value,
            "reason": self.reason,
            "message_id": self.message_id,
            "feedback_type": self.feedback_type,
            "original_recipient": self.original_recipient,
            "sender": self.sender,
            "queue_id": self.queue_id,
            "next_queue_id": self.next_queue_id,
            "remote_mta": self.remote_mta,
            "trace_id": self.trace_id,
            "diagnostic": self.diagnostic,
            "rule": self.rule,
            "time": self.time,
        }
