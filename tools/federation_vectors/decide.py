"""Group decide: what follows for a recipient (PROTOCOL.md 10).

Outcomes, rules and times are written by hand. Evidence is added up here from single
claims, whose worth is computed with 40 decimal digits and not with a table.
"""

from __future__ import annotations

from decimal import Decimal, localcontext
from typing import TYPE_CHECKING, Any, Final

from tools.federation_vectors.case import T0, Case

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["cases"]

_DAY: Final = 86_400
_NOW: Final = T0 - T0 % 3600 + 400 * _DAY
_WEIGHTS: Final = {"known": 40, "trusted": 100, "sole": 200}
_HARD, _DSN, _COMPLAINT = (1000, 90), (700, 90), (800, 90)
_LASTING, _ONCE = (500, 10), (100, 3)


def _worth(level: str, kind: tuple[int, int], days: float, share: int = 1000) -> int:
    """Return what a claim of that age is worth: 10.2, by exact arithmetic."""
    factor, half = kind
    with localcontext() as context:
        context.prec = 40
        steps = int(days * _DAY) * 64 // (half * _DAY)
        fresh = _WEIGHTS[level] * share * factor // 1000
        step = Decimal(2) ** (16 - Decimal(steps % 64) / 64)
        table = int(step.to_integral_value())
        return fresh * table // 2 ** (16 + steps // 64)


def _claim(
    org: str,
    kind: str = "hard",
    days: float = 0,
    **more: Any,  # noqa: ANN401 - fields of the body
) -> dict[str, Any]:
    at = _NOW - int(days * _DAY)
    body: dict[str, Any] = {}
    if kind in {"hard", "soft"}:
        body = {"cnt": 1, "via": "smtp"}
    if kind != "complaint":
        body["last"] = at
    ts = more.pop("ts", at)
    ident = more.pop("id", f"{org} {kind} {days:g}")
    return {"org": org, "id": ident, "k": f"rcpt.{kind}", "ts": ts, "b": body | more}


def _case(
    name: str,
    why: str,
    trust: dict[str, str],
    claims: list[dict[str, Any]],
    expect: str,
    e: int = 0,
    **more: Any,  # noqa: ANN401 - fields of the case
) -> Case:
    """``trust``: "level", "level/group" or "level*share"; ``expect``: "rule outcome".

    ``by`` and ``since`` are of all claims unless they are given.
    """
    table = []
    for org, text in trust.items():
        level, _, share = text.partition("*")
        level, _, group = level.partition("/")
        row: dict[str, Any] = {"org": org, "level": level}
        if group:
            row["group"] = group
        if share:
            row["share"] = int(share)
        table.append(row)
    by = more.pop("by", sorted({one["org"] for one in claims}))
    oldest = min((one["b"].get("last", one["ts"]) for one in claims), default=0)
    since = more.pop("since", oldest)
    rule, outcome = expect.split()
    return Case(
        f"decide_{name}",
        {"now": _NOW, "trust": table, "claims": claims, **more},
        {"outcome": outcome, "rule": rule, "e": e, "by": by, "since": since},
        why,
    )


def cases() -> Iterator[Case]:
    """Yield the vectors of the group."""
    yield from _levels()
    yield from _time()
    yield from _kinds()
    yield from _deliveries()
    yield from _own()


_TWO_SUPPRESS_UNTIL: Final = 38  # days
_TWO_ARE_CAUTION_UNTIL: Final = 137
_TWO: Final = {"a": "trusted", "b": "trusted"}
_AB: Final = [_claim("a"), _claim("b")]


