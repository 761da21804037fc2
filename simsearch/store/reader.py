"""A finished index, opened for reading: every byte checked before it is used, nothing written."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import apsw

from simsearch.errors import IndexNotFoundError, StoreError, UnfinishedIndexError
from simsearch.store.chunks import Passage, read_chunks, read_passages
from simsearch.store.database import damaged, open_database, record, records, sqlite_errors, stream
from simsearch.store.folder import BUILDING, INDEX
from simsearch.store.meta import load_meta
from simsearch.store.segments import map_segment, read_segments
from simsearch.store.truncation import read_truncated


class StoredIndex:
    """Documents and vectors of a finished index. Its methods may be called from several threads.

    ``segments`` are float32 (rows, dim) arrays, memory-mapped, in row order; ``chunks`` says which
    document each row stands for, by its number. ``deleted`` are the documents that no answer may
    contain, ``truncated`` those whose end is in no vector; ``count`` is the number of documents
    that are left. ``background`` (float32, ascending) is the sample for
    ``index.background.percentile``. The other attributes are those of the build: see ``BuildPlan``.
    """

    def __init__(self, connection: apsw.Connection, folder: Path) -> None:
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
        self.chunks = read_chunks(connection, path, chunked=meta.chunk is not None)
        if self.chunks.rows != self.rows:
            raise damaged(path, f"it has {self.chunks.rows} texts and {self.rows} vectors")
        self.truncated = read_truncated(connection, path, self.chunks.count)
        self.deleted = _read_deleted(connection, path, self.chunks.count)
        self.segments = [map_segment(folder, segment, meta.dim) for segment in self._files]
        self.count = self.chunks.count - len(self.deleted)
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

    def ids(self, documents: Sequence[int]) -> list[str]:
        """The ids of the documents with these numbers, in the order asked."""
        found = []
        with self._lock, sqlite_errors(self.folder / INDEX):
            for number in documents:
                named = record(
                    self._connection, "SELECT id FROM documents WHERE number = ?", (int(number),)
                )
                if named is None:
                    raise damaged(self.folder / INDEX, f"document {number} is missing")
                found.append(named[0])
        return found

    def passages(self, rows: Sequence[int]) -> list[Passage]:
        """What these rows stand for, in the order asked, each document checked by its hash."""
        with self._lock:
            path = self.folder / INDEX
            return list(read_passages(self._connection, path, self.chunks, rows))

    def info(self) -> dict[str, Any]:
        """The facts, as JSON values. ``bytes`` is what the database and the segments take on disk.

        ``recall_at_10`` is 1.0 because a flat index compares every row. ``chunks`` is the number of
        vectors on disk, ``truncated`` that of the documents whose end is in none of them.
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
            "layers": meta.identity.get("layers"),
            "max_length": meta.identity.get("max_length"),
            "whitening": meta.settings.get("whitening"),
            "segments": len(self._files),
            "created": meta.created,
            "chunk": None if meta.chunk is None else list(meta.chunk),
            "chunks": self.rows,
            "truncated": len(self.truncated),
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


def _read_deleted(connection: apsw.Connection, path: Path, documents: int) -> frozenset[int]:
    with sqlite_errors(path):
        deleted = frozenset(n for (n,) in stream(connection, "SELECT document FROM tombstones"))
    if any(not 0 <= number < documents for number in deleted):
        raise damaged(path, f"a deleted document is not among its {documents} documents")
    return deleted


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
                ((documents,),) = records(connection, "SELECT count(*) FROM documents")
                ((chunks,),) = records(connection, "SELECT count(*) FROM chunks")
        finally:
            connection.close()
    except StoreError:
        return ""
    of = f"{chunks} chunks" if chunks else f"{documents} documents"
    return f" ({done} of {of} encoded)"
