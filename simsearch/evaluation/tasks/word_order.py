"""Word order: is a sentence's meaning nearer to it than the same words in another order."""

from __future__ import annotations

import functools
import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from simsearch.encoder import Encoder, Vectors
from simsearch.evaluation import metrics
from simsearch.evaluation.metrics import Floats, Statistic
from simsearch.evaluation.perturbation import neighbours_swapped, shuffled
from simsearch.evaluation.tasks.base import (
    Encoded,
    Failure,
    Inputs,
    Measured,
    TaskResult,
    cosines,
    distinct,
    measured,
    require,
    same_bag,
    worst,
)
from simsearch.records import WordOrderTriple
from simsearch.reranking import OrderReranker

# Cosines that differ by no more are equal: the float sums of the same token embeddings in another
# order differ in their last bits, and static_mean is order-blind only within this.
TIE: Final = 1e-6
REORDERING: Final = "reordering-"
"""How the phenomena begin whose paraphrase is the sentence in another order of the same meaning."""
PERTURBED: Final = 1000  # sentences, at most, that are shuffled too

ORDER_BLIND: Final = (
    "these vectors are the same for the same words in any order, so cos(sentence, swap) = 1 and no "
    "paraphrase can be closer"
)


@dataclass(frozen=True)
class WordOrderTask:
    """Implements ``Task`` for triples: sentence, paraphrase, swap.

    The swap means something else than the sentence, the paraphrase means the same. A triple is
    right iff cos(sentence, paraphrase) > cos(sentence, swap) + ``TIE``.

    A suite has two halves. In the one the paraphrase uses other words, and order-blindness makes
    the swap nearer. In the other, whose phenomena begin with ``reordering-``, it is a natural
    reordering, so that calling every other order another meaning is no way out.
    """

    name: str
    triples: Sequence[WordOrderTriple]

    def __post_init__(self) -> None:
        require(self.triples, f"{self.name}: no triples, expected at least one")

    @functools.cached_property
    def inputs(self) -> Inputs:
        """See ``Task``. All texts get the query prompt, as in ``PairsTask``."""
        texts = ([t.sentence, t.paraphrase, t.swap] for t in self.triples)
        return {"query": distinct(*texts, *itertools.chain.from_iterable(self._perturbed.values()))}

    def run(self, encoder: Encoder, reranker: OrderReranker | None = None) -> TaskResult:
        """The metrics of both halves, each where the triples have one.

        Of the paraphrases ``triplet_accuracy`` and ``swap_auc`` (could one threshold tell them from
        the swaps), of the reorderings ``reordering_accuracy`` and ``reordering_auc``.
        ``same_bag_share`` is the share of swaps with the token ids of their sentence, order aside,
        and ``order_blind_ceiling`` the rest: an encoder that does not see order ties on all others,
        and a tie is wrong. Mean cosines with the sentence: of paraphrase, swap, reordering, of a
        random sentence, of the sentence shuffled and with two neighbours exchanged.
        """
        encoded = Encoded(encoder, self.inputs)
        sentences = [t.sentence for t in self.triples]
        vectors = encoded.of(sentences, "query")
        near = cosines(vectors, encoded.of([t.paraphrase for t in self.triples], "query"))
        far = cosines(vectors, encoded.of([t.swap for t in self.triples], "query"))
        if reranker is not None:
            near = reranker.rescored([(t.sentence, t.paraphrase) for t in self.triples], near)
            far = reranker.rescored([(t.sentence, t.swap) for t in self.triples], far)
        bags = same_bag(encoder, sentences, [t.swap for t in self.triples])
        right = metrics.is_nearer(near, far, tolerance=TIE)
        reordered = np.array([t.phenomenon.startswith(REORDERING) for t in self.triples])
        distributions = {
            "paraphrase": near[~reordered],
            "reordering": near[reordered],
            "swap": far,
            "random": self._random_pairs(vectors),
            **{kind: self._moved(pairs, encoded) for kind, pairs in self._perturbed.items()},
        }
        distributions = {name: values for name, values in distributions.items() if len(values)}
        numbers = self._numbers(near, far, right, bags, reordered, distributions)
        blind = bags.any() and (np.abs(far[bags == 1] - 1) <= TIE).all()
        affected = f"{int(bags.sum())} of {len(bags)} triples score 0 by construction"
        return TaskResult(
            self.name,
            "word-order",
            len(self.triples),
            next(iter(numbers.metrics)),
            numbers.metrics,
            numbers.intervals,
            numbers.draws,
            (f"{affected}: {ORDER_BLIND}",) if blind else (),
            {
                group: {"triplet_accuracy": float(right[rows].mean()), "triples": len(rows)}
                for group, rows in self._groups.items()
            },
            distributions,
            tuple(self._failure(row, near, far) for row in worst((far - near) * (1 - right))),
        )

    @staticmethod
    def _numbers(
        near: Floats,
        far: Floats,
        right: Floats,
        bags: Floats,
        reordered: NDArray[np.bool_],
        distributions: dict[str, Floats],
    ) -> Measured:
        """The metrics of each half over its own triples, then the mean cosines."""
        parts: list[Measured] = []
        for half, accuracy, area in (
            (~reordered, "triplet_accuracy", "swap_auc"),
            (reordered, "reordering_accuracy", "reordering_auc"),
        ):
            if not half.any():
                continue
            statistics: dict[str, Statistic] = {
                accuracy: metrics.mean_of(right[half]),
                area: metrics.swap_auc_of(near[half], far[half]),
            }
            if accuracy == "triplet_accuracy" or half.all():
                statistics["same_bag_share"] = metrics.mean_of(bags[half])
                statistics["order_blind_ceiling"] = metrics.mean_of(1 - bags[half])
            parts.append(measured(int(half.sum()), statistics))
        parts += (
            measured(len(values), {f"mean_cosine_{name}": metrics.mean_of(values)})
            for name, values in distributions.items()
        )
        return Measured(
            {name: value for part in parts for name, value in part.metrics.items()},
            {name: value for part in parts for name, value in part.intervals.items()},
            {name: value for part in parts for name, value in part.draws.items()},
        )

    @functools.cached_property
    def _perturbed(self) -> dict[str, list[tuple[str, str]]]:
        """(sentence, the same with its words moved) of sentences spread over the suite, by kind."""
        step = -(-len(self.triples) // PERTURBED)
        sentences = [t.sentence for t in self.triples[::step]]
        return {
            kind: [(text, moved) for text in sentences if (moved := perturb(text)) is not None]
            for kind, perturb in (("shuffle", shuffled), ("neighbours", neighbours_swapped))
        }

    @staticmethod
    def _moved(pairs: Sequence[tuple[str, str]], encoded: Encoded) -> Floats:
        """The cosines of sentences with what became of them."""
        return cosines(
            encoded.of([sentence for sentence, _ in pairs], "query"),
            encoded.of([moved for _, moved in pairs], "query"),
        )

    def _random_pairs(self, vectors: Vectors) -> Floats:
        """The cosines of sentences with one of another place in the suite, in their language."""
        found = []
        for group, rows in self._groups.items():
            if "/" not in group and len(rows) > 1:
                found.append(cosines(vectors[rows], vectors[np.roll(rows, len(rows) // 2)]))
        return np.concatenate(found) if found else np.empty(0)

    @functools.cached_property
    def _groups(self) -> dict[str, NDArray[np.int64]]:
        """Rows of each language and of each "language/phenomenon", sorted by that name."""
        rows: defaultdict[str, list[int]] = defaultdict(list)
        for row, triple in enumerate(self.triples):
            rows[triple.language].append(row)
            rows[f"{triple.language}/{triple.phenomenon}"].append(row)
        return {name: np.array(rows[name], dtype=np.int64) for name in sorted(rows)}

    def _failure(self, row: int, near: Floats, far: Floats) -> Failure:
        triple = self.triples[row]
        return Failure(
            triple.id,
            {"sentence": triple.sentence, "paraphrase": triple.paraphrase, "swap": triple.swap},
            {"paraphrase": float(near[row]), "swap": float(far[row])},
            {"phenomenon": triple.phenomenon},
        )
