"""A test vector, the spelling of bytes in it, and the actors of all groups."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from federation.format.signing import Signer

__all__ = ["NET", "NODE", "OTHER", "PEPPERS", "ROOT", "T0", "Case", "spelled"]

NET: Final = "test"
T0: Final = 1_790_000_000
"""When the actors' logs were opened: 2026-09-21 14:13:20 UTC."""
ROOT: Final = Signer(bytes(range(32)))
NODE: Final = Signer(bytes(range(32, 64)))
OTHER: Final = Signer(bytes(range(64, 96)))
PEPPERS: Final = tuple(
    sha256(f"sm2tp test pepper {number}".encode()).digest() for number in (1, 2)
)


@dataclass(frozen=True, slots=True)
class Case:
    """One vector. ``why`` is a sentence: which rule decides, and how."""

    name: str
    input: Any
    expect: Any
    why: str

    @property
    def line(self) -> str:
        """The vector as it stands in its file, with LF."""
        fields = {
            "name": self.name,
            "input": self.input,
            "expect": self.expect,
            "why": self.why,
        }
        # ASCII: no reader depends on how this one treats other characters.
        return json.dumps(fields, separators=(",", ":")) + "\n"


def spelled(
    data: bytes, times: int = 1, before: bytes = b"", after: bytes = b""
) -> dict[str, Any]:
    """Return bytes as vectors spell them: each character is one byte.

    ``before``, ``times`` times ``data``, ``after``; so that a hundred thousand
    brackets do not fill a file.
    """
    found: dict[str, Any] = {"text": data.decode("latin-1")}
    if times != 1:
        found |= {"times": times}
    for name, part in (("before", before), ("after", after)):
        if part:
            found |= {name: part.decode("latin-1")}
    return found
