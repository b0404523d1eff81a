"""The drill's statistics: quantiles and an honest interval for rare counts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["per_ten_thousand", "poisson_interval", "quantile"]

_TAIL = 0.025
_STEPS = 60


def quantile(values: Sequence[float], share: float) -> float:
    """Return the nearest-rank quantile; NaN of nothing."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, math.ceil(share * len(ordered)) - 1))]


def per_ten_thousand(count: float, of: int) -> float:
    """Return a rate per 10,000, 0 of nothing."""
    return 1e4 * count / of if of else 0.0


def poisson_interval(count: int) -> tuple[float, float]:
    """Return the exact 95 % interval of a Poisson mean (Garwood 1936)."""
    top = count + 10 * math.sqrt(count + 1) + 10
    low = _solve(lambda m: 1 - _at_most(count - 1, m) > _TAIL, top) if count else 0.0
    return low, _solve(lambda m: _at_most(count, m) < _TAIL, top)


def _at_most(count: int, mean: float) -> float:
    if mean <= 0:
        return 1.0
    return min(
        1.0,
        math.fsum(
            math.exp(k * math.log(mean) - mean - math.lgamma(k + 1))
            for k in range(count + 1)
        ),
    )


def _solve(passed: Callable[[float], bool], top: float) -> float:
    low, high = 0.0, top
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if passed(middle) else (middle, high)
    return high
