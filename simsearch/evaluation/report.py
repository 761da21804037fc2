"""What a benchmark found, as JSON lines and as rows of a table."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simsearch.evaluation.tasks import TaskResult
from simsearch.files import new_file


@dataclass(frozen=True, slots=True)
class BenchmarkResult:
    """The result of one task on one model with one pooling."""

    model: str
    pooling: str
    result: TaskResult

    def as_json(self) -> dict[str, Any]:
        """The JSON object of the command line; a metric that is undefined is null."""
        result = self.result
        return {
            "task": result.task,
            "model": self.model,
            "pooling": self.pooling,
            "metrics": {name: _finite(value) for name, value in result.metrics.items()},
            "intervals": {
                name: [_finite(low), _finite(high)]
                for name, (low, high) in result.intervals.items()
            },
            "breakdown": {
                group: {name: _finite(value) for name, value in metrics.items()}
                for group, metrics in result.breakdown.items()
            },
            "notes": list(result.notes),
        }


def write_results(results: Iterable[BenchmarkResult], folder: Path) -> Path:
    """Write ``results.jsonl`` into ``folder``, which is there; returns its path."""
    path = folder / "results.jsonl"
    lines = (json.dumps(r.as_json(), ensure_ascii=False, allow_nan=False) for r in results)
    with new_file(path) as aside:
        aside.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return path


@dataclass(frozen=True, slots=True)
class ResultTable:
    """The results of one task, for people: metrics ± half the width of their intervals.

    ``constants`` are metrics that are the same for all results; they would only widen the table.
    """

    header: list[str]
    rows: list[list[str]]
    constants: dict[str, float]


def table(results: Sequence[BenchmarkResult]) -> ResultTable:
    """Arrange the results of one task."""
    names = list(dict.fromkeys(name for r in results for name in r.result.metrics))
    constants = {
        name: results[0].result.metrics[name]
        for name in names
        if len(results) > 1 and len({r.result.metrics.get(name) for r in results}) == 1
    }
    shown = [name for name in names if name not in constants]
    several_models = len({r.model for r in results}) > 1
    return ResultTable(
        header=[*(["model"] if several_models else []), "pooling", *shown],
        rows=[
            [
                *([r.model] if several_models else []),
                r.pooling,
                *(_cell(r.result, n) for n in shown),
            ]
            for r in results
        ],
        constants=constants,
    )


def _cell(result: TaskResult, name: str) -> str:
    value = result.metrics.get(name, math.nan)
    if math.isnan(value):
        return "–"
    low, high = result.intervals.get(name, (math.nan, math.nan))
    half = "" if math.isnan(low) else f" ±{(high - low) / 2:.3f}".replace("±0.", "±.")
    return f"{value:.4f}{half}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
