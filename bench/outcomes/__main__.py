"""Print how well outcomes are understood: ``python -m bench.outcomes [DATA]``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from bench.outcomes.measure import CONTESTED, DATA, run
from bench.outcomes.speed import lines_per_second, reader_lines_per_second

if TYPE_CHECKING:
    from bench.outcomes.score import Score


def main() -> int:
    """Measure and print; returns 1 when a floor of the issue is missed."""
    data = Path(sys.argv[1]) if len(sys.argv) > 1 else DATA
    if not data.is_dir():
        print(f"{data}: no reference data there; name its directory", file=sys.stderr)
        return 66
    figures = run(data)
    console = Console(width=110)
    table = Table(title=f"Outcomes understood, on {data}")
    for column in ("what", "right", "of", "share", "less contested", "floor"):
        table.add_column(column, justify="left" if column == "what" else "right")
    rows: list[tuple[str, Score, float]] = [
        ("flufl: failed addresses", figures.flufl_addresses, 1.0),
        ("flufl: temporary flag", figures.flufl_temporary, 1.0),
        ("sisimai: recipient found", figures.recipients, 0.99),
        ("sisimai: hard or soft", figures.hardness, 0.97),
        ("sisimai: enhanced status", figures.status, 0.97),
        ("sisimai: reply code", figures.code, 0.97),
        ("replies: hard or soft", figures.replies, 0.97),
        ("postfix-grok: fields that matter", figures.postfix, 1.0),
    ]
    missed = bool(figures.living_called_dead)
    for what, score, floor in rows:
        fair = score.without(CONTESTED)
        missed |= fair < floor
        row = (what, str(score.right), str(score.total), f"{score.ratio:.2%}")
        table.add_row(*row, f"{fair:.2%}", f"{floor:.1%}")
    dead = len(figures.living_called_dead)
    table.add_row("living addresses called dead", str(dead), "", "", "", "0")
    console.print(table)
    for what, score, _ in rows:
        for name in score.wrong:
            why = CONTESTED.get(name, "not contested: ours is wrong")
            console.print(f"  {what}: {name}: {why}", markup=False, highlight=False)
    for name in figures.living_called_dead:
        console.print(f"  called dead: {name}", markup=False, highlight=False)
    console.print(
        f"Postfix lines joined to senders: {lines_per_second():,.0f} lines/s; "
        f"history with times: {reader_lines_per_second():,.0f} lines/s (one core)"
    )
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
