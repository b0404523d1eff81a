"""The README's commands and names exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_files_that_the_readme_and_pages_name_exist():
    missing = []
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        named = re.findall(
            r"`((?:docs|tests|conf|bench|shaper|tools)/[\w./-]*\w)`", page.read_text()
        )
        missing += [
            f"{page.name}: {name}" for name in named if not (ROOT / name).exists()
        ]
    assert missing == []


def test_the_readme_is_one_screen():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 60


def test_every_make_target_it_names_exists():
    makefile = (ROOT / "Makefile").read_text()
    for target in set(
        re.findall(r"^    make (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE)
    ):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
