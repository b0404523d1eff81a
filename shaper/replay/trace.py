"""Traces of traffic: lines ``sender recipient seconds``, plain or gzipped.

Owns reading them into messages in order of time. Lines with equal sender and
seconds are one message; a line that repeats another is dropped; a line that is
none of this is counted and skipped, since a trace comes from anybody's script.
"""

from __future__ import annotations

import gzip
import math
import re
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["Mail", "Trace", "collect", "looks_like_trace", "read_trace"]

_FIELDS = 3
_PEEK = 200  # lines
_NUMBER = re.compile(r"\d+(\.\d+)?")
_LONGEST_LINE = 4096  # characters; two addresses of RFC 5321 4.5.3.1 and a time


class Mail(NamedTuple):
    """A message that was sent."""

    time: float
    sender: str
    recipients: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Trace:
    """Messages in order of time, and what was not understood or repeated."""

    name: str
    mails: tuple[Mail, ...]
    corrupt: int
    repeated: int


def read_trace(path: Path) -> Trace:
    """Read a trace. Raises OSError when the file cannot be read."""
    opener = gzip.open if _gzipped(path) else open
    with opener(path, "rt", encoding="utf-8", errors="replace") as lines:
        return _parse(path.name, lines)


def looks_like_trace(path: Path) -> bool:
    """Whether the first lines that say anything are a trace's. Raises OSError."""
    opener = gzip.open if _gzipped(path) else open
    good = bad = 0
    with opener(path, "rt", encoding="utf-8", errors="replace") as lines:
        for line in islice(lines, _PEEK):
            fields = line.split()
            if not fields or line.startswith("#"):
                continue
            if len(fields) == _FIELDS and _NUMBER.fullmatch(fields[2]):
                good += 1
            else:
                bad += 1
    return good > bad


def collect(name: str, mails: Iterable[Mail]) -> Trace:
    """Return messages from elsewhere, such as a log, as a trace."""
    ordered = sorted(m for m in mails if math.isfinite(m.time))
    return Trace(name, tuple(ordered), 0, 0)


def _gzipped(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"  # RFC 1952 section 2.3.1


def _parse(name: str, lines: Iterable[str]) -> Trace:
    messages: dict[tuple[float, str], dict[str, None]] = {}
    corrupt = repeated = 0
    for line in lines:
        fields = line.split() if len(line) <= _LONGEST_LINE else []
        if not fields or fields[0].startswith("#"):
            corrupt += bool(line.strip()) and not line.startswith("#")
            continue
        if len(fields) != _FIELDS:
            corrupt += 1
            continue
        sender, recipient, when = fields
        if not _NUMBER.fullmatch(when):
            corrupt += 1
            continue
        time = float(when)
        if not 0 <= time < 1e11:  # noqa: PLR2004 - milliseconds end here
            corrupt += 1
            continue
        recipients = messages.setdefault((time, sender), {})
        if recipient in recipients:
            repeated += 1
        recipients[recipient] = None
    mails = tuple(Mail(t, s, tuple(messages[t, s])) for t, s in sorted(messages))
    return Trace(name, mails, corrupt, repeated)
