"""A finished index, opened for reading: every byte checked before it is used, nothing written."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import apsw
import numpy as np

from simsearch.errors import StoreError
from simsearch.filters import Filter
from simsearch.index.cells import Cells
from simsearch.index.vectors import Rows
from simsearch.records import Document
from simsearch.store.absent import no_index
from simsearch.store.bm25 import WordIndex
from simsearch.store.chunks import Passage, read_chunks, read_passages
from simsearch.store.database import (
    InterruptedCommitError,
    damaged,
    open_database,
    record,
    roll_back,
    sqlite_errors,
    stream,
)
from simsearch.store.documents import find_document, read_document
from simsearch.store.filtering import matching_documents
from simsearch.store.folder import INDEX
from simsearch.store.meta import load_meta, read_generation
from simsearch.store.search_record import CellsFile, load_cells, search_index
from simsearch.store.segments import MappedSegment, RowReader, Segment, map_segment, read_segments
from simsearch.store.truncation import read_truncated

Result = TypeVar("Result")


class StoredIndex:
    """Documents and vectors of a finished index. Its methods may be called from several threads.

    ``segments`` are float32 (rows, dim) arrays, memory-mapped, in row order, and ``vectors(rows)``
    gathers some of the rows, each checked; ``index`` finds the nearest of them. ``chunks`` says
    which document each row stands for, by its number. ``deleted`` are the documents that no answer
    may contain, ``truncated`` those whose end is in no vector; ``count`` is the number of documents
    that are left. ``background`` (float32, ascending) is the sample for
    ``index.background.percentile``. The other attributes are those of the build: see ``BuildPlan``.

    All of them are of one ``generation``: that of ``open``, or of the last ``reading``.
    """

    def __init__(self, connection: apsw.Connection, folder: Path) -> None:
        """Check and map what ``connection``, to the folder's database, names; see ``open``."""
        self.folder = folder
        self._lock = threading.RLock()
        self._mapped: dict[Segment, MappedSegment] = {}
        self._cells: dict[CellsFile, Cells] = {}
        self._attach(connection)

    @classmethod
    def open(cls, folder: Path) -> StoredIndex:
        """Open and check an index; ``folder`` may be read-only.

        Raises IndexNotFoundError, UnfinishedIndexError, CorruptIndexError (see the messages), and
        IndexBusyError if the database is locked.
        """
        return _opened(folder, lambda connection: cls(connection, folder))

    @contextmanager
    def reading(self) -> Iterator[None]:
        """One state of the index for as long as the block lasts, the latest that was committed.

        Whoever writes waits for the block to end, and other threads do. Raises what ``open`` does.
        """
        path = self.folder / INDEX
        with self._lock, ExitStack() as snapshot:
            while True:
                if self._inode != _inode(path):  # a build has put another in its place
                    before = self._connection
                    _opened(self.folder, self._attach)
                    before.close()
                snapshot.enter_context(_snapshot(self._connection, path))
                try:
                    if read_generation(self._connection, path) != self.generation:
                        self._load(self._connection)
                    break
                except StoreError:
                    # since the look at it, a build has put another there, and swept the segments
                    if self._inode == _inode(path):
                        raise
                    snapshot.close()
            yield

    def _attach(self, connection: apsw.Connection) -> None:
        path = self.folder / INDEX
        inode = _inode(path)
        with _snapshot(connection, path):
            self._load(connection)
        self._connection, self._inode = connection, inode

    def _load(self, connection: apsw.Connection) -> None:
        """Take over what the database says; segments that are known already stay mapped."""
        path = self.folder / INDEX
        meta = load_meta(connection, path)
        if meta.stage != "finished":
            raise damaged(path, f"its stage is {meta.stage!r}, not 'finished'")
        files = read_segments(connection, path)
        rows = sum(segment.rows for segment in files)
        chunks = read_chunks(connection, path, meta.numbered, chunked=meta.chunk is not None)
        if chunks.rows != rows:
            raise damaged(path, f"it has {chunks.rows} texts and {rows} vectors")
        truncated = read_truncated(connection, path, meta.numbered)
        deleted = _read_deleted(connection, path, meta.numbered)
        file = meta.search.file
        cells = (
            None
            if file is None
            else self._cells.get(file) or load_cells(self.folder, file, meta.dim)
        )
        in_cells = 0 if cells is None else cells.total
        mapped = {
            segment: self._mapped.get(segment)
            # the rows in cells are checked one by one, as they are needed
            or map_segment(self.folder, segment, meta.dim, checked=segment.first_row >= in_cells)
            for segment in files
        }
        segments = [mapped[segment] for segment in files]
        if in_cells > rows:
            raise damaged(path, f"it has {rows} vectors, and {in_cells} in its cells")
        # only now, so that after an error all is as it was
        self._meta, self._files, self._mapped = meta, files, mapped
        self._cells = {} if cells is None or file is None else {file: cells}
        self.dim, self.kind, self.background = meta.dim, meta.search.kind, meta.background
        self.identity, self.fingerprint = meta.identity, meta.fingerprint
        self.settings, self.generation = meta.settings, meta.generation
        self.chunk = meta.chunk
        self.rows, self.chunks = rows, chunks
        self.truncated, self.deleted = truncated, deleted
        self.segments = [segment.vectors for segment in segments]
        self.vectors = RowReader(segments)
        self.index = search_index(meta.search, cells, self.segments, self.vectors)
        self.count = meta.numbered - len(deleted)

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

    def number(self, id_: str) -> int | None:
        """The number of the document with this id, if there is one."""
        with self._lock:
            return find_document(self._connection, self.folder / INDEX, id_)

    def document(self, number: int) -> Document:
        """The document with this number, checked by its hash."""
        with self._lock:
            return read_document(self._connection, self.folder / INDEX, number)

    def passages(self, rows: Sequence[int]) -> list[Passage]:
        """What these rows stand for, in the order asked, each document checked by its hash."""
        with self._lock:
            path = self.folder / INDEX
            return list(read_passages(self._connection, path, self.chunks, rows))

    def matching(self, filter: Filter) -> Rows:
        """The numbers of the documents that a filter matches, int64 (n,), ascending."""
        with self._lock:
            return matching_documents(self._connection, self.folder / INDEX, filter)

    def words(self) -> WordIndex:
        """The word index as it is now."""
        with self._lock:
            return WordIndex(self._connection, self.folder / INDEX)

    def info(self) -> dict[str, Any]:
        """The facts, as JSON values. ``bytes`` is what the files of the index take on disk.

        ``recall_at_10`` was measured when the index was built (1.0 where every row is compared),
        ``outgrown`` says why it should be optimized, if it should. ``chunks`` is the number of
        vectors on disk, ``truncated`` that of the documents whose end is in none of them.
        """
        meta = self._meta
        plan, tuning, file = meta.search.plan, meta.search.tuning, meta.search.file
        size = (self.folder / INDEX).stat().st_size + sum(file.bytes for file in self._files)
        return {
            "count": self.count,
            "dim": meta.dim,
            "kind": self.kind,
            "fingerprint": meta.fingerprint,
            "generation": meta.generation,
            "recall_at_10": 1.0 if tuning is None else tuning.recall_at_10,
            "bytes": size + (0 if file is None else file.bytes),
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
            "deleted": len(self.deleted),
            "index": None if plan is None else asdict(plan),
            "measured": None if tuning is None else asdict(tuning),
            "outgrown": meta.search.outgrown(self.rows, self.rows - self._live_count()),
        }

    def _live_count(self) -> int:
        """How many rows are of documents that were not deleted."""
        deleted = np.array(sorted(self.deleted), np.int64)
        return int(np.count_nonzero(~np.isin(self.chunks.documents, deleted)))

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