def _levels() -> Iterator[Case]:
    yield _case("nothing", "no claim, no evidence: D5", _TWO, [], "D5 allow")
    yield _case(
        "one_trusted", "100 is caution, D4", _TWO, [_claim("a")], "D4 caution", 100_000
    )
    yield _case(
        "two_trusted", "200 and a quorum: D3", _TWO, _AB, "D3 suppress", 200_000
    )
    yield _case(
        "two_known",
        "80 is caution",
        {"a": "known", "b": "known"},
        _AB,
        "D4 caution",
        80_000,
    )
    yield _case(
        "one_known", "40 is nothing", {"a": "known"}, [_claim("a")], "D5 allow", 40_000
    )
    yield _case(
        "trusted_and_known",
        "140 does not reach 150",
        {"a": "trusted", "b": "known"},
        _AB,
        "D4 caution",
        140_000,
    )
    four = [_claim(org) for org in "abcd"]
    yield _case(
        "four_known",
        "160 of four groups",
        dict.fromkeys("abcd", "known"),
        four,
        "D3 suppress",
        160_000,
    )
    yield _case(
        "sole_alone",
        "sole suppresses alone",
        {"a": "sole"},
        [_claim("a")],
        "D3 suppress",
        200_000,
    )
    for level in ("seen", "refused", "self"):
        yield _case(
            f"{level}_has_no_weight",
            f"{level} weighs 0 and is not named",
            dict.fromkeys("ab", level),
            _AB,
            "D5 allow",
            by=[],
            since=0,
        )
    yield _case(
        "a_hundred_unknown",
        "who is not in the table has no weight",
        {},
        [_claim(f"sybil{n}") for n in range(100)],
        "D5 allow",
        by=[],
        since=0,
    )
    yield _case(
        "one_group",
        "two of one group count once",
        {"a": "trusted/g", "b": "trusted/g"},
        _AB,
        "D4 caution",
        100_000,
    )
    yield _case(
        "group_counts_its_best",
        "the greatest of a group, not the first",
        {"a": "known/g", "b": "trusted/g"},
        _AB,
        "D4 caution",
        100_000,
    )
    yield _case(
        "quorum_of_three",
        "two colluding groups do not reach a quorum of three",
        _TWO,
        _AB,
        "D4 caution",
        200_000,
        rules={"quorum": 3},
    )
    yield _case(
        "sole_needs_no_quorum",
        "the quorum does not bind sole",
        {"a": "sole"},
        [_claim("a")],
        "D3 suppress",
        200_000,
        rules={"quorum": 3},
    )
    yield _case(
        "sole_too_old_to_be_alone",
        "181 in all, but sole alone is below 150",
        {"a": "sole", "b": "known"},
        [_claim("a", days=45), _claim("b")],
        "D4 caution",
        _worth("sole", _HARD, 45) + 40_000,
        rules={"quorum": 3},
    )
    yield _case(
        "audit_halved",
        "share 500 leaves 50",
        {"a": "trusted*500"},
        [_claim("a")],
        "D5 allow",
        50_000,
    )
    yield _case(
        "audit_ended",
        "share 0: not counted, not named",
        {"a": "trusted*0", "b": "trusted"},
        _AB,
        "D4 caution",
        100_000,
        by=["b"],
        since=_NOW,
    )
    yield _case(
        "duplicate",
        "the same id twice is one claim",
        {"a": "trusted"},
        [_claim("a"), _claim("a")],
        "D4 caution",
        100_000,
    )


def _time() -> Iterator[Case]:
    for days in (1, 1.5, 37, 38, 89.99, 90, 136, 137, 180):
        e = 2 * _worth("trusted", _HARD, days)
        rule = "D5 allow"
        if days < _TWO_ARE_CAUTION_UNTIL:
            rule = "D3 suppress" if days < _TWO_SUPPRESS_UNTIL else "D4 caution"
        yield _case(
            f"two_trusted_after_{days:g}_days",
            "half is gone every 90 days, in 64 steps",
            _TWO,
            [_claim("a", days=days), _claim("b", days=days)],
            rule,
            e,
        )
    yield _case(
        "expired",
        "a second more than 180 days",
        {"a": "sole"},
        [_claim("a", days=180 + 1 / _DAY)],
        "D5 allow",
        by=[],
        since=0,
    )
    yield _case(
        "published_again",
        "last is older than ts: as old as what it speaks of",
        {"a": "trusted"},
        [_claim("a", days=90, ts=_NOW)],
        "D5 allow",
        50_000,
    )
    yield _case(
        "last_in_the_future",
        "a claim is never newer than its event",
        {"a": "trusted"},
        [_claim("a", last=_NOW + 9 * _DAY)],
        "D4 caution",
        100_000,
        since=_NOW,
    )
    yield _case(
        "clock_ahead",
        "an event up to 600 s ahead is as good as now",
        {"a": "trusted"},
        [_claim("a", last=_NOW + 600, ts=_NOW + 600)],
        "D4 caution",
        100_000,
    )


