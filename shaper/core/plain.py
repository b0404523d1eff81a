"""Reads plain data that was stored elsewhere and may have been tampered with.

What another program wrote, or a damaged disk, must fail here, as ValueError, and
not hours later when a number is shown, added or stored again.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

__all__ = ["loads", "moment", "name"]

_END = 253_402_300_000.0  # shortly before the year 10000, where datetime ends
_NAME = re.compile(r"[A-Za-z0-9_.+=-]{1,100}")


def loads(raw: bytes | str) -> Any:  # noqa: ANN401
    """Return the value of JSON. Raises ValueError on anything else.

    NaN and infinities are no JSON (RFC 8259 section 6), nor is a number that
    would become one.
    """
    try:
        return json.loads(raw, parse_float=_finite, parse_constant=_finite)
    except RecursionError as error:
        msg = "JSON that is nested too deeply"
        raise ValueError(msg) from error


def moment(value: Any) -> float:  # noqa: ANN401
    """Return a Unix time that a calendar has. Raises TypeError or ValueError."""
    at = float(value)
    if not 0.0 <= at < _END:
        msg = f"{at} is no time"
        raise ValueError(msg)
    return at


def name(value: Any) -> str:  # noqa: ANN401
    """Return an id that may stand in a file name or a mail header, or "".

    Raises ValueError.
    """
    text = str(value)
    if text and not _NAME.fullmatch(text):
        msg = f"{text[:100]!r} is no id"
        raise ValueError(msg)
    return text


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        msg = f"{text} is no JSON"
        raise ValueError(msg)
    return number
