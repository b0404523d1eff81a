"""The pure core stays pure: what import-linter cannot say is said here."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

CORE = Path(__file__).parents[2] / "shaper" / "core"
# Modules of the standard library that do I/O, read the clock or throw dice.
# `datetime` is missing on purpose: core may do arithmetic with given times.
IMPURE = {
    "asyncio", "concurrent", "logging", "multiprocessing", "os", "pathlib", "random",
    "secrets", "select", "shutil", "signal", "socket", "sqlite3", "ssl", "subprocess",
    "tempfile", "threading", "time", "urllib", "uuid",
}  # fmt: skip
ALLOWED = (sys.stdlib_module_names - IMPURE) | {"numpy", "shaper.core"}


def imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import(names=names):
                found |= {one.name for one in names}
            case ast.ImportFrom(module=module, level=0):
                found.add(str(module))
    return found


def allowed(module: str) -> bool:
    parts = module.split(".")
    return parts[0] in ALLOWED or ".".join(parts[:2]) in ALLOWED


@pytest.mark.parametrize("path", sorted(CORE.rglob("*.py")), ids=lambda path: path.stem)
def test_core_imports_only_the_pure_library_numpy_and_core(path):
    assert [one for one in sorted(imports_of(path)) if not allowed(one)] == []


def test_the_rule_finds_a_breach(tmp_path):
    bad = tmp_path / "bad.py"
    bad.write_text(
        "import os\nfrom shaper.engine import x\nfrom shaper.core import y\n"
    )
    assert [one for one in sorted(imports_of(bad)) if not allowed(one)] == [
        "os",
        "shaper.engine",
    ]


@pytest.mark.parametrize("heavy", ["aiohttp", "numpy", "rich", "matplotlib", "dns"])
def test_an_idle_daemon_has_not_loaded(heavy):
    code = f"import sys, shaper.daemon; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
