"""What a dashboard is, before it is anybody's JSON: panels that each ask one thing.

Pure data, read by ``build`` (Grafana's JSON), by ``picture`` (matplotlib) and by the
tests, so that all of them speak of the same queries.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Board", "Level", "Marks", "Panel", "Query", "Row", "q", "red"]

Level = tuple[float, str]  # from this value on, this colour


@dataclass(frozen=True, slots=True)
class Query:
    """A PromQL expression and the name of its lines."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """One question. ``levels`` colour it, ``runbook`` says what to do about it.

    ``unit`` is Grafana's id of it; ``width`` is of 24 columns.
    """

    title: str
    question: str
    unit: str
    queries: tuple[Query, ...]
    runbook: str
    levels: tuple[Level, ...] = ((0, "green"),)
    kind: Literal["stat", "lines", "bars"] = "lines"
    width: int = 8
    height: int = 7
    decimals: int | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under a heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Marks:
    """What is marked on every panel: an annotation, named by its first key."""

    title: str
    expr: str
    keys: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Board:
    """A dashboard."""

    uid: str
    title: str
    description: str
    rows: tuple[Row, ...]
    info: str = "mailshaper_build_info"  # knows the instances and placements
    marks: Marks = Marks(
        "Changes of state",
        'sum by (event, state) (increase(mailshaper_transitions_total{instance=~"'
        '$instance"}[1m])) > 0',
        ("event", "state"),
        "a sender is {{state}}",
    )


def q(expr: str, legend: str = "") -> Query:
    """Return a query in which ``{I`` stands for the chosen instances."""
    return Query(expr.replace("{I", '{instance=~"$instance"'), legend)


def red(value: float) -> tuple[Level, ...]:
    """Return levels that are bad from a value on."""
    return ((0, "green"), (value, "red"))