def _kinds() -> Iterator[Case]:
    one = {"a": "trusted"}
    yield _case(
        "dsn",
        "a bounce message weighs 0.7",
        one,
        [_claim("a", via="dsn")],
        "D4 caution",
        70_000,
    )
    yield _case(
        "dsn_two_days_old",
        "one step below 70",
        one,
        [_claim("a", days=2, via="dsn")],
        "D5 allow",
        _worth("trusted", _DSN, 2),
    )
    yield _case(
        "best_of_several",
        "a newer dsn does not replace an older answer",
        one,
        [_claim("a", days=3), _claim("a", via="dsn")],
        "D4 caution",
        _worth("trusted", _HARD, 3),
    )
    yield _case(
        "complaint", "0.8 of 100", one, [_claim("a", "complaint")], "D4 caution", 80_000
    )
    many = dict.fromkeys("abcdef", "trusted")
    yield _case(
        "complaints_never_suppress",
        "who complains reads",
        many,
        [_claim(org, "complaint") for org in many],
        "D4 caution",
        480_000,
    )
    yield _case(
        "complaint_and_hard",
        "dead is only what hard claims say: 100",
        _TWO,
        [_claim("a"), _claim("b", "complaint")],
        "D4 caution",
        180_000,
    )
    yield _case(
        "complaint_below_hard",
        "one organisation counts with its greatest part",
        one,
        [_claim("a"), _claim("a", "complaint")],
        "D4 caution",
        100_000,
    )
    yield _case(
        "soft_once",
        "0.1, whatever cnt says",
        one,
        [_claim("a", "soft", cnt=9999)],
        "D5 allow",
        10_000,
    )
    yield _case(
        "soft_lasting",
        "5 in number, 5 days apart: 0.5 from the newest",
        one,
        [_claim("a", "soft", 1, cnt=4), _claim("a", "soft", 6)],
        "D5 allow",
        _worth("trusted", _LASTING, 1),
    )
    yield _case(
        "soft_too_few",
        "4 in number",
        one,
        [_claim("a", "soft", cnt=3), _claim("a", "soft", 5)],
        "D5 allow",
        10_000,
    )
    yield _case(
        "soft_too_near",
        "a second less than 5 days apart",
        one,
        [_claim("a", "soft", cnt=9), _claim("a", "soft", 5 - 1 / _DAY)],
        "D5 allow",
        10_000,
    )
    yield _case(
        "soft_old_one_expired",
        "what is older than 30 days makes nothing last",
        one,
        [_claim("a", "soft", 28, cnt=9), _claim("a", "soft", 33, cnt=9)],
        "D5 allow",
        _worth("trusted", _ONCE, 28),
        since=_NOW - 28 * _DAY,
    )
    yield _case(
        "soft_never_suppresses",
        "a full mailbox is alive",
        many,
        [_claim(org, "soft", age, cnt=9) for org in many for age in (0, 6)],
        "D4 caution",
        300_000,
    )
    yield _case(
        "unknown_kind",
        "says nothing about a recipient",
        one,
        [_claim("a", "new")],
        "D5 allow",
        by=[],
        since=0,
    )


