"""The command ``mailshaper``: presentation only, all work is the daemon's.

Nothing is imported here before it is needed: an operator waits for every module.
The process of a command never loads the engine, Redis or numpy; it talks to the
daemon over the admin socket (``shaper.admin``).
"""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Run the command line and exit with a code of sysexits.h."""
    from shaper.cli.app import run

    raise SystemExit(run())
