"""The door to FAISS: what of it is used, as functions over NumPy arrays.

No path is ever given to FAISS: its files are read and written by Python, which knows every
system's names. Its -1 for "nothing" leaves this module only where a docstring says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]

# NumPy's matrix product pays from so many queries on: it is sooner done, but its threads spin for a
# while after it, and take the cores from the search that follows.
_MATRIX_QUERIES = 256

CellCodes = Any
"""FAISS' inverted lists of 4-bit codes: an ``IndexIVFPQFastScan``."""


def nearest(
    queries: Vectors, vectors: Vectors, count: int, bits: Bytes | None = None
) -> tuple[Vectors, Rows]:
    """The ``count`` rows of largest inner product: those, float32, and rows, int64 (n, count).

    ``queries`` is float32 (n, dim), ``vectors`` float32 (rows, dim), both C-contiguous. ``bits``
    has a bit for each row, the lowest first, and leaves out rows whose bit is 0. ``count`` is at
    most the number of rows that are left.
    """
    products = np.empty((len(queries), count), np.float32)
    rows = np.empty((len(queries), count), np.int64)
    arguments = [_pointer(queries), _pointer(vectors), queries.shape[1], len(queries), len(vectors)]
    arguments += [count, _pointer(products), _pointer(rows)]
    if bits is not None:
        arguments.append(faiss.IDSelectorBitmap(bits))
    faiss.knn_inner_product(*arguments)
    return products, rows


def inner_products(queries: Vectors, of: Rows, vectors: Vectors, rows: Rows) -> Vectors:
    """``queries[of[i]] . vectors[rows[i]]`` for each i, float32 (len(rows),), by all threads."""
    of, rows = np.ascontiguousarray(of), np.ascontiguousarray(rows)
    products = np.empty(len(rows), np.float32)
    faiss.pairwise_indexed_inner_product(
        queries.shape[1],
        len(rows),
        _pointer(queries),
        _pointer(of),
        _pointer(vectors),
        _pointer(rows),
        _pointer(products),
    )
    return products


def all_inner_products(queries: Vectors, vectors: Vectors) -> Vectors:
    """Of each query with each vector, float32 (n, rows)."""
    if len(queries) >= _MATRIX_QUERIES:
        matrix: Vectors = queries @ vectors.T
        return matrix
    # BLAS would set threads to work here that mostly wait for each other.
    products = np.empty((len(queries), len(vectors)), np.float32)
    for query, row in zip(queries, products, strict=True):
        arguments = (_pointer(row), _pointer(query), _pointer(vectors))
        faiss.fvec_inner_products_ny(*arguments, vectors.shape[1], len(vectors))
    return products


def train_centroids(sample: Vectors, count: int, iterations: int) -> Vectors:
    """``count`` unit vectors, float32 (count, dim), by k-means on unit vectors, cosine as measure.

    ``sample`` is float32 (n, dim), n at least ``count``. Equal samples give equal centroids.
    """
    settings = faiss.ClusteringParameters()
    settings.niter, settings.spherical = iterations, True
    settings.min_points_per_centroid = 1  # else it complains on stderr
    settings.max_points_per_centroid = len(sample)  # else it draws another sample
    clustering = faiss.Clustering(sample.shape[1], count, settings)
    clustering.train(sample, faiss.IndexFlatIP(sample.shape[1]))
    centroids: Vectors = faiss.vector_to_array(clustering.centroids).reshape(count, -1)
    return centroids


def train_codes(centroids: Vectors, sample: Vectors, parts: int, iterations: int) -> CellCodes:
    """Empty cells around ``centroids``, with codes of ``parts`` times 4 bits fitted to ``sample``.

    ``parts`` divides the dimension. ``sample`` has 16 vectors or more.
    """
    count, dim = centroids.shape
    coarse = faiss.IndexFlatIP(dim)
    coarse.add(centroids)
    codes = faiss.IndexIVFPQFastScan(coarse, dim, count, parts, 4, faiss.METRIC_INNER_PRODUCT)
    coarse.this.disown()  # it is the codes' own now
    codes.own_fields = True
    codes.pq.cp.niter = iterations
    codes.pq.cp.min_points_per_centroid = 1
    codes.pq.cp.max_points_per_centroid = len(sample)
    with _one_thread():  # many small clusterings: two threads mostly wait for each other
        codes.train(sample)
    return codes


def add_to_cells(codes: CellCodes, vectors: Vectors) -> None:
    """Append rows, float32 (n, dim): each goes into the cell whose centroid is nearest."""
    codes.add(vectors)


def search_cells(
    codes: CellCodes, queries: Vectors, cells: Rows, count: int, bits: Bytes | None
) -> Rows:
    """For each query the best ``count`` rows by their codes, best first, int64 (n, count).

    ``cells``, int64 (n, probes), are those that each query looks into. ``bits`` as in ``nearest``.
    Filled up with -1 where the cells hold fewer rows.
    """
    rows = np.empty((len(queries), count), np.int64)
    products = np.empty((len(queries), count), np.float32)
    unused = np.zeros(cells.shape, np.float32)  # codes are of the vectors, not of residuals
    settings = faiss.SearchParametersIVF(nprobe=cells.shape[1])
    if bits is not None:
        selector = faiss.IDSelectorBitmap(bits)
        settings = faiss.SearchParametersIVF(nprobe=cells.shape[1], sel=selector)
    codes.search_preassigned_c(
        len(queries),
        _pointer(queries),
        count,
        _pointer(cells),
        _pointer(unused),
        _pointer(products),
        _pointer(rows),
        False,
        settings,
    )
    return rows


def centroids_of(codes: CellCodes) -> Vectors:
    """The centroids, float32 (cells, dim)."""
    centroids: Vectors = codes.quantizer.reconstruct_n(0, codes.nlist)
    return centroids


def rows_of_cell(codes: CellCodes, cell: int) -> Rows:
    """The rows in a cell, ascending, int64 (n,): a view, valid as long as ``codes``."""
    size = codes.invlists.list_size(cell)
    if not size:
        return np.empty(0, np.int64)
    rows: Rows = faiss.rev_swig_ptr(codes.invlists.get_ids(cell), size)
    return rows


def to_bytes(codes: CellCodes) -> Bytes:
    """FAISS' own format, uint8 (size,)."""
    serialized: Bytes = faiss.serialize_index(codes)
    return serialized


def from_bytes(data: Bytes) -> CellCodes:
    """What ``to_bytes`` made, copied: ``data`` may be mapped, and be unmapped afterwards.

    Raises ValueError if FAISS can't read it or it is another kind of index. FAISS trusts what it
    reads: whoever calls this has compared a hash.
    """
    place = 0

    def following(size: int) -> bytes:
        nonlocal place
        place += size
        return data[place - size : place].tobytes()

    try:
        # not its reader of memory, whose index goes on pointing into ``data``
        codes = faiss.read_index(faiss.PyCallbackIOReader(following))
    except RuntimeError as error:
        raise ValueError(f"FAISS can't read the index: {error}") from None
    if not isinstance(codes, faiss.IndexIVFPQFastScan):
        raise ValueError(f"expected cells of 4-bit codes, found FAISS' {type(codes).__name__}")
    return codes


@contextmanager
def _one_thread() -> Iterator[None]:
    """FAISS computes in the calling thread only."""
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)


def _pointer(array: npt.NDArray[Any]) -> Any:
    """What FAISS takes for ``array``, which must be C-contiguous."""
    if not array.flags.c_contiguous:
        raise ValueError("FAISS takes contiguous arrays only")
    return faiss.swig_ptr(array)
