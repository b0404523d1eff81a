"""What this host learned by its own mail, before anything of it is shared.

    {"v":1,"kind":"bounce","address":"a@example.org","code":"5.1.1","smtp":550,
     "via":"smtp","at":1790000000}

The shaper writes such facts into a Redis stream; ``mailshaper federation report``
and the library make the same for hosts without it. They hold plain addresses and
stay on this host. What is none of the kinds below is an error that tells no
content. docs/federation.md, "Facts". Pure.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "BadFactError",
    "Blocked",
    "Bounce",
    "Complaint",
    "Day",
    "Delivered",
    "Fact",
    "Receiver",
    "Released",
    "Stopped",
    "read",
]

_LONGEST = 4096
_LATEST = 253_402_300_799  # the last second of 9999
_MOST = 2**53 - 1


class BadFactError(ValueError):
    """A fact that cannot be read. The text names the field, never its content."""


@dataclass(frozen=True, slots=True)
class Bounce:
    """Mail to ``address`` came back: for good, or ``soft`` for a passing reason."""

    address: str
    at: int
    code: str  # enhanced status
    smtp: int  # 0: the report gave none
    via: str  # "smtp" or "dsn"
    provider: str = ""
    soft: bool = False


@dataclass(frozen=True, slots=True)
class Delivered:
    """Mail to ``address`` was taken; ``mail`` False: a person says it is alive."""

    address: str
    at: int
    mail: bool = True


@dataclass(frozen=True, slots=True)
class Complaint:
    """The recipient complained."""

    address: str
    at: int
    src: str
    cls: str


@dataclass(frozen=True, slots=True)
class Blocked:
    """A sender of ours was stopped, in a case of ours."""

    address: str
    at: int
    why: str
    until: int
    case: str


@dataclass(frozen=True, slots=True)
class Released:
    """That case is over."""

    case: str


@dataclass(frozen=True, slots=True)
class Receiver:
    """A provider refuses this host."""

    provider: str
    code: str
    n: int
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Day:
    """Numbers of one UTC day, which began at ``begin``."""

    begin: int
    sent: int
    hard: int
    soft: int
    complaints: int
    suppressed: int


@dataclass(frozen=True, slots=True)
class Stopped:
    """A recipient was not written to, only because of what others say."""

    address: str
    at: int


Fact: TypeAlias = (
    Bounce | Delivered | Complaint | Blocked | Released | Receiver | Day | Stopped
)


def read(raw: bytes) -> Fact:
    """Return the fact that a JSON object tells. Raises BadFactError."""
    if len(raw) > _LONGEST:
        raise BadFactError("a fact is too long")
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError):
        raise BadFactError("a fact is no JSON") from None
    if not isinstance(data, dict) or data.get("v") != 1:
        raise BadFactError("a fact is an object with v = 1")
    kind = data.get("kind")
    make = _MAKERS.get(kind) if isinstance(kind, str) else None
    if make is None:
        raise BadFactError("kind is none that is known here")
    return make(_Fields(data))


class _Fields:
    """Takes fields by name and form."""

    def __init__(self, data: dict[str, Any]) -> None:
        self._data = data

    def text(self, name: str, default: str | None = None) -> str:
        value = self._data.get(name, default)
        if not isinstance(value, str):
            raise BadFactError(f"{name} is no text")
        return value

    def word(self, name: str, *words: str, default: str | None = None) -> str:
        value = self.text(name, default)
        if value not in words:
            raise BadFactError(f"{name} is none of {', '.join(words)}")
        return value

    def number(self, name: str, most: int = _MOST, default: int | None = None) -> int:
        value: object = self._data.get(name, default)
        # Times come as floats; a comparison with NaN is False. True is no number.
        if (
            not isinstance(value, int | float)
            or isinstance(value, bool)
            or not 0 <= value <= most
        ):
            raise BadFactError(f"{name} is no number from 0 to {most}")
        return int(value)

    def time(self, name: str) -> int:
        return self.number(name, _LATEST)


def _bounce(fields: _Fields) -> Bounce:
    return Bounce(
        fields.text("address"),
        fields.time("at"),
        fields.text("code"),
        fields.number("smtp", 999, 0),
        fields.word("via", "smtp", "dsn"),
        fields.text("provider", ""),
    )


def _soft(fields: _Fields) -> Bounce:
    hard = _bounce(fields)
    return Bounce(
        hard.address, hard.at, hard.code, hard.smtp, hard.via, hard.provider, soft=True
    )


def _delivered(fields: _Fields) -> Delivered:
    return Delivered(fields.text("address"), fields.time("at"))


def _override(fields: _Fields) -> Delivered:
    return Delivered(fields.text("address"), fields.time("at"), mail=False)


def _complaint(fields: _Fields) -> Complaint:
    return Complaint(
        fields.text("address"),
        fields.time("at"),
        fields.word("src", "arf", "manual", default="arf"),
        fields.word("cls", "bulk", "personal", "unknown", default="unknown"),
    )


def _blocked(fields: _Fields) -> Blocked:
    return Blocked(
        fields.text("sender"),
        fields.time("at"),
        fields.word("why", "compromised", "spam", "volume", "bounces", "complaints"),
        fields.time("until"),
        fields.text("case"),
    )


def _released(fields: _Fields) -> Released:
    return Released(fields.text("case"))


def _receiver(fields: _Fields) -> Receiver:
    return Receiver(
        fields.text("provider"),
        fields.text("code"),
        fields.number("n"),
        fields.time("from"),
        fields.time("to"),
    )


def _day(fields: _Fields) -> Day:
    return Day(
        fields.time("from"),
        *(
            fields.number(name)
            for name in ("sent", "hard", "soft", "complaints", "suppressed")
        ),
    )


def _stopped(fields: _Fields) -> Stopped:
    return Stopped(fields.text("address"), fields.time("at"))


_MAKERS: dict[str, Callable[[_Fields], Fact]] = {
    "bounce": _bounce,
    "soft": _soft,
    "delivered": _delivered,
    "override": _override,
    "complaint": _complaint,
    "blocked": _blocked,
    "released": _released,
    "receiver": _receiver,
    "day": _day,
    "stopped": _stopped,
}
