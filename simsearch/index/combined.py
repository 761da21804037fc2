"""An approximate index and rows that were added since, searched as one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simsearch.index.allowed import Allowed
from simsearch.index.approximate import CellIndex
from simsearch.index.flat import FlatIndex
from simsearch.index.scoring import Answer, best, checked_queries
from simsearch.index.vectors import Vectors


class CombinedIndex:
    """``first`` holds rows 0 to its total - 1, ``added`` the rows after it, counted from its own 0.

    Their answers are merged: approximate for the first, exact for the added.
    """

    def __init__(self, first: CellIndex, added: Sequence[Vectors]) -> None:
        self._first, self._added = first, FlatIndex(added)
        self.dim = first.dim
        self.total = first.total + self._added.total

    def search(self, queries: Vectors, k: int, allowed: Allowed | None = None) -> list[Answer]:
        """As ``CellIndex.search``, over all rows."""
        queries = checked_queries(queries, self.dim, k)
        edge = self._first.total
        if not self._added.total:
            return self._first.search(queries, k, allowed)
        before = None if allowed is None else allowed.part(0, edge)
        after = None if allowed is None else allowed.part(edge, self.total)
        here = self._first.search(queries, k, before)
        there = self._added.search(queries, k, after)
        return [
            best(np.concatenate([rows, added + edge]), np.concatenate([scores, new_scores]), k)
            for (rows, scores), (added, new_scores) in zip(here, there, strict=True)
        ]
