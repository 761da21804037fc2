"""Puts a benchmark's results into the page: what to show, of how many, and in which order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import groupby
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from simsearch.evaluation.comparison import LEVEL, Comparison
from simsearch.evaluation.recommendation import Recommendation
from simsearch.evaluation.report.plots import heat_map, histograms
from simsearch.evaluation.results import (
    COSINE,
    BenchmarkResult,
    constants_of,
    metric_cell,
    metric_names,
    notes_of,
    several_models,
)
from simsearch.evaluation.tasks import REORDERING

PANELS = 9  # strategies whose distributions are drawn, the best first
SHOWN = ("paraphrase", "reordering", "swap", "random")  # distributions of the word-order plots


@dataclass(frozen=True, slots=True)
class _Row:
    """A strategy's line in the table of a task."""

    model: str
    strategy: str
    cells: dict[str, str]
    best: bool
    comparison: Comparison | None


def render_page(
    results: Sequence[BenchmarkResult],
    recommendation: Recommendation | None,
    config: Sequence[str],
    facts: Sequence[tuple[str, str]],
) -> str:
    """The HTML of the report: one file that needs no other.

    ``config`` are the lines of config.yaml that the recommendation stands for, ``facts`` what the
    reader should know about the run. Every text is escaped.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["difference"] = _difference
    source = resources.files("simsearch.evaluation.report") / "page.html"
    several = several_models(results)
    return environment.from_string(source.read_text("utf-8")).render(
        facts=facts,
        recommendation=recommendation,
        config=config,
        heat_map=_overview(results, several),
        tasks=[_task(list(group), several) for _, group in groupby(results, _task_name)],
        costs=_costs(results),
        strategies=_strategies(results),
        several=several,
        level=LEVEL,
        cosine=COSINE,
    )


def _task_name(result: BenchmarkResult) -> str:
    return result.result.task


def _overview(results: Sequence[BenchmarkResult], several: bool) -> Markup:
    """The heat map strategy × task of the primary metrics."""
    rows = list(dict.fromkeys(r.name(with_model=several) for r in results))
    shown = {r.result.task: r.result.primary for r in results if r.result.primary is not None}
    if not shown:
        return Markup()
    values = np.full((len(rows), len(shown)), math.nan)
    for r in results:
        if r.result.task in shown:
            column = list(shown).index(r.result.task)
            values[rows.index(r.name(with_model=several)), column] = r.value
    labels = [f"{_tail(task)}: {metric.replace('_', ' ')}" for task, metric in shown.items()]
    return Markup(heat_map(rows, labels, values))  # Matplotlib escapes


def _tail(task: str) -> str:
    """The end of a path, long enough to tell it from others."""
    parts = task.rstrip("/").split("/")
    return "/".join(parts[-2:])


def _task(results: Sequence[BenchmarkResult], several: bool) -> dict[str, Any]:
    """All that the page shows of one task."""
    first = results[0].result
    names, cosines = metric_names(results)
    constants = constants_of(results, names)
    metrics = [name for name in names if name not in constants]
    metrics.sort(key=lambda name: name != first.primary)  # it comes first, beside its comparison
    ranked = sorted(
        (r for r in results if not math.isnan(r.value)), key=lambda r: r.value, reverse=True
    )
    panels = {
        f"{r.name(with_model=several)}{'' if math.isnan(r.value) else f'  {r.value:.3f}'}": {
            name: values
            for name, values in r.result.distributions.items()
            if first.kind != "word-order" or name in SHOWN
        }
        for r in (ranked or list(results))[:PANELS]
        if r.result.distributions
    }
    best = ranked[0] if ranked else results[0]
    return {
        "name": first.task,
        "kind": first.kind,
        "count": first.items,
        "primary": first.primary,
        "metrics": metrics,
        "constants": constants,
        "rows": _rows(results, metrics, ranked),
        "notes": notes_of(results),
        "cosines": cosines,
        "cosine_rows": _rows(results, cosines, ranked) if cosines else [],
        "panels": Markup(histograms(panels)) if panels else None,
        "panels_left": len(results) - len(panels) if panels else 0,
        "phenomena": _phenomena(results, several) if first.kind == "word-order" else [],
        "best": best.name(with_model=several),
        "failures": best.result.failures,
    }


def _rows(
    results: Sequence[BenchmarkResult], metrics: Sequence[str], ranked: Sequence[BenchmarkResult]
) -> list[_Row]:
    return [
        _Row(
            r.model,
            str(r.strategy),
            {name: metric_cell(r.result, name) for name in metrics},
            bool(ranked) and r is ranked[0],
            r.comparison,
        )
        for r in results
    ]


def _phenomena(results: Sequence[BenchmarkResult], several: bool) -> list[tuple[str, Markup]]:
    """By language the heat map phenomenon × strategy of the triplet accuracy."""
    plots = []
    groups = [group for group in results[0].result.breakdown if "/" in group]
    for language, members in groupby(groups, lambda group: group.split("/")[0]):
        columns = sorted(members, key=lambda group: (REORDERING in group, group))
        values = np.array(
            [
                [r.result.breakdown[column]["triplet_accuracy"] for column in columns]
                for r in results
            ]
        )
        rows = [r.name(with_model=several) for r in results]
        labels = [column.split("/", 1)[1] for column in columns]
        plot = Markup(heat_map(rows, labels, values, shared_scale=True))
        plots.append((language, plot))
    return plots


def _costs(results: Sequence[BenchmarkResult]) -> list[dict[str, Any]]:
    """What the one pass over each model took."""
    rows = []
    for model, cost in {r.model: r.cost for r in results}.items():
        seconds = max(cost.seconds, 1e-9)
        rows.append(
            {
                "model": model,
                "texts": cost.texts,
                "tokens": cost.tokens,
                "seconds": cost.seconds,
                "rate": cost.texts / seconds,
                "token_rate": cost.tokens / seconds,
                "strategies": len({str(r.strategy) for r in results if r.model == model}),
            }
        )
    return rows


def _strategies(results: Sequence[BenchmarkResult]) -> list[dict[str, Any]]:
    """What each strategy asks of the model and of the disk."""
    distinct = {(r.model, str(r.strategy)): r for r in results}
    return [
        {
            "model": model,
            "strategy": strategy,
            "depth": r.depth,
            "dim": r.dim,
            "megabytes": r.dim * 4,  # float32: bytes a vector
        }
        for (model, strategy), r in distinct.items()
    ]


def _difference(comparison: Comparison) -> str:
    """``-.0123 [-.0200, -.0050]``."""
    found = comparison.difference
    if math.isnan(found.value):
        return "–"
    text = f"{found.value:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"
    return text.replace("+0.", "+.").replace("-0.", "−.").replace("-", "−")
