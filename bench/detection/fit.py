"""Fit the shipped limits, and measure what each signal is worth.

    python bench/detection/fit.py TRAFFIC                 # factors for model.py
    python bench/detection/fit.py TRAFFIC --ablations     # each signal left out

TRAFFIC is the folder with eu-core.txt.gz and enron-core.txt.gz. Every variant is
refitted to the same false alarms on the first parts before it is judged on the
later ones: a signal is worth what it lets escape less at equal false alarms.
"""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from traffic import fitting, judging

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from shaper.core import surprise
from shaper.core.contacts import contact_hash
from shaper.core.evidence import learn, weigh
from shaper.core.model import BUCKETS, Model, age_class
from shaper.core.profile import Profile
from shaper.replay.drill import OURS, Settings, run
from shaper.replay.tally import per_ten_thousand, quantile
from shaper.replay.trace import Mail

AIM = 3e-5  # false alarms per sender-day of each age class
# How the budget is shared: recipients decide bulk and multi, see docs/detection.md.
SHARES = np.array([1, 1, 1, 1, 2, 2, 2, 4, 1, 1, 2], dtype=float)
HUGE = 1e6
DAY = 86400.0
AGES = 4
THEFTS = 100  # per profile, in the ablations
TAIL = 0.002  # share of sender-days that the tail is fitted to
VARIANTS: dict[str, dict[str, float]] = {
    "all signals": {},
    "no hour of the week": {"_ODD": 0.0},
    "no novelty": {"_RAREST": 1.0, "_LEAST_STRANGER": 1.0},
    "no base cost": {"_BASE": 0.05},
    "recipients not concave": {"_MORE": 1.0},
}
WITHOUT = {
    "no unfamiliar-mail buckets": range(4),
    "no volume buckets": range(4, 7),
    "no recipient bucket": range(7, 8),
    "no repeated lists": range(8, 9),
    "no ceilings of new recipients": range(9, 11),
    "one time scale (1 h)": (0, 1, 3, 5, 6),
}
Rows = list[tuple[int, list[float]]]


def main() -> None:
    """Print factors or ablations."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("traffic", type=Path)
    parser.add_argument("--ablations", action="store_true")
    options = parser.parse_args()
    if not options.ablations:
        rows = [
            r for m, first in fitting(options.traffic).values() for r in days(m, first)
        ]
        for row in fit(rows, ()):
            print("(" + ", ".join(f"{factor:.3g}" for factor in row) + "),")
        return
    sets = list(fitting(options.traffic).items())
    chosen = [sets[0], sets[1], sets[3]]
    for name, patch in VARIANTS.items():
        with patched(patch):
            rows = [r for _, (m, first) in chosen for r in days(m, first)]
            judge(name, rows, (), options.traffic)
    rows = [r for _, (m, first) in chosen for r in days(m, first)]
    for name, left_out in WITHOUT.items():
        judge(name, rows, tuple(left_out), options.traffic)


@contextmanager
def patched(constants: dict[str, float]) -> Iterator[None]:
    """Change constants of the arithmetic for a while."""
    before = {name: getattr(surprise, name) for name in constants}
    for name, value in constants.items():
        setattr(surprise, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(surprise, name, value)


def days(mails: list[Mail], first_day: int) -> Rows:
    """Replay; return age class and highest share of each unscaled limit per day."""
    model = replace(Model.default(), factors=((HUGE,) * len(BUCKETS),) * AGES)
    profiles: dict[str, Profile] = {}
    found: dict[tuple[str, int], tuple[int, list[float]]] = {}
    hashes: dict[str, int] = {}
    start = mails[0].time + first_day * DAY
    for mail in mails:
        profile = profiles.get(mail.sender)
        if profile is None:
            profile = profiles[mail.sender] = Profile.new(mail.time, "login")
        whom = []
        for address in mail.recipients:
            if address not in hashes:
                hashes[address] = contact_hash(b"fit", address)
            whom.append(hashes[address])
        evidence = weigh(profile, model, whom, mail.time)
        learn(profile, model, whom, mail.time)
        if mail.time < start:
            continue
        shares = [p.value / p.limit * HUGE for p in evidence.parts[: len(BUCKETS)]]
        key = (mail.sender, int(mail.time // DAY))
        _, before = found.get(key, (0, shares))
        found[key] = (age_class(profile.days), list(map(max, before, shares)))
    return list(found.values())


def fit(rows: Rows, left_out: tuple[int, ...]) -> np.ndarray:
    """Return factors by age class at which all buckets together keep the aim."""
    factors = np.empty((AGES, len(BUCKETS)))
    for age in range(AGES):
        table = np.array([shares for a, shares in rows if a == age])
        low, high = AIM / 50, AIM
        for _ in range(25):
            middle = float(np.sqrt(low * high))
            factors[age] = [
                HUGE if j in left_out else tail(table[:, j], middle * SHARES[j])
                for j in range(len(BUCKETS))
            ]
            if tail((table / factors[age]).max(axis=1), AIM) > 1:
                high = middle
            else:
                low = middle
    return factors


def tail(values: np.ndarray, rate: float) -> float:
    """Return the level passed at this rate (Hill 1975 beyond what was seen)."""
    ordered = np.sort(values)[::-1]
    count = min(max(20, int(TAIL * len(ordered))), len(ordered) - 1)
    reference = max(float(ordered[count]), 1e-9)
    spread = float(np.log(np.maximum(ordered[:count], 1e-9) / reference).mean())
    return float(reference * (count / len(ordered) / rate) ** max(spread, 1e-3))


def judge(name: str, rows: Rows, left_out: tuple[int, ...], folder: Path) -> None:
    """Print false alarms and escapes on the later part of enron-core."""
    factors = tuple(tuple(float(x) for x in row) for row in fit(rows, left_out))
    model = replace(Model.default(), factors=factors)
    trace, start = judging(folder)["enron-core, later part"]
    settings = Settings(
        attacks=THEFTS, start_day=start, model=model, bounces=(0,), rivals={}
    )
    drill = run(trace, settings)
    alarms = len(drill.innocents[OURS].alarms)
    cells = [
        f"{quantile([o.escaped for o in outcomes], 0.5):.0f}/"
        f"{quantile([o.escaped for o in outcomes], 0.9):.0f}"
        for outcomes in (drill.outcomes[OURS, a.name, 0] for a in settings.profiles)
    ]
    rate = per_ten_thousand(alarms, drill.sender_days)
    print(f"| {name} | {rate:.1f} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
