"""What to put into config.yaml, by what a benchmark found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import yaml

from simsearch.evaluation.results import BenchmarkResult


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A model and strategy, as one of its results, and why.

    ``score`` is the mean of its primary metrics over the tasks in ``tasks``, of which no other
    strategy is clearly better in any; ``tied`` counts the strategies of which the same is true, and
    of which this is the cheapest. ``tied`` is 0 where every strategy is beaten in some task: then
    this is the one with the highest mean. ``only_word_order`` says that nothing else was measured.
    """

    choice: BenchmarkResult
    score: float
    tasks: tuple[str, ...]
    tied: int
    only_word_order: bool


def recommend(results: Sequence[BenchmarkResult]) -> Recommendation | None:
    """The strategy to use; ``None`` where no result has a defined metric.

    Word order decides only where no other task was run: who wants sentences of like meaning wants
    pairs and retrieval to be right, and most strategies are as blind as each other. Among those
    that are nowhere clearly worse than the best the cheapest wins: the shorter vector, then no
    whitening, then fewer layers, then the better mean.
    """
    defined = [r for r in results if not math.isnan(r.value)]
    weighed = [r for r in defined if r.result.kind != "word-order"] or defined
    if not weighed:
        return None
    groups: dict[tuple[str, str], list[BenchmarkResult]] = {}
    for r in weighed:
        groups.setdefault((r.model, str(r.strategy)), []).append(r)
    tasks = tuple(dict.fromkeys(r.result.task for r in weighed))
    complete = [group for group in groups.values() if len(group) == len(tasks)]
    if not complete:
        return None
    tied = [
        group
        for group in complete
        if not any(r.comparison is not None and r.comparison.clearly_worse for r in group)
    ]
    only_word_order = weighed[0].result.kind == "word-order"
    if tied:
        chosen = min(tied, key=lambda group: (_cost(group[0]), -_score(group)))
    else:
        chosen = max(complete, key=_score)
    return Recommendation(chosen[0], _score(chosen), tasks, len(tied), only_word_order)


def _score(group: Sequence[BenchmarkResult]) -> float:
    return fmean(r.value for r in group)


def _cost(result: BenchmarkResult) -> tuple[int, bool, int]:
    """The length of a vector, whether it takes a whitening, and the layers: each worth avoiding.

    A whitening that nobody cut may have lost a dimension or two that its texts did not span: that
    does not make it the shorter vector.
    """
    if result.whitening is None:
        return result.dim, False, result.depth
    return result.strategy.dim or len(result.whitening.mean), True, result.depth


def config_lines(choice: BenchmarkResult, whitening_file: str | None) -> list[str]:
    """The lines of config.yaml that make ``build`` use this strategy."""
    layers = choice.strategy.layers
    settings = {
        "model": choice.model,
        "pooling": choice.strategy.pooling,
        **({} if layers is None else {"layers": list(layers)}),
        **({} if whitening_file is None else {"whitening": whitening_file, "dim": choice.dim}),
    }
    text = yaml.safe_dump(
        {"encoder": settings}, sort_keys=False, allow_unicode=True, width=1000, indent=2
    )
    return text.splitlines()
