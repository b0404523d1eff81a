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
from typing import TYPE_CHECKING, Any, Final, Never, TypeAlias

from federation.format.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["DEEPEST", "LARGEST", "Value", "b64", "decode", "encode", "unb64"]

Value: TypeAlias = "str | int | bool | list[Value] | dict[str, Value]"

DEEPEST: Final = 4
LARGEST: Final = 2**53 - 1
"""The largest integer that a double holds together with its neighbours."""

_ALLOWED = bytes(set(range(0x20, 0x7F)) - set(b"\\"))
_LONG_NUMBER = re.compile(rb"[0-9]{17}")
_NOT_CONTAINERS = bytes(set(range(256)) - set(b"{[]}"))
_KEY = re.compile(r"[a-z][a-z0-9_]{0,15}")

_B64 = re.compile(r"[A-Za-z0-9_-]*")
# By the number of characters after the last whole four: which letter may be the
# last, so that its unused bits are zero. One alone holds no byte.
_LAST = {2: frozenset("AQgw"), 3: frozenset("AEIMQUYcgkosw048"), 1: frozenset("")}
_TO_URL = bytes.maketrans(b"+/", b"-_")


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
    if _LONG_NUMBER.search(bare):
        raise Refused("bad-form", "an integer of more than 16 digits")
    if _too_deep(bare):
        raise Refused("bad-form", f"more than {DEEPEST} containers inside each other")
    try:
        # What may follow the value is noticed when the bytes are compared.
        value, _end = _DECODER.raw_decode(data.decode("ascii"))
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
    return _ENCODER.encode(value).encode("ascii")


def b64(data: bytes) -> str:
    """Return base64url without padding (RFC 4648 5)."""
    text = binascii.b2a_base64(data, newline=False)
    return text.translate(_TO_URL).rstrip(b"=").decode("ascii")


def unb64(text: object, length: int | None = None) -> bytes:
    """Return the bytes of base64url ``text``, exactly ``length`` if one is given.

    Raises Refused("bad-form") also for a second spelling of the same bytes: the
    last character may carry bits that decoders throw away (RFC 4648 3.5).
    """
    if type(text) is not str or not _B64.fullmatch(text):
        raise Refused("bad-form", "a binary field is no base64url text")
    if length is not None and len(text) != (length * 4 + 2) // 3:
        raise Refused("bad-form", f"a binary field is not of {length} bytes")
    if (over := len(text) % 4) and text[-1] not in _LAST[over]:
        raise Refused("bad-form", "a binary field has another spelling")
    standard = text.replace("-", "+").replace("_", "/")
    return binascii.a2b_base64(standard + "=" * (-len(text) % 4))


def _no_float(_text: str) -> Never:
    raise ValueError


_DECODER = json.JSONDecoder(parse_float=_no_float, parse_constant=_no_float)
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


def _check(value: object, room: int) -> None:
    """Raise Refused unless ``value`` may be a container inside ``room`` others."""
    inner: Iterable[Any]
    if isinstance(value, dict) and all(map(_is_key, value)):
        inner = value.values()
    elif isinstance(value, list):
        inner = value
    else:
        raise Refused("bad-form", "no container, or one with a malformed key")
    if not room or not value:
        raise Refused("bad-form", "a container that is empty or too deep")
    for one in inner:
        # Exact types: True is an int to isinstance, and subclasses may lie.
        kind = type(one)
        if kind is str:
            good = _is_text(one)
        elif kind is int:
            good = 0 <= one <= LARGEST
        elif kind is dict or kind is list:
            _check(one, room - 1)
            good = True
        else:
            good = kind is bool
        if not good:
            raise Refused("bad-form", "a value that the profile does not have")


@lru_cache(1024)  # a network uses some fifty keys
def _is_key(key: object) -> bool:
    return type(key) is str and _KEY.fullmatch(key) is not None


def _is_text(one: str) -> bool:
    return one.isascii() and one.isprintable() and '"' not in one and "\\" not in one
