r"""The one JSON text of a value: strict decoding, canonical encoding, base64url.

A subset of RFC 8785 in which every JSON library of every language writes the
same bytes: objects with sorted short keys, arrays, printable ASCII strings
without ``"`` and ``\``, integers 0..2^53-1, booleans. No null, no float, no
white space, nothing empty but a string, at most four containers inside each
other. What is decoded must encode to the very bytes that were received, so a
signature over bytes is a signature over one value (PROTOCOL.md, JSON profile).

Pure. Nesting and the length of numbers are bounded before the JSON parser sees
them: it would answer 100,000 brackets or 5,000 digits with its own errors.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import Final, Never, TypeAlias

from federation.errors import Refused

__all__ = ["DEEPEST", "LARGEST", "Value", "b64", "decode", "encode", "unb64"]

Value: TypeAlias = "str | int | bool | list[Value] | dict[str, Value]"

DEEPEST: Final = 4
LARGEST: Final = 2**53 - 1
"""The largest integer that a double holds together with its neighbours."""

_BYTES = re.compile(rb"[ !#-\[\]-~\"]*")  # printable ASCII, no backslash
_STRINGS = re.compile(rb'"[^"]*"')
_LONG_NUMBER = re.compile(rb"[0-9]{17}")
_NOT_CONTAINERS = bytes(set(range(256)) - set(b"{[]}"))
_KEY = re.compile(r"[a-z][a-z0-9_]{0,15}")
_TEXT = re.compile(r"[ !#-\[\]-~]*")
_B64 = re.compile(r"[A-Za-z0-9_-]*")


def decode(data: bytes) -> dict[str, Value]:
    """Return the object that ``data`` is the canonical text of.

    Raises Refused("bad-form") for every other sequence of bytes, and nothing
    else. The caller bounds the length.
    """
    if not _BYTES.fullmatch(data):
        raise Refused("bad-form", "a byte that is not printable ASCII, or an escape")
    # What is left without strings is structure: few bytes, looked at twice.
    bare = _STRINGS.sub(b"", data)
    if _LONG_NUMBER.search(bare):
        raise Refused("bad-form", "an integer of more than 16 digits")
    if _too_deep(bare):
        raise Refused("bad-form", f"more than {DEEPEST} containers inside each other")
    try:
        value = json.loads(
            data,
            parse_float=_no_float,
            parse_constant=_no_float,
        )
    except ValueError:
        raise Refused("bad-form", "this is no JSON text") from None
    if type(value) is not dict:
        raise Refused("bad-form", "the text is no object")
    # Order, duplicate keys, white space, leading zeros, -0: all of them end in
    # other bytes than the ones received.
    if encode(value) != data:
        raise Refused("bad-form", "the text is not the canonical one of its value")
    return value


def encode(value: Value) -> bytes:
    """Return the canonical text of ``value``. Refused("bad-form"): it has none."""
    _check(value, DEEPEST)
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")


def b64(data: bytes) -> str:
    """Return base64url without padding (RFC 4648 5)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def unb64(text: object, length: int | None = None) -> bytes:
    """Return the bytes of base64url ``text``, exactly ``length`` if one is given.

    Raises Refused("bad-form") also for a second spelling of the same bytes: the
    last character may carry bits that decoders throw away (RFC 4648 3.5).
    """
    if type(text) is not str or not _B64.fullmatch(text):
        raise Refused("bad-form", "a binary field is no base64url text")
    if length is not None and len(text) != (length * 4 + 2) // 3:
        raise Refused("bad-form", f"a binary field is not of {length} bytes")
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        raise Refused("bad-form", "a binary field has a length of no bytes") from None
    if b64(data) != text:
        raise Refused("bad-form", "a binary field has unused bits set")
    return data


def _too_deep(bare: bytes) -> bool:
    depth = 0
    for one in bare.translate(None, _NOT_CONTAINERS):
        if one in b"{[":
            depth += 1
            if depth > DEEPEST:
                return True
        else:
            depth -= 1
    return False


def _no_float(_text: str) -> Never:
    raise ValueError


def _check(value: object, room: int) -> None:
    """Raise Refused unless ``value`` may stand inside ``room`` containers."""
    # Exact types: True is an int to isinstance, and a str subclass may lie.
    kind = type(value)
    if kind is str:
        good = _TEXT.fullmatch(value) is not None  # type: ignore[call-overload]
    elif kind is int:
        good = 0 <= value <= LARGEST  # type: ignore[operator]
    elif isinstance(value, dict):
        good = bool(room and value) and all(map(_is_key, value))
        for inner in value.values() if good else ():
            _check(inner, room - 1)
    elif isinstance(value, list):
        good = bool(room and value)
        for inner in value if good else ():
            _check(inner, room - 1)
    else:
        good = kind is bool
    if not good:
        raise Refused("bad-form", "a value, or a key, that the profile does not have")


def _is_key(key: object) -> bool:
    return type(key) is str and _KEY.fullmatch(key) is not None
