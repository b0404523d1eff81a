"""Pages that repeat what the code says are kept true by the code."""

import re
from pathlib import Path

from shaper.core.state import TRANSITIONS

DOCS = Path(__file__).parents[2] / "docs"


def test_the_table_of_states_is_the_transition_table():
    page = (DOCS / "flow.md").read_text()
    table = page.split("<!-- states:")[1].split("<!-- end of states -->")[0]
    rows = re.findall(r"^\| (\w+) \| (\w+) \| (\w+) \|$", table, re.MULTILINE)[1:]
    assert rows == [
        (state.value, event.value, new.value)
        for state, row in TRANSITIONS.items()
        for event, new in row.items()
    ]


def test_the_modules_that_the_flow_names_exist():
    page = (DOCS / "flow.md").read_text()
    root = DOCS.parent
    named = set(re.findall(r"`((?:shaper|tests)/[\w/.]+)`", page))
    assert named
    assert not [name for name in named if not (root / name).exists()]
