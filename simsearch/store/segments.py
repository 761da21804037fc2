"""Vector segments: immutable files of float32 rows, and the table that names them."""

from __future__ import annotations

import bisect
import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import apsw
import numpy as np
import numpy.typing as npt

from simsearch.encoder import SHARD
from simsearch.index.vectors import Rows, SegmentedVectors, Vectors
from simsearch.store.database import damaged, records, sqlite_errors, unreadable
from simsearch.store.folder import is_segment_name, new_segment_name, write_whole

# The rounding of float32 leaves lengths within 1e-6 of 1; whatever is further off isn't rounding.
_LENGTH_TOLERANCE = 1e-4
_LEAST_ROWS, _SEGMENTS = 2048, 32


def segment_rows(total: int) -> int:
    """How many rows a segment has where ``total`` are written, but for the last.

    Each is committed on its own, so an interruption costs no more than to encode so many again:
    a thirty-second of all, if that is not less than is worth a file, nor more than ``SHARD``.
    """
    return min(SHARD, max(_LEAST_ROWS, -(-total // _SEGMENTS)))


@dataclass(frozen=True)
class Segment:
    """A row of the ``segments`` table: the file's name, which rows it holds, its size and hash."""

    name: str
    first_row: int
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True, eq=False)
class MappedSegment:
    """A segment's file, mapped: ``vectors``, float32 (rows, dim), ``checksums``, uint32 (rows,).

    ``checked`` says that all of it is known to be what was written.
    """

    path: Path
    vectors: Vectors
    checksums: npt.NDArray[np.uint32]
    checked: bool


class RowReader:
    """Rows of several segments, of which each is checked before it is used, once.

    ``transient``: see ``SegmentedVectors``.
    """

    def __init__(self, segments: Sequence[MappedSegment], *, transient: bool = False) -> None:
        self._segments = segments
        vectors = [segment.vectors for segment in segments]
        self._vectors = SegmentedVectors(vectors, transient=transient)
        known = [np.full(len(segment.vectors), segment.checked) for segment in segments]
        self._checked = np.concatenate([np.empty(0, np.bool_), *known])

    def __call__(self, rows: Rows) -> Vectors:
        """The vectors of ``rows``, int64 (n,), as float32 (n, dim), after ``check``."""
        self.check(rows)
        return self._vectors.gather(rows)

    def check(self, rows: Rows) -> None:
        """CorruptIndexError if one of ``rows``, int64 (n,), was altered."""
        known = self._checked[rows]
        if known.all():
            return
        starts = self._vectors.starts
        for row in np.unique(rows[~known]).tolist():
            i = bisect.bisect_right(starts, row) - 1
            segment, place = self._segments[i], row - starts[i]
            if zlib.crc32(segment.vectors[place]) != segment.checksums[place]:
                raise damaged(segment.path, f"its row {place} was altered, the checksum is another")
            self._checked[row] = True


def write_segment(folder: Path, first_row: int, vectors: Vectors) -> Segment:
    """Write float32 (n, dim) vectors to a new file, durably. No database names it yet.

    After the vectors come their CRC-32 (zlib's), uint32 each, so that a row can be checked alone.
    """
    plain = np.ascontiguousarray(vectors, dtype="<f4")
    sums = np.fromiter((zlib.crc32(row) for row in plain), "<u4", len(plain))
    parts = (_bytes(plain), _bytes(sums))
    name = new_segment_name()
    write_whole(folder / name, *parts)
    digest = hashlib.sha256(parts[0])
    digest.update(parts[1])
    size = sum(part.nbytes for part in parts)
    return Segment(name, first_row, len(vectors), size, digest.hexdigest())


def insert_segment(connection: apsw.Connection, segment: Segment) -> None:
    """Name the segment in the database, inside the caller's transaction."""
    connection.execute("INSERT INTO segments VALUES (?, ?, ?, ?, ?)", astuple(segment))


def delete_segment(connection: apsw.Connection, segment: Segment) -> None:
    """Name it no more, inside the caller's transaction."""
    connection.execute("DELETE FROM segments WHERE name = ?", (segment.name,))


def read_segments(connection: apsw.Connection, path: Path) -> list[Segment]:
    """The segments in row order.

    CorruptIndexError where they don't follow each other without gap, or a name isn't a segment's.
    """
    with sqlite_errors(path):
        found = records(
            connection,
            "SELECT name, first_row, rows, bytes, sha256 FROM segments ORDER BY first_row",
        )
    segments = [Segment(*record) for record in found]
    row = 0
    for segment in segments:
        numbers = all(isinstance(n, int) for n in (segment.first_row, segment.rows, segment.bytes))
        follows = numbers and segment.first_row == row and segment.rows > 0
        if not is_segment_name(segment.name) or not follows:
            raise damaged(
                path,
                f"segment {segment.name!r} begins at row {segment.first_row} and has "
                f"{segment.rows} rows, where row {row} should begin",
            )
        row += segment.rows
    return segments


def map_segment(folder: Path, segment: Segment, dim: int, *, checked: bool = True) -> MappedSegment:
    """The segment, memory-mapped read-only; with ``checked`` after its hash was checked.

    CorruptIndexError if the file is missing, or isn't what was written.
    """
    path = folder / segment.name
    rows = segment.rows
    try:
        size = path.stat().st_size
        if size != segment.bytes or size != rows * (dim + 1) * 4:
            raise damaged(
                path,
                f"it has {size} bytes, not the {segment.bytes} of {rows} float32 rows of {dim} and "
                "their checksums",
            )
        words = np.memmap(path, dtype="<u4", mode="r", shape=(rows * (dim + 1),)).view(np.ndarray)
    except FileNotFoundError:
        raise damaged(path, "it is missing") from None
    except OSError as error:
        raise unreadable(path, error) from error
    if checked and hashlib.sha256(_bytes(words)).hexdigest() != segment.sha256:
        raise damaged(path, "it was altered, its SHA-256 is not the one in the index")
    vectors = words[: rows * dim].view("<f4").reshape(rows, dim)
    return MappedSegment(path, vectors, words[rows * dim :], checked)


def map_segments(folder: Path, segments: Sequence[Segment], dim: int) -> list[MappedSegment]:
    """The segments, their hashes unchecked: for a ``RowReader``, which checks each row."""
    return [map_segment(folder, segment, dim, checked=False) for segment in segments]


def _bytes(array: npt.NDArray[np.float32] | npt.NDArray[np.uint32]) -> memoryview:
    """The bytes of a C-contiguous array, without a copy."""
    return array.reshape(-1).view(np.uint8).data


def check_vectors(vectors: Vectors, rows: int, dim: int) -> None:
    """ValueError unless ``vectors`` are float32 (rows, dim), finite and of length 1."""
    if vectors.dtype != np.float32 or vectors.shape != (rows, dim):
        raise ValueError(
            f"vectors are {vectors.dtype} {vectors.shape}, not float32 {(rows, dim)} as the shard"
        )
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    wrong = np.flatnonzero(~(np.abs(lengths - 1) <= _LENGTH_TOLERANCE))  # NaN is wrong as well
    if len(wrong):
        raise ValueError(
            f"{len(wrong)} vectors are not of length 1; the first is row {wrong[0]} of the shard, "
            f"of length {lengths[wrong[0]]:.6g}"
        )
