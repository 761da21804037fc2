"""How sure a number is: bootstrap intervals, and whether one strategy beats another.

All strategies of a task are resampled by the same draws of its items, so a difference between two
of them is measured on the same items every time (the paired bootstrap), which sees much smaller
differences than two separate intervals would.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simsearch.evaluation.metrics import Floats, Statistic

RESAMPLES = 1000
_AT_ONCE = 1 << 20  # weights held at a time, so that memory does not grow with the task


def bootstrap(
    statistics: Sequence[Statistic], n: int, *, resamples: int = RESAMPLES, seed: int = 0
) -> list[Floats]:
    """Each statistic of ``resamples`` samples of n items, drawn with replacement.

    One float64 (resamples,) a statistic, all of the same samples. Equal n, ``resamples`` and
    ``seed`` give equal samples. One that leaves a statistic undefined (such as one with a single
    class) gives ``nan``. Source: Efron (1979).

    Raises ``ValueError`` where n or ``resamples`` is below 1.
    """
    if n < 1 or resamples < 1:
        raise ValueError(f"n = {n}, resamples = {resamples}: expected at least 1 of both")
    rng = np.random.default_rng(seed)
    rows = max(1, _AT_ONCE // n)
    drawn = []
    for start in range(0, resamples, rows):
        samples = (rng.integers(0, n, n) for _ in range(min(rows, resamples - start)))
        weights = np.array([np.bincount(sample, minlength=n) for sample in samples], np.float64)
        drawn.append([statistic(weights) for statistic in statistics])
    return [np.concatenate(blocks) for blocks in zip(*drawn, strict=True)]


def interval(draws: Floats, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval (low, high) of what ``bootstrap`` drew, ``nan`` left out.

    (nan, nan) where nothing else is left. Raises ``ValueError`` for a level not between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"level = {level}: expected a number between 0 and 1")
    defined = draws[~np.isnan(draws)]
    if not len(defined):
        return math.nan, math.nan
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


@dataclass(frozen=True, slots=True)
class Difference:
    """How much lower a strategy is than the one it is compared with.

    ``value`` is its metric minus the other's, ``low`` and ``high`` the 95 % interval of that,
    ``p`` the two-sided probability of so large a difference if there were none.
    """

    value: float
    low: float
    high: float
    p: float


def difference(value: float, draws: Floats, other_value: float, other_draws: Floats) -> Difference:
    """Compare two statistics that were bootstrapped with the same draws.

    ``p`` is that of a normal test with the bootstrap's standard error of the difference (Efron and
    Tibshirani 1993, chapter 6); counting the draws beyond 0 instead could not go below 1 in 1000,
    too coarse to correct for many strategies.
    """
    drawn = draws - other_draws
    low, high = interval(drawn)
    moved = value - other_value
    defined = drawn[~np.isnan(drawn)]
    error = float(defined.std(ddof=1)) if len(defined) > 1 else math.nan
    if math.isnan(moved) or math.isnan(error):
        p = math.nan
    elif error == 0:
        p = float(moved == 0)
    else:
        p = math.erfc(abs(moved) / error / math.sqrt(2))
    return Difference(moved, low, high, p)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values of a family of tests, adjusted so that they may be read one by one.

    Holm's step-down procedure bounds the chance of any false alarm among them. ``nan`` stays, and
    does not count. Source: Holm (1979).
    """
    order = sorted(
        (i for i, p in enumerate(p_values) if not math.isnan(p)), key=lambda i: p_values[i]
    )
    adjusted, highest = list(p_values), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p_values[i]))
        adjusted[i] = highest
    return adjusted
