"""Print the tables of docs/detection.md from the drill's JSON.

    mailshaper drill TRACE --start-day 400 --json > eu.json
    python bench/detection/table.py eu.json enron.json

One column per file; false alarms are also pooled over the files.
"""

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from shaper.replay.tally import per_ten_thousand, poisson_interval

Found = dict[str, Any]


def main() -> None:
    """Print three tables: false alarms, escapes, bounces and senders."""
    files = [Path(name) for name in sys.argv[1:]]
    runs = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in files}
    _innocents(runs)
    _escapes(runs)
    _details(runs)


def _innocents(runs: dict[str, Found]) -> None:
    print("| trace | sender-days | detector | false alarms | per 10,000 (95 %) |")
    print("|---|---|---|---|---|")
    pooled: dict[str, list[int]] = {}
    for title, found in runs.items():
        days = found["active_sender_days"]
        for name, detector in found["detectors"].items():
            _alarm_row(title, days, name, detector["false_alarms"])
            total = pooled.setdefault(name, [0, 0])
            total[0] += detector["false_alarms"]
            total[1] += days
    for name, (alarms, days) in pooled.items():
        _alarm_row("all", days, name, alarms)
    print()
    for title, found in runs.items():
        ours = found["detectors"]["mailshaper"]
        print(
            f"{title}: {ours['legitimate_recipients_delayed_ratio']:.3%} of innocent "
            f"recipients delayed, {ours['delayed_under_5_minutes_ratio']:.0%} of them "
            f"under 5 minutes; recovery {ours['recovery_seconds_median']} s in the "
            f"median, {ours['innocent_senders_blocked']} blocked; scales "
            f"{[round(s, 2) for s in found['limits']['scales_by_age']]}"
        )
    print()


def _alarm_row(title: str, days: int, name: str, alarms: int) -> None:
    low, high = (per_ten_thousand(x, days) for x in poisson_interval(alarms))
    rate = per_ten_thousand(alarms, days)
    print(
        f"| {title} | {days} | {name} | {alarms} | {rate:.1f} ({low:.1f}-{high:.1f}) |"
    )


def _escapes(runs: dict[str, Found]) -> None:
    print(f"| profile | detector | {' | '.join(runs)} |")
    print("|---" * (2 + len(runs)) + "|")
    first = next(iter(runs.values()))
    for name, detector in first["detectors"].items():
        for profile in detector["profiles"]:
            cells = [
                _cell(found["detectors"][name]["profiles"][profile])
                for found in runs.values()
            ]
            print(f"| {profile} | {name} | {' | '.join(cells)} |")
    print()


def _details(runs: dict[str, Found]) -> None:
    for title, found in runs.items():
        print(
            f"| {title} | active | any | dormant | new | 20 % bounces | 40 % | "
            "leaked p90 |"
        )
        print("|---|---|---|---|---|---|---|---|")
        for profile, one in found["detectors"]["mailshaper"]["profiles"].items():
            pools = [
                _cell(one["by_sender"][kind]) if kind in one["by_sender"] else "-"
                for kind in ("active", "any", "dormant", "new")
            ]
            bounces = [_cell(one["with_bounces"][rate]) for rate in ("20", "40")]
            leaked = one["messages_leaked_until_block_p90"]
            print(f"| {profile} | {' | '.join(pools + bounces)} | {leaked} |")
        print()


def _cell(found: Found) -> str:
    missed = f", {found['missed_ratio']:.0%} missed" if found["missed_ratio"] else ""
    return f"{found['escaped_median']} / {found['escaped_p90']}{missed}"


if __name__ == "__main__":
    main()
