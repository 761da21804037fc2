"""What a benchmark found: one result for each task, model and strategy."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simsearch.backbone_cache import Cost
from simsearch.evaluation.comparison import Comparison
from simsearch.evaluation.metrics import Floats
from simsearch.evaluation.tasks import TaskResult
from simsearch.files import new_file
from simsearch.whitening import Whitening

RESULTS = "results.jsonl"
COSINE = "mean_cosine_"
"""How the metrics begin that are mean cosines by kind of pair."""
PERCENTILES = (5, 25, 50, 75, 95)


@dataclass(frozen=True, slots=True)
class Strategy:
    """How hidden states become a vector.

    ``layers`` are the hidden states read, where they are not those that the pooling's name stands
    for, and counted as the user did; ``dim`` is how many whitened dimensions are kept, where not
    all are. ``reranked`` is whether pairs of the same words were looked at again, by their order.
    """

    pooling: str
    layers: tuple[int, ...] | None = None
    whitened: bool = False
    dim: int | None = None
    reranked: bool = False

    def __str__(self) -> str:
        layers = "" if self.layers is None else f" @{','.join(map(str, self.layers))}"
        whitened = " whitened" if self.whitened else ""
        dim = "" if self.dim is None else f" {self.dim}"
        return f"{self.pooling}{layers}{whitened}{dim}{' reranked' if self.reranked else ''}"


@dataclass(frozen=True, slots=True)
class BenchmarkResult:
    """The result of one task on one model with one strategy.

    ``dim`` is the length of a vector, ``depth`` the highest hidden state that it needs, ``cost``
    what it took to compute the hidden states of all texts, once for all strategies of the model.
    ``whitening`` is the map that was applied; ``comparison`` says whether another strategy is
    better.
    """

    model: str
    strategy: Strategy
    fingerprint: str
    dim: int
    depth: int
    result: TaskResult
    cost: Cost
    whitening: Whitening | None = None
    comparison: Comparison | None = None

    @property
    def value(self) -> float:
        """The metric that the task's strategies are compared by; ``nan`` where there is none."""
        primary = self.result.primary
        return math.nan if primary is None else self.result.metrics[primary]

    def name(self, *, with_model: bool) -> str:
        """The strategy, and before it the model where there are several."""
        return f"{self.model} {self.strategy}" if with_model else str(self.strategy)

    def as_json(self) -> dict[str, Any]:
        """The JSON object of the command line; a metric that is undefined is null."""
        result, strategy = self.result, self.strategy
        return {
            "task": result.task,
            "model": self.model,
            "pooling": strategy.pooling,
            "metrics": {name: _finite(value) for name, value in result.metrics.items()},
            "intervals": {
                name: [_finite(low), _finite(high)]
                for name, (low, high) in result.intervals.items()
            },
            "layers": None if strategy.layers is None else list(strategy.layers),
            "whitening": None
            if self.whitening is None
            else {"texts": self.whitening.rows, "sha256": self.whitening.hash},
            "dim": self.dim,
            "rerank": "order" if strategy.reranked else None,
            "fingerprint": self.fingerprint,
            "items": result.items,
            "encoding": asdict(self.cost),
            "comparison": None if self.comparison is None else _compared(self.comparison),
            "breakdown": {
                group: {name: _finite(value) for name, value in metrics.items()}
                for group, metrics in result.breakdown.items()
            },
            "distributions": {
                name: _percentiles(values) for name, values in result.distributions.items()
            },
            "notes": list(result.notes),
        }


def write_results(results: Iterable[BenchmarkResult], folder: Path) -> Path:
    """Write ``RESULTS`` into ``folder``, which is there; returns its path."""
    path = folder / RESULTS
    lines = (json.dumps(r.as_json(), ensure_ascii=False, allow_nan=False) for r in results)
    with new_file(path) as aside:
        aside.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return path


@dataclass(frozen=True, slots=True)
class ResultTable:
    """Results of one task, for people: metrics ± half the width of their intervals.

    ``constants`` are metrics that are the same for all results; they would only widen the table.
    """

    header: list[str]
    rows: list[list[str]]
    constants: dict[str, float]


def tables(results: Sequence[BenchmarkResult]) -> list[ResultTable]:
    """Arrange the results of one task: its metrics, and apart from them its mean cosines."""
    return [_table(results, part) for part in metric_names(results) if part]


def metric_names(results: Sequence[BenchmarkResult]) -> tuple[list[str], list[str]]:
    """The names of the metrics of one task, and apart from them those of its mean cosines."""
    names = list(dict.fromkeys(name for r in results for name in r.result.metrics))
    cosines = [name for name in names if name.startswith(COSINE)]
    return [name for name in names if name not in cosines], cosines


def constants_of(results: Sequence[BenchmarkResult], names: Sequence[str]) -> dict[str, float]:
    """The metrics among ``names`` that are the same for all of several results."""
    return {
        name: results[0].result.metrics[name]
        for name in names
        if len(results) > 1 and len({r.result.metrics.get(name) for r in results}) == 1
    }


def several_models(results: Sequence[BenchmarkResult]) -> bool:
    """Whether a strategy needs its model beside it to be told from the others."""
    return len({r.model for r in results}) > 1


def _table(results: Sequence[BenchmarkResult], names: Sequence[str]) -> ResultTable:
    constants = constants_of(results, names)
    shown = [name for name in names if name not in constants]
    several = several_models(results)
    return ResultTable(
        header=[*(["model"] if several else []), "pooling", *shown],
        rows=[
            [
                *([r.model] if several else []),
                str(r.strategy),
                *(_cell(r.result, name) for name in shown),
            ]
            for r in results
        ],
        constants=constants,
    )


def _cell(result: TaskResult, name: str) -> str:
    """A mean cosine without its interval, which is narrow, and would be too wide for a terminal."""
    value = result.metrics.get(name, math.nan)
    return f"{value:.4f}" if name.startswith(COSINE) else metric_cell(result, name)


def notes_of(results: Sequence[BenchmarkResult]) -> dict[str, list[str]]:
    """The notes on these results, each with the strategies that it is about."""
    several = several_models(results)
    by_note: dict[str, list[str]] = {}
    for r in results:
        for note in r.result.notes:
            by_note.setdefault(note, []).append(r.name(with_model=several))
    return by_note


def metric_cell(result: TaskResult, name: str) -> str:
    """``0.7468 ±.027``; ``–`` where the metric is undefined."""
    value = result.metrics.get(name, math.nan)
    if math.isnan(value):
        return "–"
    low, high = result.intervals.get(name, (math.nan, math.nan))
    half = "" if math.isnan(low) else f" ±{(high - low) / 2:.3f}".replace("±0.", "±.")
    return f"{value:.4f}{half}"


def _compared(comparison: Comparison) -> dict[str, Any]:
    found = comparison.difference
    return {
        "metric": comparison.metric,
        "best": comparison.best,
        "difference": _finite(found.value),
        "interval": [_finite(found.low), _finite(found.high)],
        "p": _finite(comparison.p),
    }


def _percentiles(values: Floats) -> dict[str, float]:
    points = np.percentile(values, PERCENTILES)
    return {f"p{p}": float(point) for p, point in zip(PERCENTILES, points, strict=True)}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
