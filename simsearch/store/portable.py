"""An index as one parquet file, to carry elsewhere: documents, vectors, and their encoder's name.

A row is a document::

    id, text    string
    metadata    string, a JSON object
    truncated   int32, how many tokens it has, if the encoder cut it; else null
    spans       list of (start, stop): its chunks; null in an index without
    vectors     list of fixed_size_list<float32, dim>, unit vectors: of its chunks, or one of it all

The file's own metadata has the rest, as JSON under the key ``simsearch``. What is read is checked
as the rows of a corpus are, and more: such a file may come from anyone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simsearch.corpus import Row
from simsearch.encoder import fingerprint
from simsearch.errors import CorpusError
from simsearch.files import new_file, sha256_of
from simsearch.index.vectors import Vectors
from simsearch.readers import import_pyarrow
from simsearch.records import Span
from simsearch.store.building import Shard
from simsearch.store.chunks import check_spans
from simsearch.store.database import open_database
from simsearch.store.documents import read_documents
from simsearch.store.folder import INDEX
from simsearch.store.meta import BuildPlan, is_chunk
from simsearch.store.reader import StoredIndex
from simsearch.store.segments import check_vectors
from simsearch.store.truncation import read_lengths
from simsearch.store.writer import IndexWriter

FORMAT = 1
_KEY = b"simsearch"
_ROWS_AT_ONCE = 2048
_MOST_BYTES = 1 << 30  # of a group of rows, unpacked: ours have some 10 MiB
_MOST_DIM = 1 << 16
_CHECKED = {"compression": "zstd", "write_page_checksum": True}


# Export


def export_index(folder: Path, path: Path) -> int:
    """Write a finished index to a new file, of one generation; returns how many documents.

    Memory doesn't grow with the index. Writers wait until it has finished. Raises what
    ``StoredIndex.open`` does, SettingsError if the file cannot be written, CorruptIndexError for a
    document or vector that was altered, and MissingPackageError without pyarrow.
    """
    pyarrow, parquet = import_pyarrow(path)
    with StoredIndex.open(folder) as stored, new_file(path) as aside, stored.reading():
        schema = _schema(pyarrow, stored)
        with (
            parquet.ParquetWriter(aside, schema, **_CHECKED) as writer,
            # of the state that `reading` holds: nobody commits meanwhile
            closing(open_database(folder / INDEX, "ro")) as connection,
        ):
            lengths = read_lengths(connection, folder / INDEX)
            for documents in read_documents(connection, folder / INDEX, _ROWS_AT_ONCE):
                rows = [_exported(stored, lengths, number) for number, _ in documents]
                table = {
                    "id": [document.id for _, document in documents],
                    "text": [document.text for _, document in documents],
                    "metadata": [
                        json.dumps(document.metadata, ensure_ascii=False)
                        for _, document in documents
                    ],
                    "truncated": [length for length, _, _ in rows],
                    "spans": [spans for _, spans, _ in rows],
                    "vectors": [vectors for _, _, vectors in rows],
                }
                writer.write_table(pyarrow.table(table, schema))
        return stored.count


def _schema(pyarrow: Any, stored: StoredIndex) -> Any:
    string, number = pyarrow.string(), pyarrow.int32()
    span = pyarrow.struct({"start": number, "stop": number})
    facts = {
        "format": FORMAT,
        "identity": dict(stored.identity),
        "fingerprint": stored.fingerprint,
        "settings": dict(stored.settings),
        "dim": stored.dim,
        "chunk": None if stored.chunk is None else list(stored.chunk),
        "rows": stored.rows,
    }
    columns = {
        "id": string,
        "text": string,
        "metadata": string,
        "truncated": number,
        "spans": pyarrow.list_(span),
        "vectors": pyarrow.list_(pyarrow.list_(pyarrow.float32(), stored.dim)),
    }
    return pyarrow.schema(list(columns.items()), {_KEY: json.dumps(facts).encode()})


def _exported(
    stored: StoredIndex, lengths: dict[int, int], number: int
) -> tuple[int | None, list[dict[str, int]] | None, list[Any]]:
    """Length if it was cut, spans and vectors of a document."""
    first, last = np.searchsorted(stored.chunks.documents, [number, number + 1]).tolist()
    spans = stored.chunks.spans
    shown = None
    if spans is not None:
        shown = [{"start": a, "stop": b} for a, b in spans[first:last].tolist()]
    return lengths.get(number), shown, list(stored.vectors(np.arange(first, last)))


# Import


@dataclass(frozen=True)
class _Record:
    """A row of such a file, checked."""

    row: Row
    length: int | None
    spans: list[Span]
    vectors: Vectors


def import_index(
    path: Path,
    folder: Path,
    *,
    replace: bool,
    progress: Callable[[int, int | None], None] | None = None,
) -> int:
    """Make an index of what ``export_index`` wrote; returns how many documents.

    Resumes where an import of the same file was interrupted. Raises CorpusError for a file that is
    not one of ours, or in which anything is not as it must be, and then leaves the folder as it
    was; StoreError as a build does.
    """
    plan = _plan(path)
    with IndexWriter.open(folder, plan, replace=replace) as writer:
        if writer.finished:
            return writer.facts.documents
        if not writer.ingested:
            cuts = (record.spans for record in _records(path, plan))
            spans = None if plan.chunk is None else lambda texts: [next(cuts) for _ in texts]
            rows = (record.row for record in _records(path, plan))
            writer.ingest(rows, on_error="stop", spans=spans)
        vectors = _vectors(path, plan, writer.done)
        for shard in writer.pending_shards():
            _commit(writer, shard, vectors)
            if progress is not None:
                progress(writer.done, writer.total)
        writer.finish()
        return writer.facts.documents


def _commit(
    writer: IndexWriter, shard: Shard, vectors: Iterator[tuple[Vectors, int | None]]
) -> None:
    found = [next(vectors) for _ in shard.texts]
    lengths = {i: length for i, (_, length) in enumerate(found) if length is not None}
    writer.commit(shard, np.array([vector for vector, _ in found], np.float32), lengths)


def _vectors(path: Path, plan: BuildPlan, skipped: int) -> Iterator[tuple[Vectors, int | None]]:
    """Each vector from this row on, with the length of its document if that was cut."""
    row = 0
    for record in _records(path, plan):
        for vector in record.vectors:
            if row >= skipped:
                yield vector, record.length
            row += 1


def _plan(path: Path) -> BuildPlan:
    with _parquet_file(path) as file:
        stored = (file.schema_arrow.metadata or {}).get(_KEY, b"")
    try:
        facts = json.loads(stored)
        identity, settings, chunk = facts["identity"], facts["settings"], facts["chunk"]
        plan = BuildPlan(
            inputs=f"{path.suffix} {sha256_of(path)}",
            identity=identity,
            fingerprint=facts["fingerprint"],
            settings=settings,
            dim=facts["dim"],
            chunk=None if chunk is None else tuple(chunk),
        )
        known = facts["format"] == FORMAT
        objects = isinstance(identity, dict) and isinstance(settings, dict)
        numbers = type(plan.dim) is int and 0 < plan.dim <= _MOST_DIM
        if not (known and objects and numbers and (chunk is None or is_chunk(chunk))):
            raise ValueError("a field of it is not what it must be")
        if fingerprint(identity) != plan.fingerprint:
            raise ValueError("its fingerprint is not that of its identity")
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise _not_ours(path, f"what it says of itself cannot be used: {error}") from None
    return plan


def _records(path: Path, plan: BuildPlan) -> Iterator[_Record]:
    columns = ["id", "text", "metadata", "truncated", "spans", "vectors"]
    with _parquet_file(path) as file:
        number = 0
        for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE, columns=columns):
            for values in batch.to_pylist():
                number += 1
                try:
                    yield _record(path, number, values, plan)
                except (KeyError, TypeError, ValueError, RecursionError) as error:
                    raise _not_ours(path, f"row {number}: {error}") from None


def _record(path: Path, number: int, values: dict[str, Any], plan: BuildPlan) -> _Record:
    """Check a row; ValueError and the like say what is wrong."""
    id_, text, metadata = values["id"], values["text"], json.loads(values["metadata"])
    if not isinstance(metadata, dict):
        raise ValueError("its metadata is no object")
    json.dumps(metadata, allow_nan=False)
    if not (isinstance(id_, str) and id_.strip() and isinstance(text, str) and text.strip()):
        raise ValueError("its id or text is empty or no string")
    length = values["truncated"]
    if length is not None and (type(length) is not int or length < 1):
        raise ValueError(f"it is said to have {length} tokens")
    spans: list[Span] = [(0, len(text))]
    if plan.chunk is not None:
        spans = [(span["start"], span["stop"]) for span in values["spans"]]
        check_spans(text, spans)
    vectors = np.array(values["vectors"], np.float32)
    check_vectors(vectors, len(spans), plan.dim)
    return _Record(Row(path, number, id_, text, metadata), length, spans, vectors)


@contextmanager
def _parquet_file(path: Path) -> Iterator[Any]:
    """The file opened; CorpusError for what pyarrow cannot read, be it in the block."""
    pyarrow, parquet = import_pyarrow(path)
    try:
        with parquet.ParquetFile(
            path, buffer_size=2**20, pre_buffer=False, page_checksum_verification=True
        ) as file:
            for i in range(file.metadata.num_row_groups):
                size = file.metadata.row_group(i).total_byte_size
                if not 0 <= size <= _MOST_BYTES:
                    raise _not_ours(path, f"a group of its rows has {size:,} bytes")
            yield file
    except FileNotFoundError:
        raise CorpusError(f"{path} does not exist; give a file that `export` wrote") from None
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).partition("\n")[0]
        raise CorpusError(f"{path} cannot be read as parquet ({reason}); export it again") from None


def _not_ours(path: Path, why: str) -> CorpusError:
    return CorpusError(f"{path} is not an index that `simsearch export` wrote: {why}")
