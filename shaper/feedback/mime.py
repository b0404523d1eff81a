"""Split a mail into its parts, whatever somebody sent us.

A bounce is hostile input as often as not. The standard library's parser recurses
per nesting level and reads everything; this one makes a single pass over at most
``MAX_BYTES``, keeps at most ``MAX_PARTS`` parts and ``MAX_DEPTH`` open boundaries,
and never raises. What lies behind the limits is ignored: reports come first, the
returned message last (RFC 3462 2).

RFC 2045, 2046 (MIME), RFC 5322 2.2 (header fields).
"""

from __future__ import annotations

import binascii
import quopri
import re
from dataclasses import dataclass, field

__all__ = ["Headers", "Part", "parse_headers", "parse_mail"]

MAX_BYTES = 2 * 1024 * 1024
MAX_PARTS = 200
MAX_DEPTH = 24
MAX_HEADER_LINES = 2000
MAX_DECODED = 256 * 1024
_MAX_FOLDS = 100  # lines of one field

_PARAMETER = re.compile(
    r";\s*([\w*-]{1,40})\s*=\s*(?:\"([^\"]{0,400})\"|([^\s;\"]{0,400}))"
)
_BARE_PARAMETER = re.compile(
    r"(?:boundary|charset|report-type|name)\s{0,3}=", re.IGNORECASE
)
_FIELD_LINE = re.compile(rb"[!-9;-~]{1,76}:[ \t]")
_TOKEN = re.compile(r"[\w.+-]{1,60}/[\w.+-]{1,60}")


@dataclass(frozen=True, slots=True)
class Headers:
    """Header fields in order, names lower-cased, values unfolded."""

    fields: tuple[tuple[str, str], ...] = ()

    def get(self, name: str, default: str = "") -> str:
        """Return the first value of a field."""
        for key, value in self.fields:
            if key == name:
                return value
        return default

    def all(self, name: str) -> list[str]:
        """Return all values of a field."""
        return [value for key, value in self.fields if key == name]

    def __bool__(self) -> bool:
        """Whether there is any field."""
        return bool(self.fields)


@dataclass(slots=True)
class Part:
    """One body part; for a multipart, its preamble."""

    headers: Headers
    content_type: str
    parameters: dict[str, str]
    depth: int
    lines: list[bytes] = field(default_factory=list)

    @property
    def raw(self) -> bytes:
        """The body as transferred."""
        return b"\n".join(self.lines)

    @property
    def text(self) -> str:
        """The body decoded, bounded; octets that decode to nothing are replaced."""
        data = self.raw[: 2 * MAX_DECODED]
        encoding = self.headers.get("content-transfer-encoding").strip().lower()
        if encoding == "quoted-printable":
            data = quopri.decodestring(data)
        elif encoding == "base64":
            data = _base64(data)
        return _decode(data[:MAX_DECODED], self.parameters.get("charset", ""))


def _base64(data: bytes) -> bytes:
    """Decode what can be decoded of base64 (RFC 2045 6.8)."""
    kept = re.sub(rb"[^A-Za-z0-9+/]", b"", data)
    if len(kept) % 4 == 1:
        kept = kept[:-1]  # six bits are no octet
    try:
        return binascii.a2b_base64(kept + b"=" * (-len(kept) % 4))
    except binascii.Error:
        return b""


def _decode(data: bytes, charset: str) -> str:
    for name in (charset or "utf-8", "utf-8"):
        try:
            return data.decode(name)
        # UnicodeError and ValueError (NUL in the name) are kin; LookupError: no such.
        except (LookupError, ValueError):
            continue
    return data.decode("latin-1")


def parse_headers(lines: list[bytes]) -> tuple[Headers, int]:
    """Read a header block; return it and the number of lines it took.

    Stops at the first empty line. Lenient (practice, RFC 5322 2.2.3): a line that is
    no field continues the one before when it looks like a parameter or more header
    follows it, else the body begins there.
    """
    fields: list[tuple[str, list[str]]] = []
    used = 0
    lines = lines[:MAX_HEADER_LINES]
    for number, line in enumerate(lines):
        text = line.rstrip(b"\r")[:4096].decode("utf-8", "replace")
        if not text:
            used += 1
            break
        name, colon, value = text.partition(":")
        folded = text[0] in " \t"
        if not folded and colon and name.strip() and " " not in name.strip():
            fields.append((name.strip().lower(), [value.strip()]))
        elif folded or (fields and _belongs(text, lines[number + 1 : number + 2])):
            if fields and len(fields[-1][1]) < _MAX_FOLDS:
                fields[-1][1].append(text.strip())
        elif used or not text.startswith(("From ", ">From ")):
            break
        used += 1
    return Headers(tuple((k, " ".join(v)) for k, v in fields)), used


def _belongs(text: str, following: list[bytes]) -> bool:
    """Whether a line without blank or colon is header all the same."""
    after = following[0] if following else b""
    return bool(
        _BARE_PARAMETER.match(text)
        or after.startswith((b" ", b"\t"))
        or _FIELD_LINE.match(after)
    )


def _content_type(headers: Headers, default: str) -> tuple[str, dict[str, str]]:
    value = headers.get("content-type")
    if not value:
        return default, {}
    token = _TOKEN.match(value.strip())
    parameters = {
        m[1].lower(): m[2] if m[2] is not None else m[3]
        for m in _PARAMETER.finditer(value[:4096])
    }
    return (token[0].lower() if token else default), parameters


class _Splitter:
    """One pass over the lines, with the boundaries that are open."""

    def __init__(self, lines: list[bytes]) -> None:
        self._lines = lines
        self._position = 0
        self._open: list[bytes] = []  # outermost first
        self._level: dict[bytes, int] = {}
        self.parts: list[Part] = []

    def run(self) -> list[Part]:
        lines = self._lines
        while self._position < len(lines) and not lines[self._position].strip():
            self._position += 1  # mbox exports and pasted mails begin with empty lines
        self._begin(0)
        while self._position < len(lines):
            line = lines[self._position]
            self._position += 1
            if not (line.startswith(b"--") and self._open and self._delimits(line)):
                self.parts[-1].lines.append(line)
            if len(self.parts) > MAX_PARTS:
                break
        return self.parts[:MAX_PARTS]

    def _begin(self, depth: int) -> None:
        start = self._position
        headers, used = parse_headers(self._lines[start : start + MAX_HEADER_LINES])
        self._position += used
        kind, parameters = _content_type(headers, "text/plain")
        self.parts.append(Part(headers, kind, parameters, depth))
        if kind.startswith("multipart/") and len(self._open) < MAX_DEPTH:
            boundary = parameters.get("boundary", "").encode("utf-8", "replace")
            if boundary and boundary not in self._level:
                self._level[boundary] = len(self._open)
                self._open.append(boundary)

    def _delimits(self, line: bytes) -> bool:
        """Act on a delimiter line (RFC 2046 5.1.1); False if it is none."""
        mark = line[2:].rstrip(b" \t\r")
        closing = mark not in self._level and mark.endswith(b"--")
        level = self._level.get(mark[:-2] if closing else mark)
        if level is None:
            return False
        # An outer boundary ends the inner ones, closed or not.
        keep = level if closing else level + 1
        for gone in self._open[keep:]:
            del self._level[gone]
        del self._open[keep:]
        if not closing:
            self._begin(level + 1)
        return True


def parse_mail(data: bytes) -> list[Part]:
    """Return the parts in order; the first is the mail itself. Total, linear."""
    return _Splitter(data[:MAX_BYTES].replace(b"\r\n", b"\n").split(b"\n")).run()
