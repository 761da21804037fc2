"""Everything of an index read and checked: pages, hashes, checksums, and that the tables agree."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import apsw
import numpy as np

from simsearch.errors import StoreError
from simsearch.store.absent import no_index
from simsearch.store.chunks import check_spans, read_chunks
from simsearch.store.database import open_database, sqlite_errors, stream
from simsearch.store.documents import document_numbers, read_document
from simsearch.store.filtering import field_records
from simsearch.store.folder import INDEX
from simsearch.store.meta import Meta, load_meta
from simsearch.store.search_record import load_cells
from simsearch.store.segments import check_vectors, map_segment, read_segments
from simsearch.store.truncation import read_truncated
from simsearch.store.word_tally import WordTally

_PROBLEMS_SHOWN = 100


def verify(folder: Path, progress: Callable[[int, int], None] | None = None) -> Iterator[str]:
    """What is wrong with a finished index, a line each; nothing if all is as it was written.

    ``progress`` is called with the bytes of vectors that were read, and of all. Raises
    IndexNotFoundError and UnfinishedIndexError where there is no finished index to look at.
    """
    path = folder / INDEX
    if not path.is_file():
        raise no_index(folder)
    try:
        with closing(open_database(path, "ro")) as connection:
            yield from _pages(connection, path)
            meta = load_meta(connection, path)
            yield from _vectors(connection, path, meta, progress)
            yield from _cells(path, meta)
            yield from _documents(connection, path, meta)
    except StoreError as error:
        yield str(error)


def _pages(connection: apsw.Connection, path: Path) -> Iterator[str]:
    """What SQLite finds: pages, the order of its trees, rows that an index lacks."""
    with sqlite_errors(path):
        for (line,) in stream(connection, f"PRAGMA integrity_check({_PROBLEMS_SHOWN})"):
            if line != "ok":
                yield f"{path}: {line}"


def _vectors(
    connection: apsw.Connection,
    path: Path,
    meta: Meta,
    progress: Callable[[int, int], None] | None,
) -> Iterator[str]:
    segments = read_segments(connection, path)
    done, total = 0, sum(segment.bytes for segment in segments)
    for segment in segments:
        try:
            vectors = map_segment(path.parent, segment, meta.dim).vectors
            check_vectors(vectors, segment.rows, meta.dim)
        except StoreError as error:
            yield str(error)
        except ValueError as error:
            yield f"{path.parent / segment.name}: {error}"
        done += segment.bytes
        if progress is not None:
            progress(done, total)


def _cells(path: Path, meta: Meta) -> Iterator[str]:
    file, plan = meta.search.file, meta.search.plan
    if file is None or plan is None:
        return
    try:
        cells = load_cells(path.parent, file, meta.dim)
        if cells.total != plan.rows:
            yield f"{path.parent / file.name}: it has {cells.total} rows, not {plan.rows}"
    except StoreError as error:
        yield str(error)


def _documents(connection: apsw.Connection, path: Path, meta: Meta) -> Iterator[str]:
    live, deleted = document_numbers(connection, path)
    together = np.sort(np.concatenate([live, deleted]))
    if not np.array_equal(together, np.arange(meta.numbered)):
        yield (
            f"{path}: of {meta.numbered} documents {len(live)} are there and {len(deleted)} "
            "deleted, which is not all of them, each once"
        )
    read_truncated(connection, path, meta.numbered)
    chunks = read_chunks(connection, path, meta.numbered, chunked=meta.chunk is not None)
    if chunks.rows != (rows := sum(s.rows for s in read_segments(connection, path))):
        yield f"{path}: {chunks.rows} texts and {rows} vectors"
    fields = _Tally()
    words = WordTally(connection, path)
    for number in live.tolist():
        try:
            document = read_document(connection, path, number)
            for record in field_records(document.metadata):
                fields.count((*record, number))
            words.count(number, document.text)
            if chunks.spans is not None:
                first, last = np.searchsorted(chunks.documents, [number, number + 1])
                spans = [(start, stop) for start, stop in chunks.spans[first:last].tolist()]
                check_spans(document.text, spans)
        except StoreError as error:
            yield str(error)
        except ValueError as error:
            yield f"{path}: document {number}: {error}"
    with sqlite_errors(path):
        for key, value, number in stream(connection, "SELECT key, value, document FROM fields"):
            fields.uncount((key, value, number))
    if fields.differ:
        yield f"{path}: its table fields is not that of the documents' metadata; repair it"
    if words.differ():
        yield f"{path}: its word index is not that of the documents' texts; repair it"


class _Tally:
    """Tells whether two collections of records are equal, in whatever order each of them comes."""

    def __init__(self) -> None:
        self._sum = self._count = 0

    def count(self, record: tuple[object, ...]) -> None:
        self._sum += hash(record)
        self._count += 1

    def uncount(self, record: tuple[object, ...]) -> None:
        self._sum -= hash(record)
        self._count -= 1

    @property
    def differ(self) -> bool:
        return (self._sum, self._count) != (0, 0)
