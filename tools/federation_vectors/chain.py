"""Group chain: where an event stands in its log."""

from __future__ import annotations

from typing import Any

from federation.format.event import Event, Stub
from federation.format.limits import DAY
from federation.format.profile import b64
from tools.federation_vectors.case import NODE, ROOT, T0, Case
from tools.federation_vectors.writer import Writer, hard, soft, text

__all__ = ["cases", "expected", "steps"]


def steps(
    *batches: tuple[int, list[Any]], admit: list[bytes] | None = None
) -> dict[str, Any]:
    """Return the input: batches of events at their times."""
    orgs = [ROOT.public] if admit is None else admit
    return {
        "admit": [b64(org) for org in orgs],
        "steps": [
            {
                "now": now,
                "lines": [one if isinstance(one, str) else text(one) for one in lines],
            }
            for now, lines in batches
        ],
    }


def expected(
    codes: list[str],
    vector: list[Any],
    counts: list[Any],
    *,
    parked: int = 0,
    frozen: list[bytes] | None = None,
) -> dict[str, Any]:
    """Return what is expected; ``codes``: one text for each batch."""
    return {
        "codes": [batch.split() for batch in codes],
        "vector": sorted(vector),
        "parked": parked,
        "frozen": [b64(org) for org in frozen or []],
        "counts": sorted(b64(event.id) for event in counts),
    }


def _log(count: int, *, st: str = "h", inc: int = T0) -> Writer:
    log = Writer(ROOT, st, inc=inc)
    for number in range(count):
        log.add(hard(number) if st == "h" else soft(number))
    return log


def _stub(event: Event) -> Stub:
    return Stub(event.key, event.st, event.inc, event.seq, event.id)


def cases() -> list[Case]:
    """Return the vectors."""
    return [*_order(), *_links(), *_weightless(), *_expired(), *_erased()]


def _order() -> list[Case]:
    log = _log(3)
    one, two, three = log.events
    now = T0 + 100
    return [
        Case(
            "in_order",
            steps((now, [one, two, three])),
            expected(["ok ok ok"], [log.entry()], [one, two, three]),
            "Each event names the one before it.",
        ),
        Case(
            "twice",
            steps((now, [one, one, two]), (now, [one, two, three])),
            expected(["ok dup ok", "dup dup ok"], [log.entry()], log.events),
            "A line that is stored is dup, in the same batch or later.",
        ),
        Case(
            "gap",
            steps((now, [one, three]), (now, [two, three])),
            expected(["ok bad-chain", "ok ok"], [log.entry()], log.events),
            "seq 3 does not follow seq 1; it is taken when 2 is there.",
        ),
        Case(
            "no_beginning",
            steps((now, [two, three])),
            expected(["bad-chain bad-chain"], [], []),
            "A log opened within the retention cannot have lost its beginning.",
        ),
        Case(
            "organisation_not_admitted",
            steps((now, [one]), admit=[NODE.public]),
            expected(["unknown-org"], [], []),
            "Nobody that is trusted introduced this organisation.",
        ),
    ]


def _links() -> list[Case]:
    now = T0 + 100
    log = _log(2)
    one, two = log.events
    other = _log(1).branch(1)
    wrong = other.add(hard(9), prev=two.id)
    early = log.branch(1)
    before = early.add(hard(9), ts=one.ts - 1)
    moved = log.branch(1)
    foreign = moved.add(hard(9), org=NODE.public)
    renewed = log.branch(1)
    changed = renewed.add(hard(9), inc=T0 + 1)
    huge = log.branch(1)
    far = huge.add(hard(9), seq=2**53 - 1)
    return [
        Case(
            "prev_wrong",
            steps((now, [one, wrong])),
            expected(["ok bad-chain"], [log.entry(1)], [one]),
            "prev is not the id of the head.",
        ),
        Case(
            "ts_decreases",
            steps((now, [one, before])),
            expected(["ok bad-chain"], [log.entry(1)], [one]),
            "Times in a log never decrease, so expiry is always a truncation.",
        ),
        Case(
            "organisation_changes",
            steps((now, [one, foreign]), admit=[ROOT.public, NODE.public]),
            expected(["ok parked"], [log.entry(1)], [one], parked=1),
            "The second event is of an organisation that did not grant this key.",
        ),
        Case(
            "inc_changes",
            steps((now, [one, changed])),
            expected(["ok bad-chain"], [log.entry(1)], [one]),
            "Another incarnation is another log, and that one begins with seq 1.",
        ),
        Case(
            "largest_seq",
            steps((now, [one, far])),
            expected(["ok bad-chain"], [log.entry(1)], [one]),
            "2^53-1 is a number like any other, and no successor of 1.",
        ),
    ]


