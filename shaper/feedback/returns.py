"""A mail that came back, with its envelope, to outcomes: the one intake.

LMTP, Maildir and standard input all come here. The address to which a mail was
delivered may carry whom the bounced message was for (VERP, as in
``list+user=domain@example.net``): then a bounce without a readable recipient is
understood too. Automatic answers of people (RFC 3834) never become bounces so.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from shaper.core.outcome import Kind, Outcome
from shaper.feedback.mail import read_mail
from shaper.feedback.mime import parse_headers

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shaper.core.meaning import Table

__all__ = ["delivered_to", "read_return", "verp_address"]

_HEADER = 64 * 1024
_DOMAIN = r"[A-Za-z0-9][A-Za-z0-9.-]{0,250}"
# local+user=domain, or local-user=domain (qmail, ezmlm).
_VERP = re.compile(
    rf"[^@\s=]{{1,64}}?[+-]([^@\s=]{{1,64}})=({_DOMAIN})@[^@\s]{{1,255}}"
)
# Headers in which MTAs write to whom they delivered.
_DELIVERED = ("x-original-to", "delivered-to", "envelope-to", "x-envelope-to")


def verp_address(recipient: str) -> str:
    """Return the address that a VERP recipient carries, or ""."""
    address = recipient.strip().strip("<>")
    match = _VERP.fullmatch(address) if len(address) < 600 else None  # noqa: PLR2004
    return f"{match[1]}@{match[2]}" if match else ""


def delivered_to(data: bytes) -> list[str]:
    """Return to whom a mail was delivered, as the MTA wrote into its header."""
    headers, _ = parse_headers(_head(data).split(b"\n"))
    return [value for name in _DELIVERED for value in headers.all(name)]


def _head(data: bytes) -> bytes:
    head = data[:_HEADER].lstrip().replace(b"\r\n", b"\n")
    return head.partition(b"\n\n")[0]


def read_return(
    data: bytes, table: Table, recipients: Iterable[str] = ()
) -> list[Outcome]:
    """Return the outcomes that a mail tells, [] when it is none that came back.

    ``recipients`` are the envelope's, as far as known; the header is asked too.
    """
    carried = next(
        (a for r in (*recipients, *delivered_to(data)) if (a := verp_address(r))), ""
    )
    outcomes = read_mail(data, table)
    if not carried:
        return outcomes
    if not outcomes:
        return _helped(data, table, carried)
    if len(outcomes) > 1:
        return outcomes
    (outcome,) = outcomes
    if not outcome.recipient:
        return [replace(outcome, recipient=carried)]
    if outcome.recipient.lower() == carried.lower() or outcome.original_recipient:
        return outcomes
    return [replace(outcome, original_recipient=carried)]


def _helped(data: bytes, table: Table, carried: str) -> list[Outcome]:
    """Read a mail again, as if it had named whom VERP names.

    Only what says a status or a code counts then: a person's answer does not.
    """
    headers, _ = parse_headers(_head(data).split(b"\n"))
    answer = headers.get("auto-submitted").strip().lower()
    if answer.startswith("auto-replied") or headers.get("x-autoreply"):
        return []
    named = f"X-Failed-Recipients: {carried}\n".encode("utf-8", "replace")
    return [
        outcome
        for outcome in read_mail(named + data.lstrip(), table)
        if outcome.kind is Kind.DSN and (outcome.status or outcome.code)
    ]
