"""A count of right answers that remembers the wrong ones by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container

__all__ = ["Score"]


@dataclass
class Score:
    """Right answers of so many, and the names of the wrong ones."""

    right: int = 0
    total: int = 0
    wrong: list[str] = field(default_factory=list)

    def count(self, *, right: bool, name: str, weight: int = 1) -> None:
        """Add one case."""
        self.total += weight
        if right:
            self.right += weight
        elif name not in self.wrong:
            self.wrong.append(name)

    @property
    def ratio(self) -> float:
        """Share of right answers; 1.0 for no case."""
        return self.right / self.total if self.total else 1.0

    def without(self, excused: Container[str]) -> float:
        """Share of right answers when wrong ones of these names do not count."""
        out = sum(name in excused for name in self.wrong)
        return self.right / (self.total - out) if self.total > out else 1.0
