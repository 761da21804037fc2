"""Changes to a finished index: documents come in, are replaced and go out, one commit at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import apsw
import numpy as np

from simsearch.config import Duplicates, IndexSettings, OnError
from simsearch.corpus import Row, RowProblem
from simsearch.encoder import SHARD
from simsearch.errors import CorruptIndexError
from simsearch.filters import Filter
from simsearch.index.background import PAIRS, sample_pair_scores
from simsearch.index.planner import plan_index
from simsearch.index.vectors import Vectors
from simsearch.store.absent import no_index
from simsearch.store.chunks import Chunks, Spans, append_chunks, read_chunks, read_passages
from simsearch.store.compaction import Source, compact, is_compact
from simsearch.store.database import (
    create_database,
    damaged,
    open_database,
    sqlite_errors,
    transaction,
)
from simsearch.store.documents import (
    IngestReport,
    change_metadata,
    delete_document,
    document_numbers,
    find_document,
    insert_document,
    insert_rows,
    read_document,
    read_documents,
)
from simsearch.store.facts import Facts, read_facts, write_manifest
from simsearch.store.filtering import matching_documents
from simsearch.store.folder import INDEX, FolderLock, new_ingest_name, remove_database, remove_file
from simsearch.store.garbage import sweep_folder
from simsearch.store.meta import Meta, load_meta, save_meta
from simsearch.store.search_record import SearchRecord, build_search
from simsearch.store.segments import (
    RowReader,
    Segment,
    check_vectors,
    delete_segment,
    insert_segment,
    map_segment,
    map_segments,
    read_segments,
    write_segment,
)
from simsearch.store.staging import Batch, batch_of
from simsearch.store.truncation import insert_truncated
from simsearch.store.words import insert_words


class IndexEditor:
    """The one writer of a finished index, from ``open`` to ``close``.

    ::

        with IndexEditor.open(folder) as editor:
            editor.stage(rows, on_error="stop")
            for batch in editor.batches(spans=None):
                editor.commit(batch, encoder.encode(batch.texts))
            editor.delete(["42", "43"])

    After each commit the documents are found, whatever happens next. ``identity``, ``fingerprint``,
    ``settings`` and ``chunk`` are those of the build: see ``BuildPlan``.
    """

    def __init__(self, folder: Path, lock: FolderLock, connection: apsw.Connection) -> None:
        """For ``open``, which holds the lock."""
        self.folder = folder
        self._lock = lock
        self._connection = connection
        self._path = folder / INDEX
        self._staged: Path | None = None
        self._meta = meta = load_meta(connection, self._path)
        if meta.stage != "finished":
            raise damaged(self._path, f"its stage is {meta.stage!r}, not 'finished'")
        self.identity, self.fingerprint = meta.identity, meta.fingerprint
        self.settings, self.chunk = meta.settings, meta.chunk
        self._segments = read_segments(connection, self._path)

    @classmethod
    def open(cls, folder: Path) -> IndexEditor:
        """Lock a finished index for changes.

        Raises IndexNotFoundError, UnfinishedIndexError, IndexBusyError and CorruptIndexError.
        """
        if not (folder / INDEX).is_file():
            raise no_index(folder)
        lock = FolderLock(folder)
        try:
            connection = open_database(folder / INDEX, "rw")
            try:
                editor = cls(folder, lock, connection)
                sweep_folder(folder)
            except BaseException:
                connection.close()
                raise
        except BaseException:
            lock.release()
            raise
        return editor

    @property
    def facts(self) -> Facts:
        """The facts of the index as it is now."""
        return read_facts(self._connection, self._path)

    def stage(
        self,
        rows: Iterable[Row | RowProblem],
        on_error: OnError,
        duplicates: Duplicates = "keep",
    ) -> IngestReport:
        """Read and check the rows of a corpus, all of them before the first is put in.

        Raises CorpusError as ``IndexWriter.ingest`` does. Ids are given as they are there: a row
        without one that has the text of a document without one has its id. ``duplicates`` is about
        texts that two of the rows have.
        """
        self._unstage()
        aside = self._staged = self.folder / new_ingest_name()
        with (
            closing(create_database(aside)) as connection,
            sqlite_errors(aside),
            transaction(connection),
        ):
            return insert_rows(connection, rows, on_error, duplicates)

    def batches(self, spans: Spans | None, size: int = SHARD) -> Iterator[Batch]:
        """What was staged, up to ``size`` documents at a time, as the index needs it now.

        Commit each before the next is asked for. ``spans`` says where to cut texts, if the index
        is one with chunks.
        """
        if self._staged is None:
            raise ValueError(f"{self.folder}: nothing is staged")
        if (spans is None) != (self.chunk is None):
            raise ValueError(f"the index's chunk is {self.chunk}, but spans is {spans}")
        with closing(open_database(self._staged, "ro")) as staged:
            for documents in read_documents(staged, self._staged, size):
                yield batch_of(self._connection, self._path, [d for _, d in documents], spans)

    def commit(
        self, batch: Batch, vectors: Vectors, truncated: Mapping[int, int] | None = None
    ) -> None:
        """Put a batch in, all of it or nothing, durably; the next query finds it.

        ``vectors`` are float32 (len(batch.texts), dim), ``truncated`` the positions of those texts
        that were cut, and their tokens. ValueError if they aren't unit vectors of that shape.
        """
        check_vectors(vectors, len(batch.texts), self._meta.dim)
        if not (batch.new or batch.relabelled):
            return
        rows = sum(segment.rows for segment in self._segments)
        numbers = [self._meta.numbered + i for i in range(len(batch.new))]
        owners = [numbers[owner] for owner in batch.owners]
        folded, written = self._appended(vectors)
        segments = [*self._segments[: len(self._segments) - len(folded)], *written]
        meta = replace(
            self._meta,
            generation=self._meta.generation + 1,
            numbered=self._meta.numbered + len(numbers),
            background=self._background(owners, segments),
        )
        with sqlite_errors(self._path), transaction(self._connection):
            for number in batch.replaced:
                delete_document(self._connection, self._path, number)
            for number, document in batch.relabelled:
                change_metadata(self._connection, self._path, number, document)
            for number, document in zip(numbers, batch.new, strict=True):
                insert_document(self._connection, number, document)
            texts = (document.text for document in batch.new)
            insert_words(self._connection, zip(numbers, texts, strict=True))
            if self.chunk is not None:
                append_chunks(self._connection, rows, owners, batch.spans)
            for position, tokens in (truncated or {}).items():
                insert_truncated(self._connection, owners[position], tokens)
            for old in folded:
                delete_segment(self._connection, old)
            for segment in written:
                insert_segment(self._connection, segment)
            save_meta(self._connection, meta)
        self._committed(meta, segments)
        for old in folded:
            remove_file(self.folder / old.name)

    def _appended(self, vectors: Vectors) -> tuple[list[Segment], list[Segment]]:
        """Write these rows to a segment, and before them those of small segments at the end.

        Segments are folded when they are about as large, as the digits of a counter are carried,
        so that many small commits make few segments and a row is copied seldom. Returns the
        segments that are replaced, and the new one, if there is anything to write.
        """
        if not len(vectors):
            return [], []
        size, first = len(vectors), len(self._segments)
        in_cells = self._cells_rows()
        while (
            first
            and self._segments[first - 1].rows <= min(size, SHARD - size)
            and self._segments[first - 1].first_row >= in_cells
        ):
            first -= 1
            size += self._segments[first].rows
        folded = self._segments[first:]
        mapped = [map_segment(self.folder, old, self._meta.dim).vectors for old in folded]
        row = sum(segment.rows for segment in self._segments[:first])
        return folded, [write_segment(self.folder, row, np.concatenate([*mapped, vectors]))]

    def matching(self, filter: Filter) -> list[str]:
        """The ids of the documents that a filter matches."""
        numbers = matching_documents(self._connection, self._path, filter)
        return [read_document(self._connection, self._path, int(n)).id for n in numbers]

    def delete(self, ids: Sequence[str]) -> list[str]:
        """Take the documents with these ids out, durably; returns the ids that were not there."""
        missing = []
        with sqlite_errors(self._path), transaction(self._connection):
            for id_ in dict.fromkeys(ids):
                number = find_document(self._connection, self._path, id_)
                if number is None:
                    missing.append(id_)
                else:
                    delete_document(self._connection, self._path, number)
            if len(missing) == len(set(ids)):
                return missing
            meta = replace(self._meta, generation=self._meta.generation + 1)
            save_meta(self._connection, meta)
        self._committed(meta, self._segments)
        return missing

    def optimize(self, settings: IndexSettings | None = None) -> bool:
        """Write the index anew, without what was deleted, and plan its search for what it holds.

        ``settings`` take the place of those that it has. False if there is nothing to gain. Raises
        SettingsError where no index can be as they want.
        """
        settings = settings or self._meta.search.settings
        rows = sum(segment.rows for segment in self._segments)
        plan = self._meta.search.plan
        planned = settings == self._meta.search.settings and plan and plan.rows == rows
        _, deleted = document_numbers(self._connection, self._path)
        compact = is_compact(self._meta, self._segments, len(deleted))
        if compact and planned:
            return False
        plan_index(rows - len(deleted), self._meta.dim, settings)  # before any work
        if compact:
            self._plan_anew(settings)
        else:
            self._rewrite(settings)
        return True

    def _plan_anew(self, settings: IndexSettings) -> None:
        mapped = [map_segment(self.folder, segment, self._meta.dim) for segment in self._segments]
        vectors = [segment.vectors for segment in mapped]
        search = build_search(self.folder, vectors, self._meta.dim, settings)
        meta = replace(self._meta, generation=self._meta.generation + 1, search=search)
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
        self._rewrite(self._meta.search.settings)
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

    def _rewrite(self, settings: IndexSettings) -> None:
        mapped = map_segments(self.folder, self._segments, self._meta.dim)
        source = Source(
            self.folder,
            self._connection,
            self._path,
            replace(self._meta, search=SearchRecord(settings)),
            self._chunks(),
            RowReader(mapped),
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

    def _cells_rows(self) -> int:
        """How many of the first rows the cells hold."""
        search = self._meta.search
        return search.plan.rows if search.plan is not None and search.file is not None else 0

    def _chunks(self) -> Chunks:
        return read_chunks(
            self._connection, self._path, self._meta.numbered, chunked=self.chunk is not None
        )

    def _committed(self, meta: Meta, segments: list[Segment]) -> None:
        self._meta, self._segments = meta, segments
        write_manifest(self.folder, self.facts)

    def _background(self, owners: Sequence[int], segments: Sequence[Segment]) -> Vectors:
        """Pairs of random documents, drawn anew as long as the index is too small for enough."""
        if len(self._meta.background) >= PAIRS:
            return self._meta.background
        documents = np.concatenate([self._chunks().documents, np.array(owners, np.int64)])
        vectors = RowReader(map_segments(self.folder, segments, self._meta.dim))
        return sample_pair_scores(vectors, documents)

    def _unstage(self) -> None:
        if self._staged is not None:
            remove_database(self._staged)
            self._staged = None

    def close(self) -> None:
        """Let others write."""
        self._connection.close()
        self._unstage()
        self._lock.release()

    def __enter__(self) -> IndexEditor:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
