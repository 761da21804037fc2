"""What a score means in this corpus: where it stands among the scores of random pairs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

# Pairs scored at a time: bounds the float64 copies (13 MB at dimension 768).
SCORED_AT_ONCE = 1024
PAIRS = 10_000
"""How many pairs are drawn."""


def sample_pair_scores(
    vectors: Callable[[Rows], Vectors], documents: Rows, *, pairs: int = PAIRS, seed: int = 0
) -> Vectors:
    """Cosines of random pairs of rows of different documents, float32 (pairs,), ascending.

    ``vectors`` gathers rows as float32 (n, dim) unit vectors; ``documents``, int64 (rows,) and
    ascending, says which document each row is of. All pairs, each once, where the rows make no more
    than ``pairs``; none where there are fewer than two documents. Equal seeds give equal samples.
    """
    left, right = _pairs(documents, pairs, np.random.default_rng(seed))
    scores = np.empty(len(left), np.float32)
    for start in range(0, len(left), SCORED_AT_ONCE):
        part = slice(start, start + SCORED_AT_ONCE)
        a, b = vectors(left[part]), vectors(right[part])
        scores[part] = (a.astype(np.float64) * b).sum(axis=1)
    return np.sort(np.clip(scores, -1.0, 1.0))


def percentile(score: float, sample: Vectors) -> float | None:
    """Share of ``sample`` (ascending) that is lower than ``score``, 0 to 100; a tie counts half.

    ``None`` for an empty sample. The score is rounded to float32 first, as the sample is.
    """
    if not len(sample):
        return None
    rounded = np.float32(score)
    lower = np.searchsorted(sample, rounded, side="left")
    not_higher = np.searchsorted(sample, rounded, side="right")
    return 100.0 * float(lower + not_higher) / (2 * len(sample))


def _pairs(documents: Rows, pairs: int, rng: np.random.Generator) -> tuple[Rows, Rows]:
    """Row numbers of the pairs, int64 (pairs,) each, never two rows of one document."""
    total = len(documents)
    if total * (total - 1) // 2 <= pairs:
        left, right = np.triu_indices(total, k=1)
        differ = documents[left] != documents[right]
        return left[differ].astype(np.int64), right[differ].astype(np.int64)
    if documents[0] == documents[-1]:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    left = rng.integers(0, total, pairs)
    first = np.searchsorted(documents, documents[left], side="left")
    size = np.searchsorted(documents, documents[left], side="right") - first
    right = rng.integers(0, total - size)
    return left, right + size * (right >= first)  # the document itself is stepped over