def _opened(folder: Path, use: Callable[[apsw.Connection], Result]) -> Result:
    """What ``use`` makes of a connection to the index, which is closed if it raises."""
    path = folder / INDEX
    while True:
        if not path.is_file():
            raise no_index(folder)
        before = _inode(path)
        try:
            connection = open_database(path, "ro")
            try:
                return use(connection)
            except BaseException:
                connection.close()
                raise
        except InterruptedCommitError:
            roll_back(path)
        except StoreError:
            # A build that ended meanwhile has put another index in place of the one that was being
            # opened, and swept its segments.
            if path.is_file() and _inode(path) == before:
                raise


@contextmanager
def _snapshot(connection: apsw.Connection, path: Path) -> Iterator[None]:
    """Let everything that the block reads be of one commit."""
    try:
        _begin(connection, path)
    except InterruptedCommitError:
        roll_back(path)
        _begin(connection, path)
    try:
        yield
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _begin(connection: apsw.Connection, path: Path) -> None:
    with sqlite_errors(path):
        connection.execute("BEGIN")
        try:
            record(connection, "SELECT 1 FROM sqlite_schema")  # only reading begins the transaction
        except apsw.Error:
            connection.execute("ROLLBACK")
            raise


def _inode(path: Path) -> tuple[int, int]:
    """Which file has this name now."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return 0, 0
    return status.st_dev, status.st_ino


def _read_deleted(connection: apsw.Connection, path: Path, documents: int) -> frozenset[int]:
    with sqlite_errors(path):
        found = stream(connection, "SELECT document FROM tombstones")
        deleted = frozenset(number for (number,) in found)
    if any(not 0 <= number < documents for number in deleted):
        raise damaged(path, f"a deleted document is not among its {documents} documents")
    return deleted
