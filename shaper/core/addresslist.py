"""Reads lists of dead addresses as others write them, and writes ours for others.

In: plain text, our own CSV, and the exports of the large providers, known by the
names of their columns. Only what says that the address is dead is taken: a complaint
or an unsubscription is about one sender's mail, a soft bounce about a day. What is
left out is counted by its reason. Out: a Postfix map for ``check_recipient_access``
(access(5)), a list for Exim's ``lsearch`` (spec.txt 9.3), plain text, CSV.

Pure: lines in, lines out; nothing is opened here.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from shaper.core.suppression import MARK, fold
from shaper.core.text import bland

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["COLUMNS", "FORMATS", "Line", "header", "parse", "row_of"]

FORMATS = ("postfix", "exim", "plain", "csv")
COLUMNS = ("address", "why", "since", "status", "text", "source", "reason")
_LONGEST = 200
_MILLISECONDS = 1e11  # no second since 1970 has so many


@dataclass(frozen=True, slots=True)
class Line:
    """What a line of an import says; ``skipped`` tells why it is not taken."""

    number: int
    address: str = ""
    since: float = 0.0
    status: str = ""
    text: str = ""
    source: str = ""
    skipped: str = ""
    corrupt: bool = False


class _Provider(NamedTuple):
    """How a provider's export is known and read. Names of columns in lower case."""

    name: str
    needs: frozenset[str]
    address: str
    # Columns that together say what happened, words that say "dead address"
    # (all others are left out). No columns: the file holds hard bounces only.
    kinds: tuple[str, ...] = ()
    dead: str = ""
    since: tuple[str, ...] = ()
    status: tuple[str, ...] = ()
    text: tuple[str, ...] = ()


# The first that fits is taken, so the more particular ones come first.
_PROVIDERS = (
    _Provider(
        "mailshaper", frozenset({"address", "why", "since"}), "address",
        ("why",), r"dead|manual|import", ("since",), ("status",), ("text",),
    ),
    # https://postmarkapp.com/developer/api/suppressions-api, and bounce exports
    _Provider(
        "Postmark", frozenset({"emailaddress", "suppressionreason"}), "emailaddress",
        ("suppressionreason",), r"hardbounce", ("createdat",),
    ),
    _Provider(
        "Postmark", frozenset({"email", "type", "bouncedat"}), "email",
        ("type",), r"hardbounce|bademailaddress", ("bouncedat",), (),
        ("details", "description"),
    ),
    # Amazon SES list-suppressed-destinations
    _Provider(
        "Amazon SES", frozenset({"emailaddress", "reason", "lastupdatetime"}),
        "emailaddress", ("reason",), r"bounce", ("lastupdatetime",),
    ),
    _Provider(
        "Amazon SES", frozenset({"email address", "reason"}), "email address",
        ("reason",), r"bounce", ("last update time", "date added", "last updated"),
    ),
    # Mailgun: bounces have code and error, complaints and unsubscriptions not
    _Provider(
        "Mailgun", frozenset({"address", "code", "error", "created_at"}), "address",
        ("code",), r"5\d\d", ("created_at",), ("code",), ("error",),
    ),
    _Provider(
        "Mailgun", frozenset({"address", "created_at", "tags"}), "address",
        ("tags",), r"(?!)", ("created_at",),
    ),
    _Provider(
        "Mailgun", frozenset({"address", "created_at"}), "address",
        ("created_at",), r"(?!)",
    ),
    # SendGrid: bounces have a status, the other lists (spam reports, global
    # unsubscriptions) an address and a time only
    _Provider(
        "SendGrid", frozenset({"email", "status", "reason", "created"}), "email",
        ("status",), r"5\.(?!2\.2)[01234]\.\d+|5\d\d", ("created",), ("status",),
        ("reason",),
    ),
    _Provider(
        "SendGrid", frozenset({"email", "reason", "created"}), "email",
        ("reason",), r"mail domain mentioned in email address is unknown|"
        r".*(?:invalid|malformed).*", ("created",), (), ("reason",),
    ),
    _Provider(
        "SendGrid", frozenset({"email", "created"}), "email", ("created",), r"(?!)",
    ),
    _Provider(
        "Brevo", frozenset({"email", "reason", "blocked at"}), "email",
        ("reason",), r".*hard.?bounce.*", ("blocked at",),
    ),
    _Provider(
        "Brevo", frozenset({"email", "event", "date"}), "email",
        ("event",), r".*hard.?bounce.*|invalid.?email", ("date",), (), ("reason",),
    ),
    # Mailjet: message events, state and "blocked"
    _Provider(
        "Mailjet", frozenset({"email", "status", "bounce type"}), "email",
        ("bounce type",), r"hard.*", ("date", "sent at"), (), ("bounce reason",),
    ),
    _Provider(
        "Mailjet", frozenset({"email", "hard_bounce"}), "email",
        ("hard_bounce",), r"1|true|yes", ("time", "date"), (), ("error",),
    ),
    _Provider(
        "Mailjet", frozenset({"email", "event"}), "email",
        ("event",), r"hard.?bounce(?:d)?", ("time", "date"), (), ("error", "comment"),
    ),
)  # fmt: skip


