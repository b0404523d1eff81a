"""The octets of a spool file. Pure: no file is touched here.

    mailshaper-spool/1 00000412 0000000000005123 a1b2c3d4 e5f6a7b8 01234567 LF
    {"id":"...","sender":"login:...","envelope":{...}, ...} LF
    the content in wire form (CRLF, dot-stuffed, without the final dot)
    {"at":1764074450.2,"event":"attempt","attempts":1,...,"crc":"..."} LF
    ...

The first line has a fixed width: magic and version, octets of the metadata line,
octets of the content, CRC-32 of each, and the CRC-32 of the line so far, so that a
damaged length is never believed. The log behind the content grows by sealed lines
(``shaper.durable.lines``); each tells the new value of what changed.
"""

from __future__ import annotations

import json
import re
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from shaper.core.message import HeldMessage, RecipientFate

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["HEADER", "Header", "apply", "meta_line", "parse_meta", "valid_name"]

_MAGIC = b"mailshaper-spool/1"
_HEADER = re.compile(
    rb"mailshaper-spool/1 (\d{8}) (\d{16}) ([0-9a-f]{8}) ([0-9a-f]{8}) ([0-9a-f]{8})\n"
)
HEADER = len(_MAGIC) + sum((9, 17, 9, 9, 9)) + 1
# An id becomes a file name as it is; 255 octets is what file systems take.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+=-]{0,199}")


def valid_name(name: str) -> bool:
    """Whether a message id can be a file name."""
    return _NAME.fullmatch(name) is not None


class Header(NamedTuple):
    """The first line, decoded. Lengths in octets."""

    meta: int
    content: int
    meta_crc: int
    content_crc: int

    @property
    def content_at(self) -> int:
        """Offset of the content."""
        return HEADER + self.meta

    @property
    def log_at(self) -> int:
        """Offset of the log."""
        return HEADER + self.meta + self.content

    def pack(self) -> bytes:
        """Return the line."""
        body = b"%b %08d %016d %08x %08x" % (_MAGIC, *self)
        return b"%b %08x\n" % (body, zlib.crc32(body))

    @classmethod
    def unpack(cls, line: bytes) -> Header:
        """Read the line. Raises ValueError when any octet of it is damaged."""
        match = _HEADER.fullmatch(line)
        if match is None:
            raise ValueError("the first line is not a spool header")
        meta, content, meta_crc, content_crc, crc = match.groups()
        if int(crc, 16) != zlib.crc32(line[:-10]):
            raise ValueError("the first line is damaged")
        return cls(int(meta), int(content), int(meta_crc, 16), int(content_crc, 16))


def meta_line(message: HeldMessage) -> bytes:
    """Return the metadata of a new message."""
    # ASCII on purpose: octets that are not UTF-8 travel as escaped surrogates.
    return json.dumps(message.meta_json(), separators=(",", ":")).encode() + b"\n"


def parse_meta(line: bytes, header: Header) -> HeldMessage:
    """Rebuild the message as it was committed. Raises ValueError."""
    if len(line) != header.meta or zlib.crc32(line) != header.meta_crc:
        raise ValueError("the metadata is damaged")
    try:
        return HeldMessage.from_meta(json.loads(line), header.content)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ValueError(f"the metadata is not understood: {error!r}") from error


def apply(message: HeldMessage, records: Iterable[dict[str, Any]]) -> HeldMessage:
    """Return the message after the log's records. Raises ValueError."""
    total = len(message.submission.envelope.recipients)
    for record in records:
        changes: dict[str, Any] = {}
        try:
            if "attempts" in record:
                changes["attempts"] = int(record["attempts"])
            if "not_before" in record:
                changes["not_before"] = float(record["not_before"])
            if "order" in record:
                changes["order"] = str(record["order"])
            if "told" in record:
                changes["told"] = message.told | {int(p) for p in record["told"]}
            if "fates" in record:
                fates = {int(p): RecipientFate(f) for p, f in record["fates"].items()}
                changes["fates"] = {**message.fates, **fates}
        except (TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"a log line is not understood: {error}") from error
        if any(not 0 <= position < total for position in changes.get("fates", ())):
            raise ValueError("a log line names a recipient that does not exist")
        message = replace(message, **changes)
    return message
