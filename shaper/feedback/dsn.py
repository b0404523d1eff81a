"""Read delivery status notifications: the fields, not their meaning.

RFC 3464 2: a group of per-message fields, then one group per recipient. Many
servers spell, order or enclose them wrongly, so a report is also recognised in a
plain text that contains such groups. Total and linear; at most ``MAX_GROUPS``
recipients are taken from one report.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from shaper.feedback.reply import ADDRESS

__all__ = ["Group", "Report", "choose_recipient", "read_report"]

MAX_GROUPS = 1000
_MAX_LINES = 40_000
_MAX_VALUE = 8000

_FIELD = re.compile(r"([A-Za-z][A-Za-z0-9-]{1,60})\s{0,3}:[ \t]?(.*)\Z")
_ADDRESS = re.compile(ADDRESS)
_STATUS = re.compile(r"(?<![\d.])([245]\.\d{1,3}\.\d{1,3})(?!\d|\.\d)")
_NAMES = frozenset(
    {
        "final-recipient", "original-recipient", "action", "status", "remote-mta",
        "diagnostic-code", "reporting-mta", "arrival-date", "last-attempt-date",
        "will-retry-until", "final-log-id", "original-envelope-id", "received-from-mta",
        "dsn-gateway", "x-actual-recipient", "x-postfix-queue-id", "x-postfix-sender",
        "x-supplementary-info", "x-display-name",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Group:
    """The fields of one recipient (RFC 3464 2.3)."""

    recipient: str
    original_recipient: str
    action: str
    status: str
    diagnostic: str
    diagnostic_type: str
    remote_mta: str


@dataclass(frozen=True, slots=True)
class Report:
    """One report; ``queue_id`` and ``sender`` are Postfix's extra fields."""

    groups: tuple[Group, ...]
    reporting_mta: str = ""
    envelope_id: str = ""
    queue_id: str = ""
    sender: str = ""


def _typed(value: str) -> tuple[str, str]:
    """Split "type; value" (RFC 3464 2.1.2); the type may be missing."""
    kind, semicolon, rest = value.partition(";")
    if semicolon and len(kind) <= 40 and " " not in kind.strip():  # noqa: PLR2004
        return kind.strip().lower(), rest.strip()
    return "", value.strip()


def _mailbox(value: str) -> str:
    """Return the address in a recipient field, or "" when there is none."""
    kind, text = _typed(value)
    if kind not in ("", "rfc822", "utf-8", "smtp", "local", "system", "x-local"):
        return ""
    text = text.strip()
    if text.startswith("@") and ":" in text:
        # RFC 5321 4.1.1.3: an obsolete source route; the address stands behind it.
        text = text.partition(":")[2]
    if kind == "utf-8" and "@" in text and not text.isascii():
        return text.split(maxsplit=1)[0].strip("<>")  # RFC 6533 3
    match = _ADDRESS.search(text)
    return match[0] if match else ""


def _site(domain: str) -> str:
    return domain.lower().rstrip(".")


def choose_recipient(final: str, original: str) -> str:
    """Return whose failure this is.

    The final recipient is the address that failed; the original one may be a
    living alias that forwards to it, so it is not the one to blame (RFC 3464
    2.3.1, 2.3.2). But when the final form is only what the same site calls its
    own mailbox inside, outsiders know it under the original address.
    """
    if not final or not original:
        return final or original
    inner = _site(final.rpartition("@")[2])
    outer = _site(original.rpartition("@")[2])
    if "." not in inner or inner.endswith("." + outer):
        return original
    return final


class _Blocks:
    """Collects the groups of fields in a text, each ended by an empty line."""

    def __init__(self) -> None:
        self.done: list[dict[str, str]] = []
        self._fields: dict[str, str] = {}
        self._last = ""

    def feed(self, line: str) -> None:
        if not line:
            self.end()
        elif line[0] in " \t":
            self._continue(line)
        elif match := _FIELD.match(line):
            self._field(match[1].lower(), match[2].strip())
        elif self._last == "diagnostic-code":
            self._continue(line)  # wrapped without the blank

    def _continue(self, line: str) -> None:
        if self._last and len(self._fields[self._last]) < _MAX_VALUE:
            self._fields[self._last] += " " + line.strip()

    def _field(self, name: str, value: str) -> None:
        if name == "final-recipient" and name in self._fields:
            self.end()  # groups that run together
        self._last = name
        if name == "diagnostic-code" and name in self._fields:
            # RFC 3464 2.3.6 allows one; the first digits win.
            self._continue(value)
        else:
            self._fields.setdefault(name, value)

    def end(self) -> None:
        if self._fields:
            self.done.append(self._fields)
        self._fields, self._last = {}, ""


def _blocks(text: str) -> list[dict[str, str]]:
    blocks = _Blocks()
    for line in text.split("\n", _MAX_LINES)[:_MAX_LINES]:
        blocks.feed(line.rstrip()[:2000])
    blocks.end()
    return blocks.done


# PowerMTA's own classes; only those that it tells of the recipient.
_CATEGORY = re.compile(r"[a-z-]{3,40}\Z")
_RECIPIENT_FIELDS = ("action", "status", "diagnostic-code", "remote-mta")


def _group(block: dict[str, str]) -> Group:
    final, original = (
        block.get("final-recipient", ""),
        block.get("original-recipient", ""),
    )
    outer = _mailbox(original)
    kind, diagnostic = _typed(block.get("diagnostic-code", ""))
    category = block.get("x-powermta-bouncecategory", "").strip()
    if _CATEGORY.match(category):
        diagnostic = f"{diagnostic} [{category}]"
    status = _STATUS.search(block.get("status", ""))
    recipient = choose_recipient(_mailbox(final), outer)
    if actual := _mailbox(block.get("x-actual-recipient", "")):
        # Sendmail: what an alias stood for; Final-Recipient is then the alias.
        outer = outer or recipient
        if not recipient:
            recipient = actual
    return Group(
        recipient=recipient,
        original_recipient=outer if outer.lower() != recipient.lower() else "",
        action=block.get("action", "").split("(")[0].strip().lower().split(" ")[0],
        status=status[1] if status else "",
        diagnostic=diagnostic,
        diagnostic_type=kind,
        remote_mta=_typed(block.get("remote-mta", ""))[1],
    )


def read_report(text: str) -> Report:
    """Read a ``message/delivery-status`` body, or a text that contains one."""
    groups: list[Group] = []
    message: dict[str, str] = {}
    carried: dict[str, str] = {}
    for block in _blocks(text):
        if not _NAMES.intersection(block):
            continue
        final = block.get("final-recipient", "")
        original = block.get("original-recipient", "")
        if not final and not original:
            if "reporting-mta" in block or "arrival-date" in block:
                for name, value in block.items():
                    message.setdefault(name, value)
            carried = {k: v for k, v in block.items() if k in _RECIPIENT_FIELDS}
            continue
        for name, value in block.items():
            if name in (
                "reporting-mta",
                "original-envelope-id",
                "x-postfix-queue-id",
                "x-postfix-sender",
            ):
                message.setdefault(name, value)
        groups.append(_group({**carried, **block}))
        carried = {}
        if len(groups) >= MAX_GROUPS:
            break
    sender = _ADDRESS.search(_typed(message.get("x-postfix-sender", ""))[1])
    return Report(
        groups=tuple(groups),
        reporting_mta=_typed(message.get("reporting-mta", ""))[1],
        envelope_id=message.get("original-envelope-id", ""),
        queue_id=message.get("x-postfix-queue-id", ""),
        sender=sender[0] if sender else "",
    )
