"""An index under construction, in ``building.sqlite``: documents first, then vectors by shards."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

import numpy as np

from simsearch.config import Duplicates, OnError
from simsearch.corpus import Row, RowProblem
from simsearch.index.background import sample_pair_scores
from simsearch.index.vectors import Vectors
from simsearch.store.chunks import Spans, insert_chunks, read_chunks, read_run
from simsearch.store.database import create_database, open_database, sqlite_errors, transaction
from simsearch.store.documents import IngestReport, insert_rows, read_documents
from simsearch.store.folder import (
    BUILDING,
    INDEX,
    disk_errors,
    new_ingest_name,
    remove_database,
    remove_side_files,
    sync_folder,
)
from simsearch.store.meta import BuildPlan, Meta, load_meta, program_version, save_meta
from simsearch.store.search_record import SearchRecord, build_search
from simsearch.store.segments import (
    RowReader,
    check_vectors,
    insert_segment,
    map_segment,
    map_segments,
    read_segments,
    write_segment,
)
from simsearch.store.truncation import insert_truncated, read_truncated
from simsearch.store.words import insert_words

_DOCUMENTS_AT_ONCE = 1024


class Seconds(NamedTuple):
    """How long it took to make the vectors searchable, and to index the words."""

    search: float
    words: float


@dataclass(frozen=True)
class Shard:
    """Texts that are encoded and committed together (documents or chunks), from this row on."""

    first_row: int
    texts: list[str]


def ingest(
    folder: Path,
    plan: BuildPlan,
    rows: Iterable[Row | RowProblem],
    on_error: OnError,
    duplicates: Duplicates,
    spans: Spans | None,
) -> IngestReport:
    """Make the folder's ``building.sqlite``, with all documents and chunks in it and no vectors.

    It is filled under another name: after any exception, or a kill, there is no trace of it, and
    the ``building.sqlite`` of an earlier build is as it was.
    """
    aside, building = folder / new_ingest_name(), folder / BUILDING
    try:
        with (
            closing(create_database(aside)) as connection,
            sqlite_errors(aside),
            transaction(connection),
        ):
            report = insert_rows(connection, rows, on_error, duplicates)
            if spans is not None:
                insert_chunks(connection, spans)
            save_meta(connection, _first_meta(plan, report.documents))
        with disk_errors(building):
            remove_database(building)
            aside.replace(building)
            sync_folder(folder)
    except BaseException:
        remove_database(aside)
        raise
    return report


def _first_meta(plan: BuildPlan, documents: int) -> Meta:
    return Meta(
        inputs=plan.inputs,
        identity=plan.identity,
        fingerprint=plan.fingerprint,
        settings=plan.settings,
        dim=plan.dim,
        search=SearchRecord(plan.search),
        generation=0,  # until it is finished
        numbered=documents,
        created=_now(),
        version=program_version(),
        stage="ingested",
        background=np.empty(0, np.float32),
        chunk=plan.chunk,
        queries=np.empty((0, plan.dim), np.float32),
    )


class Building:
    """A database that is on its way to be the index (``building.sqlite``), opened to go on with it.

    Everything it has so far is checked first, so that what is finished is an index that opens:
    raises CorruptIndexError otherwise.
    """

    def __init__(self, folder: Path, path: Path) -> None:
        self._folder = folder
        self._path = path
        self._connection = open_database(self._path, "rw")
        try:
            self.meta = load_meta(self._connection, self._path)
            self.segments = read_segments(self._connection, self._path)
            for segment in self.segments:
                map_segment(folder, segment, self.meta.dim)
            chunked = self.meta.chunk is not None
            documents = self.meta.numbered
            self.chunks = read_chunks(self._connection, self._path, documents, chunked=chunked)
            read_truncated(self._connection, self._path, self.chunks.count)
        except BaseException:
            self._connection.close()
            raise

    @property
    def done(self) -> int:
        """How many texts have vectors; the first without is the row of this number."""
        return sum(segment.rows for segment in self.segments)

    @property
    def total(self) -> int:
        """How many texts there are: documents, or their chunks."""
        return self.chunks.rows

    def shards(self, size: int) -> Iterator[Shard]:
        """The texts without a vector, in row order, up to ``size`` at a time."""
        for first_row in range(self.done, self.total, size):
            rows = range(first_row, min(first_row + size, self.total))
            passages = read_run(self._connection, self._path, self.chunks, rows)
            yield Shard(first_row, [passage.text for passage in passages])

    def commit(self, shard: Shard, vectors: Vectors, truncated: Mapping[int, int]) -> None:
        """Store the vectors, float32 (len(shard.texts), dim), of the next shard, durably.

        ``truncated`` has the positions in the shard of texts that were cut, and their tokens.
        """
        if shard.first_row != self.done:
            raise ValueError(f"the shard begins at row {shard.first_row}; row {self.done} is next")
        check_vectors(vectors, len(shard.texts), self.meta.dim)
        self.append(vectors, truncated)

    def append(self, vectors: Vectors, truncated: Mapping[int, int]) -> None:
        """Store the next vectors, float32 (n, dim), durably."""
        first_row = self.done
        segment = write_segment(self._folder, first_row, vectors)
        with sqlite_errors(self._path), transaction(self._connection):
            insert_segment(self._connection, segment)
            for position, tokens in truncated.items():
                document = int(self.chunks.documents[first_row + position])
                insert_truncated(self._connection, document, tokens)
        self.segments.append(segment)

    def finish(self, generation: int) -> Seconds:
        """Put the new index in the place of the old one, at one stroke; this object is closed.

        Before that the words are indexed and the search is built, if they aren't yet; returns how
        long each took.
        """
        if self.done != self.total:
            raise ValueError(f"{self.done} of {self.total} texts have vectors; encode the rest")
        seconds = Seconds(0.0, 0.0)
        meta = replace(self.meta, generation=generation)
        if meta.stage == "finished":  # and killed before the rename
            with sqlite_errors(self._path), transaction(self._connection):
                save_meta(self._connection, meta)
        else:
            seconds = self._complete(meta)
        self.close()
        index = self._folder / INDEX
        with disk_errors(index):
            remove_side_files(index)  # of a damaged index: any other was rolled back when opened
            self._path.replace(index)
            sync_folder(self._folder)
        return seconds

    def _complete(self, meta: Meta) -> Seconds:
        """Add all that is derived from documents and vectors, in one transaction."""
        begin = time.perf_counter()
        mapped = map_segments(self._folder, self.segments, meta.dim)
        vectors = [segment.vectors for segment in mapped]
        meta = replace(
            meta,
            created=_now(),
            version=program_version(),
            stage="finished",
            background=sample_pair_scores(RowReader(mapped, transient=True), self.chunks.documents),
            search=build_search(
                self._folder, vectors, meta.dim, meta.search.settings, meta.queries
            ),
        )
        searchable = time.perf_counter()
        with sqlite_errors(self._path), transaction(self._connection):
            insert_words(self._connection, self._texts())
            save_meta(self._connection, meta)
        return Seconds(searchable - begin, time.perf_counter() - searchable)

    def _texts(self) -> Iterator[tuple[int, str]]:
        for batch in read_documents(self._connection, self._path, _DOCUMENTS_AT_ONCE):
            yield from ((number, document.text) for number, document in batch)

    def close(self) -> None:
        """Close the database. Everything committed is on disk."""
        self._connection.close()


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
