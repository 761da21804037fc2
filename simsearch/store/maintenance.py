"""Upkeep of a finished index: written anew, planned anew, mended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from simsearch.config import IndexSettings
from simsearch.errors import CorruptIndexError
from simsearch.index.planner import plan_index
from simsearch.index.vectors import Vectors
from simsearch.store.chunks import read_passages
from simsearch.store.compaction import Source, compact, is_compact
from simsearch.store.database import (
    open_database,
    sqlite_errors,
    transaction,
)
from simsearch.store.documents import (
    document_numbers,
)
from simsearch.store.garbage import sweep_folder
from simsearch.store.meta import load_meta, save_meta
from simsearch.store.search_record import SearchRecord, build_search, tune_again
from simsearch.store.segments import (
    RowReader,
    check_vectors,
    delete_segment,
    insert_segment,
    map_segment,
    map_segments,
    read_segments,
    write_segment,
)
from simsearch.store.writable import WritableIndex


class IndexKeeper(WritableIndex):
    """The one writer of a finished index that looks after it, from ``open`` to ``close``."""

    def optimize(
        self, settings: IndexSettings | None = None, queries: Vectors | None = None
    ) -> bool:
        """Write the index anew, without what was deleted, and plan its search for what it holds.

        ``settings`` take the place of those that it has, and ``queries``, float32 unit vectors
        (n, dim), of those that it is tuned on, now and later. False if there is nothing to gain.
        Raises SettingsError where no index can be as they want.
        """
        settings = settings or self._meta.search.settings
        queries = self._meta.queries if queries is None else queries
        check_vectors(queries, len(queries), self._meta.dim)
        rows = sum(segment.rows for segment in self._segments)
        plan = self._meta.search.plan
        asked = settings == self._meta.search.settings
        asked = asked and np.array_equal(queries, self._meta.queries)
        planned = asked and plan and plan.rows == rows
        _, deleted = document_numbers(self._connection, self._path)
        compact = is_compact(self._meta, self._segments, len(deleted))
        if compact and planned:
            return False
        plan_index(rows - len(deleted), self._meta.dim, settings)  # before any work
        if compact:
            self._plan_anew(settings, queries)
        else:
            self._rewrite(settings, queries)
        return True

    def _plan_anew(self, settings: IndexSettings, queries: Vectors) -> None:
        folder, meta = self.folder, self._meta
        mapped = [map_segment(folder, segment, meta.dim) for segment in self._segments]
        vectors = [segment.vectors for segment in mapped]
        search = tune_again(folder, vectors, meta.dim, meta.search, settings, queries)
        if search is None:
            search = build_search(folder, vectors, meta.dim, settings, queries)
        meta = replace(meta, generation=meta.generation + 1, search=search, queries=queries)
        with sqlite_errors(self._path), transaction(self._connection):
            save_meta(self._connection, meta)
        self._committed(meta, self._segments)
        sweep_folder(self.folder)

    def repair(self, encode: Callable[[list[str]], Vectors]) -> int:
        """Write the index anew from its documents and vectors; returns how many were encoded again.

        ``encode`` makes the vectors of texts whose segment is damaged or missing. CorruptIndexError
        for a document that isn't what was written: nothing can make it again.
        """
        encoded = 0
        for position, segment in enumerate(self._segments):
            try:
                map_segment(self.folder, segment, self._meta.dim)
            except CorruptIndexError:
                encoded += self._encode_again(position, encode)
        self._rewrite(self._meta.search.settings, self._meta.queries)
        return encoded

    def _encode_again(self, position: int, encode: Callable[[list[str]], Vectors]) -> int:
        """Put a new segment in the place of one that cannot be read."""
        segment, chunks = self._segments[position], self._chunks()
        _, deleted = document_numbers(self._connection, self._path)
        rows = np.arange(segment.first_row, segment.first_row + segment.rows)
        live = rows[~np.isin(chunks.documents[rows], deleted)]
        passages = read_passages(self._connection, self._path, chunks, live)
        # what was deleted is in no answer, whatever its vector is
        vectors = np.zeros((segment.rows, self._meta.dim), np.float32)
        vectors[:, 0] = 1
        if len(live):
            vectors[live - segment.first_row] = encode([passage.text for passage in passages])
        check_vectors(vectors, segment.rows, self._meta.dim)
        written = write_segment(self.folder, segment.first_row, vectors)
        meta = replace(self._meta, generation=self._meta.generation + 1)
        with sqlite_errors(self._path), transaction(self._connection):
            delete_segment(self._connection, segment)
            insert_segment(self._connection, written)
            save_meta(self._connection, meta)
        segments = [*self._segments]
        segments[position] = written
        self._committed(meta, segments)
        return len(live)

    def _rewrite(self, settings: IndexSettings, queries: Vectors) -> None:
        mapped = map_segments(self.folder, self._segments, self._meta.dim)
        source = Source(
            self.folder,
            self._connection,
            self._path,
            replace(self._meta, search=SearchRecord(settings), queries=queries),
            self._chunks(),
            RowReader(mapped, transient=True),
        )
        building = compact(source)
        self._connection.close()  # Windows replaces no file that is open
        try:
            building.finish(self._meta.generation + 1)
        finally:
            building.close()
            self._connection = open_database(self._path, "rw")
        meta = load_meta(self._connection, self._path)
        self._committed(meta, read_segments(self._connection, self._path))
        sweep_folder(self.folder)
