"""Traces for fitting and judging the detector, and strangers made out of them.

The shipped limits are for hosts nobody here has seen, so they are fitted not
only to two traces but to what new and young hosts would see of them: senders
whose past is cut away, six weeks of history, mailboxes that several people use.
Fitting uses the first part of each trace only.
"""

import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from shaper.replay.trace import Mail, Trace, read_trace

DAY = 86400.0
SPLIT = {"eu-core": 400, "enron-core": 900}  # day at which the later part begins


def load(folder: Path, name: str) -> list[Mail]:
    """Return a trace's messages with times counted from its first."""
    mails = read_trace(folder / f"{name}.txt.gz").mails
    return [m._replace(time=m.time - mails[0].time) for m in mails]


def between(mails: list[Mail], first: float, last: float) -> list[Mail]:
    """Return the messages of these days."""
    return [m for m in mails if first * DAY <= m.time < last * DAY]


def cold(mails: list[Mail], days: float, seed: int) -> list[Mail]:
    """Give every sender a new identity each ``days``, at a phase of its own."""
    rng = random.Random(seed)  # noqa: S311
    phase: dict[str, float] = {}
    out = []
    for mail in mails:
        start = phase.setdefault(mail.sender, rng.random() * days * DAY)
        life = int((mail.time + start) // (days * DAY))
        out.append(mail._replace(sender=f"{mail.sender}/{life}"))
    return out


def merged(mails: list[Mail], people: int, seed: int) -> list[Mail]:
    """Make one sender of every so many."""
    names = sorted({m.sender for m in mails})
    random.Random(seed).shuffle(names)  # noqa: S311
    group = {name: f"group{i // people}" for i, name in enumerate(names)}
    return [m._replace(sender=group[m.sender]) for m in mails]


def six_weeks(mails: list[Mail]) -> list[Mail]:
    """Cut a trace into hosts with six weeks of history, side by side."""
    return [
        m._replace(sender=f"{m.sender}/host{int(m.time // (48 * DAY))}")
        for m in mails
        if m.time % (48 * DAY) < 42 * DAY
    ]


def fitting(folder: Path) -> dict[str, tuple[list[Mail], int]]:
    """Return what limits are fitted to: messages, and the first day that counts."""
    eu = between(load(folder, "eu-core"), 0, SPLIT["eu-core"])
    enron = between(load(folder, "enron-core"), 0, SPLIT["enron-core"])
    return {
        "eu-core, first part": (eu, 60),
        "enron-core, first part": (enron, 300),
        "eu-core, cold": (cold(eu, 30, 1), 0),
        "enron-core, cold": (cold(enron, 60, 1), 0),
        "eu-core, groups of 4": (merged(eu, 4, 1), 60),
        "eu-core, six weeks": (six_weeks(eu), 0),
    }


def judging(folder: Path) -> dict[str, tuple[Trace, int]]:
    """Return what is reported: traces, and the start day."""
    eu, enron = load(folder, "eu-core"), load(folder, "enron-core")
    late_eu = between(eu, SPLIT["eu-core"], 1e9)
    late_enron = between(enron, SPLIT["enron-core"], 1e9)
    return {
        "eu-core, later part": (_trace("eu-core", eu), SPLIT["eu-core"]),
        "enron-core, later part": (_trace("enron-core", enron), SPLIT["enron-core"]),
        "eu-core later, cold": (_trace("eu", cold(late_eu, 30, 9)), 3),
        "enron-core later, cold": (_trace("enron", cold(late_enron, 60, 9)), 3),
        "eu-core, six late weeks": (_trace("eu", between(eu, 430, 472)), 14),
        "enron-core, six late weeks": (_trace("enron", between(enron, 1060, 1102)), 14),
    }


def _trace(name: str, mails: list[Mail]) -> Trace:
    return Trace(name, tuple(mails), 0, 0)
