"""Small screens, filters of several words, and commands that are not finished."""

import pytest

from tests.support.office import office


@pytest.fixture
async def place(redis_url, tmp_path):
    async with office(redis_url, tmp_path) as found:
        await found.steal("login:alice", "Vous avez gagné 日本語")
        yield found


@pytest.mark.parametrize("columns", ["40", "50", "60"])
async def test_on_a_narrow_terminal_every_measure_stays_whole(place, columns):
    for words in (["show", "login:alice"], ["explain", "login:alice"]):
        shown = (await place.cli(*words, env={"COLUMNS": columns})).out
        assert "new recipients 7 days" in shown
        assert " of 56.9 recipients" in shown
        assert "…" not in shown


async def test_counts_fold_on_a_narrow_terminal(place):
    for words in (["status"], ["cases"]):
        done = await place.cli(*words, env={"COLUMNS": "40"})
        assert "3 messages (30 recipients)" in done.out
        assert max(map(len, done.out.splitlines())) <= 40


async def test_a_filter_may_come_in_several_words(place):
    everything = await place.cli("queue", "list", "--json")
    for words in (["rcpt-domain=example.net", "not", "id=x"], ["not id=x age>=0"]):
        done = await place.cli("queue", "list", *words, "--json")
        assert done.code == 0, done
        assert [row["id"] for row in done.rows()] == [
            row["id"] for row in everything.rows()
        ]
    none = await place.cli("queue", "list", "rcpt-domain=example.net", "id=x")
    assert none.out == "No held mail matches.\n"


async def test_quoted_parts_of_a_filter_are_not_put_together(place):
    # 'a or b' beside c would read as a or (b and c), and drop what c spares.
    done = await place.cli(
        "queue", "drop", "subject~gagn or id=x", "size>9G", "--reason", "r"
    )
    assert done.code == 64
    assert "one pair of single quotes" in done.err
    assert len(place.engine.held) == 3


@pytest.mark.parametrize("words", [[], ["queue"]])
async def test_a_group_without_its_command_is_answered_by_its_help(place, words):
    done = await place.cli(*words)
    assert done.code == 64
    assert done.err.startswith("Usage: mailshaper")
    assert done.out == ""
