"""What each kind of event says: its stream, the fields of its body, their form.

An event whose body is not of this form is stored and relayed like every other,
because its log would break for ever without it, but it has no weight (V9).
Kinds and enumerations are closed: what a later version adds has no weight here.
The same holds for a field that a kind does not have, so whatever must be said in
addition is said by a new kind.

Nothing here tells whether an event may have weight for other reasons (its key,
its log, trust), nor checks the signatures inside ctl.rotate and proof.fork.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from federation.format.errors import Refused
from federation.format.event import LATEST, LONGEST, STREAMS, Event
from federation.format.limits import DAY
from federation.format.profile import LARGEST, Value, unb64

__all__ = [
    "HARD_CODES",
    "HOUR",
    "KINDS",
    "SOFT_CODES",
    "Kind",
    "defect",
    "fits",
    "is_status",
    "stream_of",
]

HOUR: Final = 3600

HARD_CODES: Final = frozenset({"5.1.1", "5.1.3", "5.1.6", "5.1.10", "5.2.1"})
"""Statuses that speak of the mailbox: it does not exist, or is disabled.

RFC 3463 3.2 and 3.3, RFC 7505 4.2 for 5.1.10. Never 5.7.x, 5.6.x or 5.3.4, which
judge the message or its sender. Not 5.1.2 either: a broken resolver would claim
thousands of domains dead, and who looks the domain up learns it without mail.
"""
SOFT_CODES: Final = frozenset({"4.1.1", "4.1.6", "4.2.0", "4.2.1", "4.2.2", "5.2.2"})
"""Statuses that speak of the mailbox and may pass; 5.2.2 is a full one.

Other 4.x.y tell of the path, of load, or of what the receiver thinks of the
sender (4.7.x), and say nothing about the recipient to anybody else.
"""

Check: TypeAlias = Callable[[Value], bool]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind: the streams it belongs to and the forms of its fields."""

    streams: str
    needs: dict[str, Check]
    may: dict[str, Check]


def _binary(length: int) -> Check:
    def check(value: Value) -> bool:
        try:
            unb64(value, length)
        except Refused:
            return False
        return True

    return check


def _integer(low: int, high: int, step: int = 1) -> Check:
    return lambda value: (
        type(value) is int and low <= value <= high and value % step == 0
    )


def _text(pattern: str) -> Check:
    form = re.compile(pattern)
    return lambda value: type(value) is str and form.fullmatch(value) is not None


is_status: Final = _text(r"[45]\.[0-9]{1,3}\.[0-9]{1,3}")
"""Whether a text is the enhanced status code of something that failed (RFC 3463 2)."""


def _one_of(*words: str) -> Check:
    return lambda value: type(value) is str and value in words


def _several(check: Check, most: int) -> Check:
    return lambda value: (
        isinstance(value, list) and len(value) <= most and all(map(check, value))
    )


def _tuple(*checks: Check) -> Check:
    return lambda value: (
        isinstance(value, list)
        and len(value) == len(checks)
        and all(check(one) for check, one in zip(checks, value, strict=True))
    )


def _line(value: Value) -> bool:
    try:
        return len(unb64(value)) <= LONGEST
    except Refused:
        return False


_KEY = _ID = _HASH = _binary(32)
_TAG = _binary(16)
_PEPPER = _binary(6)
_STREAM = _one_of(*STREAMS)
_SEQ = _integer(1, LARGEST)
_COUNT = _integer(0, LARGEST)
_TIME = _integer(0, LATEST)
_WHOLE_HOUR = _integer(0, LATEST, HOUR)
_MIDNIGHT = _integer(0, LATEST, DAY)
_PROVIDER = _text(r"[a-z0-9][a-z0-9._-]{0,63}")
_URL = _text(r"https://[!-~]{1,248}")
_NAME = _text(r".{1,64}")
_CUT = _tuple(_STREAM, _TIME, _SEQ, _ID)

_RECIPIENT = {"pk": _PEPPER, "r": _TAG}
_BOUNCE = {
    **_RECIPIENT,
    "smtp": _integer(400, 599),
    "cnt": _integer(1, 9999),
    "last": _WHOLE_HOUR,
    "via": _one_of("smtp", "dsn"),
}

