"""The ``documents`` table: rows of a corpus go in, each under its own id; documents come out."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw
import numpy as np

from simsearch.config import Duplicates, OnError
from simsearch.corpus import Row, RowProblem, content_id
from simsearch.encoder import canonical_json
from simsearch.errors import CorpusError
from simsearch.index.background import Rows
from simsearch.records import Document
from simsearch.store.database import damaged, record, records, sqlite_errors, stream
from simsearch.store.filtering import delete_fields, insert_fields
from simsearch.store.words import delete_words

PROBLEMS_SHOWN = 20


@dataclass(frozen=True)
class IngestReport:
    """How many rows of a corpus became documents, how many didn't, and why (the first 20).

    ``collapsed`` more had a text that an earlier row has.
    """

    documents: int
    collapsed: int
    skipped: int
    problems: tuple[str, ...]


def insert_rows(
    connection: apsw.Connection,
    rows: Iterable[Row | RowProblem],
    on_error: OnError,
    duplicates: Duplicates,
) -> IngestReport:
    """Number the documents from 0 and insert them, inside the caller's transaction.

    A row without an id gets ``content_id(text)``; a repeat gets it with ``-2``, ``-3`` and so on.
    An own id that is taken is a problem of its row. Rows with problems are left out with "skip".
    With "stop" they are all read, and then raise CorpusError; so does a corpus without documents.
    ``duplicates`` says what becomes of a row whose text an earlier one has.

    Memory doesn't grow with the corpus: what has to be remembered is in temporary tables, which end
    with the connection.
    """
    connection.execute("CREATE TEMP TABLE origins (number INTEGER PRIMARY KEY, path BLOB, line)")
    connection.execute("CREATE TEMP TABLE repeats (id TEXT PRIMARY KEY, count INTEGER)")
    connection.execute("CREATE TEMP TABLE texts (hash BLOB PRIMARY KEY, number INTEGER)")
    documents = collapsed = skipped = 0
    problems: list[str] = []
    for row in rows:
        problem = row if isinstance(row, RowProblem) else None
        if isinstance(row, Row) and duplicates != "keep":
            problem = _repeat(connection, documents, row)
            if problem is not None and duplicates == "collapse":
                collapsed += 1
                continue
        if isinstance(row, Row) and problem is None:
            problem = _insert(connection, documents, row)
        if problem is None:
            documents += 1
        else:
            skipped += 1
            if len(problems) < PROBLEMS_SHOWN:
                problems.append(str(problem))
    report = IngestReport(documents, collapsed, skipped, tuple(problems))
    if documents == 0 or (skipped and on_error == "stop"):
        raise CorpusError(_refusal(report))
    return report


def _refusal(report: IngestReport) -> str:
    lines = list(report.problems)
    if report.skipped > len(lines):
        lines.append(f"and {report.skipped - len(lines)} more")
    listed = "".join(f"\n  {line}" for line in lines)
    if not report.documents:
        return f"the corpus has no row that can be used, and it takes one at least{listed}"
    return (
        f"{report.skipped} of {report.documents + report.skipped} rows cannot be used:{listed}\n"
        "Mend them, or leave them out with --on-error skip"
    )


def _repeat(connection: apsw.Connection, number: int, row: Row) -> RowProblem | None:
    """Note the text of the next document, or say where it was before."""
    digest = hashlib.sha256(row.text.encode()).digest()
    connection.execute("INSERT OR IGNORE INTO texts VALUES (?, ?)", (digest, number))
    if connection.changes() == 1:
        return None
    ((path, line),) = records(
        connection,
        "SELECT path, line FROM origins JOIN texts USING (number) WHERE hash = ?",
        (digest,),
    )
    where = f"{Path(os.fsdecode(path))}:{line}"
    return RowProblem(row.path, row.line, f"the text is that of {where}")


def _insert(connection: apsw.Connection, number: int, row: Row) -> RowProblem | None:
    def inserted(id_: str) -> bool:
        return insert_document(connection, number, Document(id_, row.text, row.metadata))

    if row.id is None:
        base = id_ = content_id(row.text)
        while not inserted(id_):
            id_ = f"{base}-{_next_repeat(connection, base)}"
    elif not inserted(row.id):
        path, line = _origin(connection, row.id)
        return RowProblem(row.path, row.line, f"duplicate id {row.id!r}, first at {path}:{line}")
    # as bytes: a file name need not be valid UTF-8
    origin = (number, os.fsencode(row.path), row.line)
    connection.execute("INSERT INTO origins VALUES (?, ?, ?)", origin)
    return None


def insert_document(connection: apsw.Connection, number: int, document: Document) -> bool:
    """Insert a document, in the caller's transaction; if its id is taken, say so and don't."""
    metadata = _as_json(document)
    connection.execute(
        "INSERT INTO documents VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
        (number, document.id, document.text, metadata, _document_hash(document)),
    )
    if connection.changes() == 0:
        return False
    insert_fields(connection, number, document.metadata)
    return True


def change_metadata(
    connection: apsw.Connection, path: Path, number: int, document: Document
) -> None:
    """Give this document its metadata (id and text are the same), in the caller's transaction."""
    delete_fields(connection, number, read_document(connection, path, number).metadata)
    insert_fields(connection, number, document.metadata)
    connection.execute(
        "UPDATE documents SET metadata = ?, hash = ? WHERE number = ?",
        (_as_json(document), _document_hash(document), number),
    )


