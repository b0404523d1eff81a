"""The driver finds every way in which a program can be wrong."""

import io
import json
import sys

import pytest

from federation.conformance import Broken, Vector, answer, drive, load, run, serve

VECTORS = [
    Vector("toy", "one", {"a": 1}, {"sum": 1}, "the sum of one number"),
    Vector("toy", "two", {"a": 2}, {"sum": 2}, "the sum of one number"),
]


def program(body):
    """Return the command of a program that answers `q` by an expression."""
    return [
        sys.executable,
        "-c",
        (
            "import json, sys, time\n"
            "for line in sys.stdin:\n"
            "    q = json.loads(line)\n"
            f"    {body}\n"
            "    sys.stdout.flush()\n"
        ),
    ]


RIGHT = "print(json.dumps({'expect': {'sum': q['input']['a']}}))"


def states(body, patience=30.0):
    return [one.state for one in drive(program(body), VECTORS, patience)]


def test_a_right_program_passes():
    assert states(RIGHT) == ["passed", "passed"]


def test_it_is_told_group_name_and_input_but_not_the_answer():
    told = "print(json.dumps({'expect': q}))"
    got = next(iter(drive(program(told), VECTORS))).got
    assert json.loads(got.strip("'")) == {
        "expect": {"group": "toy", "name": "one", "input": {"a": 1}}
    }


@pytest.mark.parametrize(
    "reply",
    [
        "{'expect': {'sum': 3}}",
        "{'expect': {'sum': 1.0}}",
        "{'expect': {'sum': True}}",
        "{'expect': {'sum': '1'}}",
        "{'expect': {'sum': 1, 'more': 1}}",
        "{'expect': None}",
        "{'answer': {'sum': 1}}",
        "{'expect': {'sum': 1}, 'more': 1}",
        "{}",
        "[]",
    ],
)
def test_a_wrong_answer_fails(reply):
    vectors = VECTORS[:1]
    outcomes = list(drive(program(f"print(json.dumps({reply}))"), vectors))
    assert [one.state for one in outcomes] == ["failed"]


def test_an_answer_that_is_no_json_fails_and_is_shown_escaped():
    body = r"print('\x1b[31mred \u00e9')"
    outcome = next(iter(drive(program(body), VECTORS)))
    assert outcome.state == "failed"
    assert outcome.got.isascii()
    assert outcome.got.isprintable()


def test_brackets_without_end_fail():
    assert states("print('[' * 100000)")[:1] == ["failed"]


def test_a_group_may_be_skipped():
    assert states("print(json.dumps({'skip': 'not yet'}))") == ["skipped", "skipped"]


def test_silence_ends_it():
    with pytest.raises(Broken, match=r"no answer within 0\.2 s at toy/one"):
        states("time.sleep(60)", patience=0.2)


def test_an_end_ends_it():
    with pytest.raises(Broken, match="it ended"):
        states("sys.exit(3)")


def test_a_program_that_is_not_there():
    with pytest.raises(Broken, match="/nonexistent/filter: No such file"):
        list(drive(["/nonexistent/filter"], VECTORS))


def test_an_answer_without_end_ends_it(monkeypatch):
    monkeypatch.setattr("federation.conformance._LONGEST_ANSWER", 100_000)
    with pytest.raises(Broken, match="without end"):
        states("sys.stdout.write('x' * 1000000)")


def test_our_own_side_passes_its_own_vectors():
    command = [sys.executable, "-m", "federation.conformance"]
    sink = io.StringIO()
    assert run(command, ("addr", "canon"), sink)
    totals = {group: len(load([group])) for group in ("addr", "canon")}
    assert sink.getvalue() == "".join(
        f"{group}: {count} passed\n" for group, count in totals.items()
    )


def test_a_report_names_vector_reason_and_both_answers(tmp_path):
    lines = [
        {"name": one.name, "input": one.input, "expect": one.expect, "why": one.why}
        for one in VECTORS
    ]
    (tmp_path / "toy.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    sink = io.StringIO()
    body = "print(json.dumps({'expect': {'sum': 2}}))"
    assert not run(program(body), (), sink, tmp_path)
    assert sink.getvalue() == (
        "toy/one: the sum of one number\n"
        '  expected {"sum": 1}\n'
        '  answered \'{"expect": {"sum": 2}}\'\n'
        "toy: 1 passed, 1 failed\n"
    )


def test_a_report_of_a_broken_program():
    sink = io.StringIO()
    assert not run(program("sys.exit(0)"), ("keys",), sink)
    assert sink.getvalue().startswith("the program cannot be tested: it ended")


def test_an_unknown_group_is_named():
    with pytest.raises(ValueError, match="no group nonsense; there are addr, canon"):
        load(["nonsense"])


def test_serving_skips_what_it_does_not_know_and_imports_nothing_else():
    questions = ["nonsense", "_bytes.os", "../errors", "canon"]
    source = [
        json.dumps({"group": group, "name": "x", "input": {"text": "{}"}}) + "\n"
        for group in questions
    ]
    sink = io.StringIO()
    serve(source, sink)
    replies = [json.loads(line) for line in sink.getvalue().splitlines()]
    assert replies == [{"skip": "no such group here"}] * 3 + [
        {"expect": {"code": "bad-form"}}
    ]


def test_an_answer_is_ours():
    assert answer("canon", {"text": '{"a":1}'}) == {"code": "ok"}
