"""Which index suits so many vectors, how much memory it takes, and when it no longer suits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from simsearch.config import IndexSettings
from simsearch.errors import SettingsError
from simsearch.index.cells import BLOCK, LEAST_ROWS, ROW_NUMBERS

FLAT_VALUES = 1 << 24
"""Rows times dimension up to which comparing with all is fast: 43,690 rows of 384 dimensions, 20 ms
for one query on one thread, about as long as encoding it takes."""
_FLAT_RATE = 700_000
"""Values that one thread compares in a millisecond, at the least."""
_DIMS_PER_CODE = (1, 2, 4)
_LEAST_CODES = 64  # fewer tell neighbours apart so badly that too many vectors must be read
_COARSEST = 16
_OUTGROWN_SHARE = 0.25
_MIB = 1 << 20


@dataclass(frozen=True)
class IndexPlan:
    """What kind of index is built for ``rows`` vectors of ``dim`` coordinates.

    An "ivf" index has ``cells`` cells, and 4 bits of code for each ``dims_per_code`` coordinates; a
    "flat" one has neither. ``memory_bytes`` is what a search holds in memory, as predicted: of a
    flat index all vectors, of an ivf index the codes, while vectors are read as they are needed.
    """

    kind: Literal["flat", "ivf"]
    rows: int
    dim: int
    memory_bytes: int
    cells: int | None = None
    dims_per_code: int | None = None


def plan_index(rows: int, dim: int, settings: IndexSettings) -> IndexPlan:
    """The fastest index that keeps to ``settings``; depends on nothing else, so builds repeat.

    Raises SettingsError where ``memory_budget`` is less than the kind of index needs, or "ivf" is
    asked for with too few rows.
    """
    budget = math.inf if settings.memory_budget is None else settings.memory_budget * _MIB
    flat = IndexPlan("flat", rows, dim, rows * dim * 4)
    if settings.kind == "flat" or (settings.kind == "auto" and _flat_suits(flat, settings)):
        return _within(budget, [flat])
    if rows < LEAST_ROWS:
        raise SettingsError(
            f"index.kind is 'ivf', which needs {LEAST_ROWS} vectors or more and there are {rows}; "
            "take 'auto' or 'flat'"
        )
    return _within(budget, [_in_cells(rows, dim, dims) for dims in _codings(dim)])


def outgrown(plan: IndexPlan, rows: int, deleted: int) -> str | None:
    """Why an index of ``plan`` that holds ``rows`` rows now should be optimized; None if not.

    ``rows`` counts those that were added since, and ``deleted`` of them are in no answer any more.
    """
    if deleted > _OUTGROWN_SHARE * rows:
        return f"{deleted:,} of {rows:,} vectors are deleted"
    added = rows - plan.rows
    if plan.kind == "flat":
        if plan.rows * plan.dim <= FLAT_VALUES < rows * plan.dim:
            return f"{rows:,} vectors are more than are compared one by one fast enough"
    elif added > _OUTGROWN_SHARE * plan.rows or added * plan.dim > FLAT_VALUES:
        return f"{added:,} vectors were added to {plan.rows:,}, and are compared one by one"
    return None


def _flat_suits(flat: IndexPlan, settings: IndexSettings) -> bool:
    """Whether comparing with all vectors is fast enough, and they may all be in memory."""
    values = flat.rows * flat.dim
    if flat.rows < LEAST_ROWS:
        return True
    if settings.memory_budget is not None and flat.memory_bytes > settings.memory_budget * _MIB:
        return False
    if settings.latency_target is not None and values > settings.latency_target * _FLAT_RATE:
        return False
    return values <= FLAT_VALUES


def _codings(dim: int) -> list[int]:
    """Coordinates per code to choose from, best first."""
    best = max((dims for dims in _DIMS_PER_CODE if dim / dims >= _LEAST_CODES), default=1)
    return [best << i for i in range(_COARSEST.bit_length()) if best << i <= _COARSEST]


def _in_cells(rows: int, dim: int, dims_per_code: int) -> IndexPlan:
    """Cells so that looking for the nearest of them and into them take about as long."""
    # 2 * sqrt(rows): fewer hold more rows each, more take longer to build than they save
    cells = 1 << max(0, round(math.log2(2 * math.sqrt(rows))))
    codes = -(-dim // dims_per_code)
    code_bytes = -(-codes // 2)
    padding = cells * code_bytes * BLOCK // 2
    centroids = 2 * cells * codes * dims_per_code * 4
    memory = rows * (code_bytes + ROW_NUMBERS) + padding + centroids
    return IndexPlan("ivf", rows, dim, memory, cells, dims_per_code)


def _within(budget: float, plans: list[IndexPlan]) -> IndexPlan:
    """The first of ``plans`` that the budget, in bytes, allows."""
    for plan in plans:
        if plan.memory_bytes <= budget:
            return plan
    least = min(plans, key=lambda plan: plan.memory_bytes)
    raise SettingsError(
        f"index.memory_budget is {budget / _MIB:g} MiB; an index of kind {least.kind!r} of "
        f"{least.rows:,} vectors of {least.dim} dimensions needs "
        f"{math.ceil(least.memory_bytes / _MIB)} MiB or more"
    )