def _weightless() -> list[Case]:
    now = T0 + 100
    log = _log(1)
    log.add(("xnew.kind", {"a": 1}))
    kind, body = hard(2)
    log.add((kind, body | {"more": 1}))
    log.add((kind, body | {"cnt": "1"}))
    log.add(soft(3))
    log.add(hard(4))
    return [
        Case(
            "without_weight",
            steps((now, log.events)),
            expected(
                ["ok ok ok ok ok ok"],
                [log.entry()],
                [log.events[0], log.events[-1]],
            ),
            "Unknown kind, unknown field, wrong type, wrong stream: stored, passed on,"
            " the log goes on; only what they say counts nowhere.",
        )
    ]


def _expired() -> list[Case]:
    log = Writer(ROOT, "s")
    for day in (0, 1, 2, 40):
        log.add(soft(day), ts=T0 + day * DAY)
    one, two, three, four = log.events
    begin, later = T0 + 2 * DAY, T0 + 41 * DAY
    return [
        Case(
            "expired_beginning",
            steps((begin, [one, two, three]), (later, [four])),
            expected(["ok ok ok", "ok"], [log.entry(floor=3)], [four]),
            "After 30 days the beginning of stream s is cut off; the log goes on.",
        ),
        Case(
            "expired_all",
            steps((begin, [one, two, three]), (later, [])),
            expected(["ok ok ok", ""], [], []),
            "A log that holds nothing is not in the vector.",
        ),
        Case(
            "begins_after_expiry",
            steps((later, [four])),
            expected(["ok"], [log.entry(floor=3)], [four]),
            "A log opened before the retention may begin later than 1.",
        ),
        Case(
            "expired_offered_again",
            steps((begin, [one, two, three]), (later, [three, four])),
            expected(["ok ok ok", "dup ok"], [log.entry(floor=3)], [four]),
            "What lies under the floor is no news.",
        ),
        Case(
            "beginning_given_back",
            steps((T0 + 31 * DAY, [three]), (T0 + 31 * DAY, [two, three])),
            expected(["ok", "ok dup"], [log.entry(3, floor=1)], [two, three]),
            "The event under the floor is the one that its successor names.",
        ),
        Case(
            "beginning_forged",
            steps(
                (T0 + 31 * DAY, [three]),
                (T0 + 31 * DAY, [log.branch(1).add(soft(9), ts=T0 + DAY)]),
            ),
            expected(["ok", "dup"], [log.entry(3, floor=2)], [three]),
            "Another event with the number of the floor changes nothing.",
        ),
    ]


def _erased() -> list[Case]:
    now = T0 + 100
    log = _log(3)
    one, two, three = log.events
    gone = log.add(("fix.retract", {"ids": [b64(two.id)], "why": "erasure"}))
    error = log.branch(3)
    wrong = error.add(("fix.retract", {"ids": [b64(two.id)], "why": "error"}))
    again = error.add(("fix.retract", {"ids": [b64(wrong.id)], "why": "error"}))
    return [
        Case(
            "stub_with_retraction",
            steps((now, [one, _stub(two), three, gone])),
            expected(["ok ok ok ok"], [log.entry()], [one, three, gone]),
            "Event 3 names the id of the stub; the retraction follows.",
        ),
        Case(
            "stub_without_successor",
            steps((now, [one, _stub(two)])),
            expected(["ok bad-chain"], [log.entry(1)], [one]),
            "Nothing proves the last stub of a batch.",
        ),
        Case(
            "stub_with_wrong_id",
            steps((now, [one, Stub(two.key, "h", T0, 2, three.id), three])),
            expected(["ok bad-chain bad-chain"], [log.entry(1)], [one]),
            "Event 3 names another id.",
        ),
        Case(
            "stub_filled",
            steps((now, [one, _stub(two), three]), (now, [two])),
            expected(["ok ok ok", "ok"], [log.entry(3)], [one, two, three]),
            "Nothing of the origin says that event 2 was to be erased.",
        ),
        Case(
            "erased_offered_again",
            steps((now, [one, two, three, gone]), (now, []), (now, [two])),
            expected(["ok ok ok ok", "", "dup"], [log.entry()], [one, three, gone]),
            "What was erased stays erased.",
        ),
        Case(
            "taken_back",
            steps((now, [*error.events])),
            expected(
                ["ok ok ok ok ok"],
                [error.entry()],
                [one, three, again],
            ),
            "An event that is taken back has no weight; taking a retraction back does"
            " not bring it back.",
        ),
    ]
