"""What a benchmark found, as JSON lines and as rows of a table."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simsearch.evaluation.tasks import TaskResult


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
    """Write ``results.jsonl`` into ``folder``, which is made if needed; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "results.jsonl"
    lines = (json.dumps(r.as_json(), ensure_ascii=False, allow_nan=False) for r in results)
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return path


def table(results: Sequence[BenchmarkResult]) -> tuple[list[str], list[list[str]]]:
    """Header and rows for the results of one task: metrics ± half the width of their intervals."""
    names = list(dict.fromkeys(name for r in results for name in r.result.metrics))
    several_models = len({r.model for r in results}) > 1
    header = [*(["model"] if several_models else []), "pooling", *names]
    rows = [
        [*([r.model] if several_models else []), r.pooling, *(_cell(r.result, n) for n in names)]
        for r in results
    ]
    return header, rows


def _cell(result: TaskResult, name: str) -> str:
    value = result.metrics.get(name, math.nan)
    if math.isnan(value):
        return "–"
    low, high = result.intervals.get(name, (math.nan, math.nan))
    return f"{value:.4f}" if math.isnan(low) else f"{value:.4f} ± {(high - low) / 2:.3f}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
