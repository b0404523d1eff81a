"""What one decision costs in the pure core, and what a refit of all senders costs.

    python bench/decision/decide.py            # microseconds of CPU, bytes
    python bench/decision/decide.py --refit    # also 1,000,000 senders

CPU time of this process, best of 30 rounds of 1,000: on a shared machine the
best round is the one that was disturbed least.
"""

import argparse
import random
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from shaper.core.calibration import calibrate
from shaper.core.contacts import contact_hash
from shaper.core.evidence import learn, weigh
from shaper.core.model import Model
from shaper.core.profile import Profile

MODEL = Model.default()
START = 1_700_000_000.0
CORRESPONDENTS = 500
ROUNDS = 30
CALLS = 1000
SENDERS = 1_000_000


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--refit", action="store_true")
    options = parser.parse_args()
    rng = random.Random(1)  # noqa: S311
    profile = Profile.new(START, "login")
    now = START
    known = [rng.getrandbits(64) for _ in range(CORRESPONDENTS)]
    for whom in known:
        now += 5000
        weigh(profile, MODEL, [whom], now)
        learn(profile, MODEL, [whom], now)
    stored = profile.encode()
    clock = _Clock(now)
    print(f"{len(profile.contacts)} correspondents: {len(stored)} bytes stored")
    _row("hash one address", lambda: contact_hash(b"key" * 8, "someone@example.org"))
    _row("decode", lambda: Profile.decode(stored))
    _row(
        "weigh, one stranger",
        lambda: weigh(profile, MODEL, [rng.getrandbits(64)], clock()),
    )
    _row(
        "weigh, one friend", lambda: weigh(profile, MODEL, [rng.choice(known)], clock())
    )
    _row("learn", lambda: learn(profile, MODEL, [rng.choice(known)], clock()))
    _row("encode", profile.encode)
    if options.refit:
        _refit(stored)


class _Clock:
    def __init__(self, now: float) -> None:
        self._now = now

    def __call__(self) -> float:
        self._now += 5000
        return self._now


def _row(name: str, call: Callable[[], object]) -> None:
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(CALLS):
            call()
        best = min(best, time.process_time() - began)
    print(f"{name:24s} {best / CALLS * 1e6:6.1f} us")


def _refit(stored: bytes) -> None:
    def stream() -> Iterator[Profile]:
        for _ in range(SENDERS):
            yield Profile.decode(stored)

    began = time.process_time()
    model = calibrate(stream(), MODEL)
    spent = time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"refit of {SENDERS:,} senders with {CORRESPONDENTS} correspondents, decoding "
        f"included: {spent:.1f} s of CPU, {peak:.0f} MiB at most "
        f"({model.sender_days:,} sender-days)"
    )


if __name__ == "__main__":
    main()
