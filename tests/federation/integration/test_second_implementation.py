"""The text is enough: an implementation in PHP, made from it, agrees with ours.

`mini.php` is written from federation/PROTOCOL.md and shares nothing with
federation/. Where it disagrees with a vector, one of the three is wrong.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

from federation.conformance import VECTORS, drive, load

MINI = Path(__file__).parents[1] / "mini.php"
LONGEST = 400
GROUPS = sorted(path.stem for path in VECTORS.glob("*.jsonl"))


def php():
    found = shutil.which("php")
    if found is None:
        pytest.skip("no php: scripts/setup test installs it")
    modules = subprocess.run(
        [found, "-m"], capture_output=True, text=True, check=True
    ).stdout.split()
    if missing := {"intl", "sodium"} - set(modules):
        pytest.skip(f"php has no {', '.join(sorted(missing))}: scripts/setup test")
    return found


@pytest.mark.parametrize("group", GROUPS)
def test_it_answers_every_vector_as_we_do(group):
    outcomes = list(drive([php(), str(MINI)], load([group])))
    assert outcomes
    assert [
        (one.vector.name, one.got) for one in outcomes if one.state != "passed"
    ] == []


def test_it_stays_small():
    lines = MINI.read_text().splitlines()
    assert len(lines) <= LONGEST
    assert max(map(len, lines)) <= 140
