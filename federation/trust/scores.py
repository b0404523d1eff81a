"""Each organisation's own numbers, as it claims them, beside what we saw ourselves.

What an organisation says about its own mail is a claim like any other and gives it
nothing: no level, no weight. It is shown next to what can be seen from here: how its
claims fared against our own mail (``audit.Record``).

PROTOCOL.md 4. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from federation.format.limits import DAY

if TYPE_CHECKING:
    from collections.abc import Iterable

    from federation.log.claim import Claim

__all__ = ["ENOUGH", "Score", "claimed"]

ENOUGH = 200  # recipients before a ratio says anything


@dataclass(frozen=True, slots=True)
class Score:
    """Sums over days: recipients sent to, and what became of them.

    ``supp`` were stopped by the list and are not in ``sent``, so that the list does
    not polish the ratio.
    """

    days: int = 0
    sent: int = 0
    hard: int = 0
    soft: int = 0
    cmpl: int = 0
    supp: int = 0

    @property
    def bounce_ratio(self) -> float | None:
        """Hard bounces of what was really sent; None says "n/a"."""
        return self.hard / self.sent if self.sent >= ENOUGH else None

    @property
    def complaint_ratio(self) -> float | None:
        """Complaints of what was really sent; None says "n/a"."""
        return self.cmpl / self.sent if self.sent >= ENOUGH else None


def claimed(events: Iterable[Claim], now: int, days: int = 30) -> dict[bytes, Score]:
    """Return each organisation's sums of the last days, from its stat.score events.

    Of several events for one day the last in time counts (the id decides between
    equals), so the order of arrival does not matter.
    """
    newest: dict[tuple[bytes, int], Claim] = {}
    for event in events:
        begin = event.body["from"]
        if event.k == "stat.score" and now - days * DAY <= begin <= now:
            old = newest.get((event.org, begin))
            if old is None or (old.ts, old.id) < (event.ts, event.id):
                newest[event.org, begin] = event
    found: dict[bytes, Score] = {}
    for (org, _), event in newest.items():
        old_sum = found.get(org, Score())
        found[org] = Score(
            old_sum.days + 1,
            *(
                getattr(old_sum, field.name) + event.body[field.name]
                for field in fields(Score)[1:]
            ),
        )
    return found
