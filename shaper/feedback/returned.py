"""What a bounce says to people, and which message it is about.

Both are cut out of the parts of a mail: the text that the server wrote, and the
header of the message that came back, by which it is found again (message id,
our trace field, envelope sender). Nothing here judges. Total.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shaper.feedback.mime import Headers, Part, parse_headers
from shaper.feedback.prose import split_returned
from shaper.feedback.reply import ADDRESS

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "Returned",
    "addresses_in",
    "message_id_of",
    "read_returned",
    "trace_id_of",
]

MESSAGE_TYPES = frozenset(
    {
        "message/rfc822",
        "message/global",
        "message/rfc822-headers",
        "message/global-headers",
        "text/rfc822-headers",
    }
)
_ADDRESS = re.compile(ADDRESS)
# The trace field of a shaper (shaper.smtp.trace), whatever its host is called: the
# id is looked up, and one that is not ours is not found.
_TRACE = re.compile(
    r"by \S{1,255} \(mailshaper\) with [A-Z0-9]{1,12} id ([\w.-]{1,64})", re.ASCII
)
_TOPMOST = 30  # Received fields that are looked at
_TAG = re.compile(r"<[^<>]{0,2000}>")
_FIRST_FIELD = re.compile(
    r"(?:return-path|received|from|to|date|subject|message-id|delivered-to|"
    r"mime-version|x-original-to)\s?:",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Returned:
    """The server's own text, and what identifies the message concerned."""

    own: str = ""
    message_id: str = ""
    trace_id: str = ""
    sender: str = ""
    to: tuple[str, ...] = ()
    by_list: bool = False


def addresses_in(values: Iterable[str], limit: int = 20_000) -> list[str]:
    """Return the addresses in header values, in order."""
    return [m[0] for value in values for m in _ADDRESS.finditer(value[:limit])]


def message_id_of(headers: Headers) -> str:
    """Return a message id without brackets and blanks, or ""."""
    return headers.get("message-id").strip().strip("<>").strip()


def trace_id_of(headers: Headers) -> str:
    """Return the id under which a shaper passed a message last, or "".

    Fields stand above the ones that were there before (RFC 5321 4.4), so whatever
    the writer of the message invented stands below the shaper's own.
    """
    for value in headers.all("received")[:_TOPMOST]:
        if match := _TRACE.match(" ".join(value[:500].split())):
            return match[1]
    return ""


def _human(parts: list[Part]) -> str:
    """Return what the bounce says to people: plain texts, else HTML as text."""
    texts: list[str] = []
    rich = ""
    for part in parts:
        # A structure that was announced and is not there: all is preamble.
        lost = len(parts) == 1 and part.content_type.startswith("multipart/")
        if part.content_type == "text/plain" or lost:
            if (text := part.text).strip():
                texts.append(text)
        elif part.content_type == "text/html" and not rich:
            rich = html.unescape(_TAG.sub("\n", part.text))
        elif part.content_type == "message/rfc822" and texts:
            break
    return "\n\n".join(texts) or rich


def _lines(text: str, limit: int) -> list[bytes]:
    return [ln.encode("utf-8", "replace") for ln in text.split("\n", limit)[:limit]]


def _returned_headers(parts: list[Part], behind: str) -> Headers:
    for part in parts[1:]:
        if part.content_type in MESSAGE_TYPES:
            headers, _ = parse_headers(_lines(part.text.lstrip(), 2000))
            if headers:
                return headers
    lines = _lines(behind, 400)
    for start, line in enumerate(lines[:40]):
        if _FIRST_FIELD.match(line.decode("utf-8", "replace").lstrip()):
            # Some indent the whole header.
            width = len(line) - len(line.lstrip())
            return parse_headers([ln[width:] for ln in lines[start:]])[0]
    return Headers()


def read_returned(parts: list[Part]) -> Returned:
    """Separate the server's words from the message that it returns."""
    own, behind = split_returned(_human(parts))
    headers = _returned_headers(parts, behind)
    senders = addresses_in(headers.all("return-path") or headers.all("from"), 4000)
    return Returned(
        own=own,
        message_id=message_id_of(headers),
        trace_id=trace_id_of(headers),
        sender=senders[0] if senders else "",
        to=tuple(addresses_in(headers.all("to") + headers.all("cc"))[:1000]),
        by_list=bool(headers.get("list-id") or headers.get("x-beenthere")),
    )
