"""Group sync: what two nodes must exchange, and the questions they ask."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from federation.format.profile import b64
from tools.federation_vectors.case import NODE, OTHER, ROOT, T0, Case
from tools.federation_vectors.writer import Writer, hard, text

if TYPE_CHECKING:
    from federation.format.event import Event

__all__ = ["cases"]

_NOW = T0 + 3600


def _entry(
    key: bytes, st: str = "h", inc: int = T0, floor: int = 0, head: int = 5, n: int = 0
) -> list[Any]:
    return [b64(key), st, inc, floor, head, b64(bytes([n] * 16))]


def _digest(vector: list[Any]) -> str:
    lines = sorted(
        f"{key} {st} {inc} {head} {ident}\n"
        for key, st, inc, floor, head, ident in vector
        if head > floor
    )
    return b64(sha256(("SM2TP-FED/1 vector\n" + "".join(lines)).encode()).digest())


def _compare(
    name: str,
    why: str,
    ours: list[Any],
    theirs: list[Any],
    **expect: list[Any],
) -> Case:
    nothing: dict[str, Any] = {"pull": [], "push": [], "below": [], "odd": []}
    value = {"do": "compare", "ours": ours, "theirs": theirs}
    return Case(
        f"sync_{name}", value, {"digest": _digest(ours), **nothing, **expect}, why
    )


def _compared() -> list[Case]:
    a, b = bytes([1] * 32), bytes([2] * 32)
    ka, kb = b64(a), b64(b)
    return [
        _compare("empty", "The digest of nothing.", [], []),
        _compare("equal", "Nothing to do.", [_entry(a)], [_entry(a)]),
        _compare(
            "unknown_here",
            "Everything after their floor is pulled.",
            [],
            [_entry(a, floor=3)],
            pull=[[ka, "h", T0, 4, 5]],
        ),
        _compare(
            "unknown_there",
            "Everything after our floor is pushed.",
            [_entry(a, floor=3)],
            [],
            push=[[ka, "h", T0, 4, 5]],
        ),
        _compare(
            "longer_there",
            "What comes after our head is pulled.",
            [_entry(a, head=2)],
            [_entry(a, head=9)],
            pull=[[ka, "h", T0, 3, 9]],
        ),
        _compare(
            "longer_here",
            "What comes after their head is pushed.",
            [_entry(a, head=9)],
            [_entry(a, head=2)],
            push=[[ka, "h", T0, 3, 9]],
        ),
        _compare(
            "their_floor_above_our_head",
            "What has expired there cannot be pulled.",
            [_entry(a, head=2)],
            [_entry(a, floor=6, head=9)],
            pull=[[ka, "h", T0, 7, 9]],
        ),
        _compare(
            "their_floor_below_ours",
            "The beginning that is still there is taken from its end.",
            [_entry(a, floor=4)],
            [_entry(a, floor=1)],
            below=[[ka, "h", T0, 2, 4]],
        ),
        _compare(
            "odd",
            "Equal numbers, different ids: look for the fork.",
            [_entry(a, n=1)],
            [_entry(a, n=2)],
            odd=[[ka, "h", T0]],
        ),
        _compare(
            "expired",
            "A log that holds nothing is in no digest and is not asked for.",
            [],
            [_entry(a, floor=5)],
        ),
        _compare(
            "order",
            "Control first, then by key, stream, incarnation.",
            [],
            [
                _entry(b, "h"),
                _entry(a, "s"),
                _entry(a, "h", T0 + 1),
                _entry(a, "h"),
                _entry(b, "c"),
            ],
            pull=[
                [kb, "c", T0, 1, 5],
                [ka, "h", T0, 1, 5],
                [ka, "h", T0 + 1, 1, 5],
                [ka, "s", T0, 1, 5],
                [kb, "h", T0, 1, 5],
            ],
        ),
        _compare(
            "huge",
            "The largest number is a number like others.",
            [_entry(a, head=2**53 - 2)],
            [_entry(a, head=2**53 - 1)],
            pull=[[ka, "h", T0, 2**53 - 1, 2**53 - 1]],
        ),
    ]


def _vector(*logs: Writer) -> list[Any]:
    return sorted(
        [
            b64(log.signer.public),
            log.st,
            log.inc,
            0,
            len(log.events),
            b64(log.events[-1].id[:16]),
        ]
        for log in logs
    )


def _ask(path: str, **fields: Any) -> list[str]:  # noqa: ANN401 - JSON
    body = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return [f"/fed/v1/{path}", body]


def _push(*events: Event) -> list[str]:
    return ["/fed/v1/push", "".join(event.line.decode() for event in events)]


def _talk(
    name: str,
    why: str,
    stores: tuple[list[Event], list[Event]],
    asked: list[list[str]],
    ends: tuple[list[Any], list[Any]],
    refuse: tuple[list[bytes], list[bytes]] = ([], []),
) -> Case:
    value = {
        "do": "session",
        "now": _NOW,
        "admit": [b64(ROOT.public), b64(OTHER.public)],
        "ours": [text(one) for one in stores[0]],
        "theirs": [text(one) for one in stores[1]],
        "refuse": {
            "ours": [b64(org) for org in refuse[0]],
            "theirs": [b64(org) for org in refuse[1]],
        },
    }
    expect = {"asked": asked, "ours": ends[0], "theirs": ends[1]}
    return Case(f"sync_session_{name}", value, expect, why)


def _range(log: Writer, first: int, last: int) -> list[Any]:
    return [b64(log.signer.public), log.st, log.inc, first, last]


def _sessions() -> list[Case]:
    grants = Writer(ROOT, "c")
    grants.add(("ctl.grant", {"key": b64(NODE.public), "label": "mx1"}))
    facts = Writer(NODE, "h", org=ROOT.public)
    others = Writer(OTHER, "h")
    for number in range(4):
        facts.add(hard(number))
        others.add(hard(100 + number))
    one = [*grants.events, *facts.events]
    both = [*one, *others.events]
    all_logs = _vector(grants, facts, others)
    short = Writer(NODE, "h", org=ROOT.public, events=facts.events[:2])
    fork = Writer(NODE, "h", org=ROOT.public, events=facts.events[:2])
    fork.add(hard(77))
    fork.add(hard(78))
    ended = Writer(NODE, "h", org=ROOT.public, events=facts.events[:2])
    return [
        _talk(
            "same",
            "Equal digests: one question.",
            (both, both),
            [_ask("vector", digest=_digest(all_logs))],
            (all_logs, all_logs),
        ),
        _talk(
            "cold",
            "A node with nothing pulls everything, control first.",
            ([], one),
            [
                _ask("vector", digest=_digest([])),
                _ask("pull", want=[_range(grants, 1, 1), _range(facts, 1, 4)]),
            ],
            (_vector(grants, facts), _vector(grants, facts)),
        ),
        _talk(
            "both_ways",
            "Pull before push; one session makes both equal.",
            ([*one[:3], *others.events], one),
            [
                _ask("vector", digest=_digest(_vector(grants, short, others))),
                _ask("pull", want=[_range(facts, 3, 4)]),
                _push(*others.events),
            ],
            (all_logs, all_logs),
        ),
        _talk(
            "refused_here",
            "What we refuse we say; it is not offered.",
            ([], both),
            [
                _ask("vector", digest=_digest([]), refuse=[b64(OTHER.public)]),
                _ask("pull", want=[_range(grants, 1, 1), _range(facts, 1, 4)]),
            ],
            (_vector(grants, facts), all_logs),
            ([OTHER.public], []),
        ),
        _talk(
            "refused_there",
            "What they refuse is not pushed.",
            (both, one),
            [_ask("vector", digest=_digest(all_logs))],
            (all_logs, _vector(grants, facts)),
            ([], [OTHER.public]),
        ),
        _talk(
            "fork",
            "Equal numbers, different ids: halving finds the third as the first that"
            " differs; both ends of the log are then at the second for us.",
            (one, [*grants.events, *fork.events]),
            [
                _ask("vector", digest=_digest(_vector(grants, facts))),
                _ask("pull", want=[_range(facts, 4, 4)]),
                _ask("pull", want=[_range(facts, 2, 2)]),
                _ask("pull", want=[_range(facts, 3, 3)]),
            ],
            (_vector(grants, ended), _vector(grants, fork)),
        ),
    ]


def cases() -> list[Case]:
    """Return the cases of the group."""
    return [*_compared(), *_sessions()]
