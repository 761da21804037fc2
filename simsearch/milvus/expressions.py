"""Filters as expressions of Milvus, as narrow as its types allow, and never too narrow.

What an expression lets through that a filter does not match is sorted out afterwards, by
``filters.matches``: a null in a field is a value that is null or none at all, numbers are float64
where the column has fractions, and a ``%`` in ``like`` cannot be escaped everywhere.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from simsearch.filters import AllOf, AnyOf, Compare, Contains, Filter, Not, OneOf, Scalar
from simsearch.milvus.layout import Column

NOTHING = 'pk == ""'
"""Matches no row."""
_MOST_VALUES = 1000  # in one expression; of more, the rest is sorted out afterwards
_OPERATORS = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}


def expression_of(filter: Filter, columns: Mapping[str, Column | None]) -> str | None:
    """An expression that all rows match which the filter matches; ``None`` for all rows.

    ``columns`` has every key that a document's metadata has.
    """
    match filter:
        case AllOf(filters):
            parts = [expression_of(part, columns) for part in filters]
            known = [part for part in parts if part is not None]
            return " and ".join(f"({part})" for part in known) or None
        case AnyOf(filters):
            parts = [expression_of(part, columns) for part in filters]
            known = [part for part in parts if part is not None]
            return " or ".join(f"({part})" for part in known) if len(known) == len(parts) else None
        case Not(negated):
            column = columns.get(negated.key)
            return None if column is None else _none_of(column, negated.values)
    if filter.key not in columns:
        return NOTHING
    column = columns[filter.key]
    if column is None:
        return None
    match filter:
        case OneOf(_, values):
            return _one_of(column, values)
        case Compare(_, operator, value):
            return _compared(column, _OPERATORS[operator], value)
        case Contains(_, value):
            return _containing(column, value)


def _one_of(column: Column, values: Sequence[Scalar]) -> str | None:
    literals = _literals(column, values)
    if literals is None or len(literals) > _MOST_VALUES:
        return None
    parts = [f"{column.field} is null"] if None in values else []
    if literals and column.kind == "list":
        parts.append(f"array_contains_any({column.field}, [{', '.join(literals)}])")
    elif literals:
        parts.append(f"{column.field} in [{', '.join(literals)}]")
    return " or ".join(parts) or NOTHING


def _none_of(column: Column, values: Sequence[Scalar]) -> str | None:
    if column.kind == "number":  # what is equal as float64 may differ
        return None
    found = _one_of(column, [value for value in values if value is not None])
    if found is None or found == NOTHING:
        return None
    return f"{column.field} is null or not ({found})"


def _compared(column: Column, operator: str, value: str | int | float) -> str | None:
    if not _same_type(column, value):
        return NOTHING
    literal: str | None
    if isinstance(value, str):
        # any element of a list may be above or below
        literal = None if column.kind == "list" else _quoted(value)
    elif column.kind == "number":
        operator = f"{operator[0]}="  # also what is equal once both are rounded
        literal = _number(value)
    else:
        whole = math.ceil(value) if operator in (">=", "<") else math.floor(value)
        literal = str(whole) if -(2**63) < whole < 2**63 else None
    return None if literal is None else f"{column.field} {operator} {literal}"


def _containing(column: Column, value: Scalar) -> str | None:
    if column.kind not in ("string", "list") or not isinstance(value, str):
        return NOTHING
    if column.kind == "list":
        literal = _quoted(value)
        return None if literal is None else f"array_contains({column.field}, {literal})"
    longest = max(re.split(r"[%_\\]", value), key=len)
    literal = _quoted(f"%{longest}%")
    return f"{column.field} is not null" if literal is None else f"{column.field} like {literal}"


def _same_type(column: Column, value: Scalar) -> bool:
    """Whether values of the column are compared with this one."""
    if isinstance(value, bool) or value is None:
        return isinstance(value, bool) and column.kind == "boolean"
    return column.kind in (("string", "list") if isinstance(value, str) else ("integer", "number"))


def _literals(column: Column, values: Sequence[Scalar]) -> list[str] | None:
    """Those values that the column may have, as Milvus writes them; ``None`` if that varies."""
    found = []
    for value in values:
        if not _same_type(column, value) or value is None:
            continue
        literal: str | None
        if isinstance(value, bool):
            literal = "true" if value else "false"
        elif isinstance(value, str):
            literal = _quoted(value)
        elif column.kind == "number":
            literal = _number(value)
        else:
            whole = math.floor(value)
            if whole != value or not -(2**63) <= whole < 2**63:
                continue
            literal = str(whole) if whole > -(2**63) else None
        if literal is None:
            return None
        found.append(literal)
    return found


def _number(value: int | float) -> str | None:
    try:
        return repr(float(value))
    except OverflowError:
        return None


def _quoted(value: str) -> str | None:
    """A string in quotes; ``None`` for one with control characters, whose escapes vary."""
    if re.search(r"[\x00-\x1f\x7f]", value):
        return None
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
