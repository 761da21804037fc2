"""Exact cosine search: FAISS finds the candidates, one plain formula scores them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from simsearch.index import backend
from simsearch.index.allowed import Allowed
from simsearch.index.scoring import (
    Answer,
    best,
    checked_queries,
    exact_scores,
    float32_error,
    no_answers,
)
from simsearch.index.vectors import Rows, Scores, SegmentedVectors, Vectors

# Candidates fetched beyond k at first, so that a few ties need no second search.
SPARE = 16
# Where fewer rows than this share of all are allowed, they are gathered and nothing else is read.
_GATHERED_SHARE = 1 / 8
# Rows gathered at a time (25 MB at dimension 384), from one segment or from several.
_GATHERED_AT_ONCE = 16_384
# FAISS multiplies matrices from so many queries on, but not where it has to leave out rows.
_MATRIX_QUERIES = 20
# So many rows that aren't allowed are rather found and dropped than left out beforehand.
_DROPPED = 256


class FlatIndex:
    """Every row is compared with the query; the vectors stay where they are (memory-mapped).

    ``segments`` are float32 (rows, dim) arrays of unit vectors, finite, all of one ``dim``. Row
    numbers run through them in order.

    The score of a row is ``scoring.exact_scores``: it depends on nothing but the two vectors.
    FAISS's own scores don't have that property: it uses BLAS for large batches and SIMD code
    otherwise, and the two differ in the last bits, so ties would break differently for a query
    alone and in a batch. So FAISS only proposes candidates, enough of them to be sure that no
    better row is left out.

    ``transient``: see ``SegmentedVectors``.
    """

    def __init__(self, segments: Sequence[Vectors], *, transient: bool = False) -> None:
        self._vectors = SegmentedVectors(segments, transient=transient)
        self.dim, self.total = self._vectors.dim, self._vectors.total

    def search(self, queries: Vectors, k: int, allowed: Allowed | None = None) -> list[Answer]:
        """The nearest rows of each query: (row numbers, scores), sorted by (-score, row).

        ``queries`` is float32 (n, dim), unit vectors; ``allowed``, of all rows of the index, says
        which of them may be in an answer (None: any). Each answer holds the best k of these rows,
        or all if there are fewer, and every further one whose score equals the last of them, so
        that the caller can break ties as it likes. Raises ValueError for k < 1, another dimension
        or a value not finite.
        """
        queries = checked_queries(queries, self.dim, k)
        wanted = min(int(k), self.total if allowed is None else allowed.count)
        if not wanted or not len(queries):
            return no_answers(queries)
        parts = list(_parts(self._vectors, allowed, len(queries)))
        found = [part.candidates(queries, wanted + SPARE) for part in parts]
        return [
            _exact(query, wanted, parts, [candidates[i] for candidates in found])
            for i, query in enumerate(queries)
        ]


@dataclass(frozen=True)
class _Candidates:
    """Some rows of a part, their exact scores, and what no other row of it can have more than."""

    rows: Rows
    scores: Scores
    bound: float


@dataclass(frozen=True, eq=False)
class _Part:
    """Rows to compare with: all, or some, of one segment, or rows gathered from anywhere.

    ``rows`` are the numbers of gathered rows; of a segment they begin at ``start``.
    """

    vectors: SegmentedVectors
    segment: int = 0
    start: int = 0
    allowed: Allowed | None = None
    rows: Rows | None = None

    @property
    def size(self) -> int:
        """How many rows there are to compare with."""
        if self.rows is not None:
            return len(self.rows)
        if self.allowed is not None:
            return self.allowed.count
        return len(self.vectors.segments[self.segment])

    def candidates(self, queries: Vectors, count: int) -> list[_Candidates]:
        """For each query the ``count`` best rows by FAISS, or all."""
        # Never asks for more rows than there are, so FAISS has nothing to pad with -1.
        count = min(count, self.size)
        if self.rows is not None:
            table, bits = self.vectors.gather(self.rows), None
        else:
            table = self.vectors.segments[self.segment]
            bits = None if self.allowed is None else self.allowed.bits
        dropped = 0
        if self.allowed is not None and len(queries) >= _MATRIX_QUERIES:
            dropped, bits = len(table) - self.size, None
        found = zip(queries, *backend.nearest(queries, table, count + dropped, bits), strict=True)
        scored = [self._scored(*one, count, table) for one in found]
        if self.rows is None:
            self.vectors.done_with(self.segment)
        return scored

    def _scored(
        self, query: Vectors, products: Vectors, local: Rows, count: int, table: Vectors
    ) -> _Candidates:
        """The best ``count`` of the rows ``local``, which are sorted by ``products``."""
        if len(local) > count and self.allowed is not None:
            kept = np.flatnonzero(self.allowed.mask[local])[:count]
            products, local = products[kept], local[kept]
        numbers = local + self.start if self.rows is None else self.rows[local]
        scores = exact_scores(table[local], query)
        if count == self.size:
            return _Candidates(numbers, scores, -np.inf)
        # A row that was left out has a FAISS score of at most the worst one's. Clipped like the
        # exact scores, so that the two compare at the very ends as well.
        bound = float(np.clip(np.float64(products[-1]), -1.0, 1.0)) + float32_error(len(query))
        return _Candidates(numbers, scores, bound)


def _parts(vectors: SegmentedVectors, allowed: Allowed | None, queries: int) -> Iterator[_Part]:
    """The allowed rows, in the parts in which it costs least to compare them with the queries."""
    if allowed is not None and allowed.count < allowed.total * _GATHERED_SHARE:
        yield from _gathered(vectors, allowed.rows)
        return
    for i, (start, stop) in enumerate(pairwise(vectors.starts)):
        here = None if allowed is None else allowed.part(start, stop)
        if here is None or here.count == here.total:
            yield _Part(vectors, i, start)
        elif queries < _MATRIX_QUERIES or here.total - here.count <= _DROPPED:
            yield _Part(vectors, i, start, here)
        else:
            yield from _gathered(vectors, here.rows + start)


def _gathered(vectors: SegmentedVectors, rows: Rows) -> Iterator[_Part]:
    for start in range(0, len(rows), _GATHERED_AT_ONCE):
        yield _Part(vectors, rows=rows[start : start + _GATHERED_AT_ONCE])


def _exact(query: Vectors, wanted: int, parts: list[_Part], found: list[_Candidates]) -> Answer:
    """The best of the candidates ``found`` in each part, fetching more until none can be missing.

    Where a part's bound is below the k-th exact score, no other row of it can enter the best k nor
    tie with the last of them.
    """
    while True:
        scores = np.concatenate([candidates.scores for candidates in found])
        last = np.partition(scores, len(scores) - wanted)[len(scores) - wanted]
        open_ends = [i for i, candidates in enumerate(found) if candidates.bound >= last]
        if not open_ends:
            break
        for i in open_ends:
            (found[i],) = parts[i].candidates(query[None], 2 * len(found[i].rows))
    return best(np.concatenate([candidates.rows for candidates in found]), scores, wanted)
