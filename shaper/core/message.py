"""What the core knows of a message: facts in, decisions out, held mail.

A ``Submission`` is a message on its way through the hop, before its body is
known; a ``HeldMessage`` is one that the spool has made durable, or whose content
the MTA keeps in its own queue. The body itself never enters the core.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from shaper.core.envelope import Client, Envelope

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shaper.core.reply import Reply

__all__ = ["Action", "Decision", "HeldMessage", "RecipientFate", "Submission"]


class Action(StrEnum):
    """What happens to a message now."""

    PASS = "pass"  # noqa: S105
    HOLD = "hold"
    ANSWER = "answer"  # with the reply of the decision, taking nothing


@dataclass(frozen=True, slots=True)
class Submission:
    """A message offered to the shaper.

    ``id`` names it in the trace header, the logs and the spool; ``sender`` is
    the identity with its prefix (``login:``, ``uid:``, ``from:``, or "" for the
    null sender). ``subject``, ``message_id`` and ``author`` (the From field) come
    from the header, are outside text and may be empty.
    """

    id: str
    sender: str
    envelope: Envelope
    client: Client
    received: float
    subject: str = ""
    message_id: str = ""
    author: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do with a submission.

    ``reply`` is set for ANSWER only; ``case`` is the id of the case that a held
    message belongs to.
    """

    action: Action
    reply: Reply | None = None
    case: str = ""


class RecipientFate(StrEnum):
    """Where a recipient of a held message stands. All but WAITING are final."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    REFUSED = "refused"  # the next hop said 5yz
    EXPIRED = "expired"  # longest hold reached
    DROPPED = "dropped"  # an operator threw it away
    BOUNCED = "bounced"  # an operator returned it
    GONE = "gone"  # it is not in the MTA's queue, and it was not we who took it out


@dataclass(frozen=True, slots=True)
class HeldMessage:
    """A message in the spool: what was submitted, and its history so far.

    ``size`` is the octets of the content as on the wire. ``by_mta`` says that the
    content lies in the queue of the MTA, on hold, under ``client.ident``: the spool
    has the facts only (placement ``policy``). ``fates`` holds only
    recipients (by their position in the envelope) that no longer wait.
    ``attempts`` counts tries at the next hop, ``not_before`` the Unix time
    before which none is made. ``order`` names the operator's order that freed
    it, "" while it follows its sender's state. ``notice`` marks mail that the
    shaper itself wrote (a DSN): it is never held back. ``told`` are the positions
    whose failure the sender has been told of.
    """

    submission: Submission
    size: int
    case: str = ""
    attempts: int = 0
    not_before: float = 0.0
    order: str = ""
    notice: bool = False
    by_mta: bool = False
    fates: Mapping[int, RecipientFate] = field(default_factory=dict)
    told: frozenset[int] = frozenset()

    @property
    def id(self) -> str:
        """The id, unique over all instances."""
        return self.submission.id

    @property
    def waiting(self) -> tuple[int, ...]:
        """Positions of the recipients that still wait."""
        total = len(self.submission.envelope.recipients)
        return tuple(i for i in range(total) if i not in self.fates)

    def meta_json(self) -> dict[str, Any]:
        """Return the unchanging part as plain data (see ``from_meta``)."""
        s = self.submission
        c = s.client
        # The spool knows the size of what it keeps, but not of this.
        kept = {"by_mta": True, "size": self.size} if self.by_mta else {}
        return {
            "id": s.id,
            "sender": s.sender,
            "envelope": s.envelope.to_json(),
            "client": {
                name: value
                for name in Client.__dataclass_fields__
                if (value := getattr(c, name))
            },
            "received": s.received,
            "subject": s.subject,
            "message_id": s.message_id,
            "author": s.author,
            "case": self.case,
            "notice": self.notice,
            **kept,
        }

    @classmethod
    def from_meta(cls, data: dict[str, Any], size: int) -> HeldMessage:
        """Rebuild from ``meta_json``; raises KeyError, TypeError or ValueError."""
        submission = Submission(
            id=str(data["id"]),
            sender=str(data["sender"]),
            envelope=Envelope.from_json(data["envelope"]),
            client=Client(**{str(k): str(v) for k, v in data["client"].items()}),
            received=float(data["received"]),
            subject=str(data["subject"]),
            message_id=str(data["message_id"]),
            author=str(data["author"]),
        )
        by_mta = bool(data.get("by_mta"))
        return cls(
            submission,
            int(data["size"]) if by_mta else size,
            case=str(data["case"]),
            notice=bool(data["notice"]),
            by_mta=by_mta,
        )
