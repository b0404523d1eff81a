"""Whom this host believes, and how much: the operator's table and nothing else.

A level is given to an organisation by its operator. Weight never flows through
introductions, and an organisation that is not in the table has none, so any number
of unknown keys changes nothing. Organisations under common control share a group,
which counts once. ``shares`` is what the audit leaves of a weight; it only lowers.

PROTOCOL.md 10.1. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["FULL", "MILLI", "Level", "Standing", "Trust"]

MILLI = 1000
FULL = 1000  # thousandths of its level's weight


class Level(StrEnum):
    """What the operator said about an organisation."""

    REFUSED = "refused"  # neither stored nor relayed
    SEEN = "seen"  # stored and relayed, believed in nothing
    KNOWN = "known"
    TRUSTED = "trusted"
    SOLE = "sole"  # suppresses alone: for an organisation's own second site
    SELF = "self"

    @property
    def weight(self) -> int:
        """Weight of a fresh claim. Own evidence goes by other rules, hence 0."""
        return _WEIGHT[self]


_WEIGHT = {
    Level.REFUSED: 0,
    Level.SEEN: 0,
    Level.KNOWN: 40,
    Level.TRUSTED: 100,
    Level.SOLE: 200,
    Level.SELF: 0,
}


@dataclass(frozen=True, slots=True)
class Standing:
    """A row of the table. ``since``: when the operator last set it, Unix time."""

    level: Level
    group: str = ""
    since: int = 0


_NOBODY = Standing(Level.SEEN)


@dataclass(frozen=True, slots=True)
class Trust:
    """The table as it counts now; organisations are their 32-byte root keys."""

    table: Mapping[bytes, Standing] = field(default_factory=dict)
    shares: Mapping[bytes, int] = field(default_factory=dict)

    def standing(self, org: bytes) -> Standing:
        """Return the row of an organisation, ``seen`` where there is none."""
        return self.table.get(org, _NOBODY)

    def weight(self, org: bytes) -> int:
        """Return the weight of an organisation's fresh claim in thousandths."""
        share = min(FULL, max(0, self.shares.get(org, FULL)))
        return self.standing(org).level.weight * share * MILLI // FULL

    def group(self, org: bytes) -> str:
        """Return what counts once together with this organisation."""
        name = self.standing(org).group
        # A name cannot be mistaken for a key: it is prefixed.
        return f"group {name}" if name else f"org {org.hex()}"

    def believed(self) -> list[bytes]:
        """Return the organisations that have weight, in order of their keys."""
        return sorted(org for org in self.table if self.weight(org))