KINDS: Final = {
    "rcpt.hard": Kind(
        "h",
        {**_BOUNCE, "code": _one_of(*HARD_CODES), "smtp": _integer(500, 599)},
        {"prov": _PROVIDER},
    ),
    "rcpt.soft": Kind(
        "s", {**_BOUNCE, "code": _one_of(*SOFT_CODES)}, {"prov": _PROVIDER}
    ),
    "rcpt.ok": Kind("s", {**_RECIPIENT, "last": _WHOLE_HOUR}, {}),
    "rcpt.complaint": Kind(
        "h",
        {
            **_RECIPIENT,
            "src": _one_of("arf", "manual"),
            "cls": _one_of("bulk", "personal", "unknown"),
        },
        {},
    ),
    "send.blocked": Kind(
        "h",
        {
            "pk": _PEPPER,
            "s": _TAG,
            "why": _one_of("compromised", "spam", "volume", "bounces", "complaints"),
            "until": _WHOLE_HOUR,
        },
        {},
    ),
    "send.released": Kind("h", {"ref": _ID}, {}),
    "out.blocked": Kind(
        "s",
        {
            "prov": _PROVIDER,
            "code": is_status,
            "n": _integer(1, LARGEST),
            "from": _WHOLE_HOUR,
            "to": _WHOLE_HOUR,
        },
        {},
    ),
    "stat.score": Kind(
        "s",
        {
            "from": _MIDNIGHT,
            "to": _MIDNIGHT,
            "m": _integer(1, 1),
            **dict.fromkeys(("sent", "hard", "soft", "cmpl", "supp"), _COUNT),
        },
        {},
    ),
    "ctl.org": Kind(
        "c",
        {"name": _NAME},
        {
            "url": _URL,
            "contact": _text(r".{1,128}"),
            "sw": _text(r".{1,64}"),
            "nextroot": _HASH,
        },
    ),
    "ctl.grant": Kind("c", {"key": _KEY, "label": _NAME}, {}),
    "ctl.revoke": Kind(
        "c",
        {"key": _KEY, "why": _one_of("lost", "stolen", "retired")},
        # Missing: nothing that the key ever signed keeps its weight.
        {"cut": _several(_CUT, 16)},
    ),
    "ctl.rotate": Kind("c", {"newroot": _KEY, "sig2": _binary(64)}, {}),
    "ctl.open": Kind(
        "c",
        {"key": _KEY, "st": _STREAM, "inc": _TIME},
        {"closes": _tuple(_TIME, _SEQ, _ID)},
    ),
    "ctl.peer": Kind("c", {"peer": _KEY}, {"url": _URL, "name": _NAME}),
    "ctl.refuse": Kind(
        "c", {"peer": _KEY, "why": _one_of("abuse", "lies", "fork", "other")}, {}
    ),
    "fix.retract": Kind(
        "hs",
        {"ids": _several(_ID, 32), "why": _one_of("error", "stale", "erasure")},
        {},
    ),
    "proof.fork": Kind("c", {"a": _line, "b": _line}, {}),
}


def stream_of(k: str) -> str | None:
    """Return the stream of a kind. None: unknown, or the kind has several."""
    kind = KINDS.get(k)
    return kind.streams if kind and len(kind.streams) == 1 else None


def fits(k: str, st: str) -> bool:
    """Whether events of kind ``k`` belong to stream ``st``."""
    kind = KINDS.get(k)
    return kind is not None and st in kind.streams


def defect(event: Event) -> str:
    """Return why the event's body has no weight; "" when nothing is wrong."""
    kind = KINDS.get(event.k)
    if kind is None:
        return "unknown kind"
    # Not a question of form (V3): a version that does not know the kind stores
    # the line, so every version has to.
    if event.st not in kind.streams:
        return f"kind {event.k} does not belong to stream {event.st}"
    body = event.b
    if missing := sorted(kind.needs.keys() - body.keys()):
        return f"field {missing[0]} is missing"
    for name, value in body.items():
        check = kind.needs.get(name) or kind.may.get(name)
        if check is None:
            return f"kind {event.k} has no field {name}"
        if not check(value):
            return f"field {name} has not its form"
    return _together(event)


def _together(event: Event) -> str:
    """Return what is wrong between fields that are right alone."""
    body = event.b
    if event.k == "stat.score" and body["to"] != _plus(body["from"], DAY):
        return "from and to are not one day"
    if event.k == "out.blocked" and not _plus(body["from"], HOUR) <= _plus(
        body["to"], 0
    ):
        return "to is not after from"
    return ""


def _plus(value: Value, more: int) -> int:
    return value + more if isinstance(value, int) else -1
