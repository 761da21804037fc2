"""What each vector stands for: a document, or in an index built with ``chunk`` a piece of one."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw
import numpy as np
import numpy.typing as npt

from simsearch.index.background import Rows
from simsearch.records import Document, Span
from simsearch.store.database import damaged, sqlite_errors, stream
from simsearch.store.documents import read_consecutive, read_document

Spans = Callable[[Sequence[str]], list[list[Span]]]
"""Where to cut texts: for each its spans in order, from 0 to its end."""

# Texts cut at a time: enough for a tokenizer to be busy, and few enough to be in memory at once.
_TEXTS_AT_ONCE = 1024
_CHARACTERS_AT_ONCE = 2**20
_RECORDS_AT_ONCE = 65_536


@dataclass(frozen=True, eq=False)
class Chunks:
    """What the vectors stand for, in row order.

    ``documents``, int64 (rows,), ascending, are the numbers of their documents; ``spans``, int64
    (rows, 2), says which characters of them, or is ``None`` where every vector is a whole document.
    """

    documents: Rows
    spans: npt.NDArray[np.int64] | None

    @property
    def rows(self) -> int:
        """How many vectors there are to be."""
        return len(self.documents)

    @property
    def count(self) -> int:
        """How many documents there are, those that were deleted included."""
        return int(self.documents[-1]) + 1 if self.rows else 0


@dataclass(frozen=True, slots=True)
class Passage:
    """What one vector stands for: the characters ``span`` of a document, or all (``None``)."""

    document: Document
    span: Span | None

    @property
    def text(self) -> str:
        """The text that the vector was made from."""
        return self.document.text if self.span is None else self.document.text[slice(*self.span)]


def insert_chunks(connection: apsw.Connection, spans: Spans) -> None:
    """Cut every document, number the chunks from 0 and insert them, in the caller's transaction.

    Memory doesn't grow with the corpus. Raises ValueError for spans that don't cover a text.
    """
    row = 0
    for numbers, texts in _batches(connection):
        owners: list[int] = []
        cuts: list[Span] = []
        for number, text, cut in zip(numbers, texts, spans(texts), strict=True):
            check_spans(text, cut)
            owners.extend([number] * len(cut))
            cuts.extend(cut)
        append_chunks(connection, row, owners, cuts)
        row += len(cuts)


def append_chunks(
    connection: apsw.Connection, row: int, documents: Sequence[int], spans: Sequence[Span]
) -> None:
    """Insert chunks, numbered from ``row`` on, in the caller's transaction."""
    numbered = (
        (row + i, n, *span) for i, (n, span) in enumerate(zip(documents, spans, strict=True))
    )
    connection.executemany("INSERT INTO chunks VALUES (?, ?, ?, ?)", numbered)


def _batches(connection: apsw.Connection) -> Iterator[tuple[list[int], list[str]]]:
    """The numbers and texts of all documents, a bounded amount of them at a time."""
    numbers: list[int] = []
    texts: list[str] = []
    characters = 0
    for number, text in stream(connection, "SELECT number, text FROM documents ORDER BY number"):
        numbers.append(number)
        texts.append(text)
        characters += len(text)
        if len(texts) == _TEXTS_AT_ONCE or characters >= _CHARACTERS_AT_ONCE:
            yield numbers, texts
            numbers, texts, characters = [], [], 0
    if texts:
        yield numbers, texts


def check_spans(text: str, spans: Sequence[Span]) -> None:
    """ValueError for spans that don't cover the text."""
    # begins at 0, ends with the text, and neither the starts nor the stops ever go back
    whole = bool(spans) and spans[0][0] == 0 and spans[-1][1] == len(text)
    ascends = all(a < c and b < d for (a, b), (c, d) in itertools.pairwise(spans))
    if not whole or not ascends or any(start >= stop for start, stop in spans):
        raise ValueError(f"the spans {spans} do not cover a text of {len(text)} characters")


def read_chunks(
    connection: apsw.Connection, path: Path, documents: int, *, chunked: bool
) -> Chunks:
    """What the vectors of this database of so many numbered documents stand for.

    CorruptIndexError unless, if ``chunked``, the rows of ``chunks`` are numbered without gap, and
    cut each document from its beginning and in order. Where a document ends is checked when it is
    read.
    """
    with sqlite_errors(path):
        chunks = stream(connection, "SELECT row, document, start, stop FROM chunks ORDER BY row")
        table = _table(chunks, path)
    if not chunked:
        if len(table):
            raise damaged(path, "it has chunks, though it was built without")
        return Chunks(np.arange(documents, dtype=np.int64), None)
    row, document, start, stop = table.T
    step = np.diff(document, prepend=-1)
    begins = (step == 1) & (start == 0)
    goes_on = (step == 0) & _ascends(start) & _ascends(stop)
    numbered = row == np.arange(len(row))
    wrong = np.flatnonzero(~(numbered & (begins | goes_on) & (start < stop)))
    if len(wrong):
        raise damaged(
            path,
            f"chunk {row[wrong[0]]}, of document {document[wrong[0]]} from {start[wrong[0]]} to "
            f"{stop[wrong[0]]}, does not follow the one before it",
        )
    last = document[-1] if len(row) else -1
    if last != documents - 1:
        raise damaged(path, f"its chunks end with document {last}, not with {documents - 1}")
    return Chunks(document, table[:, 2:])


def _ascends(values: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Where a value is greater than the one before it."""
    return np.diff(values, prepend=values[:1]) > 0


def _table(records: Iterator[tuple[Any, ...]], path: Path) -> npt.NDArray[np.int64]:
    """The records, int64 (n, 4). CorruptIndexError for a value that is no integer."""
    blocks = [np.empty((0, 4), np.int64)]
    while block := list(itertools.islice(records, _RECORDS_AT_ONCE)):
        values = np.array(block)
        if values.dtype.kind != "i":
            raise damaged(path, "a number in its table chunks is not of the right type")
        blocks.append(values.astype(np.int64))
    return np.concatenate(blocks)


def read_passages(
    connection: apsw.Connection, path: Path, chunks: Chunks, rows: Iterable[int]
) -> Iterator[Passage]:
    """What the vectors with these row numbers stand for, in this order.

    CorruptIndexError for a document that is missing or isn't what was written, and for a chunk that
    ends beyond its document.
    """
    number, document = -1, Document("", "")
    for row in rows:
        if chunks.documents[row] != number:  # a long document is read once for all of its chunks
            number = int(chunks.documents[row])
            document = read_document(connection, path, number)
        yield _passage(path, chunks, row, document)


def read_run(
    connection: apsw.Connection, path: Path, chunks: Chunks, rows: range
) -> Iterator[Passage]:
    """``read_passages`` of rows that follow each other, in less than half the time."""
    numbers = chunks.documents[rows.start : rows.stop].tolist()
    number, document = -1, Document("", "")
    with closing(read_consecutive(connection, path, numbers[0], numbers[-1])) as documents:
        for row, wanted in zip(rows, numbers, strict=True):
            if wanted != number:
                number, document = wanted, next(documents)
            yield _passage(path, chunks, row, document)


def _passage(path: Path, chunks: Chunks, row: int, document: Document) -> Passage:
    if chunks.spans is None:
        return Passage(document, None)
    start, stop = chunks.spans[row].tolist()
    if stop > len(document.text):
        raise damaged(
            path,
            f"chunk {row} ends at character {stop} of document {chunks.documents[row]}, which has "
            f"{len(document.text)}",
        )
    return Passage(document, (start, stop))
