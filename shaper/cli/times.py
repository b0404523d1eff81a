"""Times and rates as operators write and read them.

2h, 30m, 7d             a while from now, or ago where the past is meant
2026-03-03T10:00        ISO 8601, in the local zone unless it names one
20/m, 100/h             messages per minute, per hour
"""

from __future__ import annotations

import re
import time
from datetime import datetime

from shaper.cli.failure import USAGE, CliError

__all__ = ["age", "clock", "iso", "moment", "rate", "size"]

_DURATION = re.compile(r"(\d{1,9})([smhdw])")
_RATE = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)(?:/(s|m|h))?")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_PER_MINUTE = {"s": 60.0, "m": 1.0, "h": 1 / 60, None: 1.0}


def moment(text: str, option: str, *, past: bool = False) -> float:
    """Return the Unix time that ``text`` means. Raises CliError."""
    now = time.time()
    if text == "now":
        return float(round(now))
    if found := _DURATION.fullmatch(text):
        seconds = int(found[1]) * _SECONDS[found[2]]
        at = float(round(now - seconds if past else now + seconds))
        if past:
            return max(at, 0.0)
        text = f"{text} from now"
    else:
        try:
            at = datetime.fromisoformat(text).timestamp()
        except (ValueError, OverflowError, OSError) as error:
            raise CliError(
                USAGE,
                f"{option}: {text!r} is no time",
                "write 2h, 30m, 7d, or a date such as 2026-03-03T10:00",
            ) from error
    try:
        clock(at)
    except (ValueError, OverflowError, OSError) as error:
        raise CliError(USAGE, f"{option}: {text!r} is out of range") from error
    return at


def rate(text: str) -> float:
    """Return messages a minute; "" is 0: as fast as the next hop takes them."""
    if not text:
        return 0.0
    found = _RATE.fullmatch(text)
    value = float(found[1]) * _PER_MINUTE[found[2]] if found else 0.0
    if value <= 0:
        raise CliError(
            USAGE, f"--rate: {text!r} is no rate", "write 20/m (a minute) or 100/h"
        )
    return value


def clock(at: float) -> str:
    """Return a time in the local zone, which is named."""
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def iso(at: float) -> str:
    """Return a time that can be typed again, to the second."""
    return datetime.fromtimestamp(at).astimezone().isoformat(timespec="seconds")


def age(seconds: float) -> str:
    """Return a duration in its two largest units."""
    left = max(round(seconds), 0)
    parts: list[str] = []
    for unit in ("d", "h", "m", "s"):
        count, left = divmod(left, _SECONDS[unit])
        if count or parts or unit == "s":
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2])


def size(octets: float) -> str:
    """Return a number of octets with a unit."""
    for unit in ("B", "kB", "MB", "GB"):
        if octets < 1000 or unit == "GB":  # noqa: PLR2004
            break
        octets /= 1000
    return f"{octets:.0f} {unit}" if unit == "B" else f"{octets:.1f} {unit}"
