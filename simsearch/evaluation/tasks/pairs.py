"""Sentence pairs: does their cosine follow what people say of them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simsearch.encoder import Encoder
from simsearch.evaluation import metrics
from simsearch.evaluation.metrics import Floats, Statistic
from simsearch.evaluation.tasks.base import (
    Encoded,
    Failure,
    Inputs,
    TaskResult,
    cosines,
    distinct,
    measured,
    require,
    same_bag,
    worst,
)
from simsearch.records import SentencePair
from simsearch.reranking import OrderReranker


@dataclass(frozen=True)
class PairsTask:
    """Implements ``Task`` for pairs with a score (graded) or a label (0 or 1)."""

    name: str
    pairs: Sequence[SentencePair]

    def __post_init__(self) -> None:
        require(self.pairs, f"{self.name}: no pairs, expected at least one")

    @functools.cached_property
    def inputs(self) -> Inputs:
        """See ``Task``.

        Both sentences get the query prompt: similarity is symmetric, so both sides need the same
        prompt, and models that have prompts (E5) say that symmetric tasks take the query's.
        """
        return {"query": distinct(*self._sides())}

    def run(self, encoder: Encoder, reranker: OrderReranker | None = None) -> TaskResult:
        """``spearman``, and for 0/1 labels ``auc`` and ``average_precision``.

        Labels that are all equal leave those undefined; then it is ``mean_cosine`` and
        ``same_bag_share``, the share of pairs whose sorted token ids are equal.
        """
        labels = np.array([pair.score for pair in self.pairs])
        first, second = self._sides()
        encoded = Encoded(encoder, self.inputs)
        scores = cosines(encoded.of(first, "query"), encoded.of(second, "query"))
        if reranker is not None:
            scores = reranker.rescored(list(zip(first, second, strict=True)), scores)
        notes: tuple[str, ...] = ()
        statistics: dict[str, Statistic] = {}
        if (labels == labels[0]).all():
            statistics["mean_cosine"] = metrics.mean_of(scores)
            statistics["same_bag_share"] = metrics.mean_of(same_bag(encoder, first, second))
            notes = (f"every label is {labels[0]:g}, so there is nothing to correlate with",)
        else:
            statistics["spearman"] = metrics.spearman_of(labels, scores)
            if (scores == scores[0]).all():
                notes = ("every cosine is equal, so spearman is undefined",)
            if np.isin(labels, (0, 1)).all():
                statistics["auc"] = metrics.auc_of(labels, scores)
                statistics["average_precision"] = metrics.average_precision_of(labels, scores)
        numbers = measured(len(labels), statistics)
        return TaskResult(
            self.name,
            "pairs",
            len(labels),
            next((name for name in ("auc", "spearman") if name in statistics), None),
            numbers.metrics,
            numbers.intervals,
            numbers.draws,
            notes,
            distributions=self._distributions(labels, scores),
            failures=self._failures(labels, scores),
        )

    def _sides(self) -> tuple[list[str], list[str]]:
        return [p.sentence1 for p in self.pairs], [p.sentence2 for p in self.pairs]

    @staticmethod
    def _distributions(labels: NDArray[np.float64], scores: Floats) -> dict[str, Floats]:
        """The cosines by label, or by third of the labels' range where there are many labels."""
        values = np.unique(labels)
        if len(values) <= 2:
            return {f"label {value:g}": scores[labels == value] for value in values}
        edges = np.linspace(values[0], values[-1], 4)
        third = np.clip(np.searchsorted(edges, labels, side="right") - 1, 0, 2)
        return {
            f"label {edges[i]:.3g} to {edges[i + 1]:.3g}": scores[third == i]
            for i in range(3)
            if (third == i).any()
        }

    def _failures(self, labels: NDArray[np.float64], scores: Floats) -> tuple[Failure, ...]:
        """The pairs whose cosine ranks farthest from where their label does."""
        if (labels == labels[0]).all():
            return ()
        by_label, by_score = (_share_below(values) for values in (labels, scores))
        return tuple(
            Failure(
                str(row + 1),
                {
                    "sentence": self.pairs[row].sentence1,
                    "compared with": self.pairs[row].sentence2,
                },
                {"compared with": float(scores[row])},
                {
                    "label": f"{labels[row]:g}",
                    "pairs with a lower label": f"{by_label[row]:.0%}",
                    "pairs with a lower cosine": f"{by_score[row]:.0%}",
                },
            )
            for row in worst(np.abs(by_label - by_score))
        )


def _share_below(values: NDArray[np.float64]) -> Floats:
    """For each value the share of the others that are lower, a tie counted half."""
    ranked = np.sort(values)
    low, high = np.searchsorted(ranked, values, "left"), np.searchsorted(ranked, values, "right")
    return (low + high - 1) / 2 / max(1, len(values) - 1)
