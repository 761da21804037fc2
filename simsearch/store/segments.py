"""Vector segments: immutable files of float32 rows, and the table that names them."""

from __future__ import annotations

import hashlib
from dataclasses import astuple, dataclass
from pathlib import Path

import apsw
import numpy as np
import numpy.typing as npt

from simsearch.store.database import damaged, records, sqlite_errors, unreadable
from simsearch.store.folder import is_segment_name, new_segment_name, write_whole

Vectors = npt.NDArray[np.float32]

# The rounding of float32 leaves lengths within 1e-6 of 1; whatever is further off isn't rounding.
_LENGTH_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Segment:
    """A row of the ``segments`` table: the file's name, which rows it holds, its size and hash."""

    name: str
    first_row: int
    rows: int
    bytes: int
    sha256: str


def write_segment(folder: Path, first_row: int, vectors: Vectors) -> Segment:
    """Write float32 (n, dim) vectors to a new file, durably. No database names it yet."""
    content = _bytes(np.ascontiguousarray(vectors, dtype="<f4"))
    name = new_segment_name()
    write_whole(folder / name, content)
    digest = hashlib.sha256(content).hexdigest()
    return Segment(name, first_row, len(vectors), content.nbytes, digest)


def insert_segment(connection: apsw.Connection, segment: Segment) -> None:
    """Name the segment in the database, inside the caller's transaction."""
    connection.execute("INSERT INTO segments VALUES (?, ?, ?, ?, ?)", astuple(segment))


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


def map_segment(folder: Path, segment: Segment, dim: int) -> Vectors:
    """The vectors, float32 (rows, dim), memory-mapped read-only, after their hash was checked.

    CorruptIndexError if the file is missing, or isn't what was written.
    """
    path = folder / segment.name
    try:
        size = path.stat().st_size
        if size != segment.bytes or size != segment.rows * dim * 4:
            raise damaged(
                path,
                f"it has {size} bytes, not the {segment.bytes} of {segment.rows} float32 rows of "
                f"{dim}",
            )
        vectors = np.memmap(path, dtype="<f4", mode="r", shape=(segment.rows, dim))
    except FileNotFoundError:
        raise damaged(path, "it is missing") from None
    except OSError as error:
        raise unreadable(path, error) from error
    if hashlib.sha256(_bytes(vectors)).hexdigest() != segment.sha256:
        raise damaged(path, "it was altered, its SHA-256 is not the one in the index")
    return vectors


def _bytes(vectors: Vectors) -> memoryview:
    """The bytes of C-contiguous vectors, without a copy."""
    return vectors.reshape(-1).view(np.uint8).data


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