def parse(lines: Iterable[str]) -> Iterator[Line]:
    """Yield what each line of a file says; the first may be a header.

    A file without a known header is one address per line; comments begin with #.
    """
    rows = iter(lines)
    first = next(rows, None)
    if first is None:
        return
    first = first.removeprefix("\ufeff")  # spreadsheets put it there
    delimiter = ";" if first.count(";") > first.count(",") else ","
    if "\t" in first:
        delimiter = "\t"
    names = [name.strip().strip('"').lower() for name in first.split(delimiter)]
    provider = next((p for p in _PROVIDERS if p.needs <= set(names)), None)
    if provider is None:
        if len(names) > 1:
            text = "a header that no known provider writes"
            yield Line(1, text=first.rstrip()[:_LONGEST], skipped=text, corrupt=True)
            return
        yield from _plain(first, rows)
        return
    reader = csv.reader(_without_nul(rows), delimiter=delimiter, strict=False)
    number = 1
    while True:
        number += 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Line(number, skipped=f"no CSV: {error}", corrupt=True)
            continue
        if fields:
            yield _read(provider, names, fields, number)


def _without_nul(rows: Iterator[str]) -> Iterator[str]:
    # Python before 3.11.4 raises for NUL in the middle of a line and loses its place.
    for row in rows:
        yield row.replace("\0", "\N{REPLACEMENT CHARACTER}")


def _plain(first: str, rows: Iterator[str]) -> Iterator[Line]:
    for number, row in enumerate(_chain(first, rows), 1):
        text = row.strip()
        if not text or text.startswith("#"):
            continue
        if number == 1 and text.lower().strip('"') in {"email", "address", "e-mail"}:
            continue
        address = fold(text) or fold(text.strip('"'))
        if "@" in address:
            yield Line(number, address, source="plain list")
        else:
            yield Line(number, text=text[:_LONGEST], skipped="no address", corrupt=True)


