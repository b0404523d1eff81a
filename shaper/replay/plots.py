"""Small plots as SVG text: volume by the hour, and evidence over time. Pure.

Volume is drawn by its square root and evidence by its logarithm: beside a theft the
sender's normal would otherwise be a flat line.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["evidence_plot", "volume_plot"]

_LEFT, _BOTTOM, _TOP = 52, 18, 8
_ROOM = 26  # between two lines of an axis
_LEAST = 0.01  # evidence under a hundredth of the limit is nothing
_AFTER = 6 * 3600.0  # what is shown of the evidence before and after the alarm
_BARS = 420  # more hours than that are put together


def volume_plot(
    hours: Sequence[Sequence[float]], alarm: float | None = None, *, wide: bool = False
) -> str:
    """Plot rows of hour, recipients, (held, if wide,) and what is usual.

    A thin line marks the alarm.
    """
    width, height = (920, 220) if wide else (420, 170)
    if not hours:
        return ""
    step = -(-len(hours) // _BARS)
    rows = [_together(hours[i : i + step]) for i in range(0, len(hours), step)]
    top = max(max(sum(row[1:-1]), row[-1]) for row in rows) or 1.0
    inner = width - _LEFT
    each = inner / len(rows)
    base = height - _BOTTOM
    place = _root(top, base - _TOP)
    parts = [_axis(width, base, top, place, "g")]
    usual = []
    for at, row in enumerate(rows):
        x = _LEFT + at * each
        low = 0.0
        passed, held = (row[1], row[2]) if wide else _split(row, alarm)
        for name, value in (("pass", passed), ("held", held)):
            if value:
                tall = place(low + value) - place(low)
                parts.append(
                    f'<rect class="{name}" x="{x:.1f}" '
                    f'y="{base - place(low + value):.1f}" '
                    f'width="{max(each * 0.9, 1.0):.1f}" height="{tall:.1f}"/>'
                )
                low += value
        y = base - place(row[-1])
        usual.append(f"{x:.1f},{y:.1f} {x + each:.1f},{y:.1f}")
    parts.append(f'<polyline class="usual" points="{" ".join(usual)}"/>')
    first, last = rows[0][0], hours[-1][0] + 3600
    parts.append(_times(first, last, width, height))
    return _svg(width, height, parts)


def _split(row: Sequence[float], alarm: float | None) -> tuple[float, float]:
    """A case's own mail is held from the hour of its alarm on."""
    late = alarm is not None and row[0] + 3600 > alarm
    return (0.0, row[1]) if late else (row[1], 0.0)


def _together(rows: Sequence[Sequence[float]]) -> list[float]:
    return [rows[0][0], *(sum(column) for column in list(zip(*rows, strict=True))[1:])]


def evidence_plot(curve: Sequence[Sequence[float]], alarm: float) -> str:
    """Plot times and shares of the slow limit; the dashed line is the limit."""
    width, height = 420, 170
    if not curve:
        return ""
    # What led to the alarm, not the quiet weeks before it.
    first = max(curve[0][0], alarm - _AFTER)
    points = [p for p in curve if first <= p[0] <= alarm + _AFTER]
    last = max(points[-1][0], first + 60)
    top = max(2.0, *(p[1] for p in points))
    base = height - _BOTTOM
    place = _log(top, base - _TOP)

    def x(at: float) -> float:
        return _LEFT + (width - _LEFT) * (at - first) / (last - first)

    line = " ".join(f"{x(t):.1f},{base - place(share):.1f}" for t, share in points)
    dots = "".join(
        f'<circle class="{"held" if t >= alarm else "pass"}" r="2.5" cx="{x(t):.1f}" '
        f'cy="{base - place(share):.1f}"/>'
        for t, share in points
    )
    limit = base - place(1.0)
    return _svg(
        width,
        height,
        [
            _axis(width, base, top, place, ".0%"),
            (
                f'<line class="limit" x1="{_LEFT}" x2="{width}" y1="{limit:.1f}" '
                f'y2="{limit:.1f}"/>'
            ),
            f'<polyline class="curve" points="{line}"/>{dots}',
            _times(first, last, width, height),
        ],
    )


def _root(top: float, height: float) -> Callable[[float], float]:
    return lambda value: height * math.sqrt(max(value, 0.0) / top)


def _log(top: float, height: float) -> Callable[[float], float]:
    span = math.log(top / _LEAST)
    return lambda value: height * math.log(max(value, _LEAST) / _LEAST) / span


def _axis(
    width: int, base: float, top: float, place: Callable[[float], float], form: str
) -> str:
    """Draw lines at round values as far as there is room between them."""
    parts = []
    used = math.inf
    powers = range(-2, math.ceil(math.log10(top)) + 1)
    values = [0.0, *(m * 10.0**k for k in powers for m in (1, 2, 5))]
    if form == "g":
        values = [v for v in values if v == int(v)]
    for value in sorted(values, reverse=True):
        y = base - place(value)
        if (
            value > top * 1.0001
            or abs(used - y) < _ROOM
            or (y > base - _ROOM and value)
        ):
            continue
        used = y
        text = f"{value:{form}}"
        parts.append(
            f'<line class="rule" x1="{_LEFT}" x2="{width}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{_LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{text}</text>'
        )
        if not place(value):
            break
    return "".join(parts)


def _times(first: float, last: float, width: int, height: int) -> str:
    """Label the ends and the middle."""
    form = "%H:%M" if last - first < 6 * 3600 else "%d.%m. %H:%M"
    if last - first > 7 * 86400:
        form = "%Y-%m-%d"
    elif last - first >= 6 * 3600:
        form = "%m-%d %H:%M"
    middle = (first + last) / 2
    places = ((_LEFT, "start", first), ((_LEFT + width) / 2, "middle", middle))
    return "".join(
        f'<text x="{x}" y="{height - 4}" text-anchor="{anchor}">'
        f"{time.strftime(form, time.localtime(at))}</text>"
        for x, anchor, at in (*places, (width, "end", last))
    )


def _svg(width: int, height: int, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-hidden="true">'
        + "".join(parts)
        + "</svg>"
    )
