"""The text is enough: an implementation in PHP, made from it, agrees with ours.

`mini.php` (what every node must do) and `mini_decide.php` (how a reader decides)
are written from federation/PROTOCOL.md and share nothing with federation/;
`mini_vectors.php` puts the vectors to them. Where they disagree with a vector, one of
the three is wrong.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

from federation.conformance import VECTORS, drive, load

HERE = Path(__file__).parents[1]
LONGEST = 400
WIDEST = 160
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
    outcomes = list(drive([php(), str(HERE / "mini_vectors.php")], load([group])))
    assert outcomes
    assert [
        (one.vector.name, one.got) for one in outcomes if one.state != "passed"
    ] == []


@pytest.mark.parametrize("name", ["mini.php", "mini_decide.php", "mini_vectors.php"])
def test_it_stays_small(name):
    lines = (HERE / name).read_text().splitlines()
    assert len(lines) <= LONGEST
    assert max(map(len, lines)) <= WIDEST
