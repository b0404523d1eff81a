"""Judge an outcome: a pure function over a table of rules.

The enhanced status decides before the digits (RFC 3463, RFC 2034), and the
text before neither, unless a rule of the table lists the statuses that it may
overrule: real servers lie in known ways. What no rule knows is ``unknown``.
Two guards stand above the table, so that no entry of an administrator can
condemn a living address by accident: 5.7.x never means a dead address, and
neither does a temporary class nor a refusal before RCPT.

The table comes as plain data; reading its file is the duty of
``shaper.feedback.table``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from shaper.core.outcome import Meaning
from shaper.core.reply import Phase

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["LOCAL", "Signals", "Table", "TableError", "Verdict", "judge", "normalise"]

LOCAL = "local"  # phase of a failure inside the reporting MTA: nobody spoke SMTP
_PHASES = frozenset({"", LOCAL, *(p.value for p in Phase)})
_BEFORE_RCPT = frozenset(
    {"connect", "ehlo", "tls", "auth", "mail"}
)  # nothing was said about the recipient yet

_MAX_TEXT = 4000  # octets judged; the longest useful diagnostic seen has 1,400
_MEMO = 4096
_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}\Z")
_PATTERN = re.compile(r"([245*])\.(\d{1,3}|\*)\.(\d{1,3}|\*)(?:-(\d{1,3}))?\Z")
_DIGITS = re.compile(r"[2-5][0-9x][0-9x]\Z")
# "550-5.7.1 " in the middle of a joined multiline reply cuts phrases in two.
_CONTINUED = re.compile(
    r"\s[245]\d\d(?:-(?:[245]\.\d{1,3}\.\d{1,3}\s)?| [245]\.\d{1,3}\.\d{1,3}\s)"
)
# What an address, the path of a URL or a file name says is nobody's judgement.
_ATEXT = r"[^\s<>@:;,\"'()\[\]]"
_ADDRESS = re.compile(rf"{_ATEXT}{{1,80}}@{_ATEXT}{{0,79}}[^\s<>@:;,\"'()\[\].]")
_URL = re.compile(r"(https?://[^\s/<>()\"']{1,80})[^\s<>()\"']{0,400}")
_SPACE = re.compile(r"\s+")
_KEYS = frozenset(
    {"name", "meaning", "reason", "any", "unless", "status", "code", "phase", "domain"}
)


class TableError(ValueError):
    """An entry of the table is wrong; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Signals:
    """What is known about one failed or finished attempt."""

    status: str = ""
    code: str = ""
    text: str = ""
    phase: str = ""  # a ``Phase`` value, "local", or "" when not told
    recipient: str = ""  # only its domain is used


@dataclass(frozen=True, slots=True)
class Verdict:
    """A judgement with its reason and the name of the rule that decided.

    ``permanent`` is the class of the reply (RFC 3463 3.1), not the meaning.
    """

    meaning: Meaning
    permanent: bool
    reason: str
    rule: str


@dataclass(frozen=True, slots=True)
class _Rule:
    name: str
    meaning: Meaning
    reason: str
    phrases: tuple[tuple[str, ...], ...]
    unless: tuple[tuple[str, ...], ...]
    statuses: tuple[str, ...]
    codes: tuple[str, ...]
    phases: frozenset[str]
    domains: tuple[str, ...]


def normalise(text: str) -> str:
    """Lower-case, on one line, without addresses, paths and continuation marks."""
    text = _repaired(text[:_MAX_TEXT])
    text = _CONTINUED.sub(" ", text.replace("\u2019", "'").lower())
    text = _ADDRESS.sub("@", _URL.sub(r"\1", text))
    return _SPACE.sub(" ", text).strip()


def _repaired(text: str) -> str:
    """Undo UTF-8 that was read as Latin-1 on its way, where that is certain."""
    if text.isascii() or max(text) > "\xff":
        return text
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return text


