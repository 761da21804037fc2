"""Rows in cells around centroids, each with a short code: which rows may be the nearest."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from simsearch.index import backend
from simsearch.index.allowed import Allowed
from simsearch.index.vectors import Rows, SegmentedVectors, Vectors

TRAINED_PER_CELL = 64
"""Vectors that the centroids are fitted to, for each."""
_CENTROID_ITERATIONS = 8
_CODES_TRAINED = 16_384
_CODE_ITERATIONS = 10
_ADDED_AT_ONCE = 65_536
BLOCK = 32
"""Codes of a cell are stored by so many, the last ones padded."""
ROW_NUMBERS = 8 + 4
"""Bytes for each row beside its code: its number in the cell, and the number of its cell."""
# A code of 4 bits is one of 16 values, and FAISS wants as many vectors to choose them by.
LEAST_ROWS = 16
"""Fewer rows can't be put into cells."""
# Where fewer of all rows are allowed, it counts how many are in which cell.
_COUNTED_SHARE = 0.9
# Coordinates in units of 2**-11: see _fixed_point.
_UNIT = 2.0**11

Keys = npt.NDArray[np.float64]


class Cells:
    """An inverted file with product quantization (Jegou, Douze and Schmid, 2011), in FAISS.

    k-means makes the ``count`` centroids, each row is in the cell of the nearest, and its code says
    for every ``dims_per_code`` of its coordinates which of 16 trained values they are nearest to: 4
    bits. A search looks into the cells nearest to the query and ranks their rows by their codes,
    which a CPU does 32 rows at a time (Andre, Kermarrec and Le Scouarnec, 2015).

    ``total`` rows of ``dim`` coordinates.
    """

    def __init__(self, codes: backend.CellCodes, dim: int) -> None:
        """Around what ``build`` or ``from_bytes`` made."""
        self._codes = codes
        self._scaled = _fixed_point(backend.centroids_of(codes))
        self.dim = dim
        self.count = len(self._scaled)
        self.total = int(codes.ntotal)

    @classmethod
    def build(cls, segments: Sequence[Vectors], count: int, dims_per_code: int) -> Cells:
        """Train on a sample of the rows, then add all, segment by segment.

        ``segments`` are float32 (rows, dim) arrays of unit vectors, which may be mapped. Equal rows
        give equal bytes, however they are cut into segments and whatever the number of threads.
        Takes memory for the sample and the result. Raises ValueError for fewer rows than cells, or
        than ``LEAST_ROWS``.
        """
        vectors = SegmentedVectors(segments, transient=True)
        if vectors.total < max(count, LEAST_ROWS) or vectors.dim is None:
            raise ValueError(f"{vectors.total} rows don't fill {count} cells")
        sample = _sample(vectors, count * TRAINED_PER_CELL)
        width = -(-vectors.dim // dims_per_code) * dims_per_code
        centroids = backend.train_centroids(_widened(sample, width), count, _CENTROID_ITERATIONS)
        sample = _widened(_sample(vectors, _CODES_TRAINED), width)
        codes = backend.train_codes(centroids, sample, width // dims_per_code, _CODE_ITERATIONS)
        # Blocks are cut alike in any segments: BLAS may round a product by its place in a block.
        for start in range(0, vectors.total, _ADDED_AT_ONCE):
            rows = np.arange(start, min(start + _ADDED_AT_ONCE, vectors.total))
            backend.add_to_cells(codes, _widened(vectors.gather(rows), width))
        return cls(codes, vectors.dim)

    def to_bytes(self) -> npt.NDArray[np.uint8]:
        """For ``from_bytes``, uint8 (size,)."""
        return backend.to_bytes(self._codes)

    @classmethod
    def from_bytes(cls, data: npt.NDArray[np.uint8], dim: int) -> Cells:
        """What ``to_bytes`` made of rows with ``dim`` coordinates; ``data`` may be mapped.

        Compare a hash first: FAISS trusts what it reads. Raises ValueError where it can't read it.
        """
        codes = backend.from_bytes(data)
        if not dim <= codes.d < dim + 16:
            raise ValueError(f"the cells hold vectors of {codes.d} coordinates, not of {dim}")
        return cls(codes, dim)

    def find(
        self, queries: Vectors, probes: int, count: int, allowed: Allowed | None = None
    ) -> Rows:
        """For each query the best ``count`` rows in the ``probes`` nearest cells, best first.

        ``queries`` is float32 (n, dim). Rows that aren't ``allowed`` are left out. Where these are
        many, a query looks into as many cells as hold the share probes / cells of the allowed rows,
        and ``count`` of them if there are so many. Which is better their codes say. int64 (n,
        count), filled up with -1 where there are fewer. A query alone finds the same as in a batch.
        """
        queries = _widened(queries, self._scaled.shape[1])
        keys = self._keys(queries)
        if allowed is None or allowed.count >= allowed.total * _COUNTED_SHARE:
            cells = _greatest(keys, min(probes, self.count))
        else:
            held = np.bincount(self._cell_of_row[allowed.rows], minlength=self.count)
            enough = max(probes / self.count * allowed.count, min(count, allowed.count))
            cells = _until(keys, held, enough)
        bits = None if allowed is None else allowed.bits
        return backend.search_cells(self._codes, queries, cells, count, bits)

    def _keys(self, queries: Vectors) -> Keys:
        """For each query a number for each cell, the greatest for the nearest, all different."""
        products = backend.all_inner_products(_fixed_point(queries), self._scaled)
        # Of equal products that of the first cell is greater; all exact in float64.
        keys: Keys = products.astype(np.float64) * self.count - np.arange(self.count)
        return keys

    def depths(self, queries: Vectors, rows: Rows) -> Rows:
        """How many cells a query must look into to come upon each of its ``rows``, int64 (n, k)."""
        keys = self._keys(_widened(queries, self._scaled.shape[1]))
        own = np.take_along_axis(keys, self._cell_of_row[rows].astype(np.int64), axis=1)
        depths: Rows = (keys[:, None, :] >= own[:, :, None]).sum(axis=2)
        return depths

    def cost(self, probes: int) -> float:
        """Bytes of codes that a query looks at in so many cells, on average."""
        return probes / self.count * self.total * float(self._codes.code_size)

    @property
    def memory_bytes(self) -> int:
        """What the cells hold in memory: codes, row numbers, cells of rows, centroids twice."""
        sizes = np.bincount(self._cell_of_row, minlength=self.count)
        codes = int((-(-sizes // BLOCK)).sum()) * BLOCK * int(self._codes.code_size)
        return codes + self.total * ROW_NUMBERS + 2 * self._scaled.nbytes

    @cached_property
    def _cell_of_row(self) -> npt.NDArray[np.int32]:
        """The cell of each row, int32 (total,)."""
        cells = np.empty(self.total, np.int32)
        for cell in range(self.count):
            cells[backend.rows_of_cell(self._codes, cell)] = cell
        return cells


def _greatest(keys: Keys, count: int) -> Rows:
    """Where the greatest ``count`` of each row are, int64 (n, count), in no order."""
    place = keys.shape[1] - count
    found = np.argpartition(keys, place, axis=1) if place else np.argsort(keys, axis=1)
    return np.ascontiguousarray(found[:, place:], dtype=np.int64)


def _until(keys: Keys, held: Rows, enough: float) -> Rows:
    """The nearest cells that together hold ``enough`` rows, int64 (n, most), else -1.

    ``held``, int64 (cells,), says how many rows count in each.
    """
    nearest = np.argsort(-keys, axis=1)
    before = np.cumsum(held[nearest], axis=1) - held[nearest]
    needed = (before < enough) & (held[nearest] > 0)
    most = int(np.flatnonzero(needed.any(axis=0))[-1]) + 1
    return np.ascontiguousarray(np.where(needed, nearest, -1)[:, :most], dtype=np.int64)


def _sample(vectors: SegmentedVectors, size: int) -> Vectors:
    """Rows for training, the same for the same vectors: float32 (min(size, total), dim)."""
    size = min(size, vectors.total)
    drawn = np.random.default_rng(0).choice(vectors.total, size, replace=False, shuffle=False)
    return vectors.gather(np.sort(drawn))


def _widened(vectors: Vectors, width: int) -> Vectors:
    """With coordinates 0 up to ``width``, which change no inner product; C-contiguous."""
    lacking = width - vectors.shape[1]
    padded = np.pad(vectors, ((0, 0), (0, lacking))) if lacking else vectors
    return np.ascontiguousarray(padded)


def _fixed_point(vectors: Vectors) -> Vectors:
    """Coordinates in whole numbers of 2**-11, so that inner products are exact in float32.

    All sums on the way to an inner product of unit vectors are at most 2**22, by Cauchy's and
    Schwarz's inequality for the coordinates summed so far, and float32 holds whole numbers up to
    2**24. So any order of summing, by BLAS or not, gives the same product.
    """
    rounded: Vectors = np.rint(vectors * np.float32(_UNIT))
    return rounded
