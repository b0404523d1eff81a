"""Double-entry bookkeeping of mail: what was sent against what became of it.

Owns the only truth the demonstration trusts: what the MTA's side was answered
and what the next hop accepted, letter by letter and recipient by recipient. It
asks the daemon for nothing; the balance compares both sides at the end.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["Books", "Fate", "Letter", "Tally", "Whose"]


class Whose(StrEnum):
    """Who really wrote a letter. The daemon is never told."""

    OFFICE = "colleagues"
    OWNER = "owner"
    THIEF = "thief"


class Fate(StrEnum):
    """What became of a letter, or of one of its recipients."""

    AT_ONCE = "delivered at once"
    TRICKLED = "delivered by the trickle"
    RELEASED = "delivered on release"
    DROPPED = "dropped by the operator"
    REFUSED = "refused: no such mailbox"
    LOST = "LOST"

    @property
    def delivered(self) -> bool:
        """Whether the next hop took it."""
        return self in {Fate.AT_ONCE, Fate.TRICKLED, Fate.RELEASED}


@dataclass(slots=True, eq=False)
class Letter:
    """One message. Times are Unix seconds, 0 while it has not happened.

    ``held`` is what the MTA was told: None before the answer. ``arrivals`` counts
    how often the next hop accepted it for a recipient.
    """

    message_id: str
    whose: Whose
    login: str
    mail_from: str
    recipients: tuple[str, ...]
    subject: str
    client: str
    content: bytes
    sent: float = 0.0
    answered: float = 0.0
    held: bool | None = None
    refused: set[str] = field(default_factory=set)
    arrivals: dict[str, int] = field(default_factory=dict)
    arrived: float = 0.0
    altered: bool = False

    @property
    def dead(self) -> bool:
        """Whether the next hop refused every recipient."""
        return len(self.refused) == len(self.recipients)

    @property
    def waiting(self) -> bool:
        """Whether it was held and nothing of it has left."""
        return self.held is True and not self.arrived


@dataclass(frozen=True, slots=True)
class Tally:
    """Messages and recipients, always both."""

    messages: int = 0
    recipients: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.messages + other.messages, self.recipients + other.recipients)

    def __str__(self) -> str:
        return f"{self.messages:,} ({self.recipients:,})"


class Books:
    """Every letter, and every message that arrived without being one."""

    def __init__(self) -> None:
        self.letters: dict[str, Letter] = {}
        self.notices: list[bytes] = []
        self.strays: list[str] = []
        self.dropped: set[str] = set()
        self.released_at = float("inf")

    def of(self, whose: Whose) -> list[Letter]:
        """Return the letters of one kind, in the order of sending."""
        return [letter for letter in self.letters.values() if letter.whose is whose]

    def arrive(
        self, message_id: str, recipients: list[str], content: bytes, now: float
    ) -> Letter | None:
        """Note what the next hop accepted; None when nobody sent that."""
        letter = self.letters.get(message_id)
        if letter is None:
            self.strays.append(message_id)
            return None
        for recipient in recipients:
            letter.arrivals[recipient] = letter.arrivals.get(recipient, 0) + 1
        letter.arrived = letter.arrived or now
        # One trace field is put in front; all else must be as it was.
        head = content.removesuffix(letter.content)
        trace = head.startswith(b"Received: ") and head.count(b"\r\nReceived: ") == 0
        letter.altered |= not (content.endswith(letter.content) and trace)
        return letter

    def way(self, letter: Letter) -> Fate:
        """Return how a letter that arrived came there."""
        if not letter.held:
            return Fate.AT_ONCE
        return Fate.TRICKLED if letter.arrived < self.released_at else Fate.RELEASED

    def fates(self, letter: Letter) -> dict[str, Fate]:
        """Return what became of each recipient of a letter."""
        found: dict[str, Fate] = {}
        for recipient in letter.recipients:
            if letter.arrivals.get(recipient):
                found[recipient] = self.way(letter)
            elif recipient in letter.refused:
                found[recipient] = Fate.REFUSED
            elif letter.message_id in self.dropped:
                found[recipient] = Fate.DROPPED
            else:
                found[recipient] = Fate.LOST
        return found

    def balance(self) -> dict[Fate, dict[Whose, Tally]]:
        """Count letters and recipients by fate.

        A letter counts under the best that happened to one of its recipients,
        except that one lost recipient makes it lost.
        """
        table = {fate: dict.fromkeys(Whose, Tally()) for fate in Fate}
        for letter in self.letters.values():
            fates = list(self.fates(letter).values())
            whole = Fate.LOST if Fate.LOST in fates else min(fates, key=_ORDER.index)
            table[whole][letter.whose] += Tally(1, 0)
            for fate in fates:
                table[fate][letter.whose] += Tally(0, 1)
        return table

    def duplicates(self) -> int:
        """Count deliveries too many, those of dropped mail included."""
        return sum(
            count - 1 + (letter.message_id in self.dropped)
            for letter in self.letters.values()
            for count in letter.arrivals.values()
        )

    def unsettled(self) -> int:
        """Count letters whose fate is still open."""
        return sum(
            letter.held is None or letter.waiting
            for letter in self.letters.values()
            if letter.message_id not in self.dropped
        )


_ORDER = list(Fate)
