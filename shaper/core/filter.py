"""The one grammar by which operators choose held messages.

    rcpt-domain=example.org subject~invoice and not age<2h
    sender=login:alice@example.org or (size>1M recipients>=20)

Terms standing side by side must all hold; ``or``, ``not`` and parentheses work as
one reads them. ``=`` and ``!=`` compare whole values without regard to case, ``*``
stands for anything; ``~`` and ``!~`` look for a part of the text; ``<``, ``<=``, ``>``
and ``>=`` compare counts, sizes (in octets, or ``k``, ``M``, ``G``) and ages (in
seconds, or ``m``, ``h``, ``d``). Values with blanks or parentheses stand in double
quotes.

Pure: text in, a predicate over ``HeldMessage`` out. Nothing is evaluated as code
and no regular expression comes from outside, so no filter can hang.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from shaper.core.message import HeldMessage

__all__ = ["FIELDS", "Filter", "FilterError", "parse"]

_DEPTH = 20  # nested parentheses; people need two
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<bracket>[()])
      | (?P<name>[A-Za-z-]+)(?P<operator>!=|!~|<=|>=|=|~|<|>)
        (?P<value>"(?:[^"\\]|\\.)*"|[^\s()"]+)
      | (?P<word>and|or|not)(?=[\s(]|$)
    )""",
    re.VERBOSE | re.IGNORECASE,
)
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)([A-Za-z]?)")
_UNITS = {
    "size": {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3},
    "age": {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400},
    "recipients": {"": 1},
    "attempts": {"": 1},
}


class FilterError(ValueError):
    """What is wrong with a filter, and where."""

    def __init__(self, message: str, text: str, position: int) -> None:
        """Show the place under the text."""
        super().__init__(f"{message}\n  {text}\n  {' ' * position}^")
        self.position = position


class Filter(Protocol):
    """A predicate over held messages."""

    def matches(self, message: HeldMessage, now: float) -> bool:
        """Whether the message is meant; ``now`` (Unix seconds) gives ages."""


def _texts(message: HeldMessage) -> dict[str, Callable[[], tuple[str, ...]]]:
    s = message.submission
    recipients = s.envelope.recipients
    return {
        "id": lambda: (message.id,),
        "sender": lambda: (s.sender,),
        "from": lambda: (s.envelope.sender,),
        "rcpt": lambda: tuple(r.address for r in recipients),
        "rcpt-domain": lambda: tuple(r.domain for r in recipients),
        "subject": lambda: (s.subject,),
        "message-id": lambda: (s.message_id,),
        "client": lambda: (s.client.address,),
        "case": lambda: (message.case,),
        "order": lambda: (message.order,),
    }


def _quantities(message: HeldMessage, now: float) -> dict[str, float]:
    return {
        "size": message.size,
        # Above 0 also where the clock was set back: ``age>0s`` is everything.
        "age": max(now - message.submission.received, 0.001),
        "recipients": len(message.submission.envelope.recipients),
        "attempts": message.attempts,
    }


_TEXT_FIELDS = (
    "id",
    "sender",
    "from",
    "rcpt",
    "rcpt-domain",
    "subject",
    "message-id",
    "client",
    "case",
    "order",
)
FIELDS = (*_TEXT_FIELDS, *_UNITS)


@dataclass(frozen=True, slots=True)
class _Text:
    """One term about words: any value of the field may fit."""

    name: str
    operator: str
    value: str

    def matches(self, message: HeldMessage, now: float) -> bool:
        del now
        values = _texts(message)[self.name]()
        wanted = self.value.casefold()
        if self.operator.endswith("~"):
            found = any(wanted in value.casefold() for value in values)
        else:
            found = any(_glob(wanted, value.casefold()) for value in values)
        return found != self.operator.startswith("!")


@dataclass(frozen=True, slots=True)
class _Quantity:
    """One term about a number."""

    name: str
    operator: str
    value: float

    def matches(self, message: HeldMessage, now: float) -> bool:
        number = _quantities(message, now)[self.name]
        return {
            "=": number == self.value,
            "!=": number != self.value,
            "<": number < self.value,
            "<=": number <= self.value,
            ">": number > self.value,
            ">=": number >= self.value,
        }[self.operator]


@dataclass(frozen=True, slots=True)
class _All:
    terms: tuple[Filter, ...]

    def matches(self, message: HeldMessage, now: float) -> bool:
        return all(term.matches(message, now) for term in self.terms)


