"""Quote text from outside for a command that somebody copies into a shell.

What can be shown is quoted as POSIX.1-2024 2.2.2 says; anything that would act on
a terminal is written octet by octet in dollar-single-quotes (2.2.4).
"""

from __future__ import annotations

import shlex

from shaper.core.text import bland

__all__ = ["shell"]


def shell(text: str) -> str:
    """Quote an argument for a POSIX shell; the result is harmless to show.

    Text that cannot be shown is written octet by octet in ``$'...'``, which bash,
    zsh and POSIX.1-2024 shells read.
    """
    # Other spaces than the common one look like it and part no words.
    if bland(text) == text and text.isprintable():
        return shlex.quote(text)
    try:
        octets = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a lone surrogate, from JSON: it was never octets
        octets = text.encode("utf-8", "surrogatepass")
    return "$'" + "".join(map(_octet, octets)) + "'"


def _octet(value: int) -> str:
    char = chr(value)
    if char.isascii() and (char.isalnum() or char in "@.:_+- =/,"):
        return char
    # Three octal digits, because a hexadecimal escape may swallow what follows.
    return f"\\{value:03o}"
