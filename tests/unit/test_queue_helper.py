"""What the privileged helper lets through before any mail server is asked."""

import ast
import sys
from pathlib import Path

import pytest

import shaper.queuehelper
from shaper.queuehelper.queues import Exim, Postfix
from shaper.queuehelper.server import answer

HOME = Path(shaper.queuehelper.__file__).parent
HOSTILE = [
    "", "-", "ALL", "-d", "--", "..", "../x", "a b", "*", "?", "4jZTvv5ww\n",
    "4jZTvv5wwCzJrJf\n", "4jZTvv5wwCzJrJf ", "4jZTvv5wwCzJrJf;id", "$(id)",
    "4jZTvv5wwCzJrJf/../x", "4jZTvv5wwCzJrJf\0", "\uff11" * 12, "1xWIUL-0005vW-2S\n",
    "1xWIUL-0005vW", "1xWIUL-0005vW-2S-", "-1xWIUL-0005vW-2", "A" * 200, "A" * 5,
    "1xWIUL-0005vW-2S-D", "1xWIUL 0005vW 2S", "é" * 12,
]  # fmt: skip


class Recorder:
    """A queue whose every message is on hold, and that notes what was done."""

    def __init__(self):
        self.done = []

    def well_formed(self, queue_id):
        return Postfix._ID.fullmatch(queue_id) is not None

    def states(self, queue_ids):
        self.done.append(("state", queue_ids))
        return dict.fromkeys(queue_ids, "held")

    def _deed(self, name):
        def do(queue_ids):
            self.done.append((name, *queue_ids))
            return set(queue_ids) - {"4jZTvv5zzzzJrJg"}

        return do

    def __getattr__(self, name):
        return self._deed(name)


@pytest.mark.parametrize("queue_id", HOSTILE)
@pytest.mark.parametrize("mta", [Postfix, Exim])
def test_only_a_queue_id_is_a_queue_id(mta, queue_id):
    assert mta._ID.fullmatch(queue_id) is None


@pytest.mark.parametrize(
    ("mta", "queue_id"),
    [
        (Postfix, "3F2A21C0042"),
        (Postfix, "4jZTvv5wwCzJrJf"),
        (Exim, "1xWIUL-0005vW-2S"),
        (Exim, "1rDKdV-00000000bQc-3sfP"),
    ],
)
def test_both_forms_of_both_servers(mta, queue_id):
    assert mta._ID.fullmatch(queue_id)


@pytest.mark.parametrize(
    "request_line",
    [
        "", "state", "release", "release ", "release 4jZTvv5wwCzJrJf -d",
        "drop 4jZTvv5wwCzJrJf 4jZTvv5wwCzJrJf", "delete 4jZTvv5wwCzJrJf",
        "RELEASE 4jZTvv5wwCzJrJf", "drop ALL", "give_back 4jZTvv5wwCzJrJf",
        "state 4jZTvv5wwCzJrJf ALL", "release\t4jZTvv5wwCzJrJf",
        *(f"{verb} " + " ".join(f"3F2A21C00{n}" for n in range(10, 61)) for verb in
          ("state", "release", "requeue", "drop", "return")),
        "drop 4jZTvv5wwCzJrJf\ndrop 4jZTvv5xtxzJrJg",
    ],
)  # fmt: skip
def test_what_is_no_request_does_nothing(request_line):
    queue = Recorder()
    assert answer(request_line, queue).startswith("refused ")
    assert queue.done == []


DEEDS = [
    ("release", "release"), ("requeue", "requeue"), ("drop", "drop"),
    ("return", "give_back"),
]  # fmt: skip


@pytest.mark.parametrize(("verb", "deed"), DEEDS)
def test_a_verb_does_its_deed_and_no_other(verb, deed):
    queue = Recorder()
    assert answer(f"{verb} 4jZTvv5wwCzJrJf", queue) == "done"
    assert queue.done == [(deed, "4jZTvv5wwCzJrJf")]


@pytest.mark.parametrize(("verb", "deed"), DEEDS)
def test_many_are_changed_by_one_request(verb, deed):
    queue = Recorder()
    ids = ["4jZTvv5wwCzJrJf", "4jZTvv5zzzzJrJg"]
    assert answer(" ".join([verb, *ids]), queue).split("\n") == [
        f"{ids[0]} done", f"{ids[1]} not-held held", "done",
    ]  # fmt: skip
    assert queue.done == [(deed, *ids), ("state", ids[1:])]


def test_no_address_can_say_that_a_message_is_frozen(monkeypatch):
    going, frozen, absent = (f"1xWIUL-00000{n}-00" for n in range(3))
    listed = (
        f' 0m   357 {going} <"> *** frozen ***"@example.test>\n'
        f'          " 0m 357 {going} <x> *** frozen ***"@example.net\n'
        f'        D "{absent}"@example.net\n\n'
        f"26h  1.2K {frozen} <> (root) *** frozen ***\n          b@example.net\n\n"
        f"      {absent}\n    *** spool read error: No such file or directory ***\n\n"
    )
    monkeypatch.setattr(Exim, "_run", lambda *_: (0, listed))
    found = Exim(Path("/nowhere")).states([going, frozen, absent])
    assert found == {going: "queued", frozen: "held", absent: "absent"}


def test_many_releases_start_a_bounded_number_of_deliveries(monkeypatch):
    started = []

    class Slow:
        def poll(self):
            return None

    def start(_exim, *arguments):
        started.append(arguments)
        return Slow()

    def thaw(_exim, _option, *ids):
        return 0, "".join(f"Message {one} is no longer frozen\n" for one in ids)

    monkeypatch.setattr(Exim, "_run", thaw)
    monkeypatch.setattr(Exim, "_start", start)
    exim = Exim(Path("/nowhere"))
    ids = [f"1xWIUL-0000{number:02}-00" for number in range(60)]
    assert exim.release(ids) == set(ids)
    assert [one[0] for one in started] == ["-Mc"] * 20 + ["-q"]


def test_it_imports_the_standard_library_and_itself_only():
    found = set()
    for path in HOME.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Import(names=names):
                    found |= {one.name.split(".")[0] for one in names}
                case ast.ImportFrom(module=module):
                    found.add(module)
    theirs = {one for one in found if one.split(".")[0] not in sys.stdlib_module_names}
    assert {".".join(one.split(".")[:2]) for one in theirs} == {"shaper.queuehelper"}


def test_it_stays_short_enough_to_be_read():
    lines = sum(len(path.read_text().splitlines()) for path in HOME.glob("*.py"))
    assert lines < 600
