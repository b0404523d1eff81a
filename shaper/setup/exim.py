"""The parts of Exim's configuration for this machine, as a script to read and run.

The files are those of ``conf/exim/conf.d`` (placement "policy":
``conf/exim-policy/conf.d``), which the end-to-end tests use, with this machine's
ports. Debian has two ways to keep its configuration, and each takes
them differently (docs/exim.md, docs/placement-policy-exim.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shaper.setup.pieces import State, look, writing
from shaper.setup.render import exim_macros, exim_policy_macros

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from shaper.config import Settings
    from shaper.setup.pieces import Piece

__all__ = ["FILES", "POLICY_FILES", "pieces", "script"]

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
_POLICY_MACROS = "main/01_mailshaper_policy"
_POLICY_ACL = "acl/10_mailshaper_policy"
POLICY_FILES = (_POLICY_MACROS, "main/95_mailshaper_local", _POLICY_ACL)
_RELOAD = ["update-exim4.conf", "systemctl reload exim4"]


def pieces(
    settings: Settings,
    read: Callable[[str], str],
    directory: Path,
    *,
    split: bool | None,
) -> list[Piece]:
    """Return our files with this machine's ports, compared with what is there.

    ``split`` is None for a file written by hand.
    """
    home = directory / ("conf.d" if split else "mailshaper")
    policy = settings.daemon.placement == "policy"
    source = "exim-policy" if policy else "exim"
    found = []
    for name in POLICY_FILES if policy else FILES:
        text = read(f"{source}/conf.d/{name}")
        if name == _MACROS:
            text = exim_macros(text, settings)
        elif name == _POLICY_MACROS:
            text = exim_policy_macros(text, settings)
        found.append(look(home / name, text))
    if split is None and not policy:
        found.append(look(home / "acl.conf", read("exim/acl.conf")))
    return found


def script(found: list[Piece], directory: Path, *, split: bool | None) -> str:
    """Return the script that brings what is missing or differs of ``pieces``."""
    policy = any(piece.path.match(_POLICY_ACL) for piece in found)
    lines = ["set -eu", *writing(found)]
    if split is None:
        return "\n".join([*lines, *_by_hand(policy=policy)])
    if all(piece.state is State.PRESENT for piece in found):
        return "# Everything is there already."
    if not split:
        lines += _unsplit_policy(directory) if policy else _unsplit(directory)
    return "\n".join([*lines, *_RELOAD])


def _by_hand(*, policy: bool) -> list[str]:
    page = "docs/placement-policy-exim.md" if policy else "docs/exim.md"
    return [
        "# Exim's configuration here is not Debian's, and no script can know",
        "# where these files belong in it: see",
        f"# {page}, A hand-written file.",
    ]


def _unsplit(directory: Path) -> list[str]:
    """Return how the one file of an unsplit configuration takes ours, once."""
    files = directory / "mailshaper"
    template = directory / "exim4.conf.template"
    lines = _main(directory, FILES)
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


def _unsplit_policy(directory: Path) -> list[str]:
    template = directory / "exim4.conf.template"
    acl = f".include {directory}/mailshaper/{_POLICY_ACL}"
    return [
        *_main(directory, POLICY_FILES),
        f"grep -qxF '{acl}' {template} || sed -i '/^begin acl/a {acl}' {template}",
    ]


def _main(directory: Path, names: tuple[str, ...]) -> list[str]:
    macros = directory / "exim4.conf.localmacros"
    lines = [f"touch {macros}"]
    for name in names:
        if name.startswith("main/"):
            line = f".include {directory}/mailshaper/{name}"
            lines.append(f"grep -qxF '{line}' {macros} || echo '{line}' >> {macros}")
    return lines
