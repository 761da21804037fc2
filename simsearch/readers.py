"""Reads the lines of text files and the records of tables, each with its number and its fault.

A line or record that is at fault is handed out with the reason, and the ones after it are still
read; what is wrong with the whole file is raised as ``CorpusError``.
"""

from __future__ import annotations

import csv
import gzip
import importlib
import io
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from simsearch.errors import CorpusError, MissingPackageError

# The bound on memory. Room for a text of 10 MB in its longest usual spelling: JSON that escapes
# every character (\uXXXX, at most three times the bytes), or CSV that doubles every quote.
MAX_ROW_BYTES = 32 * 2**20

_PARQUET_BATCH_ROWS = 256

# Line number, from 1; the text, its line end included; what is wrong with it.
Line: TypeAlias = tuple[int, str, str | None]
# Number of its first line; the fields, none for an empty line; what is wrong with them. The first
# record of a table names its columns.
Record: TypeAlias = tuple[int, list[Any], str | None]


def corpus_paths(corpus: str | Path | Sequence[str | Path]) -> list[Path]:
    """The files of a corpus; those with a scheme, such as s3://, are of that file system.

    These are fsspec's, and act as a Path as far as they are read here. Raises CorpusError if there
    is none, or for a scheme that isn't known, and MissingPackageError without the packages.
    """
    given = [corpus] if isinstance(corpus, (str, Path)) else corpus
    if not given:
        raise CorpusError("no corpus file was given; give at least one")
    return [_elsewhere(str(name)) if "://" in str(name) else Path(name) for name in given]


def _elsewhere(uri: str) -> Path:
    try:
        upath = importlib.import_module("upath")
        place: Any = upath.UPath(uri)
        place.fs  # noqa: B018  # imports what the scheme needs
        path: Path = place
        return path
    except ImportError as error:
        raise MissingPackageError(
            f"{uri}: {error}. Files of other systems need pip install 'simsearch[remote]', and "
            "what fsspec has for theirs, such as s3fs or gcsfs"
        ) from None
    except ValueError as error:
        raise CorpusError(f"{uri}: {error}; give a file, or a URI that fsspec knows") from None


@contextmanager
def opened(path: Path, *, gzipped: bool) -> Iterator[io.BufferedIOBase]:
    """The bytes of ``path``, decompressed where ``gzipped``.

    What goes wrong in opening the file, or in reading it inside the ``with``, is a ``CorpusError``.
    """
    try:
        with path.open("rb") as stream:
            yield gzip.GzipFile(fileobj=stream) if gzipped else stream
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise CorpusError(
            f"{path} is not a whole gzip file ({error}); test it with `gzip -t` and fetch it again"
        ) from error
    except FileNotFoundError as error:
        raise CorpusError(
            f"{path}: there is no such file; check the spelling and the folder"
        ) from error
    except OSError as error:
        raise CorpusError(
            f"{path} cannot be read: {error.strerror or error}; check its permissions and its disk"
        ) from error


def read_lines(path: Path, *, gzipped: bool) -> Iterator[Line]:
    """Stream the lines of a file: ``stream_lines`` on what is ``opened``."""
    with opened(path, gzipped=gzipped) as stream:
        yield from stream_lines(stream, str(path))


def stream_lines(stream: BinaryIO | io.BufferedIOBase, name: str) -> Iterator[Line]:
    """Stream the lines of ``stream``; they end at ``\\n`` alone, and a byte order mark is dropped.

    Undecodable bytes come as surrogates, and the reason names the first of them. A line longer
    than ``MAX_ROW_BYTES`` comes empty. Raises ``CorpusError``, saying ``name``, for UTF-16.
    """
    number = 0
    # Bytes, because text streams and str.splitlines() know more line ends.
    while data := stream.readline(MAX_ROW_BYTES):
        number += 1
        if len(data) == MAX_ROW_BYTES and not data.endswith(b"\n"):
            while data and not data.endswith(b"\n"):
                data = stream.readline(MAX_ROW_BYTES)
            yield number, "", f"longer than {MAX_ROW_BYTES:,} bytes"
            continue
        if number == 1:
            data = _without_mark(name, data)
        if data:
            yield number, *_decoded(data)


def _without_mark(name: str, data: bytes) -> bytes:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        # Some lines of UTF-16 pass for UTF-8 full of NULs: skipping only the bad ones would not do.
        raise CorpusError(
            f"{name} is not UTF-8: byte 0x{data[0]:02x} at column 1 of line 1 begins a UTF-16 file;"
            " convert it first, e.g. iconv -f UTF-16 -t UTF-8"
        )
    return data.removeprefix(b"\xef\xbb\xbf")


def _decoded(data: bytes) -> tuple[str, str | None]:
    """The text and what is wrong with it; the column is that of the character, from 1."""
    try:
        return data.decode("utf-8"), None
    except UnicodeDecodeError as error:
        column = len(data[: error.start].decode("utf-8")) + 1
        reason = (
            f"not UTF-8: byte 0x{data[error.start]:02x} at column {column}; if the whole file has "
            "another encoding, convert it first, e.g. iconv -f GB18030 -t UTF-8"
        )
        return data.decode("utf-8", "surrogateescape"), reason


