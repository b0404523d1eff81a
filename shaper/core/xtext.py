"""The xtext encoding of RFC 3461 4, used by DSN, AUTH=, XFORWARD and XCLIENT.

Pure. Values that decode to control characters are refused: nothing that a
mail server legitimately tells contains them, and they would travel into logs
and into commands to the next hop.
"""

from __future__ import annotations

import re

__all__ = ["decode_xtext", "encode_xtext"]

_HEX = re.compile(rb"\+([0-9A-Fa-f]{2})")
_BROKEN = re.compile(r"\+(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PLAIN = re.compile(r"[!-*,-<>-~]*\Z")
_UNSAFE = re.compile(rb"[^!-*,-<>-~]")  # RFC 3461 4: xchar excludes "+" and "="


def decode_xtext(text: str) -> str:
    """Return the text behind ``text``; raises ValueError when it is malformed."""
    if "+" in text:
        if _BROKEN.search(text):
            raise ValueError("a + in xtext needs two hexadecimal digits")
        raw = _HEX.sub(lambda m: bytes((int(m[1], 16),)), text.encode())
        text = raw.decode()  # UnicodeDecodeError is a ValueError
    if _CONTROL.search(text):
        raise ValueError("control character in a value")
    return text


def encode_xtext(text: str) -> str:
    """Return ``text`` as xtext (printable ASCII without space)."""
    if _PLAIN.match(text):
        return text
    raw = text.encode("utf-8", "surrogateescape")
    return _UNSAFE.sub(lambda m: b"+%02X" % m[0][0], raw).decode("ascii")
