"""Measure what a node does with the events of others, and with its own.

    python -m bench.federation [checks] [import] [lookup] [append] [--events 100000]

``checks``: form, canonical text, id and signature of a line, one core; beside it the
signature alone. ``import``: a first copy through the whole admission into a file;
beside it the same rows into the same tables without any check. ``lookup``: claims by
tag in that file; beside it the bare SELECT. ``append``: own events, each on the disk
before the next. All four unless named. CPU time is this process's.

How long many nodes take to agree: `python -m bench.federation.simulation`.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from bench.federation import storing


def main() -> None:
    """Read the arguments, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = ["checks", "import", "lookup", "append"]
    parser.add_argument("parts", nargs="*", metavar="|".join(names))
    parser.add_argument("--events", type=int, default=100_000, help="to import")
    arguments = parser.parse_args()
    parts = arguments.parts or names
    if unknown := set(parts) - set(names):
        parser.error(f"no such part: {' '.join(sorted(unknown))}")
    print(f"load {os.getloadavg()[0]:.1f} before")
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        if "checks" in parts:
            storing.checks()
        if "import" in parts or "lookup" in parts:
            storing.copy(directory, arguments.events, plain="import" in parts)
        if "lookup" in parts:
            storing.lookup(directory, arguments.events)
        if "append" in parts:
            storing.append(directory)
    print(f"\nload {os.getloadavg()[0]:.1f} after")


if __name__ == "__main__":
    main()
