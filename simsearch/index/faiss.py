"""Exact cosine search: FAISS finds the candidates, one plain formula scores them."""

from __future__ import annotations

from collections.abc import Sequence

import faiss
import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]

# Candidates fetched beyond k at first, so that a few ties need no second search.
SPARE = 16
# Rows scored at a time: bounds the float64 copies (25 MB at dimension 768).
SCORED_AT_ONCE = 4096


class FlatIndex:
    """Every row is compared with the query; the vectors stay where they are (memory-mapped).

    ``segments`` are float32 (rows, dim) arrays of unit vectors, finite, all of one ``dim``. Row
    numbers run through them in order.

    The score of a row is its float64 inner product with the query, summed along the row and clipped
    to [-1, 1]. It depends on nothing but the two vectors. FAISS's own scores don't have that
    property: it uses BLAS for large batches and SIMD code otherwise, and the two differ in the last
    bits, so ties would break differently for a query alone and in a batch. So FAISS only proposes
    candidates, enough of them to be sure that no better row is left out.
    """

    def __init__(self, segments: Sequence[Vectors]) -> None:
        dims = {segment.shape[1] for segment in segments}
        if len(dims) > 1:
            raise ValueError(f"segments of one index have one dimension, not {sorted(dims)}")
        self._segments = [segment for segment in segments if len(segment)]
        ends = np.cumsum([len(segment) for segment in self._segments], dtype=np.int64)
        self._starts = [0, *ends.tolist()][:-1]
        self.dim = dims.pop() if dims else None
        self.total = int(ends[-1]) if self._segments else 0

    def search(self, queries: Vectors, k: int) -> list[tuple[Rows, Scores]]:
        """The nearest rows of each query: (row numbers, scores), sorted by (-score, row).

        ``queries`` is float32 (n, dim), unit vectors. Each answer holds the min(k, total) best rows
        and every further row whose score equals the last of them, so that the caller can break
        ties as it likes. Raises ValueError for k < 1, another dimension or a value not finite.
        """
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        self._check(queries, k)
        wanted = min(int(k), self.total)
        if not wanted:
            return [(np.empty(0, np.int64), np.empty(0, np.float64)) for _ in queries]
        first = [_candidates(queries, segment, wanted + SPARE) for segment in self._segments]
        return [
            self._exact(query, wanted, [(rows[i], floors[i]) for rows, floors in first])
            for i, query in enumerate(queries)
        ]

    def _check(self, queries: Vectors, k: int) -> None:
        if k < 1:
            raise ValueError(f"k is {k}; at least one row must be asked for")
        if queries.ndim != 2 or (self.dim is not None and queries.shape[1] != self.dim):
            raise ValueError(f"queries have shape {queries.shape}, the index takes (n, {self.dim})")
        if not np.isfinite(queries).all():
            raise ValueError("queries hold a value that is not finite")

    def _exact(
        self, query: Vectors, wanted: int, found: list[tuple[Rows, float]]
    ) -> tuple[Rows, Scores]:
        """Score the candidates ``found`` per segment, fetching more until none can be missing.

        A row that FAISS left out of a segment has a FAISS score of at most that segment's worst
        candidate (``floor``). Where the floor, plus all that float32 can be wrong by, is below the
        k-th exact score, the row can neither enter the best k nor tie with the last of them.
        """
        scores = [_scores(seg, r, query) for seg, (r, _) in zip(self._segments, found, strict=True)]
        while True:
            everything = np.concatenate(scores)
            last = np.partition(everything, len(everything) - wanted)[len(everything) - wanted]
            open_ends = [
                i
                for i, (rows, floor) in enumerate(found)
                if len(rows) < len(self._segments[i]) and floor + _float32_error(len(query)) >= last
            ]
            if not open_ends:
                break
            for i in open_ends:
                rows, floors = _candidates(query[None], self._segments[i], 2 * len(found[i][0]))
                found[i] = (rows[0], floors[0])
                scores[i] = _scores(self._segments[i], rows[0], query)
        numbers = np.concatenate(
            [start + rows for start, (rows, _) in zip(self._starts, found, strict=True)]
        )
        kept = everything >= last
        numbers, everything = numbers[kept], everything[kept]
        order = np.lexsort((numbers, -everything))
        return numbers[order], everything[order]


def _candidates(queries: Vectors, segment: Vectors, count: int) -> tuple[Rows, Scores]:
    """FAISS's best rows, int64 (n, count), and for each query the score of the worst, (n,).

    Never asks for more rows than there are, so FAISS has nothing to pad with -1.
    """
    count = min(count, len(segment))
    scores, rows = faiss.knn(queries, segment, count, metric=faiss.METRIC_INNER_PRODUCT)
    # Clipped like the exact scores, so that the two compare at the very ends as well.
    return rows, np.clip(scores.min(axis=1).astype(np.float64), -1.0, 1.0)


def _scores(segment: Vectors, rows: Rows, query: Vectors) -> Scores:
    """The exact scores, float64 (len(rows),): bit for bit the same in any batch and position."""
    wide = query.astype(np.float64)
    chunks = [
        (segment[rows[start : start + SCORED_AT_ONCE]].astype(np.float64) * wide).sum(axis=1)
        for start in range(0, len(rows), SCORED_AT_ONCE)
    ]
    scores: Scores = np.clip(np.concatenate(chunks), -1.0, 1.0)
    return scores


def _float32_error(dim: int) -> float:
    """How far a float32 inner product of two unit vectors can be from the true one.

    Summed in any order, the error is at most dim * 2**-24 * (|x| . |y|), and |x| . |y| <= 1
    (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1). Doubled for vectors that
    are of length 1 only nearly, and never below 1e-5.
    """
    return max(1e-5, dim * 2.0**-23)
