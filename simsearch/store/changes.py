"""Changes to a finished index: documents come in, are replaced and go out, one commit at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np

from simsearch.config import Duplicates, OnError
from simsearch.corpus import Row, RowProblem
from simsearch.encoder import SHARD
from simsearch.filters import Filter
from simsearch.index.background import PAIRS, sample_pair_scores
from simsearch.index.vectors import Vectors
from simsearch.store.chunks import Spans, append_chunks
from simsearch.store.database import (
    create_database,
    open_database,
    sqlite_errors,
    transaction,
)
from simsearch.store.documents import (
    IngestReport,
    change_metadata,
    delete_document,
    find_document,
    insert_document,
    insert_rows,
    read_document,
    read_documents,
)
from simsearch.store.filtering import matching_documents
from simsearch.store.folder import new_ingest_name, remove_database, remove_file
from simsearch.store.meta import save_meta
from simsearch.store.segments import (
    RowReader,
    Segment,
    check_vectors,
    delete_segment,
    insert_segment,
    map_segment,
    map_segments,
    segment_rows,
    write_segment,
)
from simsearch.store.staging import Batch, batch_of
from simsearch.store.truncation import insert_truncated
from simsearch.store.words import insert_words
from simsearch.store.writable import WritableIndex


class IndexEditor(WritableIndex):
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

    _staged: Path | None = None
    _staged_documents = 0

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
            report = insert_rows(connection, rows, on_error, duplicates)
        self._staged_documents = report.documents
        return report

    def batches(self, spans: Spans | None, size: int | None = None) -> Iterator[Batch]:
        """What was staged, up to ``size`` documents at a time, as the index needs it now.

        By default that suits how many there are: see ``segment_rows``. Commit each before the next
        is asked for. ``spans`` says where to cut texts, if the index
        is one with chunks.
        """
        if self._staged is None:
            raise ValueError(f"{self.folder}: nothing is staged")
        if (spans is None) != (self.chunk is None):
            raise ValueError(f"the index's chunk is {self.chunk}, but spans is {spans}")
        size = size or segment_rows(self._staged_documents)
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

    def _cells_rows(self) -> int:
        """How many of the first rows the cells hold."""
        search = self._meta.search
        return search.plan.rows if search.plan is not None and search.file is not None else 0

    def _background(self, owners: Sequence[int], segments: Sequence[Segment]) -> Vectors:
        """Pairs of random documents, drawn anew as long as the index is too small for enough."""
        if len(self._meta.background) >= PAIRS:
            return self._meta.background
        documents = np.concatenate([self._chunks().documents, np.array(owners, np.int64)])
        mapped = map_segments(self.folder, segments, self._meta.dim)
        vectors = RowReader(mapped, transient=True)
        return sample_pair_scores(vectors, documents)

    def _unstage(self) -> None:
        if self._staged is not None:
            remove_database(self._staged)
            self._staged = None

    def close(self) -> None:
        """Let others write."""
        self._unstage()
        super().close()