def _chain(first: str, rows: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rows


def _read(
    provider: _Provider, names: list[str], fields: list[str], number: int
) -> Line:
    if len(fields) < len(names) - 1 or len(fields) > len(names):
        text = f"{len(fields)} columns in place of {len(names)}"
        shown = ",".join(fields)[:_LONGEST]
        return Line(number, text=shown, skipped=text, corrupt=True)
    row = dict(zip(names, (field.strip() for field in fields), strict=False))
    address = fold(row.get(provider.address, ""))
    if "@" not in address:
        shown = row.get(provider.address, "")[:_LONGEST]
        return Line(number, text=shown, skipped="no address", corrupt=True)
    kinds = [row.get(column, "") for column in provider.kinds]
    if not all(re.fullmatch(provider.dead, kind, re.IGNORECASE) for kind in kinds):
        return Line(number, address, skipped=_kind(provider, kinds))
    return Line(
        number,
        address,
        since=_time(_first(row, provider.since)),
        status=_first(row, provider.status)[:16],
        text=bland(_first(row, provider.text))[:_LONGEST],
        source=provider.name,
    )


def _kind(provider: _Provider, kinds: list[str]) -> str:
    if provider.dead == "(?!)":
        return "complaint or unsubscription"
    found = bland(" ".join(kinds)).lower()[:40]
    return f"no hard bounce: {found or '(empty)'}"


def _first(row: Mapping[str, str], columns: tuple[str, ...]) -> str:
    return next((row[column] for column in columns if row.get(column)), "")


_FORMS = (
    "%Y-%m-%d %H:%M:%S %Z", "%Y-%m-%d %H:%M:%S", "%a, %d %b %Y %H:%M:%S %Z",
    "%a, %d %b %Y %H:%M:%S %z", "%d-%m-%Y %H:%M:%S", "%d/%m/%Y %H:%M:%S",
    "%d-%m-%Y", "%d/%m/%Y", "%m/%d/%Y %H:%M:%S",
)  # fmt: skip


def _time(text: str) -> float:
    """Return a time as providers write it, 0 when it cannot be read."""
    if re.fullmatch(r"\d{9,14}(?:\.\d+)?", text):
        number = float(text)
        return number / 1000 if number > _MILLISECONDS else number
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        for form in _FORMS:
            try:
                found = datetime.strptime(text, form)  # noqa: DTZ007 - UTC below
            except ValueError:
                continue
            break
        else:
            return 0.0
    if found.tzinfo is None:
        found = found.replace(tzinfo=UTC)
    return max(0.0, found.timestamp())


def header(form: str) -> list[str]:
    """Return the lines that stand before the first row of an export."""
    if form == "csv":
        return [",".join(COLUMNS)]
    if form == "postfix":
        return [
            "# check_recipient_access; run postmap on this file. Written by",
            "# `mailshaper suppress export --format postfix`: edit it there.",
        ]
    if form == "exim":
        return ["# Exim lsearch; `mailshaper suppress export --format exim`"]
    return []


def row_of(form: str, row: Mapping[str, str]) -> str:
    """Return an export's line for a row with the COLUMNS; "" if it cannot be told.

    A map cannot tell every address there may be: Exim ends a key at a colon, so such
    a one needs quotes; what a form cannot hold is left out.
    """
    address = row["address"]
    if form == "csv":
        return ",".join(_cell(row.get(name, "")) for name in COLUMNS)
    if not _tellable(address):
        return ""
    if form == "plain":
        return address
    text = f"5.1.1 <{address}> {MARK}: {row['why']} since {row['since']}"
    text = re.sub(r"[^ -~]", "?", bland(text))
    if form == "postfix":
        # postmap(1): blanks inside double quotes belong to the key, and quotes and
        # backslashes are kept as they are. Nothing keeps # from being a comment.
        return "" if address.startswith("#") else f"{address}\t550 {text}"
    key = address
    if re.search(r'[\s:"\\]', key) or key.startswith("#"):
        key = '"' + re.sub(r'(["\\])', r"\\\1", key) + '"'
    return f"{key}: {text}"


def _tellable(address: str) -> bool:
    return address.isprintable() and "\n" not in address


def _cell(text: str) -> str:
    """Quote a cell of CSV (RFC 4180 2), harmless for a spreadsheet too."""
    text = bland(text)
    if text[:1] in {"=", "+", "-", "@"}:
        # A leading apostrophe would change an address; quoting alone does not
        # keep a spreadsheet from calculating, a blank before it does.
        text = f" {text}"
    if re.search(r'[",\s]', text):
        return '"' + text.replace('"', '""') + '"'
    return text
