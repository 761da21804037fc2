"""Reads corpus files as a stream of rows, of which one at a time is in memory.

::

    .txt            one text a line
    .csv            header line; quoted fields may span lines
    .tsv            header line; tab between fields, no quoting: a leading ``"`` is text
    .jsonl .ndjson  one JSON object a line
    .parquet        needs pyarrow

All but ``.parquet`` may end in ``.gz`` as well. Text files are UTF-8, with or without a byte order
mark, with lines ended by ``\\n`` or ``\\r\\n``. What is wrong with a file is raised as
``CorpusError``; what is wrong with one row is handed out as a ``RowProblem`` in its place, and the
rows after it are still read.
"""

from __future__ import annotations

import hashlib
import json
import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from simsearch.columns import Columns, Wanted, object_columns, table_columns, wanted_columns
from simsearch.config import ColumnType, OnError
from simsearch.errors import CorpusError, SimsearchError
from simsearch.readers import (
    Record,
    csv_records,
    import_pyarrow,
    opened,
    parquet_records,
    read_lines,
    tsv_records,
    without_line_end,
)
from simsearch.records import Document
from simsearch.values import metadata_problem, string_problem, typed

_FORMATS = {
    ".txt": "txt",
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One text of a file. ``line`` is the line it starts on (parquet: its row), from 1.

    ``id`` is ``None`` where the file has no id column. ``metadata`` holds JSON values only.
    """

    path: Path
    line: int
    id: str | None
    text: str
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class RowProblem:
    """A row that cannot be used, and why. ``line`` counts as in ``Row``."""

    path: Path
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.reason}"


def usable(
    rows: Iterable[Row | RowProblem], on_error: OnError, error: type[SimsearchError] = CorpusError
) -> Iterator[Row]:
    """The rows without the problems among them, which are skipped or, with "stop", raised."""
    for row in rows:
        if isinstance(row, Row):
            yield row
        elif on_error == "stop":
            raise error(f"{row}\nMend the row, or leave such rows out with --on-error skip")


class _Kind(NamedTuple):
    format: str
    gzipped: bool


def read_corpus(
    paths: Sequence[Path],
    *,
    text_column: str | None = None,
    id_column: str | None = None,
    types: Mapping[str, ColumnType] | None = None,
) -> Iterator[Row | RowProblem]:
    """Stream the rows of ``paths``, in the order given.

    ``text_column`` names the column (JSON key) of the texts, by default ``text``; ``id_column``
    that of the ids, by default ``id`` where there is one. The other columns become ``metadata``,
    those in ``types`` converted as values.py says; the values of tables are strings without. A
    value of another type is a problem of its row. A JSON object may lack a column that has a type.
    All these are ignored for ``.txt`` files, which have no columns, so that files may be mixed.

    Texts are kept exactly, but for the line end. A row longer than ``readers.MAX_ROW_BYTES``
    is a problem.

    Raises ``CorpusError`` at once for a missing file, a folder or an unknown suffix, and while
    streaming for a file that cannot be decompressed or a table that lacks a column; raises at once
    ``SettingsError`` for a type of the texts or ids, which are strings, and ``MissingPackageError``
    for ``.parquet`` without pyarrow.
    """
    wanted = wanted_columns(text_column, id_column, types)
    files = [(path, _kind(path)) for path in paths]
    for path, kind in files:
        if kind.format == "parquet":
            import_pyarrow(path)
    return (row for path, kind in files for row in _rows(path, kind, wanted))


def object_rows(objects: Iterable[object], name: str) -> Iterator[Row | RowProblem]:
    """The rows of JSON objects in memory, as a ``.jsonl`` file ``name`` would give them.

    An object may also be a ``Document``.
    """
    wanted = wanted_columns(None, None, None)
    for line, item in enumerate(objects, start=1):
        if isinstance(item, Document):
            row = Row(Path(name), line, item.id, item.text, dict(item.metadata))
            yield _checked(row, {}, has_id=True)
        else:
            yield _object_row(Path(name), line, item, wanted)


def hash_inputs(
    paths: Sequence[Path],
    *,
    text_column: str | None,
    id_column: str | None,
    types: Mapping[str, ColumnType] | None = None,
) -> str:
    """SHA-256 (hex) of the column options and of each file's format and bytes, in order.

    The bytes are those on disk: a file compressed anew has another hash. Names and folders do not
    count. Raises what ``read_corpus`` raises at once, but for missing packages.
    """
    wanted = wanted_columns(text_column, id_column, types)
    options: list[Any] = [wanted.text, wanted.id]
    if wanted.types:
        options.append(sorted(wanted.types.items()))
    whole = hashlib.sha256(json.dumps(options).encode())
    for path in paths:
        kind = _kind(path)
        content = hashlib.sha256()
        with opened(path, gzipped=False) as stream:
            while block := stream.read(2**20):
                content.update(block)
        whole.update(f"\n{kind.format} gzipped={kind.gzipped} {content.hexdigest()}".encode())
    return whole.hexdigest()


def content_id(text: str) -> str:
    """The id of a text that has none: the first 16 hex digits of the SHA-256 of its UTF-8."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]


# Files


def _kind(path: Path) -> _Kind:
    try:
        if path.is_dir():
            raise CorpusError(f"{path} is a folder; give the files in it, e.g. {path / '*.txt'}")
        if not path.exists():
            raise CorpusError(f"{path}: there is no such file; check the spelling and the folder")
    except OSError as error:
        raise CorpusError(f"{path} cannot be read: {error.strerror}; check the path") from error
    name = Path(path.name.lower())
    gzipped = name.suffix == ".gz"
    suffix = Path(name.stem).suffix if gzipped else name.suffix
    if suffix not in _FORMATS or (gzipped and suffix == ".parquet"):
        raise CorpusError(
            f"{path}: the suffix {suffix + '.gz' * gzipped!r} is none of those that can be read; "
            "name or convert it to .txt, .csv, .tsv, .jsonl, .ndjson (each also .gz) or .parquet"
        )
    return _Kind(_FORMATS[suffix], gzipped)


def _rows(path: Path, kind: _Kind, wanted: Wanted) -> Iterator[Row | RowProblem]:
    if kind.format == "parquet":
        return _table_rows(path, parquet_records(path), wanted)
    lines = read_lines(path, gzipped=kind.gzipped)
    if kind.format == "csv":
        return _table_rows(path, csv_records(lines), wanted)
    if kind.format == "tsv":
        return _table_rows(path, tsv_records(lines), wanted)
    parse = _json_row if kind.format == "jsonl" else _txt_row
    return (
        parse(path, line, without_line_end(text), wanted)
        if reason is None
        else RowProblem(path, line, reason)
        for line, text, reason in lines
    )


def _txt_row(path: Path, line: int, text: str, _wanted: Wanted) -> Row | RowProblem:
    return _row(path, line, {"text": text}, Columns("text", None, {}))


# Tables


def _table_rows(
    path: Path, records: Iterator[Record], wanted: Wanted
) -> Iterator[Row | RowProblem]:
    _, header, reason = next(records, (1, [], "the file is empty"))
    if reason is not None or not header:
        raise CorpusError(
            f"{path}: the first line must name the columns, but {reason or 'it is empty'}"
        )
    columns = table_columns(path, header, wanted)
    for line, fields, reason in records:
        if reason is None and len(fields) != len(header):
            count = f"the header has {len(header)} fields, this row {len(fields)}"
            reason = count if fields else "empty line"
        if reason is None:
            yield _row(path, line, dict(zip(header, fields, strict=True)), columns)
        else:
            yield RowProblem(path, line, reason)


# JSON lines


def _json_row(path: Path, line: int, text: str, wanted: Wanted) -> Row | RowProblem:
    if not text.strip():
        return RowProblem(path, line, "empty line")
    try:
        record = json.loads(text)
    except json.JSONDecodeError as error:
        return RowProblem(path, line, f"not JSON: {error.msg} at column {error.colno}")
    except (ValueError, RecursionError) as error:  # a number or a nesting beyond Python's limits
        return RowProblem(path, line, f"JSON that cannot be read: {error}")
    return _object_row(path, line, record, wanted)


def _object_row(path: Path, line: int, record: object, wanted: Wanted) -> Row | RowProblem:
    if not isinstance(record, dict):
        return RowProblem(path, line, f"not a JSON object: {reprlib.repr(record)}")
    columns, reason = object_columns(record, wanted)
    if reason is not None:
        return RowProblem(path, line, reason)
    return _row(path, line, record, columns)


# Rows


def _row(path: Path, line: int, record: Mapping[str, Any], columns: Columns) -> Row | RowProblem:
    metadata = {k: v for k, v in record.items() if k not in (columns.text, columns.id)}
    id_: Any = None if columns.id is None else record[columns.id]
    if isinstance(id_, int) and not isinstance(id_, bool):
        id_ = str(id_)
    row = Row(path, line, id_, record[columns.text], metadata)
    return _checked(row, columns.types, has_id=columns.id is not None)


def _checked(row: Row, types: Mapping[str, ColumnType], *, has_id: bool) -> Row | RowProblem:
    """The row with its metadata converted, or the first reason why not."""
    metadata = row.metadata
    reason = string_problem(row.text, "text", "a string")
    if reason is None and has_id:
        reason = string_problem(row.id, "id", "a string or an integer")
    if reason is None and metadata:
        try:
            metadata = typed(metadata, types)
            reason = metadata_problem(metadata)
        except ValueError as error:
            reason = str(error)
    if reason is not None:
        return RowProblem(row.path, row.line, reason)
    return Row(row.path, row.line, row.id, row.text, metadata)
