"""Forgetting somebody is itself told in the journal, without telling whom."""

import json

import pytest

from tests.support.office import office


@pytest.fixture
async def place(redis_url, tmp_path):
    async with office(redis_url, tmp_path) as found:
        await found.steal("login:alice@example.org")
        yield found


async def test_the_journal_tells_who_did_it_and_why_but_not_whom(place):
    done = await place.request(
        "forget",
        address="Alice@example.org",
        reason="ALICE@example.org asked to",
        id="f1",
    )
    assert done["ok"], done
    lines = [line for line in place.audit.replay() if line["event"] == "forget"]
    assert [(line["reason"], line["id"]) for line in lines] == [
        ("(the address) asked to", "f1")
    ]
    assert lines[0]["by"]
    # The sender is slowed, which must hold on; else nothing names it.
    rest = [line for line in place.audit.replay() if line["event"] != "sender"]
    assert "alice" not in json.dumps(rest).lower()
    shown = await place.cli("audit")
    assert "forget" in shown.out
    assert '"(the address) asked to"' in shown.out


async def test_a_dry_run_leaves_no_line(place):
    before = len(list(place.audit.replay()))
    await place.request(
        "forget", address="alice@example.org", reason="r", id="f1", dry_run=True
    )
    assert len(list(place.audit.replay())) == before
