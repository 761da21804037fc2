"""Approximate cosine search: cells and codes find the candidates, stored vectors rank them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from simsearch.index.allowed import Allowed
from simsearch.index.cells import Cells
from simsearch.index.flat import FlatIndex
from simsearch.index.scoring import (
    Answer,
    best,
    checked_queries,
    exact_scores,
    float32_error,
    no_answers,
)
from simsearch.index.vectors import Rows, SegmentedVectors, Vectors

TUNED_K = 10
"""``SearchWidth`` is meant for so many answers out of all rows."""
# Further answers are further away, in more cells. Measured on a million sentences: to keep a recall
# of 0.95, cells grow with the rank of the last answer among all rows to a power of 0.17 to 0.26.
_PROBES_EXPONENT = 0.25
# Candidates for more answers than TUNED_K.
_CANDIDATES_EXPONENT = 0.5
# What comparing with a row costs, in rows whose codes are looked at, beside reading it (once for
# all queries of a batch) and multiplying (for each). Measured at 384 dimensions and 48 bytes.
_READ_COST = 250
_MULTIPLIED_COST = 18
# Candidates of all queries at a time, so that memory is bounded.
_CANDIDATES_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class SearchWidth:
    """How much is looked at for ``TUNED_K`` answers: more is slower and misses less.

    ``probes`` is the number of cells, ``candidates`` that of rows whose stored vectors are read.
    """

    probes: int
    candidates: int


class CellIndex:
    """Finds most of the nearest rows by comparing with few; scores are exact.

    ``segments`` are float32 (rows, dim) arrays of unit vectors (memory-mapped), which hold the rows
    of ``cells``. ``check`` is called with rows, int64 (n,), in no order and some several times,
    before their vectors are used for an answer, and raises if one is not what was written.
    ``transient``: see ``SegmentedVectors``.
    """

    def __init__(
        self,
        cells: Cells,
        segments: Sequence[Vectors],
        width: SearchWidth,
        check: Callable[[Rows], None] | None = None,
        *,
        transient: bool = False,
    ) -> None:
        self._vectors = SegmentedVectors(segments, transient=transient)
        if (cells.total, cells.dim) != (self._vectors.total, self._vectors.dim):
            raise ValueError(
                f"the cells hold {cells.total} rows of {cells.dim} coordinates, the segments "
                f"{self._vectors.total} of {self._vectors.dim}"
            )
        self._cells, self._width, self._check = cells, width, check
        self._flat = FlatIndex(segments, transient=transient)
        self.dim, self.total = cells.dim, cells.total

    def search(self, queries: Vectors, k: int, allowed: Allowed | None = None) -> list[Answer]:
        """As ``FlatIndex.search``, but rows can be missing for which others, less near, are there.

        There are always as many as there would be: k, or all that are allowed. Of rows that tie
        with the last those are returned that were found. Few allowed rows are all compared with.
        """
        queries = checked_queries(queries, self.dim, k)
        left = self.total if allowed is None else allowed.count
        wanted = min(int(k), left)
        if not wanted or not len(queries):
            return no_answers(queries)
        probes, count = self._wide_enough(wanted, left)
        looked_at = probes / self._cells.count * self.total
        cost = left * (_READ_COST / len(queries) + _MULTIPLIED_COST)
        if cost <= looked_at or 2 * count > left:
            return self._exact(queries, wanted, allowed)
        answers: list[Answer] = []
        at_once = max(1, _CANDIDATES_AT_ONCE // count)
        for start in range(0, len(queries), at_once):
            block = queries[start : start + at_once]
            found = self._cells.find(block, probes, count, allowed)
            answers += self._ranked(block, found, wanted)
        lacking = [i for i, (rows, _) in enumerate(answers) if len(rows) < wanted]
        if lacking:
            exact = self._exact(queries[lacking], wanted, allowed)
            for i, answer in zip(lacking, exact, strict=True):
                answers[i] = answer
        return answers

    def _wide_enough(self, wanted: int, left: int) -> tuple[int, int]:
        """Cells and candidates for ``wanted`` answers out of ``left`` rows."""
        more = max(1.0, wanted / TUNED_K)
        rank = more * self.total / left
        probes = min(self._cells.count, round(self._width.probes * rank**_PROBES_EXPONENT))
        return probes, wanted + round(self._width.candidates * more**_CANDIDATES_EXPONENT)

    def _exact(self, queries: Vectors, wanted: int, allowed: Allowed | None) -> list[Answer]:
        if self._check is not None:
            self._check(np.arange(self.total) if allowed is None else allowed.rows)
        return self._flat.search(queries, wanted, allowed)

    def _ranked(self, queries: Vectors, found: Rows, wanted: int) -> list[Answer]:
        """The best of ``found``, int64 (n, count), -1 for none; fewer than wanted if it has fewer.

        float32 products rule out most candidates: an exact score is at most ``error`` away, so what
        is lower than the last that is wanted by more than twice that can't belong to the answer.
        """
        if self._check is not None:
            self._check(found[found >= 0])
        products = self._vectors.inner_products(queries, found)
        place = products.shape[1] - wanted
        last = np.partition(products, place, axis=1)[:, place, None]
        assert self.dim is not None
        near = (products >= last - 2 * float32_error(self.dim)) & (found >= 0)
        of, rows = np.nonzero(near)[0], found[near]
        scores = exact_scores(self._vectors.gather(rows), queries[of])
        cuts = np.searchsorted(of, np.arange(len(queries) + 1)).tolist()
        return [
            best(rows[start:stop], scores[start:stop], wanted) for start, stop in pairwise(cuts)
        ]
