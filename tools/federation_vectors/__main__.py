"""Write the vector files, or compare them: see the package's docstring."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from typing import TYPE_CHECKING

import tools.federation_vectors as package
from federation.conformance import VECTORS

if TYPE_CHECKING:
    from pathlib import Path


def groups() -> dict[str, str]:
    """Return the text of each group's file."""
    found = {}
    for module in pkgutil.iter_modules(package.__path__):
        if module.name.startswith("_"):
            continue
        group = importlib.import_module(f"{package.__name__}.{module.name}")
        if cases := getattr(group, "cases", None):
            found[module.name] = "".join(case.line for case in cases())
    return found


def stale(texts: dict[str, str], folder: Path = VECTORS) -> list[str]:
    """Return the names of files that differ from what is made, or are too many."""
    there = {path.stem: path.read_text() for path in folder.glob("*.jsonl")}
    names = sorted(there.keys() | texts.keys())
    return [name for name in names if there.get(name) != texts.get(name)]


def main() -> int:
    """Run the program. Returns its exit status."""
    texts = groups()
    old = stale(texts)
    if "--check" in sys.argv[1:]:
        for name in old:
            print(f"federation/vectors/{name}.jsonl is not up to date")
        return bool(old)
    for name in old:
        path = VECTORS / f"{name}.jsonl"
        if name in texts:
            path.write_text(texts[name])
            print(f"{name}: {texts[name].count(chr(10))} vectors")
        else:
            print(f"{path}: no module makes it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
