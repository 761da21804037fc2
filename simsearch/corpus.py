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

import difflib
import hashlib
import json
import reprlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from simsearch.config import OnError
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

_FORMATS = {
    ".txt": "txt",
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


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


class _Columns(NamedTuple):
    """The columns that were asked for; ``None`` stands for the defaults."""

    text: str | None
    id: str | None


def read_corpus(
    paths: Sequence[Path], *, text_column: str | None = None, id_column: str | None = None
) -> Iterator[Row | RowProblem]:
    """Stream the rows of ``paths``, in the order given.

    ``text_column`` names the column (JSON key) of the texts, by default ``text``; ``id_column``
    that of the ids, by default ``id`` where there is one. The other columns become ``metadata``.
    Both are ignored for ``.txt`` files, which have no columns, so that files may be mixed.

    Texts are kept exactly, but for the line end. A row longer than ``readers.MAX_ROW_BYTES``
    is a problem.

    Raises ``CorpusError`` at once for a missing file, a folder or an unknown suffix, and while
    streaming for a file that cannot be decompressed or that lacks a column; raises
    ``MissingPackageError`` at once for ``.parquet`` without pyarrow.
    """
    files = [(path, _kind(path)) for path in paths]
    for path, kind in files:
        if kind.format == "parquet":
            import_pyarrow(path)
    columns = _Columns(text_column, id_column)
    return (row for path, kind in files for row in _rows(path, kind, columns))


def hash_inputs(paths: Sequence[Path], *, text_column: str | None, id_column: str | None) -> str:
    """SHA-256 (hex) of the column options and of each file's format and bytes, in order.

    The bytes are those on disk: a file compressed anew has another hash. Names and folders do not
    count. Raises ``CorpusError`` where ``read_corpus`` does for paths.
    """
    whole = hashlib.sha256(json.dumps([text_column, id_column]).encode())
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


def _rows(path: Path, kind: _Kind, columns: _Columns) -> Iterator[Row | RowProblem]:
    if kind.format == "parquet":
        return _table_rows(path, parquet_records(path), columns)
    lines = read_lines(path, gzipped=kind.gzipped)
    if kind.format == "csv":
        return _table_rows(path, csv_records(lines), columns)
    if kind.format == "tsv":
        return _table_rows(path, tsv_records(lines), columns)
    parse = _json_row if kind.format == "jsonl" else _txt_row
    return (
        parse(path, line, without_line_end(text), columns)
        if reason is None
        else RowProblem(path, line, reason)
        for line, text, reason in lines
    )


def _txt_row(path: Path, line: int, text: str, _columns: _Columns) -> Row | RowProblem:
    return _row(path, line, {"text": text}, "text", None)


# Tables


def _table_rows(
    path: Path, records: Iterator[Record], columns: _Columns
) -> Iterator[Row | RowProblem]:
    _, header, reason = next(records, (1, [], "the file is empty"))
    if reason is not None or not header:
        raise CorpusError(
            f"{path}: the first line must name the columns, but {reason or 'it is empty'}"
        )
    text_name, id_name = _resolved(path, header, columns)
    for line, fields, reason in records:
        if reason is None and len(fields) != len(header):
            count = f"the header has {len(header)} fields, this row {len(fields)}"
            reason = count if fields else "empty line"
        if reason is None:
            yield _row(path, line, dict(zip(header, fields, strict=True)), text_name, id_name)
        else:
            yield RowProblem(path, line, reason)


def _resolved(path: Path, names: Sequence[str], wanted: _Columns) -> tuple[str, str | None]:
    """The names of the text column and of the id column, which are all in ``names``."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise CorpusError(
            f"{path}: the header has {_listed(twice)} more than once; give each column its own name"
        )
    for name, option in ((wanted.text, "--text-column"), (wanted.id, "--id-column")):
        if name is not None and name not in names:
            folded = {known.casefold(): known for known in names}
            near = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.5)
            hint = f"did you mean {folded[near[0]]!r}?" if near else f"name one with {option}"
            raise CorpusError(f"{path}: no column {name!r}; there are {_listed(names)}; {hint}")
    if wanted.text is None and "text" not in names:
        raise CorpusError(
            f"{path}: no column 'text'; there are {_listed(names)} (the first line of a table names"
            " its columns); name the one that holds the texts with --text-column"
        )
    id_name = wanted.id if wanted.id is not None or "id" not in names else "id"
    return "text" if wanted.text is None else wanted.text, id_name


def _listed(names: Iterable[str]) -> str:
    shown = [reprlib.repr(name) for name in names]
    return ", ".join(shown[:20]) + (f" and {len(shown) - 20} more" if len(shown) > 20 else "")


# JSON lines


def _json_row(path: Path, line: int, text: str, columns: _Columns) -> Row | RowProblem:
    if not text.strip():
        return RowProblem(path, line, "empty line")
    try:
        record = json.loads(text)
    except json.JSONDecodeError as error:
        return RowProblem(path, line, f"not JSON: {error.msg} at column {error.colno}")
    except (ValueError, RecursionError) as error:  # a number or a nesting beyond Python's limits
        return RowProblem(path, line, f"JSON that cannot be read: {error}")
    if not isinstance(record, dict):
        return RowProblem(path, line, f"not a JSON object: {reprlib.repr(record)}")
    text_name = "text" if columns.text is None else columns.text
    id_name = columns.id if columns.id is not None or "id" not in record else "id"
    for name, option in ((text_name, "--text-column"), (id_name, "--id-column")):
        if name is not None and name not in record:
            keys = f"there are {_listed(record)}" if record else "there are none"
            return RowProblem(path, line, f"no key {name!r}; {keys}; name one with {option}")
    return _row(path, line, record, text_name, id_name)


# Rows


def _row(
    path: Path, line: int, record: Mapping[str, Any], text_name: str, id_name: str | None
) -> Row | RowProblem:
    text = record[text_name]
    metadata = {k: v for k, v in record.items() if k != text_name and k != id_name}
    id_: Any = None if id_name is None else record[id_name]
    if isinstance(id_, int) and not isinstance(id_, bool):
        id_ = str(id_)
    reason = _string_problem(text, "text", "a string")
    if reason is None and id_name is not None:
        reason = _string_problem(id_, "id", "a string or an integer")
    if reason is None and metadata:
        reason = _metadata_problem(metadata)
    if reason is not None:
        return RowProblem(path, line, reason)
    return Row(path, line, id_, text, metadata)


def _string_problem(value: object, what: str, expected: str) -> str | None:
    if not isinstance(value, str):
        return f"the {what} must be {expected}, not {reprlib.repr(value)}"
    if not value.strip():
        return f"empty {what}"
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        return f"lone surrogate \\u{ord(value[error.start]):x} in the {what}"
    return None


def _metadata_problem(metadata: Mapping[str, Any]) -> str | None:
    try:
        _JSON.encode(metadata).encode("utf-8")
        return None
    except (ValueError, RecursionError) as error:
        if len(metadata) > 1:  # which column is it?
            parts = (_metadata_problem({name: value}) for name, value in metadata.items())
            return next(reason for reason in parts if reason is not None)
        if isinstance(error, UnicodeEncodeError):
            what = "lone surrogate"
        elif isinstance(error, ValueError):
            what = "NaN or Infinity, which JSON cannot carry; leave the value out or use null"
        else:
            what = "nested too deeply"
        return f"column {next(iter(metadata))!r}: {what}"
