"""Make text from outside harmless for a terminal, a log line and a page.

Names and addresses of organisations are printable ASCII by the form of events; what
peers answer and what operators type is not. Pure.
"""

from __future__ import annotations

__all__ = ["bland"]


def bland(text: str) -> str:
    r"""Return ``text`` with every character that may act written as an escape.

    ``\x1b`` for ESC, ``\u202e`` for the right-to-left override, ``\n`` for a line
    end: controls, formats, surrogates, separators, private and unassigned ones.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )
