"""Load the table of meanings: the shipped one, and an administrator's on top.

The shipped table is package data (``outcomes.toml`` beside this module), so it
is there in a wheel as in a checkout. An own file has the same form; its entries
are asked first, and it need only hold what differs.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from shaper.core.meaning import Table, TableError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["load_table", "shipped_table"]


@cache
def shipped_table() -> Table:
    """Return the table that comes with the package."""
    source = resources.files("shaper.feedback").joinpath("outcomes.toml")
    return Table(tomllib.loads(source.read_text(encoding="utf-8")))


def load_table(path: Path | None = None) -> Table:
    """Return the shipped table, extended by the file at ``path`` if given.

    Raises OSError when the file cannot be read, and TableError, with the file's
    name, when it is not TOML or an entry is wrong.
    """
    if path is None:
        return shipped_table()
    try:
        own = Table(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, TableError) as error:
        msg = f"{path}: {error}"
        raise TableError(msg) from error
    return shipped_table().extended(own)
