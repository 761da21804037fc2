"""A finished index written anew: without what was deleted, in full segments, numbered without gap.

The new database is filled under another name and takes the place of the old at one stroke, as a
build does. Nothing of a deleted document is in it, as only the others are copied.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import apsw
import numpy as np

from simsearch.index.background import Rows
from simsearch.index.vectors import Vectors
from simsearch.store.building import Building
from simsearch.store.chunks import Chunks, append_chunks
from simsearch.store.database import create_database, sqlite_errors, stream, transaction
from simsearch.store.documents import insert_document, read_documents
from simsearch.store.folder import new_ingest_name, remove_database
from simsearch.store.meta import Meta, save_meta
from simsearch.store.segments import Segment, segment_rows
from simsearch.store.truncation import insert_truncated

_DOCUMENTS_AT_ONCE = 1024


@dataclass(frozen=True)
class Source:
    """The index to copy: its database, what that says, and ``vectors``, which gathers rows."""

    folder: Path
    connection: apsw.Connection
    path: Path
    meta: Meta
    chunks: Chunks
    vectors: Callable[[Rows], Vectors]


def is_compact(meta: Meta, segments: Sequence[Segment], deleted: int) -> bool:
    """Whether there is nothing to gain: nothing deleted, and no segment smaller than need be."""
    rows = sum(segment.rows for segment in segments)
    return deleted == 0 and len(segments) == -(-rows // segment_rows(rows))


def compact(source: Source) -> Building:
    """Write the index anew, but for the last step: ``finish`` puts it in the place of the old.

    CorruptIndexError, and nothing changed, where a document or a vector isn't what was written.
    """
    aside = source.folder / new_ingest_name()
    try:
        with (
            closing(create_database(aside)) as target,
            sqlite_errors(aside),
            transaction(target),
        ):
            numbers = _copy_documents(source, target)
            rows = np.flatnonzero(np.isin(source.chunks.documents, numbers))
            _copy_chunks(source, target, numbers, rows)
            _copy_truncated(source, target, numbers)
            begun = replace(
                source.meta,
                generation=0,
                numbered=len(numbers),
                stage="ingested",
                background=np.empty(0, np.float32),
            )
            save_meta(target, begun)
        building = Building(source.folder, aside)
        try:
            size = segment_rows(len(rows))
            for start in range(0, len(rows), size):
                building.append(source.vectors(rows[start : start + size]), {})
        except BaseException:
            building.close()
            raise
    except BaseException:
        remove_database(aside)
        raise
    return building


def _copy_documents(source: Source, target: apsw.Connection) -> Rows:
    """Copy the documents that are left; returns their old numbers, int64, ascending."""
    numbers: list[int] = []
    for batch in read_documents(source.connection, source.path, _DOCUMENTS_AT_ONCE):
        for number, document in batch:
            insert_document(target, len(numbers), document)
            numbers.append(number)
    return np.array(numbers, np.int64)


def _copy_chunks(source: Source, target: apsw.Connection, numbers: Rows, rows: Rows) -> None:
    if source.chunks.spans is None:
        return
    owners = np.searchsorted(numbers, source.chunks.documents[rows])
    spans = [(start, stop) for start, stop in source.chunks.spans[rows].tolist()]
    append_chunks(target, 0, owners.tolist(), spans)


def _copy_truncated(source: Source, target: apsw.Connection, numbers: Rows) -> None:
    with sqlite_errors(source.path):
        for number, tokens in stream(source.connection, "SELECT document, tokens FROM truncated"):
            insert_truncated(target, int(np.searchsorted(numbers, number)), tokens)
