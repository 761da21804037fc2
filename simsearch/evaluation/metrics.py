"""What the tasks report: rank correlation, ranking quality, classification, word order.

Pure functions on NumPy arrays. A metric that its input leaves undefined (a correlation with a
constant, an area under the curve of one class) is ``nan``; an input that makes no sense (lengths
that differ, a label that is not 0 or 1, a score that is nan) is a ``ValueError``.

The metrics that are no mean over items come as a ``Statistic`` too (``spearman_of`` …): a function
of how often each item counts, which is what a bootstrap asks for (bootstrap.py). Sorting is done
once, when it is made, and not once a resample.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Statistic = Callable[[Floats], Floats]
"""From weights (b, n), how often each of n items counts in each of b samples, to b values."""


def spearman(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Spearman's rank correlation of two arrays of shape (n,), in [-1, 1].

    Pearson's correlation of the ranks, where equal values share the mean of their ranks. ``nan``
    where either array is constant, or n < 2. Source: Spearman (1904).
    """
    return _once(spearman_of(labels, scores), len(_vector(labels)))


def spearman_of(labels: npt.ArrayLike, scores: npt.ArrayLike) -> Statistic:
    """``spearman`` as a statistic of its n items."""
    by_label, by_score = (_Ranking(values) for values in _paired(labels, scores))

    def statistic(weights: Floats) -> Floats:
        middle = (weights.sum(axis=1, keepdims=True) + 1) / 2
        x, y = by_label.ranks(weights) - middle, by_score.ranks(weights) - middle
        spread = np.sqrt((weights * x * x).sum(axis=1) * (weights * y * y).sum(axis=1))
        return _ratio((weights * x * y).sum(axis=1), spread)

    return statistic