def without_line_end(text: str) -> str:
    """The text without its final ``\\n`` or ``\\r\\n``."""
    return text[:-2] if text.endswith("\r\n") else text.removesuffix("\n")


def text_lines(path: Path) -> Iterator[str]:
    """Stream the lines of a text file (``.gz`` or not), empty ones included, without their ends.

    Raises ``CorpusError`` for a line that cannot be decoded, and as ``read_lines`` does.
    """
    for number, line, reason in read_lines(path, gzipped=path.suffix == ".gz"):
        if reason is not None:
            raise CorpusError(f"{path}:{number}: {reason}")
        yield without_line_end(line)


class _CsvLines:
    """Feeds csv.reader, and remembers the lines of the record being read and its first problem."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self._lines = iter(lines)
        self.last = 0
        self.begin_record()

    def begin_record(self) -> None:
        self.first = self.last + 1
        self.reason: str | None = None
        self._characters = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        self.last, text, reason = next(self._lines)
        if self.reason is None and reason is not None:
            place = "" if self.last == self.first else f"line {self.last} of this row: "
            self.reason = place + reason
        self._characters += len(text)
        if self._characters > MAX_ROW_BYTES:
            raise csv.Error(f"longer than {MAX_ROW_BYTES:,} characters")
        return text


def csv_records(lines: Iterable[Line]) -> Iterator[Record]:
    """Stream the records of CSV lines; a quoted field may span lines.

    A record that breaks the rules of CSV is handed out with its reason and without fields; reading
    goes on at the next line. A field may be as long as a record, ``MAX_ROW_BYTES`` characters.
    """
    # The limit of the csv module (131,072 characters a field) holds for the whole process, so it is
    # only ever raised; what bounds a field here is the check in _CsvLines.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_ROW_BYTES))
    feed = _CsvLines(lines)
    # strict: otherwise a quote that is never closed would turn the rest of the file into one text.
    reader = csv.reader(feed, strict=True)
    while True:
        feed.begin_record()
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            what = str(error).partition(" - ")[0]
            lost = "" if feed.first == feed.last else f"; lines {feed.first} to {feed.last} skipped"
            advice = "quote fields that hold quotes, commas or line ends, and double their quotes"
            yield feed.first, [], f"not valid CSV ({what}){lost}; {advice}"
        else:
            yield feed.first, fields, feed.reason


def tsv_records(lines: Iterable[Line]) -> Iterator[Record]:
    """Stream the records of tab-separated lines; there is no quoting, a ``"`` is text."""
    for number, line, reason in lines:
        text = without_line_end(line)
        yield number, text.split("\t") if text else [], reason


def import_pyarrow(path: Path) -> tuple[Any, Any]:
    """The modules ``pyarrow`` and ``pyarrow.parquet``, or ``MissingPackageError`` for ``path``."""
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise MissingPackageError(
            f"{path}: reading parquet needs pyarrow, which is not installed. Install it with\n"
            "pip install 'simsearch[parquet]'"
        ) from error


def parquet_records(path: Path) -> Iterator[Record]:
    """Stream the records of a parquet file: the column names (number 0), then the rows from 1.

    The fields are JSON values (NaN included). A row that has another value, or a string that is
    not UTF-8, comes without fields. Raises ``CorpusError`` for a broken file.
    """
    pyarrow, parquet = import_pyarrow(path)
    try:
        # Without a buffer size, pyarrow reads a whole column of a row group at once.
        with (
            path.open("rb") as stream,
            parquet.ParquetFile(stream, buffer_size=2**20, pre_buffer=False) as file,
        ):
            schema = file.schema_arrow
            yield 0, schema.names, None
            json_types = [_is_json(field.type, pyarrow.types) for field in schema]
            number = 0
            for batch in file.iter_batches(batch_size=_PARQUET_BATCH_ROWS):
                for cells in zip(*batch.columns, strict=True):
                    number += 1
                    yield _parquet_record(number, schema.names, cells, json_types)
    except (pyarrow.ArrowException, OSError) as error:
        raise CorpusError(
            f"{path} cannot be read as parquet ({error}); write or fetch it again"
        ) from error


def _is_json(kind: Any, types: Any) -> bool:
    """Whether the values of an Arrow type are JSON values."""
    if types.is_struct(kind):
        return all(_is_json(kind.field(i).type, types) for i in range(kind.num_fields))
    if types.is_list(kind) or types.is_large_list(kind) or types.is_dictionary(kind):
        return _is_json(kind.value_type, types)
    numbers = (types.is_integer, types.is_float32, types.is_float64)
    others = (types.is_null, types.is_boolean, types.is_string, types.is_large_string)
    return any(check(kind) for check in numbers + others)


def _parquet_record(
    number: int, names: list[str], cells: tuple[Any, ...], json_types: list[bool]
) -> Record:
    fields = []
    for name, cell, is_json in zip(names, cells, json_types, strict=True):
        if cell.is_valid and not is_json:
            return number, [], f"column {name!r}: JSON has no {cell.type}; cast it to a string"
        try:
            fields.append(cell.as_py() if is_json else None)
        except UnicodeDecodeError as error:
            return number, [], f"column {name!r}: not UTF-8: byte 0x{error.object[error.start]:02x}"
    return number, fields, None