def _generic(status: str) -> bool:
    """Whether a status says only "it failed" within its subject (RFC 3463 3.1)."""
    if not status:
        return True
    _, subject, detail = status.split(".")
    return subject == "0" or detail == "0"


def _status_matches(pattern: str, status: str) -> bool:
    if pattern == "*":
        return True
    if pattern == "none":
        return not status
    if pattern == "generic":
        return _generic(status)
    found = _PATTERN.match(pattern)
    if not status or not found:
        return False
    kind, subject, detail = status.split(".")
    low, high = found[3], found[4]
    return (
        found[1] in ("*", kind)
        and found[2] in ("*", subject)
        and (
            low == "*"
            or (int(low) <= int(detail) <= int(high) if high else low == detail)
        )
    )


def _code_matches(pattern: str, code: str) -> bool:
    return len(code) == len(pattern) and all(
        p in ("x", c) for p, c in zip(pattern, code, strict=True)
    )


def _contains(text: str, pieces: tuple[str, ...]) -> bool:
    at = 0
    for piece in pieces:
        at = text.find(piece, at)
        if at < 0:
            return False
        at += len(piece)
    return True


class Table:
    """Rules in order. Immutable once built; raises TableError when it is wrong."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        """Compile the parsed TOML of one or several files (already merged)."""
        # Judged before: logs repeat themselves. Bounded by ``_MEMO``.
        self.memo: dict[tuple[str, str, str, str, str], Verdict] = {}
        self.text_rules: list[_Rule] = []
        self.status_rules: list[_Rule] = []
        self.code_rules: list[_Rule] = []
        known = {"text", "status", "code"}
        if extra := set(data) - known:
            msg = f"unknown section {min(extra)!r}: use text, status or code"
            raise TableError(msg)
        for section, target in (
            ("text", self.text_rules),
            ("status", self.status_rules),
            ("code", self.code_rules),
        ):
            entries = data.get(section, [])
            if not isinstance(entries, list):
                msg = f"{section} must be written as [[{section}]] entries"
                raise TableError(msg)
            for number, entry in enumerate(entries, 1):
                target.append(_compile(section, number, entry))

    def extended(self, other: Table) -> Table:
        """Return a table in which the other's rules come first."""
        joined = Table({})
        joined.text_rules = other.text_rules + self.text_rules
        joined.status_rules = other.status_rules + self.status_rules
        joined.code_rules = other.code_rules + self.code_rules
        return joined