@dataclass(frozen=True, slots=True)
class _Any:
    terms: tuple[Filter, ...]

    def matches(self, message: HeldMessage, now: float) -> bool:
        return any(term.matches(message, now) for term in self.terms)


@dataclass(frozen=True, slots=True)
class _Not:
    term: Filter

    def matches(self, message: HeldMessage, now: float) -> bool:
        return not self.term.matches(message, now)


class _Token(NamedTuple):
    kind: str  # "(", ")", "and", "or", "not", "term" or "end"
    term: Filter | None
    position: int


def parse(text: str) -> Filter:
    """Return the filter that ``text`` describes. Raises FilterError."""
    return _Parser(text).whole()


class _Parser:
    """Recursive descent over at most ``_DEPTH`` levels."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = _tokens(text)
        self._at = 0
        self._depth = 0

    def whole(self) -> Filter:
        if self._tokens[0].kind == "end":
            raise FilterError("the filter is empty", self._text, 0)
        found = self._either()
        if self._kind != "end":
            self._fail("this does not belong here")
        return found

    @property
    def _kind(self) -> str:
        return self._tokens[self._at].kind

    def _fail(self, message: str) -> None:
        raise FilterError(message, self._text, self._tokens[self._at].position)

    def _either(self) -> Filter:
        terms = [self._both()]
        while self._kind == "or":
            self._at += 1
            terms.append(self._both())
        return terms[0] if len(terms) == 1 else _Any(tuple(terms))

    def _both(self) -> Filter:
        terms = [self._one()]
        while self._kind in {"and", "not", "term", "("}:
            if self._kind == "and":
                self._at += 1
            terms.append(self._one())
        return terms[0] if len(terms) == 1 else _All(tuple(terms))

    def _one(self) -> Filter:
        negations = 0
        while self._kind == "not":
            self._at += 1
            negations += 1
        if self._kind == "(":
            self._depth += 1
            if self._depth > _DEPTH:
                self._fail("too many parentheses")
            self._at += 1
            found = self._either()
            if self._kind != ")":
                self._fail("a closing parenthesis is missing")
            self._depth -= 1
        elif (term := self._tokens[self._at].term) is not None:
            found = term
        else:
            self._fail("a term such as sender=login:alice is missing")
            raise AssertionError  # for the type checker: _fail raises
        self._at += 1
        return _Not(found) if negations % 2 else found


def _tokens(text: str) -> list[_Token]:
    tokens = []
    at = 0
    while text[at:].strip():
        match = _TOKEN.match(text, at)
        start = at + len(text[at:]) - len(text[at:].lstrip())
        if match is None:
            raise FilterError(
                "not understood; a term looks like subject~invoice, age>2h or id=ID",
                text,
                start,
            )
        at = match.end()
        if match["bracket"]:
            tokens.append(_Token(match["bracket"], None, start))
        elif match["word"]:
            tokens.append(_Token(match["word"].lower(), None, start))
        else:
            tokens.append(_Token("term", _term(match, text, start), start))
    tokens.append(_Token("end", None, len(text)))
    return tokens


def _term(match: re.Match[str], text: str, start: int) -> Filter:
    name, operator, value = match["name"].lower(), match["operator"], match["value"]
    if value.startswith('"'):
        value = re.sub(r"\\(.)", r"\1", value[1:-1])
    if name in _TEXT_FIELDS:
        if operator in {"<", "<=", ">", ">="}:
            raise FilterError(f"{name} is text: use = != ~ or !~", text, start)
        return _Text(name, operator, value)
    if name not in _UNITS:
        known = ", ".join(FIELDS)
        raise FilterError(f"no field {name!r}; there are {known}", text, start)
    if operator.endswith("~"):
        raise FilterError(f"{name} is a number: use = != < <= > or >=", text, start)
    quantity = _QUANTITY.fullmatch(value)
    units = _UNITS[name]
    if quantity is None or quantity[2].lower() not in units:
        known = ", ".join(unit for unit in units if unit) or "none"
        raise FilterError(
            f"{value!r} is no {name}; units: {known}", text, match.start("value")
        )
    return _Quantity(name, operator, float(quantity[1]) * units[quantity[2].lower()])


def _glob(pattern: str, value: str) -> bool:
    """Match with ``*`` for anything, in time linear in the value for each star."""
    first, *rest = pattern.split("*")
    if not rest:
        return value == pattern
    if not value.startswith(first):
        return False
    at = len(first)
    for piece in rest[:-1]:
        found = value.find(piece, at)
        if found < 0:
            return False
        at = found + len(piece)
    return len(value) - at >= len(rest[-1]) and value.endswith(rest[-1])
