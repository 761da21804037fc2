"""One ranking out of several: reciprocal rank fusion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

K = 60
"""How little it matters to be first and not tenth; the value of the paper."""

Numbers = npt.NDArray[np.int64]


def reciprocal_rank_fusion(
    rankings: Sequence[Numbers],
) -> tuple[Numbers, npt.NDArray[np.float64]]:
    """All that is in any of the rankings, best first, by the sum of 1 / (K + rank) over them.

    A ranking is int64 (n,), of distinct numbers, the best first; its first has rank 1. What it
    lacks gets nothing from it. Numbers, int64 (m,), and scores, float64 (m,), are ordered by
    (-score, number).

    Source: Cormack, Clarke & Büttcher (2009), Reciprocal Rank Fusion Outperforms Condorcet and
    Individual Rank Learning Methods.
    """
    ranked = np.concatenate([np.empty(0, np.int64), *rankings])
    shares = [1 / (K + np.arange(1, len(ranking) + 1)) for ranking in rankings]
    numbers, places = np.unique(ranked, return_inverse=True)
    scores = np.zeros(len(numbers))
    np.add.at(scores, places, np.concatenate([np.empty(0), *shares]))
    order = np.lexsort((numbers, -scores))
    return numbers[order], scores[order]