def _strings(where: str, entry: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = entry.get(key, [])
    if not isinstance(value, list) or not all(isinstance(v, str) and v for v in value):
        msg = f"{where}: {key} must be a list of non-empty strings"
        raise TableError(msg)
    return tuple(value)


def _phrases(strings: Iterable[str]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(p for p in string.lower().split("*") if p) for string in strings)


def _compile(section: str, number: int, entry: object) -> _Rule:
    if not isinstance(entry, dict):
        msg = f"[[{section}]] number {number} is not a table"
        raise TableError(msg)
    name = entry.get("name") or f"{section}-{number}"
    where = f"[[{section}]] {name}"
    if extra := set(entry) - _KEYS:
        msg = f"{where}: unknown key {min(extra)!r}"
        raise TableError(msg)
    try:
        meaning = Meaning(str(entry.get("meaning")))
    except ValueError:
        msg = f"{where}: meaning must be one of {', '.join(Meaning)}"
        raise TableError(msg) from None
    rule = _Rule(
        name=str(name),
        meaning=meaning,
        reason=str(entry.get("reason", "")),
        phrases=_phrases(_strings(where, entry, "any")),
        unless=_phrases(_strings(where, entry, "unless")),
        statuses=_strings(where, entry, "status"),
        codes=_strings(where, entry, "code"),
        phases=frozenset(
            "" if p == "untold" else p for p in _strings(where, entry, "phase")
        ),
        domains=tuple("@" + d.lower() for d in _strings(where, entry, "domain")),
    )
    for pattern in rule.statuses:
        if pattern not in ("*", "none", "generic") and not _PATTERN.match(pattern):
            msg = f"{where}: {pattern!r} is no status pattern such as 5.7.* or 5.7.1-9"
            raise TableError(msg)
    for code in rule.codes:
        if not _DIGITS.match(code):
            msg = f"{where}: {code!r} is no reply code such as 550 or 55x"
            raise TableError(msg)
    if wrong := rule.phases - _PHASES:
        msg = f"{where}: unknown phase {min(wrong)!r}"
        raise TableError(msg)
    needed = {"text": rule.phrases, "status": rule.statuses, "code": rule.codes}
    if not needed[section]:
        msg = (
            f"{where}: nothing to match by ({'any' if section == 'text' else section})"
        )
        raise TableError(msg)
    return rule


def _applies(rule: _Rule, signals: Signals, text: str) -> bool:
    return (
        (not rule.phases or signals.phase in rule.phases)
        and (
            not rule.statuses
            or any(_status_matches(p, signals.status) for p in rule.statuses)
        )
        and (not rule.domains or signals.recipient.lower().endswith(rule.domains))
        and (not rule.codes or any(_code_matches(p, signals.code) for p in rule.codes))
        and (not rule.phrases or any(_contains(text, p) for p in rule.phrases))
        and not any(_contains(text, p) for p in rule.unless)
    )


def judge(signals: Signals, table: Table) -> Verdict:
    """Say what an outcome means. Never raises; same signals, same verdict.

    Order: listed texts, enhanced status, digits, else unknown.
    """
    status = signals.status if _STATUS.match(signals.status) else ""
    signals = replace(signals, status=status)
    # A success is a success whatever its text says ("250 2.0.0 quota 93 % full").
    if (status or signals.code)[:1] == "2":
        return Verdict(Meaning.DELIVERED, permanent=False, reason="accepted", rule="")
    text = normalise(signals.text)
    domain = signals.recipient.rpartition("@")[2].lower()
    key = (status, signals.code, text, signals.phase, domain)
    verdict = table.memo.get(key)
    if verdict is None:
        verdict = _judged(signals, text, table)
        if len(table.memo) >= _MEMO:
            table.memo.clear()
        table.memo[key] = verdict
    return verdict


def _judged(signals: Signals, text: str, table: Table) -> Verdict:
    for rules in (table.text_rules, table.status_rules, table.code_rules):
        for rule in rules:
            if _applies(rule, signals, text):
                return _guarded(rule, signals)
    first = (signals.status or signals.code)[:1]
    if first == "4":
        return Verdict(
            Meaning.TEMPORARY, permanent=False, reason="a temporary refusal", rule=""
        )
    return Verdict(Meaning.UNKNOWN, first == "5", "no rule understands it", rule="")


def _guarded(rule: _Rule, signals: Signals) -> Verdict:
    """Apply what no table entry may overrule."""
    meaning, reason = rule.meaning, rule.reason
    status, first = signals.status, (signals.status or signals.code)[:1]
    if meaning is Meaning.DEAD_ADDRESS:
        if first == "4":
            # RFC 3463 3.1, RFC 5321 4.2.1: the class promises that it may change.
            meaning, reason = Meaning.TEMPORARY, f"{reason}, but only for now"
        elif status.startswith("5.7."):
            # RFC 3463 3.8: security or policy, which proves nothing about the address.
            meaning, reason = Meaning.MESSAGE_REFUSED, "a policy refused the message"
        elif signals.phase in _BEFORE_RCPT:
            meaning, reason = Meaning.UNKNOWN, "refused before the recipient was named"
    elif first == "4" and meaning is Meaning.MESSAGE_REFUSED:
        meaning = Meaning.TEMPORARY
    given_up = first == "5" or meaning is Meaning.DEAD_ADDRESS
    return Verdict(meaning, given_up, reason, rule.name)
