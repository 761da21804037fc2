"""The one formula of a score, and the order of answers."""

from __future__ import annotations

import numpy as np

from simsearch.index.vectors import Rows, Scores, Vectors

Answer = tuple[Rows, Scores]
"""Row numbers, int64 (n,), and their scores, float64 (n,), sorted by (-score, row)."""

# Rows scored at a time: bounds the float64 copies (25 MB at dimension 768).
SCORED_AT_ONCE = 4096


def exact_scores(vectors: Vectors, queries: Vectors) -> Scores:
    """The score of each row with the query beside it (or the only one), float64 (rows,).

    That is their float64 inner product, summed along the row and clipped to [-1, 1]. ``vectors`` is
    float32 (rows, dim), ``queries`` float32 (rows, dim) or (dim,). It depends on nothing but the
    two vectors: bit for bit the same in any batch and position.
    """
    scores = np.empty(len(vectors), np.float64)
    for start in range(0, len(vectors), SCORED_AT_ONCE):
        part = slice(start, start + SCORED_AT_ONCE)
        wide = (queries if queries.ndim == 1 else queries[part]).astype(np.float64)
        scores[part] = (vectors[part].astype(np.float64) * wide).sum(axis=1)
    clipped: Scores = np.clip(scores, -1.0, 1.0)
    return clipped


def best(rows: Rows, scores: Scores, k: int) -> Answer:
    """The ``k`` best of ``rows``, and all that tie with the last of them."""
    if len(rows) > k:
        last = np.partition(scores, len(scores) - k)[len(scores) - k]
        rows, scores = rows[scores >= last], scores[scores >= last]
    order = np.lexsort((rows, -scores))
    return rows[order], scores[order]


def float32_error(dim: int) -> float:
    """How far a float32 inner product of two unit vectors can be from the true one.

    Summed in any order, the error is at most dim * 2**-24 * (|x| . |y|), and |x| . |y| <= 1
    (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1). Doubled for vectors that
    are of length 1 only nearly, and never below 1e-5.
    """
    return max(1e-5, dim * 2.0**-23)


def checked_queries(queries: Vectors, dim: int | None, k: int) -> Vectors:
    """``queries`` as C-contiguous float32 (n, dim).

    Raises ValueError for ``k`` < 1, another dimension or a value not finite.
    """
    queries = np.ascontiguousarray(queries, dtype=np.float32)
    if k < 1:
        raise ValueError(f"k is {k}; at least one row must be asked for")
    if queries.ndim != 2 or (dim is not None and queries.shape[1] != dim):
        raise ValueError(f"queries have shape {queries.shape}, the index takes (n, {dim})")
    if not np.isfinite(queries).all():
        raise ValueError("queries hold a value that is not finite")
    return queries


def no_answers(queries: Vectors) -> list[Answer]:
    """An answer without rows for each query."""
    return [(np.empty(0, np.int64), np.empty(0, np.float64)) for _ in queries]