def auc(labels01: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Area under the ROC curve: P(score of a 1 > score of a 0), where a tie counts half.

    Both of shape (n,), labels 0 or 1. ``nan`` where a class is missing. Computed from the sum of
    the ranks of the 1s. Source: Mann and Whitney (1947).
    """
    return _once(auc_of(labels01, scores), len(_vector(scores)))


def auc_of(labels01: npt.ArrayLike, scores: npt.ArrayLike) -> Statistic:
    """``auc`` as a statistic of its n items."""
    positive, values = _labelled(labels01, scores)
    by_score = _Ranking(values)

    def statistic(weights: Floats) -> Floats:
        ones = weights[:, positive].sum(axis=1)
        pairs = ones * (weights.sum(axis=1) - ones)
        ranks = (weights * by_score.ranks(weights))[:, positive].sum(axis=1)
        return _ratio(ranks - ones * (ones + 1) / 2, pairs)

    return statistic


def average_precision(labels01: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Sum over the distinct scores, highest first, of (gain in recall) * precision.

    Both of shape (n,), labels 0 or 1. All items of one score are taken together, so the order of
    ties plays no part. ``nan`` where there is no 1. Source: the definition of scikit-learn's
    ``average_precision_score`` (which gives 0 where there is no 1).
    """
    return _once(average_precision_of(labels01, scores), len(_vector(scores)))


def average_precision_of(labels01: npt.ArrayLike, scores: npt.ArrayLike) -> Statistic:
    """``average_precision`` as a statistic of its n items."""
    positive, values = _labelled(labels01, scores)
    falling = _Ranking(-values)

    def statistic(weights: Floats) -> Floats:
        gained = falling.by_value(weights * positive)  # ones at each distinct score, best first
        found, seen = np.cumsum(gained, axis=1), np.cumsum(falling.by_value(weights), axis=1)
        # a sample may have nothing at the best scores: nothing seen, nothing gained
        return _ratio((gained * found / np.maximum(seen, 1)).sum(axis=1), gained.sum(axis=1))

    return statistic


def mean_of(values: npt.ArrayLike) -> Statistic:
    """The mean of n values as a statistic of its items."""
    items = _vector(values)

    def statistic(weights: Floats) -> Floats:
        return _ratio((weights * items).sum(axis=1), weights.sum(axis=1))

    return statistic


def ndcg_at(k: int, ranked_relevances: npt.ArrayLike, ideal_relevances: npt.ArrayLike) -> float:
    """Discounted cumulative gain of the first k, over the best that any ranking could reach.

    ``ranked_relevances``: relevance of each retrieved document, best first. ``ideal_relevances``:
    all judged relevances of the query, in any order. The gain is the relevance itself (below 0
    counts as 0), discounted by log2(rank + 1), as trec_eval's ``ndcg_cut`` and ir_measures'
    ``nDCG@k``. ``nan`` where no judgement is above 0. Source: Järvelin and Kekäläinen (2002).
    """
    ideal = _discounted_gain(np.sort(_vector(ideal_relevances))[::-1][:k])
    return _discounted_gain(_vector(ranked_relevances)[:k]) / ideal if ideal else math.nan


def recall_at(k: int, ranked_relevances: npt.ArrayLike, ideal_relevances: npt.ArrayLike) -> float:
    """Share of the relevant documents (relevance > 0) that are among the first k.

    Arguments as for ``ndcg_at``. ``nan`` where no judgement is above 0.
    """
    relevant = int((_vector(ideal_relevances) > 0).sum())
    return int((_vector(ranked_relevances)[:k] > 0).sum()) / relevant if relevant else math.nan


def reciprocal_rank_at(k: int, ranked_relevances: npt.ArrayLike) -> float:
    """1 / rank of the first relevant document (relevance > 0) of the first k; 0 if there is none.

    ``ranked_relevances`` as for ``ndcg_at``.
    """
    hits = np.flatnonzero(_vector(ranked_relevances)[:k] > 0)
    return 1 / (int(hits[0]) + 1) if len(hits) else 0.0


def swap_auc(paraphrase_scores: npt.ArrayLike, swap_scores: npt.ArrayLike) -> float:
    """P(a paraphrase's score > a swap's score) over all cross pairs, where a tie counts half.

    Both of shape (n,). Unlike ``triplet_accuracy`` it compares across sentences: it asks whether
    one threshold could tell paraphrases from swaps. ``nan`` where n = 0.
    """
    return _once(swap_auc_of(paraphrase_scores, swap_scores), len(_vector(swap_scores)))


def swap_auc_of(paraphrase_scores: npt.ArrayLike, swap_scores: npt.ArrayLike) -> Statistic:
    """``swap_auc`` as a statistic of its n sentences, each of which brings both its scores."""
    paraphrases, swaps = _paired(paraphrase_scores, swap_scores)
    both = auc_of(np.repeat([1, 0], len(swaps)), np.concatenate([paraphrases, swaps]))
    return lambda weights: both(np.tile(weights, 2))


def is_nearer(
    paraphrase_scores: npt.ArrayLike, swap_scores: npt.ArrayLike, *, tolerance: float = 0.0
) -> Floats:
    """1 for each sentence whose paraphrase scores higher than its swap, else 0: float64 (n,).

    Both of shape (n,), row by row of one sentence. Scores that differ by ``tolerance`` or less are
    a tie, and a tie is 0. The mean is the triplet accuracy.
    """
    paraphrases, swaps = _paired(paraphrase_scores, swap_scores)
    return (paraphrases > swaps + tolerance).astype(np.float64)


def vote(labels: Sequence[str]) -> str:
    """The label that most of the nearest neighbours have; of several, the nearest one's.

    ``labels``, at least one, are those of the neighbours, nearest first. Source: the k-nearest-
    neighbour rule (Cover and Hart 1967), with ties given to the nearest.
    """
    counts = Counter(labels)
    most = max(counts.values())
    return next(label for label in labels if counts[label] == most)


def macro_f1_of(labels: Sequence[str], predicted: Sequence[str]) -> Statistic:
    """The mean over the classes of F1 = 2 TP / (2 TP + FP + FN), as a statistic of the n items.

    The classes are those of ``labels`` and ``predicted``; one that a sample lacks in both is left
    out. Source: the definition of scikit-learn's ``f1_score(average="macro")``.
    """
    classes = {name: i for i, name in enumerate(sorted({*labels, *predicted}))}
    truth, guess = (np.array([classes[name] for name in names]) for names in (labels, predicted))

    def one(weights: Floats) -> float:
        hits = np.bincount(truth, weights * (truth == guess), len(classes))
        shares = np.bincount(truth, weights, len(classes)) + np.bincount(
            guess, weights, len(classes)
        )
        return float((2 * hits[shares > 0] / shares[shares > 0]).mean())

    return lambda weights: np.array([one(row) for row in weights])


class _Ranking:
    """Values sorted once, for their ranks in any sample of them."""

    def __init__(self, values: Floats) -> None:
        self._order = np.argsort(values, kind="stable")
        ranked = values[self._order]
        new = np.append(True, ranked[1:] != ranked[:-1])[: len(ranked)]
        self._first = np.flatnonzero(new)  # of each distinct value
        self._group = np.cumsum(new) - 1

    def by_value(self, weights: Floats) -> Floats:
        """The weight of each distinct value, rising: (b, distinct) from (b, n)."""
        if not len(self._first):
            return weights
        return np.add.reduceat(weights[:, self._order], self._first, axis=1)

    def ranks(self, weights: Floats) -> Floats:
        """Ranks from 1 of the items (b, n), where equal values share the mean of their ranks."""
        sizes = self.by_value(weights)
        middle = np.cumsum(sizes, axis=1) - (sizes - 1) / 2
        ranks = np.empty_like(weights)
        ranks[:, self._order] = middle[:, self._group]
        return ranks


def _once(statistic: Statistic, n: int) -> float:
    """The statistic of all n items, each counted once; ``nan`` where there are none."""
    return float(statistic(np.ones((1, n)))[0]) if n else math.nan


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Their quotient; ``nan`` where the denominator is 0."""
    defined = denominator != 0
    return np.where(defined, numerator / np.where(defined, denominator, 1), np.nan)


def _discounted_gain(relevances: Floats) -> float:
    discounts = np.log2(np.arange(2, len(relevances) + 2))
    return float((np.maximum(relevances, 0) / discounts).sum())


def _vector(values: npt.ArrayLike) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or np.isnan(array).any():
        raise ValueError(f"shape {array.shape}: expected one dimension and no nan in it")
    return array


def _paired(first: npt.ArrayLike, second: npt.ArrayLike) -> tuple[Floats, Floats]:
    x, y = _vector(first), _vector(second)
    if len(x) != len(y):
        raise ValueError(f"lengths {len(x)} and {len(y)}: expected one value for each item in both")
    return x, y


def _labelled(
    labels01: npt.ArrayLike, scores: npt.ArrayLike
) -> tuple[npt.NDArray[np.bool_], Floats]:
    labels, values = _paired(labels01, scores)
    positive = labels == 1
    other = labels[~positive & (labels != 0)]
    if len(other):
        raise ValueError(f"label {other[0]:g}: expected 0 or 1")
    return positive, values
