"""What the daemon leaves for the command line: one small file, a few seconds old.

Only what the database does not hold: peers as last met, clock, what is missing.
Written by rename, so that nobody reads half of it.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FRESH", "read", "remove", "write"]

FRESH = 60
"""Seconds after which the daemon that wrote it counts as gone."""
_NAME = "daemon.json"


def write(directory: Path, state: dict[str, Any]) -> None:
    """Write the state, which has its time in ``at``. Raises OSError."""
    path = directory / f".{_NAME}.{os.getpid()}"
    path.write_text(json.dumps(state), encoding="ascii")
    path.replace(directory / _NAME)


def read(directory: Path, now: int) -> dict[str, Any]:
    """Return the state with ``runs``; empty where there is none or it is damaged."""
    try:
        found = json.loads((directory / _NAME).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict) or not isinstance(found.get("at"), int):
        return {}
    return {**found, "runs": abs(now - found["at"]) <= FRESH}


def remove(directory: Path) -> None:
    """Say that the daemon has ended."""
    (directory / _NAME).unlink(missing_ok=True)
