"""What the tasks report: rank correlation, ranking quality, word order, and how sure we are.

Pure functions on NumPy arrays. A metric that its input leaves undefined (a correlation with a
constant, an area under the curve of one class) is ``nan``; an input that makes no sense (lengths
that differ, a label that is not 0 or 1, a score that is nan) is a ``ValueError``.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


def spearman(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Spearman's rank correlation of two arrays of shape (n,), in [-1, 1].

    Pearson's correlation of the ranks, where equal values share the mean of their ranks. ``nan``
    where either array is constant, or n < 2. Source: Spearman (1904).
    """
    label_ranks, score_ranks = (_average_ranks(values) for values in _paired(labels, scores))
    middle = (len(label_ranks) + 1) / 2
    x, y = label_ranks - middle, score_ranks - middle
    spread = math.sqrt(float(x @ x) * float(y @ y))
    return float(x @ y) / spread if spread else math.nan


def auc(labels01: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Area under the ROC curve: P(score of a 1 > score of a 0), where a tie counts half.

    Both of shape (n,), labels 0 or 1. ``nan`` where a class is missing. Computed from the sum of
    the ranks of the 1s. Source: Mann and Whitney (1947).
    """
    positive, values = _labelled(labels01, scores)
    ones = int(positive.sum())
    pairs = ones * (len(positive) - ones)
    if not pairs:
        return math.nan
    return (float(_average_ranks(values)[positive].sum()) - ones * (ones + 1) / 2) / pairs


def average_precision(labels01: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Sum over the distinct scores, highest first, of (gain in recall) * precision.

    Both of shape (n,), labels 0 or 1. All items of one score are taken together, so the order of
    ties plays no part. ``nan`` where there is no 1. Source: the definition of scikit-learn's
    ``average_precision_score`` (which gives 0 where there is no 1).
    """
    positive, values = _labelled(labels01, scores)
    ones = int(positive.sum())
    if not ones:
        return math.nan
    order = np.argsort(-values)
    ranked = values[order]
    last = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)
    found = np.cumsum(positive[order])[last]  # ones at or above each distinct score
    return float((np.diff(found, prepend=0) * found / (last + 1)).sum()) / ones


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

    Shapes (n,) and (m,). Unlike ``triplet_accuracy`` it compares across sentences: it asks whether
    one threshold could tell paraphrases from swaps. ``nan`` where either is empty.
    """
    paraphrases, swaps = _vector(paraphrase_scores), _vector(swap_scores)
    labels = np.repeat([1, 0], [len(paraphrases), len(swaps)])
    return auc(labels, np.concatenate([paraphrases, swaps]))


def triplet_accuracy(
    paraphrase_scores: npt.ArrayLike, swap_scores: npt.ArrayLike, *, tolerance: float = 0.0
) -> float:
    """Share of the sentences whose paraphrase scores higher than their swap; a tie is wrong.

    Both of shape (n,), row by row of one sentence. Scores that differ by ``tolerance`` or less are
    a tie. ``nan`` where n = 0.
    """
    paraphrases, swaps = _paired(paraphrase_scores, swap_scores)
    return float((paraphrases > swaps + tolerance).mean()) if len(swaps) else math.nan


def bootstrap_interval(
    statistic: Callable[[Indices], float],
    n: int,
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval (low, high) of a statistic of n items.

    ``statistic`` takes the indices of a resample, int64 (n,), drawn with replacement from 0..n-1.
    Equal n, ``resamples`` and ``seed`` give equal resamples, so intervals of several statistics
    rest on the same draws. A resample whose statistic is ``nan`` (such as one with a single class)
    is dropped; (nan, nan) where all are. Source: Efron (1979), percentile method.

    Raises ``ValueError`` where n or ``resamples`` is below 1 or ``level`` is not between 0 and 1.
    """
    if n < 1 or resamples < 1 or not 0 < level < 1:
        raise ValueError(
            f"n = {n}, resamples = {resamples}, level = {level}: "
            "expected n and resamples of at least 1 and a level between 0 and 1"
        )
    rng = np.random.default_rng(seed)
    drawn = np.array([statistic(rng.integers(0, n, n)) for _ in range(resamples)])
    defined = drawn[~np.isnan(drawn)]
    if not len(defined):
        return math.nan, math.nan
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _average_ranks(values: Floats) -> Floats:
    """Ranks from 1, where equal values share the mean of their ranks: float64 (n,)."""
    order = np.argsort(values)
    ranked = values[order]
    first = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1])[: len(ranked)])
    sizes = np.diff(first, append=len(ranked))  # how many items share each distinct value
    ranks = np.empty(len(ranked))
    ranks[order] = np.repeat(first + (sizes + 1) / 2, sizes)
    return ranks


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
