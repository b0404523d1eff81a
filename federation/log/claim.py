"""One event as the decision sees it: who says what about whom, and when.

Only events that count by chain and identity become claims: none that is frozen by
a fork, beyond a cut, retracted, or without weight by its form. Whom to believe is
not decided here but in ``trust`` and ``decision``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Claim"]


class Claim(NamedTuple):
    """An effective event. ``ts`` is the origin's clock, ``recv`` ours, in seconds."""

    org: bytes
    key: bytes
    st: str
    inc: int
    seq: int
    id: bytes
    k: str
    body: Mapping[str, Any]
    ts: int
    recv: int
