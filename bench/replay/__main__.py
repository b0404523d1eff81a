# ruff: noqa: E501 - log lines stand as they are written
"""Prints lines per second of reading and judging a Postfix log, beside references.

Each part runs in a process of its own, on one core, timed by its CPU seconds since
the machine may be shared; memory is that process's peak. The log is made up: people
who write to those they know, with the connection and TLS lines that real logs have.
"""

from __future__ import annotations

import json
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from shaper.feedback.history import HistoryReader
from shaper.replay.answer import answer, replay
from shaper.replay.past import Past

MESSAGES = 12_000
_PERSONS = 200
_NAIVE = re.compile(
    r"^(\S+) (\S+) ([\w/]+)\[(\d+)\]: ([0-9A-F]+): (?:to=<(.*?)>, .*status=(\w+))?"
)


def write(path: Path, messages: int) -> None:
    """Write a log; one message every twenty seconds, nine lines each."""
    rng = random.Random(1)  # noqa: S311
    with path.open("w", encoding="utf-8") as file:
        for i in range(messages):
            at = 1_790_000_000 + i * 20
            head = f"{datetime.fromtimestamp(at, UTC).isoformat()} mail postfix/"
            queue_id = f"{0x10000000 + i * 7:X}"
            who = rng.randrange(_PERSONS)
            host = f"host{who}.example.com[192.0.2.{who % 250}]"
            to = f"friend{who}-{int(rng.random() ** 2 * 12)}@example.org"
            relay = "mx.example.org[192.0.2.1]:25"
            for text in (
                f"submission/smtpd[9]: connect from {host}",
                f"submission/smtpd[9]: Anonymous TLS connection from {host}: TLSv1.3",
                (
                    f"submission/smtpd[9]: {queue_id}: client={host}, sasl_method=PLAIN, "
                    f"sasl_username=user{who}@example.com"
                ),
                f"cleanup[8]: {queue_id}: message-id=<{i}.abc@example.com>",
                (
                    f"qmgr[7]: {queue_id}: from=<user{who}@example.com>, size=5360, "
                    f"nrcpt=1 (queue active)"
                ),
                f"submission/smtpd[9]: disconnect from {host} ehlo=2 starttls=1 auth=1",
                f"smtp[6]: Untrusted TLS connection established to {relay}: TLSv1.3",
                (
                    f"smtp[6]: {queue_id}: to=<{to}>, relay={relay}, delay=3.6, delays=0.2/"
                    f"0.02/0.04/3.3, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as 1530)"
                ),
                f"qmgr[7]: {queue_id}: removed",
            ):
                file.write(f"{head}{text}\n")


def _split(path: Path) -> int:
    with path.open(encoding="utf-8", errors="replace") as file:
        return sum(bool(line.split(" ")) for line in file)


def _regex(path: Path) -> int:
    found = 0
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            found += 1
            _NAIVE.match(line)
    return found


def _read(path: Path) -> int:
    reader = HistoryReader()
    for _ in reader.read([path]):
        pass
    return reader.lines


def _judge(path: Path) -> int:
    past = Past(b"bench")
    read = replay(past, [path])
    answer("bench", past, read)
    return int(read["lines"])


PARTS = {"split": _split, "regex": _regex, "read": _read, "judge": _judge}
_NAMES = {
    "split": "plain read and split",
    "regex": "one naive regex a line",
    "read": "read into messages",
    "judge": "replay: read and judged",
}


def measure(part: str, path: Path) -> dict[str, float]:
    """Return lines per CPU second and peak MiB, of one part in its own process."""
    command = [sys.executable, "-m", "bench.replay", part, str(path)]
    done = subprocess.run(command, check=True, capture_output=True, timeout=600)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    """Measure all parts on a log, and the memory on one ten times as long."""
    if len(sys.argv) > 2:  # noqa: PLR2004 - a part, in its own process
        begun = time.process_time()
        lines = PARTS[sys.argv[1]](Path(sys.argv[2]))
        spent = time.process_time() - begun
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"rate": lines / spent, "peak": peak, "lines": lines}))
        return
    with tempfile.TemporaryDirectory() as directory:
        path, long = Path(directory) / "mail.log", Path(directory) / "long.log"
        write(path, MESSAGES)
        write(long, 10 * MESSAGES)
        base = measure("split", path)["rate"]
        print(f"{9 * MESSAGES:,} lines; CPU seconds of one core")
        for part, name in _NAMES.items():
            found = measure(part, path)
            print(
                f"{name:<26} {found['rate']:>10,.0f} lines/s  "
                f"{found['rate'] / base:>6.1%} of the first  {found['peak']:>4.0f} MiB"
            )
        for part in ("read", "judge"):
            found = measure(part, long)
            print(
                f"{_NAMES[part]:<26} {found['rate']:>10,.0f} lines/s  ten times as "
                f"long     {found['peak']:>4.0f} MiB"
            )


if __name__ == "__main__":
    main()
