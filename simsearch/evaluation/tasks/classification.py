"""Classification by nearest neighbours: do texts of one label lie together."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from simsearch.encoder import Encoder, Vectors
from simsearch.evaluation import metrics
from simsearch.evaluation.tasks.base import (
    Encoded,
    Failure,
    Inputs,
    TaskResult,
    distinct,
    measured,
    require,
    worst,
)
from simsearch.index.flat import FlatIndex
from simsearch.records import LabelledText
from simsearch.reranking import OrderReranker

NEIGHBOURS: Final = 10


@dataclass(frozen=True)
class ClassificationTask:
    """Implements ``Task``: each text of ``test`` gets the label of its neighbours in ``train``.

    Without ``test`` every text of ``train`` is classified by the others (leave one out).
    """

    name: str
    train: Sequence[LabelledText]
    test: Sequence[LabelledText] | None = None

    def __post_init__(self) -> None:
        labels = {item.label for item in self.train}
        require(len(labels) > 1, f"{self.name}: {len(labels)} label(s) to learn from, expected two")
        require(self.test is None or self.test, f"{self.name}: no texts to classify")

    @functools.cached_property
    def inputs(self) -> Inputs:
        """See ``Task``. All texts get the query prompt, as a symmetric comparison."""
        both = (self.train, self.test or ())
        return {"query": distinct(*([item.text for item in items] for items in both))}

    def run(self, encoder: Encoder, reranker: OrderReranker | None = None) -> TaskResult:
        """``accuracy@1``, and of a vote of ten ``accuracy@10`` and ``macro_f1@10``.

        The search is exact, and neighbours at one distance are taken in the order of the file. A
        ``reranker`` changes nothing: nobody reads neighbours in their order.
        """
        encoded = Encoded(encoder, self.inputs)
        known = encoded.of([item.text for item in self.train], "query")
        asked = self.train if self.test is None else self.test
        vectors = known if self.test is None else encoded.of([item.text for item in asked], "query")
        neighbours, scores = self._neighbours(vectors, known)
        labels = [item.label for item in asked]
        near = [[self.train[row].label for row in rows] for rows in neighbours]
        first = [names[0] for names in near]
        voted = [metrics.vote(names) for names in near]
        right = {
            k: np.array([a == b for a, b in zip(labels, guess, strict=True)], np.float64)
            for k, guess in ((1, first), (NEIGHBOURS, voted))
        }
        numbers = measured(
            len(asked),
            {
                "accuracy@1": metrics.mean_of(right[1]),
                f"accuracy@{NEIGHBOURS}": metrics.mean_of(right[NEIGHBOURS]),
                f"macro_f1@{NEIGHBOURS}": metrics.macro_f1_of(labels, voted),
            },
        )
        # the nearest is of another label: the nearer, the worse
        badness = np.array([float(row[0]) for row in scores]) * (1 - right[1])
        return TaskResult(
            self.name,
            "classification",
            len(asked),
            f"accuracy@{NEIGHBOURS}",
            numbers.metrics,
            numbers.intervals,
            numbers.draws,
            ("each text is classified by all others",) if self.test is None else (),
            failures=tuple(
                Failure(
                    str(row + 1),
                    {"text": asked[row].text, "nearest": self.train[neighbours[row][0]].text},
                    {"nearest": float(scores[row][0])},
                    {"label": labels[row], "label of the nearest": first[row]},
                )
                for row in worst(badness)
            ),
        )

    def _neighbours(
        self, vectors: Vectors, known: Vectors
    ) -> tuple[list[list[int]], list[list[float]]]:
        """The rows of the nearest texts in ``train``, nearest first, and their cosines."""
        rows, scores = [], []
        spare = int(self.test is None)  # for the text itself, which is its own nearest
        for number, (found, cosines) in enumerate(
            FlatIndex([known]).search(vectors, NEIGHBOURS + spare)
        ):
            kept = [
                (int(row), float(cosine))
                for row, cosine in zip(found, cosines, strict=True)
                if not spare or row != number
            ][:NEIGHBOURS]
            rows.append([row for row, _ in kept])
            scores.append([cosine for _, cosine in kept])
        return rows, scores
