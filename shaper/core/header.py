"""What the header of a passing message tells, read without changing it.

Pure. Works on the wire form (dot-stuffed, RFC 5322 lines); a line ends at LF
here, with or without CR, so that a field hidden behind a bare LF is seen as
some servers would see it. Values are outside text and unfolded only; encoded
words (RFC 2047) are decoded, since subjects are shown to people.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from email.errors import MessageError
from email.header import decode_header, make_header

__all__ = ["HeaderFacts", "read_header", "split_header", "without_fields"]

# How a trace field begins that some mailshaper wrote for a friend's message.
_RELAYED = re.compile(
    rb"by [^\s()]+ \(mailshaper\) with \S+ id \S+ \(relayed for [\w-]+\)"
)
_USERID = re.compile(rb"by [^\s()]+ \([^()\s]+, from userid (\d{1,10})\)")
_MAX_TEXT = 998  # characters kept of a value
_MAX_RAW = 16 * 1024  # octets of a value that are looked at


@dataclass(slots=True)
class HeaderFacts:
    """The few fields that matter to us."""

    subject: str = ""
    message_id: str = ""
    author: str = ""
    authors: list[str] = field(default_factory=list)  # From fields, not decoded
    received: int = 0  # Received fields
    own_marks: int = 0  # of these, ours
    relayed: int = 0  # of these, written by a host that relayed it for a friend
    userid: str = ""  # of the topmost Received, when Postfix wrote one
    logins: list[str] = field(default_factory=list)  # values of the login field
    login_spans: list[tuple[int, int]] = field(default_factory=list)


def split_header(data: bytes, start: int = 0) -> int:
    """Return where the header ends (before the empty line), -1 if not yet.

    ``start`` is how far an earlier call has looked already.
    """
    if data.startswith((b"\r\n", b"\n")):
        return 0
    start = max(start - 3, 0)
    proper = data.find(b"\n\r\n", start)
    bare = data.find(b"\n\n", start, proper + 1 if proper >= 0 else len(data))
    found = proper if bare < 0 else bare
    return found + 1 if found >= 0 else -1


def read_header(head: bytes, own_mark: bytes, login_header: str = "") -> HeaderFacts:
    """Read the header block ``head``, which ends with a line end or is cut off.

    ``own_mark`` is what our own trace field begins with after its name.
    """
    facts = HeaderFacts()
    login_name = login_header.lower().encode()
    wanted = _WANTED | {login_name[0]} if login_name else _WANTED
    lines = head.split(b"\n")
    offset = 0
    index = 0
    total = len(lines)
    while index < total:
        line = lines[index]
        begin = offset
        offset += len(line) + 1
        index += 1
        if not line or line[0] | 0x20 not in wanted:
            continue
        name, colon, value = line.partition(b":")
        if not colon:
            continue
        name = name.rstrip(b" \t").lower()
        if name not in _NAMES and name != login_name:
            continue
        while index < total and lines[index][:1] in _FOLDS:
            value += b"\n" + lines[index]
            offset += len(lines[index]) + 1
            index += 1
        if name == b"received":
            _note_received(facts, value, own_mark)
        elif name == login_name:
            facts.logins.append(_plain(value))
            facts.login_spans.append((begin, min(offset, len(head))))
        elif name == b"subject":
            facts.subject = facts.subject or _decoded(value)
        elif name == b"message-id":
            facts.message_id = facts.message_id or _plain(value)
        else:
            facts.author = facts.author or _decoded(value)
            facts.authors.append(_unfolded(value).decode("utf-8", "replace"))
    return facts


_NAMES = frozenset((b"received", b"subject", b"message-id", b"from"))
_WANTED = frozenset(name[0] for name in _NAMES)
_FOLDS = frozenset((b" ", b"\t"))


def _note_received(facts: HeaderFacts, value: bytes, own_mark: bytes) -> None:
    value = value.lstrip(b" \t\r\n")
    if not facts.received and (match := _USERID.match(value[:_MAX_RAW])):
        facts.userid = match[1].decode("ascii")
    facts.received += 1
    facts.own_marks += value.startswith(own_mark)
    # Unfolded: a host on the way may have folded it anew.
    facts.relayed += bool(_RELAYED.match(_unfolded(value)))


def _unfolded(value: bytes) -> bytes:
    return b" ".join(value[:_MAX_RAW].split())


def _plain(value: bytes) -> str:
    text = value[:_MAX_RAW].decode("utf-8", "replace")
    return " ".join(text.split())[:_MAX_TEXT]


def _decoded(value: bytes) -> str:
    text = _plain(value)
    if "=?" not in text:
        return text
    try:
        return str(make_header(decode_header(text)))[:_MAX_TEXT]
    except (MessageError, LookupError, ValueError):
        return text


def without_fields(head: bytes, spans: list[tuple[int, int]]) -> bytes:
    """Return ``head`` without the given spans, everything else untouched."""
    pieces: list[bytes] = []
    start = 0
    for begin, end in spans:
        pieces.append(head[start:begin])
        start = end
    pieces.append(head[start:])
    return b"".join(pieces)
