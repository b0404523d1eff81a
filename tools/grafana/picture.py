"""Draws a dashboard with matplotlib, so that one sees what one gets. Not Grafana.

``python -m tools.grafana.picture URL MINUTES FILE`` draws the overview of the last
minutes that a Prometheus has, with the queries of the committed dashboard.
"""

from __future__ import annotations

import json
import math
import sys
import time
import urllib.parse
import urllib.request
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from matplotlib import dates
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tools.grafana.boards import BOARDS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from matplotlib.axes import Axes

    from tools.grafana.model import Board, Panel

__all__ = ["draw", "resolved"]

_COLOURS = {"green": "#3d9950", "orange": "#e08a1e", "red": "#c4313d"}
_LINES = ("#3274d9", "#e08a1e", "#c4313d", "#3d9950", "#8f5bd0", "#4fb3bf")
_HOUR, _MINUTE = 3600.0, 60.0


def resolved(expr: str) -> str:
    """Return a query with every variable on "All"."""
    return expr.replace("$instance", ".*").replace("$placement", ".*")


def draw(
    board: Board,
    fetch: Callable[[str], list[dict[str, Any]]],
    path: Path | str,
    note: str,
) -> None:
    """Write a PNG; ``fetch`` returns the matrix of a query."""
    rows: list[list[Panel]] = []
    heights: list[float] = []
    for row in board.rows:
        left = 24
        for panel in row.panels:
            if left + panel.width > 24:  # noqa: PLR2004
                rows.append([])
                heights.append(0)
                left = 0
            rows[-1].append(panel)
            heights[-1] = max(heights[-1], panel.height)
            left += panel.width
    figure = Figure(figsize=(12, 0.36 * sum(heights) + 1), dpi=80, layout="constrained")
    FigureCanvasAgg(figure)
    figure.get_layout_engine().set(rect=(0, 0.03, 1, 0.93), hspace=0.06)
    figure.suptitle(f"{board.title}: {board.description}", x=0.01, ha="left")
    figure.text(
        0.01,
        0.008,
        f"NOT GRAFANA: drawn by matplotlib with the dashboard's queries. {note}",
        fontsize=8,
        color="#666",
    )
    grid = figure.add_gridspec(len(rows), 24, height_ratios=heights)
    for at, panels in enumerate(rows):
        left = 0
        for panel in panels:
            axes = figure.add_subplot(grid[at, left : left + panel.width])
            (_tile if panel.kind == "stat" else _lines)(axes, panel, fetch)
            left += panel.width
    figure.savefig(path, metadata={"Software": None})


def _points(series: dict[str, Any]) -> tuple[list[float], list[float]]:
    values = [(float(t), float(v)) for t, v in series["values"]]
    kept = [(t, v) for t, v in values if math.isfinite(v)]
    return [t for t, _ in kept], [v for _, v in kept]


def _tile(axes: Axes, panel: Panel, fetch: Callable[[str], Any]) -> None:
    found = fetch(resolved(panel.queries[0].expr))
    times, values = _points(found[0]) if found else ([], [])
    value = values[-1] if values else math.nan
    colour = panel.levels[0][1]
    for least, name in panel.levels[1:]:
        if value >= least:
            colour = name
    axes.set_facecolor(_COLOURS[colour])
    if times:
        axes.fill_between(times, values, color="white", alpha=0.25, linewidth=0)
        axes.set_ylim(0, max(*values, 1) * 2.2)
        axes.set_xlim(times[0], times[-1])
    axes.set_xticks([])
    axes.set_yticks([])
    shown = _text(value, panel.unit)
    axes.text(
        0.5, 0.5, shown, color="white", fontsize=20, ha="center", va="center",
        transform=axes.transAxes, weight="bold",
    )  # fmt: skip
    axes.set_title(panel.title, fontsize=9, loc="left")


def _lines(axes: Axes, panel: Panel, fetch: Callable[[str], Any]) -> None:
    colours = iter(_LINES * 3)
    stacked: list[tuple[str, list[Any], list[float]]] = []
    highest = 0.0
    for query in panel.queries:
        found = fetch(resolved(query.expr))
        if not found:
            axes.plot([], [], color="#bbb", label=f"{query.legend}: no data yet")
        for series in found:
            times, values = _points(series)
            label = query.legend
            for name, text in series["metric"].items():
                label = label.replace("{{" + name + "}}", text)
            moments = [datetime.fromtimestamp(t, UTC) for t in times]
            highest = max(highest, *values, 0.0)
            if panel.kind == "bars":
                stacked.append((label, moments, values))
                continue
            axes.plot(moments, values, color=next(colours), label=label, linewidth=1.3)
    _stack(axes, stacked)
    for least, name in panel.levels[1:]:
        if least <= 2 * highest:
            axes.axhline(least, color=_COLOURS[name], linestyle="--", linewidth=0.8)
    axes.set_ylim(bottom=0)
    axes.set_title(f"{panel.title}  [{panel.unit}]", fontsize=9, loc="left")
    axes.tick_params(labelsize=7)
    axes.xaxis.set_major_formatter(dates.DateFormatter("%H:%M:%S"))
    axes.xaxis.set_major_locator(dates.AutoDateLocator(maxticks=6))
    axes.grid(alpha=0.25)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize=7, loc="upper left", frameon=False, ncols=3)


def _stack(axes: Axes, lines: list[tuple[str, list[Any], list[float]]]) -> None:
    if not lines:
        return
    moments = sorted({moment for _, own, _ in lines for moment in own})
    heights = []
    for _, own, values in lines:
        known = dict(zip(own, values, strict=True))
        heights.append([known.get(moment, 0.0) for moment in moments])
    labels = [label for label, _, _ in lines]
    axes.stackplot(moments, heights, labels=labels, colors=_LINES, alpha=0.75)


def _text(value: float, unit: str) -> str:
    if not math.isfinite(value):
        return "no data"
    if unit == "s":
        if value >= 2 * _HOUR:
            return f"{value / _HOUR:.1f} h"
        if value >= 2 * _MINUTE:
            return f"{value / _MINUTE:.1f} min"
        return f"{value:.0f} s"
    return f"{value:g}"


def main() -> None:
    """Draw the overview from a Prometheus."""
    url, minutes, path = sys.argv[1:]
    end = time.time()
    start = end - 60 * float(minutes)

    def fetch(expr: str) -> list[dict[str, Any]]:
        words = urllib.parse.urlencode(
            {"query": expr, "start": start, "end": end, "step": (end - start) / 300}
        )
        with urllib.request.urlopen(f"{url}/api/v1/query_range?{words}") as answer:  # noqa: S310
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
            return found

    draw(BOARDS[0], fetch, path, f"From {url}.")


if __name__ == "__main__":
    main()
