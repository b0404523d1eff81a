"""Group time: clocks that are ahead, events that are old."""

from __future__ import annotations

from tools.federation_vectors.case import ROOT, T0, Case
from tools.federation_vectors.chain import expected, steps
from tools.federation_vectors.writer import Writer, hard, soft

__all__ = ["cases"]

_DAY = 86_400
_YEAR = 365 * _DAY


def _ahead(seconds: int) -> Writer:
    log = Writer(ROOT, "h")
    log.add(hard(1), ts=T0)
    log.add(hard(2), ts=T0 + seconds)
    return log


def cases() -> list[Case]:
    """Return the vectors."""
    return [*_future(), *_past()]


def _future() -> list[Case]:
    found = []
    for seconds in (0, 599, 600):
        log = _ahead(seconds)
        found.append(
            Case(
                f"ahead_{seconds}",
                steps((T0, log.events)),
                expected(["ok ok"], [log.entry()], log.events),
                "A clock may be 600 seconds ahead.",
            )
        )
    for seconds in (601, _DAY, _DAY + 1, 10 * _YEAR):
        log = _ahead(seconds)
        found.append(
            Case(
                f"ahead_{seconds}",
                steps((T0, log.events)),
                expected(["ok future"], [log.entry(1)], log.events[:1], parked=1),
                "Parked, not refused: a refusal would break the log for ever.",
            )
        )
    log = _ahead(700)
    follower = log.branch(2)
    follower.add(hard(3), ts=T0 + 701)
    born = Writer(ROOT, "s", inc=T0 + 1000)
    born.add(soft(1))
    return [
        *found,
        Case(
            "ahead_until_its_time_comes",
            steps((T0, log.events), (T0 + 99, []), (T0 + 100, [])),
            expected(["ok future", "", ""], [log.entry()], log.events),
            "At now + 600 it is stored without being sent again.",
        ),
        Case(
            "ahead_and_not_yet",
            steps((T0, log.events), (T0 + 99, [])),
            expected(["ok future", ""], [log.entry(1)], log.events[:1], parked=1),
            "One second earlier it is not.",
        ),
        Case(
            "behind_one_that_is_ahead",
            steps((T0, follower.events)),
            expected(
                ["ok future bad-chain"], [follower.entry(1)], log.events[:1], parked=1
            ),
            "The log waits, alone.",
        ),
        Case(
            "opened_in_the_future",
            steps((T0, born.events)),
            expected(["future"], [], [], parked=1),
            "inc is at most ts, so such a log begins in the future, too.",
        ),
    ]


def _past() -> list[Case]:
    old = Writer(ROOT, "h", inc=T0 - _YEAR)
    old.add(hard(1), ts=T0 - _YEAR)
    edge = Writer(ROOT, "h", inc=T0 - 180 * _DAY)
    edge.add(hard(1), ts=T0 - 180 * _DAY)
    soft_edge = Writer(ROOT, "s", inc=T0 - 30 * _DAY)
    soft_edge.add(soft(1), ts=T0 - 30 * _DAY)
    control = Writer(ROOT, "c", inc=T0 - 10 * _YEAR)
    control.add(("ctl.org", {"name": "A"}))
    return [
        Case(
            "backdated_by_a_year",
            steps((T0, old.events), (T0, [])),
            expected(["ok", ""], [], []),
            "Its own time says that it has expired, however fresh it came.",
        ),
        Case(
            "kept_for_180_days",
            steps((T0, edge.events), (T0, [])),
            expected(["ok", ""], [edge.entry()], edge.events),
            "Stream h: 180 days, the last second included.",
        ),
        Case(
            "gone_after_180_days",
            steps((T0, edge.events), (T0 + 1, [])),
            expected(["ok", ""], [], []),
            "One second more.",
        ),
        Case(
            "gone_after_30_days",
            steps((T0, soft_edge.events), (T0 + 1, [])),
            expected(["ok", ""], [], []),
            "Stream s: 30 days.",
        ),
        Case(
            "control_is_kept",
            steps((T0, control.events), (T0 + 10 * _YEAR, [])),
            expected(["ok", ""], [control.entry()], []),
            "Stream c does not expire: who may write is computed from it.",
        ),
    ]
