"""The ``fields`` table: the metadata of documents, in the order in which filters look for it.

A record is a field's name, one of its values, and the document's number. SQLite orders values by
type first: numbers, then text, then blobs. What is neither a number nor a string is a blob.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import apsw
import numpy as np
import numpy.typing as npt

from simsearch.filters import AllOf, AnyOf, Compare, Contains, Filter, Not, OneOf, Order, Scalar
from simsearch.store.database import damaged, record, sqlite_errors

StoredValue: TypeAlias = str | int | float | bytes
Mask: TypeAlias = npt.NDArray[np.bool_]

_NULL, _FALSE, _TRUE = b"", b"\x00", b"\x01"
_LIST = b"\x02"  # says that the field is a list, so that $contains means its elements
# from the lowest value of a type to the lowest above all of them
_NUMBERS: tuple[StoredValue, StoredValue] = (float("-inf"), "")
_TEXTS: tuple[StoredValue, StoredValue] = ("", b"")
_RANGES: dict[Order, str] = {
    "$gt": "value > ? AND value < ?",
    "$gte": "value >= ? AND value < ?",
    "$lt": "value >= ? AND value < ?",
    "$lte": "value >= ? AND value <= ?",
}
_VALUES_AT_ONCE = 10_000  # SQLite takes 32,766 parameters


def field_records(metadata: Mapping[str, Any]) -> list[tuple[str, StoredValue]]:
    """The (key, value) records of a document, each once. Nested objects and lists have none."""
    found: list[tuple[str, StoredValue]] = []
    for key, value in metadata.items():
        values = value if isinstance(value, list) else [value]
        # one value where they are equal to SQLite too, such as 1, 1.0 and -0.0, 0
        stored = dict.fromkeys(_stored(v) for v in values if not isinstance(v, (list, dict)))
        found += [(key, v) for v in stored]
        if isinstance(value, list):
            found.append((key, _LIST))
    return found


def _stored(value: Scalar) -> StoredValue:
    """What stands for a value in the table: of the same order, and equal if and only if it is."""
    if value is None:
        return _NULL
    if isinstance(value, bool):
        return _TRUE if value else _FALSE
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        try:
            return float(value)
        except OverflowError:
            return float("inf") if value > 0 else float("-inf")
    return value


def insert_fields(connection: apsw.Connection, number: int, metadata: Mapping[str, Any]) -> None:
    """Add the records of document ``number``, inside the caller's transaction."""
    records = [(key, value, number) for key, value in field_records(metadata)]
    connection.executemany("INSERT INTO fields VALUES (?, ?, ?)", records)


def delete_fields(connection: apsw.Connection, number: int, metadata: Mapping[str, Any]) -> None:
    """Take the records of document ``number`` away again; ``metadata`` is what was inserted."""
    records = [(key, value, number) for key, value in field_records(metadata)]
    statement = "DELETE FROM fields WHERE key = ? AND value = ? AND document = ?"
    connection.executemany(statement, records)


def matching_documents(
    connection: apsw.Connection, path: Path, filter: Filter
) -> npt.NDArray[np.int64]:
    """The numbers of the documents that the filter matches, int64 (found,), ascending.

    All of one state of the database, if the caller is inside a transaction. The time is that of
    reading the records that each condition matches. Raises CorruptIndexError for damage.
    """
    with sqlite_errors(path):
        last = record(connection, "SELECT max(number) FROM documents")
        size = 0 if last is None or last[0] is None else int(last[0]) + 1
        fields = _Fields(connection, path, size)
        mask = fields.matching(filter)
        if not _within_documents(filter):
            mask &= fields.documents()
    return np.flatnonzero(mask).astype(np.int64, copy=False)


def _within_documents(filter: Filter) -> bool:
    """Whether the mask of the filter leaves out the numbers that no document has (any more)."""
    match filter:
        case Not():
            return False
        case AllOf(filters):
            return any(map(_within_documents, filters))
        case AnyOf(filters):
            return all(map(_within_documents, filters))
        case _:
            return True


@dataclass(frozen=True, slots=True)
class _Fields:
    """The tables, asked for masks: bool (size,), one for each number up to the last document's.

    Masks are combined here and not in SQL, whose set operations keep a tree of numbers each.
    """

    connection: apsw.Connection
    path: Path
    size: int

    def matching(self, filter: Filter) -> Mask:
        """The numbers that the filter matches; under a negation also those of no document."""
        match filter:
            case OneOf(key, values):
                return self._equal(key, [_stored(value) for value in values])
            case Compare(key, operator, value):
                low, high = _TEXTS if isinstance(value, str) else _NUMBERS
                stored = _stored(value)
                above = operator in ("$gt", "$gte")
                bounds = (stored, high) if above else (low, stored)
                return self._ask(_RANGES[operator], key, *bounds)
            case Contains(key, value):
                lists = self._equal(key, [_LIST])
                found = self._equal(key, [_stored(value)]) & lists
                if isinstance(value, str):
                    condition = "value >= ? AND value < ? AND instr(value, ?)"
                    found |= self._ask(condition, key, *_TEXTS, value) & ~lists
                return found
            case Not(negated):
                return ~self.matching(negated)
            case AllOf(filters) | AnyOf(filters):
                found = self.matching(filters[0])
                for part in filters[1:]:  # two masks at a time, however many parts there are
                    combine = np.logical_and if isinstance(filter, AllOf) else np.logical_or
                    combine(found, self.matching(part), out=found)
                return found

    def documents(self) -> Mask:
        """The numbers that a document has."""
        return ~self._mask(
            "SELECT group_concat(document) FROM tombstones WHERE document < ?", (self.size,)
        )

    def _equal(self, key: str, values: Sequence[StoredValue]) -> Mask:
        found = np.zeros(self.size, np.bool_)
        for start in range(0, len(values), _VALUES_AT_ONCE):
            part = values[start : start + _VALUES_AT_ONCE]
            found |= self._ask(f"value IN ({', '.join('?' * len(part))})", key, *part)
        return found

    def _ask(self, condition: str, key: str, *values: StoredValue) -> Mask:
        statement = f"SELECT group_concat(document) FROM fields WHERE key = ? AND {condition}"
        return self._mask(statement, (key, *values))

    def _mask(self, statement: str, values: tuple[StoredValue, ...]) -> Mask:
        mask = np.zeros(self.size, np.bool_)
        found = record(self.connection, statement, values)
        if found is not None and found[0] is not None:
            # as one text: half the time of a record each
            numbers = np.fromstring(found[0], np.int64, sep=",")
            if numbers.max() >= self.size:
                raise damaged(self.path, f"its table fields names document {numbers.max()}")
            mask[numbers] = True
        return mask
