"""What a check found: how bad, about what, where, and the cure.

Owns the shape only; checks make findings, the command line escapes and shows them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Finding", "Level", "fail", "ok", "unknown", "warn"]


class Level(StrEnum):
    """How bad a finding is; UNKNOWN could not be looked at."""

    OK = "ok"
    UNKNOWN = "unknown"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    level: Level
    what: str
    where: str
    cure: str = ""


def ok(what: str, where: str) -> Finding:
    """Return that something is as it should be."""
    return Finding(Level.OK, what, where)


def unknown(what: str, where: str, cure: str = "") -> Finding:
    """Return that something could not be checked."""
    return Finding(Level.UNKNOWN, what, where, cure)


def warn(what: str, where: str, cure: str) -> Finding:
    """Return what will hurt some day."""
    return Finding(Level.WARN, what, where, cure)


def fail(what: str, where: str, cure: str) -> Finding:
    """Return what does not work now."""
    return Finding(Level.FAIL, what, where, cure)
