"""Files that belong on this machine: there already, different, or missing.

Looks and compares; the text that it returns is a script for a person to read and
run. It carries the files in itself, so it also works where only a wheel was
installed.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["Piece", "State", "look", "writing"]

_END = "END_OF_MAILSHAPER"


class State(StrEnum):
    """How a file on this machine compares with ours."""

    PRESENT = "present"
    DIFFERS = "differs"
    MISSING = "missing"
    UNKNOWN = "unknown"  # this user may not read it


@dataclass(frozen=True, slots=True)
class Piece:
    """One file with what should be in it."""

    path: Path
    text: str
    state: State


def look(path: Path, text: str) -> Piece:
    """Compare a file with what should be in it."""
    try:
        there = path.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return Piece(path, text, State.MISSING)
    except OSError:
        return Piece(path, text, State.UNKNOWN)
    return Piece(path, text, State.PRESENT if there == text else State.DIFFERS)


def writing(pieces: Iterable[Piece]) -> list[str]:
    """Return the lines of a script that writes what is missing or differs."""
    lines: list[str] = []
    made: set[Path] = set()
    for piece in pieces:
        if piece.state is State.PRESENT:
            continue
        directory = piece.path.parent
        if directory not in made:
            made.add(directory)
            lines.append(f"install -d {shlex.quote(str(directory))}")
        if piece.state is State.DIFFERS:
            lines.append(f"# {piece.path} is there and differs: this replaces it")
        lines.append(f"cat > {shlex.quote(str(piece.path))} <<'{_END}'")
        lines += [piece.text.rstrip("\n"), _END]
    return lines
