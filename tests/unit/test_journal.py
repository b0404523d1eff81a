"""Business events in the log: one line each, stable names, harmless, documented."""

import io
import json
import logging
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shaper import journal
from shaper.engine.gate import Watcher
from shaper.watchers import Watchers

ROOT = Path(__file__).parents[2]


@pytest.fixture
def written(capsys):
    """Return what was written since; a test that uses it begins with ``set_up``."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    root.setLevel(logging.INFO)
    yield lambda: capsys.readouterr().err
    root.handlers[:] = before
    root.setLevel(level)


def test_an_event_is_one_line_of_pairs(written):
    journal.set_up("text")
    journal.message_held("m1", 'login:o"b \\ x', "c1", 3)
    assert written() == (
        "INFO event=message.held id=m1 "
        'sender="login:o\\"b \\\\ x" case=c1 recipients=3\n'
    )


def test_json_carries_the_same_names(written):
    journal.set_up("json")
    journal.webhook_failed("c1.slowed@1", "status 500", 10.0)
    logging.getLogger("shaper").warning("for people: %s", "ù")
    first, second = map(json.loads, written().splitlines())
    assert first["event"] == "webhook.failed"
    assert (first["id"], first["again"]) == ("c1.slowed@1", 10.0)
    assert first["level"] == "warning"
    assert second["message"] == "for people: ù"


@given(text=st.text())
def test_no_text_from_outside_makes_a_second_line_or_acts(text):
    for kind in ("text", "json"):
        out = io.StringIO()
        handler = logging.StreamHandler(out)
        if kind == "json":
            handler.setFormatter(journal.JsonFormatter())
        journal.log.addHandler(handler)
        journal.log.setLevel(logging.INFO)
        try:
            journal.operator_acted(text, "block", text)
        finally:
            journal.log.removeHandler(handler)
            journal.log.setLevel(logging.NOTSET)
        line = out.getvalue()
        assert line.endswith("\n")
        assert len(line.splitlines()) == 1
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", line)
        if kind == "json":
            assert json.loads(line)["event"] == "operator.acted"


def test_a_wrong_number_of_values_is_a_bug_and_is_found(written):
    journal.set_up("text")
    with pytest.raises(ValueError, match="zip"):
        journal.notice_sent("id", "more")


def test_names_are_unique_and_every_event_is_documented():
    names = [event.name for event in journal.EVENTS]
    assert len(names) == len(set(names))
    assert journal.page() in (ROOT / "docs" / "journal.md").read_text()


def test_every_event_is_written_somewhere():
    sources = "".join(
        path.read_text()
        for path in (ROOT / "shaper").rglob("*.py")
        if path.name != "journal.py"
    )
    for name, value in vars(journal).items():
        if isinstance(value, journal.Event):
            assert f"journal.{name}" in sources, name


def test_watchers_pass_every_hook_on():
    heard = []

    class Ear(Watcher):
        pass

    hooks = [name for name in vars(Watcher) if not name.startswith("_")]
    for name in hooks:
        setattr(Ear, name, lambda self, *_a, _name=name, **_k: heard.append(_name))
    both = Watchers(Ear(), Ear())
    for name in hooks:
        assert name in vars(Watchers), name
        count = getattr(Watcher, name).__code__.co_argcount - 1
        extra = {"sent": True} if name == "notified" else {}
        getattr(both, name)(*[None] * count, **extra)
        assert heard[-2:] == [name, name]
