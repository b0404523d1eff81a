"""Runs any implementation of the protocol against the test vectors.

The implementation is a filter. It reads one JSON object a line,
``{"group", "name", "input"}``, and answers each with one line: ``{"expect": ...}``
with what it makes of the input, or ``{"skip": "why"}`` when it does not do that
group. Answers are compared with the vector as JSON, so that 1 is neither 1.0 nor
true. `serve` is our own side of it.

Vectors are `vectors/<group>.jsonl`: ``{"name", "input", "expect", "why"}``.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import select
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, TextIO

from federation import vector_ops

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["VECTORS", "Outcome", "Vector", "answer", "drive", "load", "run", "serve"]

VECTORS: Final = Path(__file__).parent / "vectors"
_LONGEST_ANSWER = 16 << 20
_SHOWN = 300
"""Characters of a wrong answer that are shown."""


@dataclass(frozen=True, slots=True)
class Vector:
    """One question and the answer that the protocol wants."""

    group: str
    name: str
    input: Any
    expect: Any
    why: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an implementation made of a vector: passed, failed or skipped."""

    vector: Vector
    state: str
    got: str = ""


class Broken(Exception):  # noqa: N818 - said of the other side
    """The implementation ended, fell silent or answered something else."""


def load(groups: Sequence[str] = (), folder: Path = VECTORS) -> list[Vector]:
    """Return the vectors of some groups, or of all. ValueError: no such group."""
    files = {path.stem: path for path in sorted(folder.glob("*.jsonl"))}
    if unknown := sorted(set(groups) - files.keys()):
        raise ValueError(f"no group {unknown[0]}; there are {', '.join(files)}")
    return [
        Vector(group, **json.loads(line))
        for group in groups or files
        for line in files[group].read_text("ascii").splitlines()
    ]


def answer(group: str, value: Any) -> Any:  # noqa: ANN401 - whatever JSON holds
    """Return our own answer. ModuleNotFoundError: a group we do not have."""
    module = importlib.import_module(f"federation.vector_ops.{group}")
    return module.answer(value)


def serve(source: Iterable[str], sink: TextIO) -> None:
    """Answer questions until ``source`` ends."""
    known = {module.name for module in pkgutil.iter_modules(vector_ops.__path__)}
    for line in source:
        question = json.loads(line)
        if question["group"] in known:
            reply = {"expect": answer(question["group"], question["input"])}
        else:
            reply = {"skip": "no such group here"}
        sink.write(json.dumps(reply, separators=(",", ":")) + "\n")
        sink.flush()


def drive(
    command: Sequence[str], vectors: Iterable[Vector], patience: float = 30.0
) -> Iterator[Outcome]:
    """Put every vector to a program. ``patience``: seconds for one answer.

    Raises Broken when the program is not able to go on.
    """
    with _started(command) as (stdin, stdout):
        lines = _Lines(stdout)
        for vector in vectors:
            question = {
                "group": vector.group,
                "name": vector.name,
                "input": vector.input,
            }
            try:
                stdin.write(json.dumps(question).encode("ascii") + b"\n")
                stdin.flush()
            except BrokenPipeError:
                raise Broken(f"it ended before {_called(vector)}") from None
            try:
                line = lines.next(patience)
            except Broken as trouble:
                raise Broken(f"{trouble} at {_called(vector)}") from None
            yield _judged(vector, line)


def run(
    command: Sequence[str],
    groups: Sequence[str],
    sink: TextIO,
    folder: Path = VECTORS,
) -> bool:
    """Drive a program, print what failed and a line per group. True: all good."""
    totals: dict[str, Counter[str]] = {}
    try:
        for outcome in drive(command, load(groups, folder)):
            vector = outcome.vector
            totals.setdefault(vector.group, Counter())[outcome.state] += 1
            if outcome.state == "failed":
                print(
                    f"{_called(vector)}: {vector.why}",
                    f"  expected {_short(_text(vector.expect))}",
                    f"  answered {_short(outcome.got)}",
                    sep="\n",
                    file=sink,
                )
    except Broken as trouble:
        print(f"the program cannot be tested: {trouble}", file=sink)
        return False
    for group, counts in totals.items():
        parts = [f"{counts[state]} {state}" for state in sorted(counts, reverse=True)]
        print(f"{group}: {', '.join(parts)}", file=sink)
    return not any(counts["failed"] for counts in totals.values())


def _called(vector: Vector) -> str:
    return f"{vector.group}/{vector.name}"


def _text(value: object) -> str:
    return json.dumps(value, sort_keys=True)


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def _judged(vector: Vector, line: bytes) -> Outcome:
    try:
        reply = json.loads(line)
        if type(reply) is dict and len(reply) == 1:
            if "skip" in reply:
                return Outcome(vector, "skipped")
            if _text(reply["expect"]) == _text(vector.expect):
                return Outcome(vector, "passed")
    except (ValueError, KeyError, RecursionError):
        pass
    # ascii(): what the program wrote goes to a terminal.
    return Outcome(vector, "failed", ascii(line.decode("latin-1").rstrip("\n")))


@contextmanager
def _started(command: Sequence[str]) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    try:
        process = subprocess.Popen(  # noqa: S603 - the operator's own command
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
    except OSError as error:
        raise Broken(f"{command[0]}: {error.strerror}") from None
    if process.stdin is None or process.stdout is None:
        raise Broken("it has no pipes")
    try:
        yield process.stdin, process.stdout
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        with suppress(BrokenPipeError):  # a question that it did not read
            process.stdin.close()


class _Lines:
    """Lines of a pipe, each within a time."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._rest = b""

    def next(self, patience: float) -> bytes:
        """Return the next line with its LF. Raises Broken."""
        until = time.monotonic() + patience
        while b"\n" not in self._rest:
            left = until - time.monotonic()
            if not select.select([self._pipe], [], [], max(left, 0))[0]:
                raise Broken(f"no answer within {patience:g} s")
            more = self._pipe.read1(1 << 16)  # type: ignore[attr-defined]
            if not more:
                raise Broken("it ended")
            self._rest += more
            if len(self._rest) > _LONGEST_ANSWER:
                raise Broken("an answer without end")
        line, _newline, self._rest = self._rest.partition(b"\n")
        return line + b"\n"


if __name__ == "__main__":
    # `python -m federation.conformance` serves; with a command, drives it.
    if sys.argv[1:]:
        sys.exit(not run(sys.argv[1:], (), sys.stdout))
    serve(sys.stdin, sys.stdout)
