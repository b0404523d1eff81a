"""Newcomers' pages: every term explained, every link and command real."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer

from shaper.cli.app import app

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
NEWCOMERS = [
    *(DOCS / "fr").glob("*.md"),
    *(
        DOCS / f"{name}.md"
        for name in ("first-day", "reading-a-case", "feedback-loops")
    ),
]
# The vocabulary of the product: one word, one meaning.
TERMS = {
    *("sender", "envelope sender", "recipient", "message", "next hop", "re-injection"),
    *("spool", "trickle queue", "hold", "release", "deferral", "DSN"),
    *("enhanced status code", "ARF", "feedback loop", "suppression list", "baseline"),
    *("evidence", "case", "verdict", "peer", "origin", "organisation", "event"),
    *("log", "head", "normal", "slowed", "blocked", "exempt", "planned burst"),
}
ENTRY = re.compile(
    r"^\*\*([^*]+)\*\*(?: \(([^)]+)\))?\s?: (.+?)(?=\n\n|\Z)", re.MULTILINE | re.DOTALL
)


def entries(page):
    return ENTRY.findall((DOCS / page).read_text())


def test_the_glossaries_explain_every_term_and_the_same_ones():
    english = [term for term, _, _ in entries("glossary.md")]
    french = [term for _, term, _ in entries("fr/glossaire.md")]
    assert french == english
    assert not TERMS - set(english)
    assert len(set(english)) == len(english)


@pytest.mark.parametrize("page", ["glossary.md", "fr/glossaire.md"])
def test_every_term_has_two_sentences(page):
    for term, _, text in entries(page):
        assert len(re.findall(r"[.](?:\s|$)", text)) == 2, (term, text)


def test_every_relative_link_leads_somewhere():
    missing = []
    for page in (*ROOT.glob("README*.md"), *DOCS.rglob("*.md")):
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            path = target.partition("#")[0]
            if path and "://" not in path and not (page.parent / path).exists():
                missing.append(f"{page.relative_to(ROOT)}: {target}")
    assert missing == []


def typed(text):
    """Yield each command line for `mailshaper` in a page."""
    for code in re.findall(r"```\n(.*?)```|`(mailshaper [^`]+)`", text, re.DOTALL):
        for line in "".join(code).splitlines():
            if found := re.match(r"(?:\$ )?mailshaper (.+)", line):
                yield shlex.split(found[1], comments=True)


@pytest.mark.parametrize("page", NEWCOMERS, ids=lambda page: page.name)
def test_pages_type_only_commands_and_options_that_exist(page):
    for words in typed(page.read_text()):
        command = typer.main.get_command(app)
        rest = list(words)
        while hasattr(command, "commands"):
            assert rest, words
            context = typer.Context(command)
            # Not .commands: other packages add theirs by entry points.
            assert rest[0] in command.list_commands(context), words
            _, command, rest = command.resolve_command(context, rest)
        known = {option for param in command.params for option in param.opts}
        assert {word for word in rest if word.startswith("--")} <= known, words


def test_french_has_no_breakable_space_before_double_punctuation():
    for page in (ROOT / "README.fr.md", *(DOCS / "fr").glob("*.md")):
        prose = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(), flags=re.DOTALL)
        assert not re.findall(r".* [:;?!»]\s.*", prose), page.name


def test_the_friends_pages_show_the_same_configurations():
    def shown(page):
        blocks = re.findall(r"```toml\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
        return [tomllib.loads(block) for block in blocks]

    assert len(shown("friends.md")) == 2
    assert shown("fr/amis.md") == shown("friends.md")
