"""A finished index, opened for reading: every byte checked before it is used, nothing written."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from simsearch.errors import IndexNotFoundError, StoreError, UnfinishedIndexError
from simsearch.records import Document
from simsearch.store.database import damaged, open_database, sqlite_errors
from simsearch.store.documents import read_documents
from simsearch.store.folder import BUILDING, INDEX
from simsearch.store.meta import load_meta
from simsearch.store.segments import map_segment, read_segments


class StoredIndex:
    """Documents and vectors of a finished index. Its methods may be called from several threads.

    ``segments`` are float32 (rows, dim) arrays, memory-mapped, in row order; ``deleted`` holds the
    row numbers that no answer may contain; ``count`` is the number of documents that are left.
    ``background`` (float32, ascending) is the sample for ``index.background.percentile``. The other
    attributes are those of the build: see ``BuildPlan``.
    """

    def __init__(self, connection: sqlite3.Connection, folder: Path) -> None:
        """Check and map what ``connection``, to the folder's database, names; see ``open``."""
        path = folder / INDEX
        self.folder = folder
        meta = self._meta = load_meta(connection, path)
        if meta.stage != "finished":
            raise damaged(path, f"its stage is {meta.stage!r}, not 'finished'")
        self.dim = meta.dim
        self.kind = meta.kind
        self.identity = meta.identity
        self.fingerprint = meta.fingerprint
        self.settings = meta.settings
        self.generation = meta.generation
        self.background = meta.background
        self._files = read_segments(connection, path)
        self.rows = sum(segment.rows for segment in self._files)
        self.deleted = _read_deleted(connection, path, self.rows)
        _check_documents(connection, path, self.rows)
        self.segments = [map_segment(folder, segment, meta.dim) for segment in self._files]
        self.count = self.rows - len(self.deleted)
        self._connection = connection
        self._lock = threading.Lock()

    @classmethod
    def open(cls, folder: Path) -> StoredIndex:
        """Open and check an index; ``folder`` may be read-only.

        Raises IndexNotFoundError, UnfinishedIndexError, CorruptIndexError (see the messages), and
        IndexBusyError if the database is locked.
        """
        path = folder / INDEX
        while True:
            if not path.is_file():
                raise _no_index(folder)
            before = _stamp(path)
            try:
                connection = open_database(path, "ro")
                try:
                    return cls(connection, folder)
                except BaseException:
                    connection.close()
                    raise
            except StoreError:
                # A build that ended meanwhile has put another index in place of the one that was
                # being opened, and swept its segments.
                if path.is_file() and _stamp(path) == before:
                    raise

    def ids(self, rows: Sequence[int]) -> list[str]:
        """The ids of the documents with these row numbers, in the order asked."""
        found = []
        with self._lock, sqlite_errors(self.folder / INDEX):
            for row in rows:
                record = self._connection.execute(
                    "SELECT id FROM documents WHERE row = ?", (int(row),)
                ).fetchone()
                if record is None:
                    raise damaged(self.folder / INDEX, f"document {row} is missing")
                found.append(record[0])
        return found

    def documents(self, rows: Sequence[int]) -> list[Document]:
        """The documents with these row numbers, in the order asked, each checked by its hash."""
        with self._lock:
            return list(read_documents(self._connection, self.folder / INDEX, rows))

    def info(self) -> dict[str, Any]:
        """The facts, as JSON values. ``bytes`` is what the database and the segments take on disk.

        ``recall_at_10`` is 1.0 because a flat index compares every row.
        """
        meta = self._meta
        size = (self.folder / INDEX).stat().st_size + sum(file.bytes for file in self._files)
        return {
            "count": self.count,
            "dim": meta.dim,
            "kind": meta.kind,
            "fingerprint": meta.fingerprint,
            "generation": meta.generation,
            "recall_at_10": 1.0,
            "bytes": size,
            "model": meta.settings.get("model"),
            "pooling": meta.settings.get("pooling"),
            "segments": len(self._files),
            "created": meta.created,
            "truncated": meta.truncated,
        }

    def close(self) -> None:
        """Close the database; ``segments`` stay mapped as long as they are used."""
        self._connection.close()

    def __enter__(self) -> StoredIndex:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _stamp(path: Path) -> tuple[int, int, int]:
    """Changes when another file takes this name."""
    status = path.stat()
    return status.st_ino, status.st_mtime_ns, status.st_size


def _read_deleted(connection: sqlite3.Connection, path: Path, rows: int) -> frozenset[int]:
    with sqlite_errors(path):
        deleted = frozenset(row for (row,) in connection.execute("SELECT row FROM tombstones"))
    if any(not 0 <= row < rows for row in deleted):
        raise damaged(path, f"a deleted row is not among its {rows} rows")
    return deleted


def _check_documents(connection: sqlite3.Connection, path: Path, rows: int) -> None:
    """Documents have the row numbers 0 to rows - 1, all of them, as the vectors have."""
    with sqlite_errors(path):
        found = connection.execute("SELECT count(*), min(row), max(row) FROM documents").fetchone()
    if found != (rows, 0, rows - 1):
        raise damaged(path, f"it has {found[0]} documents and {rows} vectors")


def _no_index(folder: Path) -> StoreError:
    if not (folder / BUILDING).is_file():
        if folder.exists() and not folder.is_dir():
            return IndexNotFoundError(f"{folder} is a file; give the folder of an index")
        state = "holds no index" if folder.is_dir() else "does not exist"
        return IndexNotFoundError(
            f"{folder} {state}; make one with `simsearch build CORPUS --index {folder}`"
        )
    return UnfinishedIndexError(
        f"the build of {folder} was interrupted or is under way{_progress(folder)}; if no other "
        "process is building it, run the same `simsearch build` again: it resumes"
    )


def _progress(folder: Path) -> str:
    """How far the build got, where that can be read without writing (a crash may prevent it)."""
    path = folder / BUILDING
    try:
        connection = open_database(path, "ro")
        try:
            done = sum(segment.rows for segment in read_segments(connection, path))
            with sqlite_errors(path):
                (total,) = connection.execute("SELECT count(*) FROM documents").fetchone()
        finally:
            connection.close()
    except StoreError:
        return ""
    return f" ({done} of {total} documents encoded)"
