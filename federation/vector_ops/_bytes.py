"""How vectors spell bytes: each character of a text is one byte."""

from __future__ import annotations

from typing import Any

__all__ = ["unspelled"]


def unspelled(value: dict[str, Any]) -> bytes:
    """Return ``before``, ``times`` times ``text``, ``after``."""
    text = value.get("before", "") + value["text"] * value.get("times", 1)
    return bytes(text + value.get("after", ""), "latin-1")
