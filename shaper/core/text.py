"""Make text from outside harmless for a terminal, a log line and a mail.

Subjects, addresses and reasons are written by strangers. A control character may
clear a screen or forge a log line, a bidirectional override may turn an address
around (Unicode Technical Report 36, section 2.6; CVE-2021-42574), a lone
surrogate may break the encoder. Each becomes a visible ASCII escape as Python
writes it. Letters of every script stay; nothing is shortened.
"""

from __future__ import annotations

import re
import unicodedata

__all__ = ["bland"]

# Controls (Cc), formats such as bidi and zero-width characters (Cf), surrogates
# (Cs), line and paragraph separators (Zl, Zp), private and unassigned (Co, Cn).
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp", "Co", "Cn"})
_PLAIN = re.compile(r"[ -~]*")
# Characters that show as nothing, though they count as letters or marks:
# Hangul fillers, the Mongolian and other variation selectors, the grapheme joiner.
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0d"
    "\uffa0\U000e0100-\U000e01ef]"
)
_NAMED = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def bland(text: str) -> str:
    r"""Return ``text`` with every dangerous character written as an escape.

    ``\x1b`` for ESC, ``\u202e`` for the right-to-left override, ``\n`` for a line
    end. A second call changes nothing.
    """
    if _PLAIN.fullmatch(text):
        return text
    return "".join(map(_shown, text))


def _shown(char: str) -> str:
    if unicodedata.category(char) not in _UNSAFE and not _UNSEEN.match(char):
        return char
    code = ord(char)
    if char in _NAMED:
        return _NAMED[char]
    if code <= 0xFF:  # noqa: PLR2004 - what two hex digits hold
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004