def delete_document(connection: apsw.Connection, path: Path, number: int) -> None:
    """Take a document out, in the caller's transaction; its number is never given again."""
    document = read_document(connection, path, number)
    delete_fields(connection, number, document.metadata)
    connection.execute("DELETE FROM documents WHERE number = ?", (number,))
    connection.execute("DELETE FROM truncated WHERE document = ?", (number,))
    connection.execute("INSERT INTO tombstones VALUES (?)", (number,))
    delete_words(connection, [number])


def find_document(connection: apsw.Connection, path: Path, id_: str) -> int | None:
    """The number of the document with this id, if there is one."""
    with sqlite_errors(path):
        found = record(connection, "SELECT number FROM documents WHERE id = ?", (id_,))
    return None if found is None else int(found[0])


def _next_repeat(connection: apsw.Connection, base: str) -> int:
    """2, 3, ...: counted, not searched for, so that a text may repeat 100,000 times."""
    connection.execute(
        "INSERT INTO repeats VALUES (?, 2) ON CONFLICT (id) DO UPDATE SET count = count + 1",
        (base,),
    )
    ((count,),) = records(connection, "SELECT count FROM repeats WHERE id = ?", (base,))
    return int(count)


def _origin(connection: apsw.Connection, id_: str) -> tuple[Path, int]:
    ((path, line),) = records(
        connection,
        "SELECT path, line FROM origins JOIN documents USING (number) WHERE id = ?",
        (id_,),
    )
    return Path(os.fsdecode(path)), line


def document_numbers(connection: apsw.Connection, path: Path) -> tuple[Rows, Rows]:
    """The numbers of the documents that are there, and of those that were deleted; int64 (n,)."""
    with sqlite_errors(path):
        live = records(connection, "SELECT number FROM documents ORDER BY number")
        deleted = records(connection, "SELECT document FROM tombstones ORDER BY document")
    return np.array(live, np.int64).reshape(-1), np.array(deleted, np.int64).reshape(-1)


def read_documents(
    connection: apsw.Connection, path: Path, size: int
) -> Iterator[list[tuple[int, Document]]]:
    """All documents with their numbers, in this order, up to ``size`` at a time.

    CorruptIndexError for one that isn't what was written.
    """
    statement = "SELECT number, id, text, metadata, hash FROM documents ORDER BY number"
    with sqlite_errors(path):
        found = stream(connection, statement)
        while batch := list(itertools.islice(found, size)):
            yield [(int(number), _document(path, int(number), rest)) for number, *rest in batch]


def read_consecutive(
    connection: apsw.Connection, path: Path, first: int, last: int
) -> Generator[Document]:
    """The documents numbered from ``first`` to ``last``: ``read_document``, in one query."""
    statement = (
        "SELECT number, id, text, metadata, hash FROM documents "
        "WHERE number BETWEEN ? AND ? ORDER BY number"
    )
    expected = first
    with sqlite_errors(path):
        for number, *rest in stream(connection, statement, (first, last)):
            if number != expected:
                break
            yield _document(path, number, rest)
            expected += 1
    if expected <= last:
        raise damaged(path, f"document {expected} is missing")


def read_document(connection: apsw.Connection, path: Path, number: int) -> Document:
    """The document with this number.

    CorruptIndexError if it is missing or isn't what was written (by its hash).
    """
    with sqlite_errors(path):
        found = record(
            connection, "SELECT id, text, metadata, hash FROM documents WHERE number = ?", (number,)
        )
    if found is None:
        raise damaged(path, f"document {number} is missing")
    return _document(path, number, found)


def _document(path: Path, number: int, stored: Sequence[Any]) -> Document:
    id_, text, metadata, digest = stored
    try:
        document = Document(id_, text, json.loads(metadata))
        if _document_hash(document) == digest:
            return document
    except (TypeError, ValueError):  # altered into something that isn't even JSON
        pass
    raise damaged(path, f"document {number} was altered")


def _as_json(document: Document) -> str:
    return _METADATA.encode(document.metadata)


_METADATA = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


def _document_hash(document: Document) -> bytes:
    """The first 16 bytes of the SHA-256 of [id, text, metadata] as canonical JSON."""
    content = canonical_json([document.id, document.text, document.metadata])
    return hashlib.sha256(content.encode("ascii")).digest()[:16]
