"""The drill's result as one self-contained HTML page, without scripts."""

from __future__ import annotations

from html import escape
from typing import Any

from shaper.replay.words import conclusions

__all__ = ["page"]

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; width: 100%; }
th, td { padding: .3rem .6rem; text-align: right; border-bottom: 1px solid #8886; }
th:first-child, td:first-child { text-align: left; }
caption { text-align: left; font-weight: 600; padding: .5rem 0; }
.ours { font-weight: 600; } .bar { fill: #2a7ab0; } .rival { fill: #b0843a; }
svg text { font: 12px system-ui, sans-serif; fill: currentColor; }
"""
_WIDTH = 520
_ROW = 18


def page(figures: dict[str, Any]) -> str:
    """Return the page. Names from outside are escaped."""
    said = "".join(f"<li>{escape(line)}</li>" for line in conclusions(figures))
    title = f"Fire drill on {escape(figures['trace'])}"
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{title}</title><style>{_STYLE}</style><h1>{title}</h1>"
        f"<p>{figures['senders']} senders, {figures['active_sender_days']} active "
        f"sender-days after day {figures['start_day']}; "
        f"{figures['attacks_per_profile']} thefts per profile planted "
        f"{escape(figures['planted'])}, seed {figures['seed']}.</p>"
        f"<ul>{said}</ul>{_innocents(figures)}{_escapes(figures)}{_bars(figures)}"
        "</html>\n"
    )


def _innocents(figures: dict[str, Any]) -> str:
    rows = []
    for name, found in figures["detectors"].items():
        low, high = found["false_alarms_per_10k_interval_95"]
        rows.append(
            f"<tr{_class(name)}><td>{escape(name)}<td>{found['false_alarms']}"
            f"<td>{found['false_alarms_per_10k_sender_days']:.1f}"
            f"<td>{low:.1f} to {high:.1f}"
            f"<td>{found['legitimate_recipients_delayed_ratio']:.3%}</tr>"
        )
    return (
        "<table><caption>Innocent senders</caption><tr><th>detector<th>false alarms"
        "<th>per 10,000 sender-days<th>95 %<th>innocent recipients delayed</tr>"
        + "".join(rows)
        + "</table>"
    )


def _escapes(figures: dict[str, Any]) -> str:
    names = list(figures["detectors"])
    head = "".join(f"<th>{escape(n)}" for n in names)
    rows = []
    for profile in figures["detectors"]["mailshaper"]["profiles"]:
        cells = []
        for name in names:
            found = figures["detectors"][name]["profiles"][profile]
            missed = found["missed_ratio"]
            note = f" ({missed:.0%} missed)" if missed else ""
            cells.append(
                f"<td{_class(name)}>{found['escaped_median']} / "
                f"{found['escaped_p90']}{note}"
            )
        rows.append(f"<tr><td>{escape(profile)}{''.join(cells)}</tr>")
    return (
        "<table><caption>Recipients reached before the alarm, median / 90 %</caption>"
        f"<tr><th>profile{head}</tr>{''.join(rows)}</table>"
    )


def _bars(figures: dict[str, Any]) -> str:
    """Draw median escapes on a square-root scale: 3 and 1,000 both show."""
    rows = []
    y = 0
    for profile in figures["detectors"]["mailshaper"]["profiles"]:
        for name, detector in figures["detectors"].items():
            value = detector["profiles"][profile]["escaped_median"]
            width = _WIDTH * (min(value, 5000) / 5000) ** 0.5
            style = "bar" if name == "mailshaper" else "rival"
            rows.append(
                f'<text x="0" y="{y + 13}">{escape(profile)} {escape(name)}</text>'
                f'<rect class="{style}" x="150" y="{y + 3}" width="{width:.1f}" '
                f'height="12"/><text x="{155 + width:.1f}" y="{y + 13}">{value}</text>'
            )
            y += _ROW
        y += _ROW // 2
    return (
        "<h2>Median recipients reached</h2>"
        f'<svg role="img" aria-label="Median recipients reached by profile and '
        f'detector" viewBox="0 0 {_WIDTH + 220} {y}" width="100%">'
        f"{''.join(rows)}</svg>"
    )


def _class(name: str) -> str:
    return ' class="ours"' if name == "mailshaper" else ""
