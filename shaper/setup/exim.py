"""The parts of Exim's configuration for this machine, as a script to read and run.

The files are those of ``conf/exim/conf.d``, which the end-to-end tests use, with
this machine's ports. Debian has two ways to keep its configuration, and each takes
them differently (docs/exim.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shaper.setup.pieces import State, look, writing
from shaper.setup.render import exim_macros

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from shaper.config import Settings
    from shaper.setup.pieces import Piece

__all__ = ["FILES", "pieces", "script"]

_MACROS = "main/01_mailshaper"
FILES = (
    _MACROS,
    "main/90_mailshaper_limits",
    "main/95_mailshaper_scripts",
    "acl/10_mailshaper",
    "router/190_mailshaper",
    "transport/30_mailshaper",
    "retry/20_mailshaper",
)
_RELOAD = ["update-exim4.conf", "systemctl reload exim4"]


def pieces(
    settings: Settings, read: Callable[[str], str], directory: Path, *, split: bool
) -> list[Piece]:
    """Return our files with this machine's ports, compared with what is there."""
    home = directory / ("conf.d" if split else "mailshaper")
    found = []
    for name in FILES:
        text = read(f"exim/conf.d/{name}")
        if name == _MACROS:
            text = exim_macros(text, settings)
        found.append(look(home / name, text))
    return found


def script(found: list[Piece], directory: Path, *, split: bool) -> str:
    """Return the script that brings what is missing or differs."""
    if all(piece.state is State.PRESENT for piece in found):
        return "# Everything is there already."
    lines = ["set -eu", *writing(found)]
    if not split:
        lines += _unsplit(directory)
    return "\n".join([*lines, *_RELOAD])


def _unsplit(directory: Path) -> list[str]:
    """Return how the one file of an unsplit configuration takes ours, once."""
    files = directory / "mailshaper"
    template = directory / "exim4.conf.template"
    macros = directory / "exim4.conf.localmacros"
    main = [name for name in FILES if name.startswith("main/")]
    lines = [f"touch {macros}"]
    lines += [
        f"grep -qF '.include {files}/{name}' {macros} || "
        f"echo '.include {files}/{name}' >> {macros}"
        for name in main
    ]
    router = "router/190_mailshaper"
    lines.append(f"if ! grep -qF '.include {files}/acl' {template}; then")
    lines.append(
        f"sed -i -e '/^begin acl/a .include {files}/acl/10_mailshaper' \\\n"
        "  -e '0,/^### router\\/200_exim4-config_primary/s|^### router/"
        f"200_exim4-config_primary|.include {files}/{router}\\n&|' \\\n"
        f"  -e '/^begin transports/a .include {files}/transport/30_mailshaper' \\\n"
        f"  -e '/^begin retry/a .include {files}/retry/20_mailshaper' {template}"
    )
    lines.append("fi")
    return lines
