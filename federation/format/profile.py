r"""The one JSON text of a value: strict decoding, canonical encoding, base64url.

A subset of RFC 8785 in which every JSON library of every language writes the
same bytes: objects with sorted short keys, arrays, printable ASCII strings
without ``"`` and ``\``, integers 0..2^53-1, booleans. No null, no float, no
white space, nothing empty but a string, at most four containers inside each
other. What is decoded must encode to the very bytes that were received, so a
signature over bytes is a signature over one value (PROTOCOL.md 3.1).

Pure. Nesting and the length of numbers are bounded before the JSON parser sees
them: it would answer 100,000 brackets or 5,000 digits with its own errors.
"""

from __future__ import annotations

import binascii
import json
import re
from functools import lru_cache
from typing import Final, Never, TypeAlias

from federation.format.errors import Refused

__all__ = ["DEEPEST", "LARGEST", "Value", "b64", "decode", "encode", "unb64"]

Value: TypeAlias = "str | int | bool | list[Value] | dict[str, Value]"

DEEPEST: Final = 4
LARGEST: Final = 2**53 - 1
"""The largest integer that a double holds together with its neighbours."""

_ALLOWED = bytes(set(range(0x20, 0x7F)) - set(b"\\"))
_STRUCTURE = b'{}[]:,"0123456789truefals'  # nor space, minus, point, null
_NOT_CONTAINERS = bytes(set(range(256)) - set(b"{[]}"))
_KEY = re.compile(r"[a-z][a-z0-9_]{0,15}")

_TO_URL = bytes.maketrans(b"+/", b"-_")
_FROM_URL = bytes.maketrans(b"-_", b"+/")
_LONGEST_NUMBER = 16


def decode(data: bytes) -> dict[str, Value]:
    """Return the object that ``data`` is the canonical text of.

    Raises Refused("bad-form") for every other sequence of bytes, and nothing
    else. The caller bounds the length.
    """
    if data.translate(None, _ALLOWED):
        raise Refused("bad-form", "a byte that is not printable ASCII, or an escape")
    # Without strings only structure and numbers are left: there are no escapes,
    # so every second quote ends a string.
    bare = b'"'.join(data.split(b'"')[::2])
    if bare.translate(None, _STRUCTURE) or b"{}" in bare or b"[]" in bare:
        raise Refused("bad-form", "a value that the profile does not have")
    if _too_deep(bare):
        raise Refused("bad-form", f"more than {DEEPEST} containers inside each other")
    try:
        # What may follow the value is noticed when the bytes are compared.
        value, _end = _DECODER.raw_decode(data.decode("ascii"))
    except ValueError:
        raise Refused("bad-form", "this is no JSON text") from None
    if type(value) is not dict:
        raise Refused("bad-form", "the text is no object")
    # Order, duplicate keys, leading zeros: all of them end in other bytes than the
    # ones received.
    if _ENCODER.encode(value).encode("ascii") != data:
        raise Refused("bad-form", "the text is not the canonical one of its value")
    return value


def encode(value: dict[str, Value]) -> bytes:
    """Return the canonical text of ``value``. Refused("bad-form"): it has none."""
    try:
        data = _ENCODER.encode(value).encode("ascii")
    except (TypeError, ValueError, RecursionError):
        raise Refused("bad-form", "a value that JSON does not have") from None
    if decode(data) != value:
        raise Refused("bad-form", "a value that comes back as another")
    return data


def b64(data: bytes) -> str:
    """Return base64url without padding (RFC 4648 5)."""
    text = binascii.b2a_base64(data, newline=False)
    return text.translate(_TO_URL).rstrip(b"=").decode("ascii")


def unb64(text: object, length: int | None = None) -> bytes:
    """Return the bytes of base64url ``text``, exactly ``length`` if one is given.

    Raises Refused("bad-form") also for a second spelling of the same bytes: the
    last character may carry bits that decoders throw away (RFC 4648 3.5).
    """
    if type(text) is not str:
        raise Refused("bad-form", "a binary field is no text")
    try:
        standard = text.encode("ascii").translate(_FROM_URL)
        data = binascii.a2b_base64(standard + b"==")
    except ValueError:
        raise Refused("bad-form", "a binary field is no base64url text") from None
    # Decoders skip what they do not know.
    if b64(data) != text:
        raise Refused("bad-form", "a binary field has another spelling")
    if length is not None and len(data) != length:
        raise Refused("bad-form", f"a binary field is not of {length} bytes")
    return data


def _no_float(_text: str) -> Never:
    raise ValueError


def _integer(text: str) -> int:
    # The length first: int() of thousands of digits is an error of its own.
    if len(text) > _LONGEST_NUMBER or (value := int(text)) > LARGEST:
        raise Refused("bad-form", f"an integer of more than {LARGEST}")
    return value


def _object(fields: dict[str, Value]) -> dict[str, Value]:
    if not all(map(_is_key, fields)):
        raise Refused("bad-form", "a malformed key")
    return fields


_DECODER = json.JSONDecoder(
    object_hook=_object,
    parse_float=_no_float,
    parse_int=_integer,
    parse_constant=_no_float,
)
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


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


@lru_cache(1024)  # a network uses some fifty keys
def _is_key(key: str) -> bool:
    return _KEY.fullmatch(key) is not None
