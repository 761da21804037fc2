"""Vectors in several segments, seen as one table: rows gathered, and compared with queries."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from simsearch.index import backend

Vectors = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]

# From so many queries on, FAISS' threads gain more than a call for each segment costs.
_MANY = 4


def unmap_pages(array: npt.NDArray[np.generic]) -> None:
    """Take the pages of a mapped array out of the process; they stay in the system's cache.

    Nothing happens to arrays in memory, nor on systems without ``madvise``.
    """
    base: object = array
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)


class SegmentedVectors:
    """``segments``, float32 (rows, dim) arrays of one ``dim``, as one table of ``total`` rows.

    Row numbers run through the segments in order; segment i begins at row ``starts[i]``. Nothing
    is copied. Of ``transient`` ones that are memory-mapped, no more than one stays in memory: for
    going through all of them once. Raises ValueError for segments of different dimensions.
    """

    def __init__(self, segments: Sequence[Vectors], *, transient: bool = False) -> None:
        dims = {segment.shape[1] for segment in segments}
        if len(dims) > 1:
            raise ValueError(f"segments of one index have one dimension, not {sorted(dims)}")
        self.segments = [segment for segment in segments if len(segment)]
        sizes = [len(segment) for segment in self.segments]
        self.starts: list[int] = [0, *np.cumsum(sizes, dtype=np.int64).tolist()]
        self.total = self.starts[-1]
        self.dim = dims.pop() if dims else None
        self._transient = transient

    def done_with(self, segment: int) -> None:
        """Let the memory of a transient segment go. What reads it again maps it anew."""
        if self._transient:
            unmap_pages(self.segments[segment])

    def gather(self, rows: Rows) -> Vectors:
        """The vectors of ``rows``, int64 (n,), in the order asked: float32 (n, dim)."""
        if not len(rows):
            return np.empty((0, self.dim or 0), np.float32)
        order = np.argsort(rows, kind="stable")
        ascending = rows[order]
        if ascending[0] < 0 or ascending[-1] >= self.total:
            raise IndexError(f"rows {ascending[0]} to {ascending[-1]} of {self.total}")
        found = np.empty((len(rows), self.segments[0].shape[1]), np.float32)
        in_order = bool((ascending == rows).all())
        for i, start, stop in self._cuts(ascending):
            local = ascending[start:stop] - self.starts[i]
            if in_order:  # straight into its place; "clip", as NumPy would buffer otherwise
                self.segments[i].take(local, axis=0, out=found[start:stop], mode="clip")
            else:
                found[order[start:stop]] = self.segments[i][local]
            self.done_with(i)
        return found

    def inner_products(self, queries: Vectors, rows: Rows) -> Vectors:
        """Inner products of each query with its own rows, as float32 sums to them.

        ``queries`` is float32 (n, dim), ``rows`` int64 (n, count); the result is float32
        (n, count), minus infinity where the row is negative.
        """
        flat = rows.ravel()
        order = np.argsort(flat, kind="stable")
        order = order[np.searchsorted(flat[order], 0) :]
        ascending = flat[order]
        products = np.full(len(flat), -np.inf, np.float32)
        asked = order // rows.shape[1]
        if len(queries) < _MANY:
            vectors = self.gather(ascending)
            products[order] = np.einsum("ij,ij->i", vectors, queries[asked])
        else:
            for i, start, stop in self._cuts(ascending):
                here = slice(start, stop)
                products[order[here]] = backend.inner_products(
                    queries, asked[here], self.segments[i], ascending[here] - self.starts[i]
                )
                self.done_with(i)
        return products.reshape(rows.shape)

    def _cuts(self, ascending: Rows) -> list[tuple[int, int, int]]:
        """Which part of ``ascending`` rows lies in which segment: (segment, start, stop)."""
        cuts = np.searchsorted(ascending, self.starts).tolist()
        return [(i, start, stop) for i, (start, stop) in enumerate(pairwise(cuts)) if start < stop]
