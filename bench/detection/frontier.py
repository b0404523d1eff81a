"""Escapes against false alarms, for ours and the three rivals: table and SVG.

    python bench/detection/frontier.py TRAFFIC docs/frontier.svg

Every detector is run at several strictnesses on the same thefts, on the later
parts of both traces. The drawing has one panel per trace and attack profile:
false alarms per 10,000 sender-days to the right, median recipients reached
upwards, both logarithmic (zero sits on the axis).
"""

import argparse
import math
import sys
from dataclasses import replace
from html import escape
from pathlib import Path

from traffic import judging

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from shaper.core.model import Model
from shaper.replay.attacks import PROFILES
from shaper.replay.drill import OURS, Settings, run
from shaper.replay.tally import per_ten_thousand, quantile
from shaper.replay.trace import Trace

# Multiples of the usual thresholds; each row is one run.
STRICTNESS = (
    {OURS: 2.0, "limit": 1.0, "bucket": 1.5, "zscore": 6.0},
    {OURS: 1.4, "limit": 0.7, "bucket": 1.0, "zscore": 4.0},
    {OURS: 1.0, "limit": 0.5, "bucket": 0.7, "zscore": 2.5},
    {OURS: 0.8, "limit": 0.3, "bucket": 0.5, "zscore": 1.5},
    {OURS: 0.6, "limit": 0.2, "bucket": 0.3, "zscore": 1.0},
    {OURS: 0.45, "limit": 0.1, "bucket": 0.15, "zscore": 0.6},
)
COLOURS = {
    OURS: "#2a7ab0",
    "limit": "#b0843a",
    "bucket": "#6a8f3a",
    "zscore": "#a0458a",
}
SIDE, PAD, COLUMNS = 220, 40, 4
MOST_ALARMS, MOST_ESCAPED = 1000.0, 5000.0

Points = dict[tuple[str, str], list[tuple[float, float]]]


def main() -> None:
    """Run all, print the table, write the drawing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("traffic", type=Path)
    parser.add_argument("svg", type=Path)
    parser.add_argument("--attacks", type=int, default=100)
    options = parser.parse_args()
    panels: dict[str, Points] = {}
    for title in ("eu-core, later part", "enron-core, later part"):
        trace, start = judging(options.traffic)[title]
        print(f"\n{title}, {options.attacks} thefts per profile\n")
        panels[title] = measure(trace, start, options.attacks)
    options.svg.write_text(draw(panels), encoding="utf-8")


def measure(trace: Trace, start_day: int, attacks: int) -> Points:
    """Run all strictnesses on a trace, print the table, return its points."""
    points: Points = {}
    names = [a.name for a in PROFILES]
    print(f"| detector | strictness | false alarms per 10,000 | {' | '.join(names)} |")
    print("|---" * (3 + len(names)) + "|")
    for scales in STRICTNESS:
        shipped = Model.default()
        factors = tuple(tuple(f * scales[OURS] for f in row) for row in shipped.factors)
        drill = run(
            trace,
            Settings(
                attacks=attacks,
                start_day=start_day,
                bounces=(0,),
                model=replace(shipped, factors=factors),
                rivals={n: s for n, s in scales.items() if n != OURS},
                refit=True,
            ),
        )
        for name, innocents in drill.innocents.items():
            rate = per_ten_thousand(len(innocents.alarms), drill.sender_days)
            medians = [
                quantile([o.escaped for o in drill.outcomes[name, a, 0]], 0.5)
                for a in names
            ]
            for attack, median in zip(names, medians, strict=True):
                points.setdefault((attack, name), []).append((rate, median))
            cells = " | ".join(f"{m:.0f}" for m in medians)
            print(f"| {name} | {scales[name]} | {rate:.1f} | {cells} |", flush=True)
    return points


def draw(panels: dict[str, Points]) -> str:
    """Return the drawing."""
    names = [a.name for a in PROFILES]
    shown = [(title, name) for title in panels for name in names]
    rows = math.ceil(len(shown) / COLUMNS)
    width, height = COLUMNS * SIDE + PAD, rows * SIDE + PAD
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            'font-family="sans-serif" font-size="10">'
        ),
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for index, (title, attack) in enumerate(shown):
        left = PAD + index % COLUMNS * SIDE
        top = 20 + index // COLUMNS * SIDE
        parts.append(_panel(panels[title], title, attack, left, top))
    for i, (name, colour) in enumerate(COLOURS.items()):
        x = PAD + i * 110
        parts.append(
            f'<circle cx="{x}" cy="{height - 8}" r="4" fill="{colour}"/>'
            f'<text x="{x + 8}" y="{height - 4}">{name}</text>'
        )
    return "".join(parts) + "</svg>\n"


def _panel(points: Points, title: str, attack: str, left: int, top: int) -> str:
    size = SIDE - PAD
    parts = [
        (
            f'<text x="{left}" y="{top - 6}"><tspan font-weight="bold">'
            f"{escape(attack)}</tspan> {escape(title)}</text>"
        ),
        (
            f'<rect x="{left}" y="{top}" width="{size}" height="{size}" fill="none" '
            'stroke="#bbb"/>'
        ),
    ]
    for tick in (1, 10, 100, 1000):
        x = left + _scale(tick, MOST_ALARMS) * size
        y = top + size - _scale(tick, MOST_ESCAPED) * size
        parts.append(
            f'<text x="{x - 4:.0f}" y="{top + size + 11}">{tick}</text>'
            f'<text x="{left - 24}" y="{y + 3:.0f}">{tick}</text>'
        )
    for name, colour in COLOURS.items():
        at = [
            (
                left + _scale(rate, MOST_ALARMS) * size,
                top + size - _scale(escaped, MOST_ESCAPED) * size,
            )
            for rate, escaped in sorted(points[attack, name])
        ]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}"/>')
        parts += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in at
        ]
    return "".join(parts)


def _scale(value: float, most: float) -> float:
    """Return a place in [0, 1]; zero sits on the axis."""
    return min(1.0, math.log1p(max(value, 0.0)) / math.log1p(most))


if __name__ == "__main__":
    main()