def _deliveries() -> Iterator[Case]:
    group = {"a": "trusted/g", "b": "known/g"}
    ok, old = _claim("b", "ok"), _claim("a", days=1)
    yield _case(
        "ok_of_the_own_group",
        "takes its older claims back",
        group,
        [old, ok],
        "D5 allow",
        by=[],
        since=0,
    )
    yield _case(
        "ok_older_than_the_claim",
        "takes nothing back",
        group,
        [_claim("a"), _claim("b", "ok", 1)],
        "D4 caution",
        100_000,
        by=["a"],
        since=_NOW,
    )
    yield _case(
        "ok_in_the_same_second",
        "a claim of the same second stays",
        group,
        [_claim("a"), _claim("b", "ok")],
        "D4 caution",
        100_000,
        by=["a"],
        since=_NOW,
    )
    three = _TWO | {"c": "known", "d": "trusted"}
    both = [_claim("a", days=1), _claim("b", days=2)]
    of = _worth("trusted", _HARD, 1) + _worth("trusted", _HARD, 2)
    since = _NOW - 2 * _DAY
    yield _case(
        "ok_of_a_known_one",
        "relieves by 40; more than 150 is left",
        three,
        [*both, _claim("c", "ok")],
        "D3 suppress",
        of - 40_000,
        by=["a", "b"],
        since=since,
    )
    yield _case(
        "ok_of_a_trusted_one",
        "relieves by 100",
        three,
        [*both, _claim("d", "ok")],
        "D4 caution",
        of - 100_000,
        by=["a", "b"],
        since=since,
    )
    yield _case(
        "ok_of_two",
        "each group relieves",
        three,
        [*both, _claim("c", "ok"), _claim("d", "ok")],
        "D5 allow",
        of - 140_000,
        by=["a", "b"],
        since=since,
    )
    yield _case(
        "ok_between_two_claims",
        "relieves of the older claim only",
        {"a": "trusted", "b": "known", "d": "trusted"},
        [_claim("a"), _claim("b", days=2), _claim("d", "ok", 1)],
        "D4 caution",
        100_000,
        by=["a", "b"],
        since=since,
    )
    yield _case(
        "ok_of_an_unknown_one",
        "weight 0 relieves of nothing",
        _TWO,
        [*both, _claim("x", "ok")],
        "D3 suppress",
        of,
        by=["a", "b"],
        since=since,
    )
    yield _case(
        "ok_expired",
        "after 30 days a delivery relieves no more",
        three,
        [_claim("a", days=32), _claim("d", "ok", 31)],
        "D4 caution",
        _worth("trusted", _HARD, 32),
        by=["a"],
        since=_NOW - 32 * _DAY,
    )


def _own() -> Iterator[Case]:
    def own(
        name: str,
        why: str,
        expect: str,
        e: int = 200_000,
        **more: Any,  # noqa: ANN401 - fields of the case
    ) -> Case:
        claims = more.pop("claims", _AB)
        return _case(f"own_{name}", why, _TWO, claims, expect, e, **more)

    yield own("delivery_newer", "D1 whatever E is", "D1 allow", own={"ok": _NOW + 1})
    yield own(
        "delivery_as_old", "not newer than every claim", "D3 suppress", own={"ok": _NOW}
    )
    yield own(
        "delivery_older", "claims are newer", "D3 suppress", own={"ok": _NOW - _DAY}
    )
    hard = {"hard": _NOW - 180 * _DAY}
    yield own("bounce", "D2 needs nobody else", "D2 suppress", 0, claims=[], own=hard)
    yield own(
        "bounce_expired",
        "a second more than 180 days",
        "D5 allow",
        0,
        claims=[],
        own={"hard": _NOW - 180 * _DAY - 1},
    )
    yield own(
        "bounce_then_delivery",
        "the newer of the two",
        "D1 allow",
        0,
        claims=[],
        own={"hard": _NOW - 2, "ok": _NOW - 1},
    )
    yield own(
        "delivery_then_bounce",
        "the newer of the two",
        "D2 suppress",
        0,
        claims=[],
        own={"hard": _NOW - 1, "ok": _NOW - 2},
    )
    yield own(
        "both_at_once",
        "in the same second the delivery counts",
        "D1 allow",
        0,
        claims=[],
        own={"hard": _NOW - 1, "ok": _NOW - 1},
    )
    yield own(
        "breaker_open",
        "claims of others count as none",
        "D5 allow",
        0,
        rules={"remote": False},
        by=[],
        since=0,
    )
    yield own(
        "breaker_open_own_bounce",
        "own evidence stays",
        "D2 suppress",
        0,
        rules={"remote": False},
        own={"hard": _NOW},
        by=[],
        since=0,
    )
