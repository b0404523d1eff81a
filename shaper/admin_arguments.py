"""The arguments of a request on the admin socket, each checked for its kind.

An argument that no command takes out is refused, not ignored: it may be the one that
narrows what is to be done.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from shaper.engine.control import Change, RefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Arguments"]

_LONGEST_TEXT = 4096  # characters of one argument
_MOST_ROWS = 5000  # of one request


class Arguments:
    """Takes arguments out one by one; what is left over is an error."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._left = dict(given)

    def text(self, name: str) -> str:
        """Return a text, "" when it is not given."""
        value = self._left.pop(name, "")
        if not isinstance(value, str):
            raise RefusedError(f"{name} must be a text", code=64)
        if len(value) > _LONGEST_TEXT:
            raise RefusedError(f"{name} is longer than {_LONGEST_TEXT}", code=64)
        try:
            # Octets that are not UTF-8 may occur in addresses (surrogateescape);
            # any other surrogate could not be stored.
            value.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError as error:
            raise RefusedError(f"{name} is no valid text", code=64) from error
        return value

    def needed(self, name: str) -> str:
        """Return a text that must be given."""
        value = self.text(name)
        if not value:
            raise RefusedError(f"{name} is missing", code=64)
        return value

    def number(self, name: str) -> float:
        """Return a number from 0 on, 0 when it is not given."""
        value = self._left.pop(name, 0)
        if isinstance(value, int | float) and not isinstance(value, bool):
            try:
                number = float(value)
            except OverflowError:
                number = math.inf
            if math.isfinite(number) and number >= 0:
                return number
        raise RefusedError(f"{name} must be a number, 0 or more", code=64)

    def flag(self, name: str) -> bool:
        """Return a truth value, false when it is not given."""
        value = self._left.pop(name, False)
        if not isinstance(value, bool):
            raise RefusedError(f"{name} must be true or false", code=64)
        return value

    def rows(self, name: str) -> list[list[Any]]:
        """Return rows of plain values; the command checks what is in them."""
        value = self._left.pop(name, [])
        if not isinstance(value, list) or len(value) > _MOST_ROWS:
            raise RefusedError(f"{name} must be at most {_MOST_ROWS} rows", code=64)
        if not all(isinstance(row, list) for row in value):
            raise RefusedError(f"{name} must be rows", code=64)
        return value

    def change(self, user: str) -> Change:
        """Return who asks for a change, and why."""
        return Change(
            user, self.text("reason"), self.needed("id"), self.flag("dry_run")
        )

    def finish(self) -> None:
        """Refuse what nobody took out. Call it before anything is done."""
        if self._left:
            names = ", ".join(sorted(str(name)[:64] for name in self._left))
            raise RefusedError(
                f"the daemon does not know the argument {names}", code=64
            )
