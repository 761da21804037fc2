"""Parses filters over metadata, in the dictionary form of Chroma and Pinecone, into a frozen tree.

::

    {"language": "zh"}                                 the same as {"language": {"$eq": "zh"}}
    {"year": {"$gte": 2000, "$lt": 2010}}              several operators: an and
    {"language": {"$in": ["zh", "en"]}, "draft": false}    several fields: an and
    {"$or": [{"tags": {"$contains": "news"}}, {"$and": [{…}, {…}]}]}

A document's metadata is a flat mapping of fields to JSON values. A field holds one value or a list
of values. What matches:

``$eq $in $gt $gte $lt $lte``
    documents of which any value of the field does.
``$ne $nin``
    documents that ``$eq`` or ``$in`` does not match, hence also those without the field.
``$contains``
    documents whose field is one string of which the operand is a part, or a list of which the
    operand is an element.

Types never mix: true is not 1, "1" is not 1, and only strings are above or below a string. Numbers
are one type: 1 is 1.0. Integers beyond 64 bits are compared as float64, on both sides, and those
beyond float64 as infinity. Strings are compared by code point.

Null is a value, which ``$eq`` null matches; a field that is missing matches nothing but ``$ne``
and ``$nin``. So does an object, or a list inside a list, as if it were not there; the other
elements of the outer list still count. ``$in`` with an empty list matches nothing. A field whose
name begins with ``$`` cannot be asked for.
"""

from __future__ import annotations

import difflib
import math
import operator
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, TypeAlias, get_args

from simsearch.errors import SettingsError

MAX_DEPTH = 32
"""How many filters may be inside one another."""
MAX_CONDITIONS = 1_000
"""How many operators a filter may have."""
MAX_VALUES = 100_000
"""How many operands its conditions may have, those in lists counted one by one."""

Scalar: TypeAlias = str | int | float | bool | None
Order = Literal["$gt", "$gte", "$lt", "$lte"]

_ORDERS: dict[str, Order] = {order: order for order in get_args(Order)}
_FIELD_OPERATORS = ("$eq", "$ne", *_ORDERS, "$in", "$nin", "$contains")
_JUNCTIONS = ("$and", "$or")
_SCALARS = "a string, a number, true, false or null"


# Equal trees need not mean the same, because Python's 1 == True: they are no keys of a cache.


@dataclass(frozen=True, slots=True)
class OneOf:
    """Any value of the field is one of ``values``: ``$eq`` and ``$in``."""

    key: str
    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Compare:
    """Any value of the field is of the operand's type and above or below it: ``$gt`` and so on."""

    key: str
    operator: Order
    value: str | int | float


@dataclass(frozen=True, slots=True)
class Contains:
    """The field is a string with this part or a list with this element: ``$contains``."""

    key: str
    value: Scalar


@dataclass(frozen=True, slots=True)
class Not:
    """All documents that the other filter does not match: ``$ne`` and ``$nin``."""

    filter: OneOf


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every one of ``filters``, of which there is one at least: ``$and``."""

    filters: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """One of ``filters`` or more, of which there is one at least: ``$or``."""

    filters: tuple[Filter, ...]


Filter: TypeAlias = OneOf | Compare | Contains | Not | AllOf | AnyOf


def parse_filter(value: object) -> Filter:
    """The tree of a filter, given as JSON gives it.

    Raises SettingsError, naming the place, for an unknown operator, an operand of the wrong type,
    NaN and infinities, strings that are no Unicode, a filter that is empty or not an object, and
    one beyond ``MAX_DEPTH``, ``MAX_CONDITIONS`` or ``MAX_VALUES``.
    """
    return _Parser().parse(value, "filter", 1)


class _Parser:
    """One pass over a filter, which counts what it has seen so as to stop in time."""

    def __init__(self) -> None:
        self._conditions = self._values = 0

    def parse(self, value: object, where: str, depth: int) -> Filter:
        if depth > MAX_DEPTH:
            _refuse("filter", f"more than {MAX_DEPTH} filters inside one another; flatten it")
        if not isinstance(value, Mapping):
            _refuse(where, 'expected an object such as {"year": {"$gte": 2000}}', value)
        if not value:
            _refuse(where, "it is empty; name a field, or leave the filter out")
        return _all_of([self._item(key, below, where, depth) for key, below in value.items()])

    def _item(self, key: object, value: object, where: str, depth: int) -> Filter:
        """A field with its conditions, or a junction with its filters."""
        name = _text(key, where, "a field's name")
        below = f"{where}[{reprlib.repr(name)}]"
        if name in _JUNCTIONS:
            if not isinstance(value, (list, tuple)) or not value:
                _refuse(below, "expected a list of one filter or more", value)
            self._count_condition()
            parts = [self.parse(v, f"{below}[{i}]", depth + 1) for i, v in enumerate(value)]
            return _all_of(parts) if name == "$and" else AnyOf(tuple(parts))
        if name in _FIELD_OPERATORS:
            _refuse(where, f'{name} stands behind a field: {{"FIELD": {{"{name}": …}}}}')
        if name.startswith("$"):
            _refuse_operator(where, name, _JUNCTIONS)
        if not isinstance(value, Mapping):
            return self._condition(name, "$eq", value, below)
        if not value:
            _refuse(below, f"it has no operator; there are {', '.join(_FIELD_OPERATORS)}")
        conditions = []
        for key_below, operand in value.items():
            operator = _text(key_below, below, "an operator")
            if operator not in _FIELD_OPERATORS:
                _refuse_operator(below, operator, _FIELD_OPERATORS)
            place = f"{below}[{operator!r}]"
            conditions.append(self._condition(name, operator, operand, place))
        return _all_of(conditions)

    def _condition(self, key: str, operator: str, operand: object, where: str) -> Filter:
        self._count_condition()
        if operator in ("$in", "$nin"):
            one_of = OneOf(key, self._list(operand, where))
            return one_of if operator == "$in" else Not(one_of)
        value = self._scalar(operand, where)
        if operator == "$contains":
            return Contains(key, value)
        if operator in _ORDERS:
            if value is None or isinstance(value, bool):
                _refuse(where, "expected a number or a string", value)
            return Compare(key, _ORDERS[operator], value)
        equal = OneOf(key, (value,))
        return equal if operator == "$eq" else Not(equal)

    def _list(self, operand: object, where: str) -> tuple[Scalar, ...]:
        if not isinstance(operand, (list, tuple)):
            _refuse(where, "expected a list of values", operand)
        return tuple(self._scalar(value, f"{where}[{i}]") for i, value in enumerate(operand))

    def _scalar(self, operand: object, where: str) -> Scalar:
        self._values += 1
        if self._values > MAX_VALUES:
            _refuse("filter", f"more than {MAX_VALUES:,} values; ask in parts")
        if isinstance(operand, str):
            return _text(operand, where, "a value")
        if isinstance(operand, float) and not math.isfinite(operand):
            _refuse(where, "NaN and infinities are no JSON; expected another number", operand)
        if operand is not None and not isinstance(operand, (bool, int, float)):
            _refuse(where, f"expected {_SCALARS} (lists are for $in and $nin)", operand)
        return operand

    def _count_condition(self) -> None:
        self._conditions += 1
        if self._conditions > MAX_CONDITIONS:
            _refuse("filter", f"more than {MAX_CONDITIONS:,} conditions; use $in for many values")


def _all_of(filters: list[Filter]) -> Filter:
    return filters[0] if len(filters) == 1 else AllOf(tuple(filters))


def _text(value: object, where: str, what: str) -> str:
    if not isinstance(value, str):
        _refuse(where, f"{what} must be a string, not {reprlib.repr(value)}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        code = ord(value[error.start])
        _refuse(where, f"lone surrogate \\u{code:x} in {what}; expected Unicode")
    return value


def _refuse_operator(where: str, name: str, there: tuple[str, ...]) -> NoReturn:
    """Say which of the operators that are ``there`` was meant, or that it stands elsewhere."""
    if name in _JUNCTIONS:
        _refuse(where, f'{name} stands before the fields: {{"{name}": [{{"FIELD": …}}, …]}}')
    near = difflib.get_close_matches(name.casefold(), there, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(there)}"
    _refuse(where, f"unknown operator {reprlib.repr(name)}; {hint}")


def _refuse(where: str, what: str, *given: object) -> NoReturn:
    shown = "".join(f" is {reprlib.repr(value)}; " for value in given) or ": "
    raise SettingsError(f"{where}{shown}{what}")


def matches(filter: Filter, metadata: Mapping[str, Any]) -> bool:
    """Whether a document with this metadata, JSON values by field, is one that the filter finds."""
    match filter:
        case OneOf(key, values):
            held = _held(metadata, key)
            return any(_equal(value, wanted) for value in held for wanted in values)
        case Compare(key, order, wanted):
            held = [v for v in _held(metadata, key) if _kind(v) == _kind(wanted)]
            below = _BELOW[order]
            return any(below(_ordered(value), _ordered(wanted)) for value in held)
        case Contains(key, wanted):
            value = metadata.get(key)
            if isinstance(value, str):
                return isinstance(wanted, str) and wanted in value
            return isinstance(value, list) and any(_equal(v, wanted) for v in _held(metadata, key))
        case Not(negated):
            return not matches(negated, metadata)
        case AllOf(filters):
            return all(matches(part, metadata) for part in filters)
        case AnyOf(filters):
            return any(matches(part, metadata) for part in filters)


_BELOW: dict[Order, Callable[[Any, Any], bool]] = {
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}


def _held(metadata: Mapping[str, Any], key: str) -> list[Scalar]:
    """The values of a field that count."""
    if key not in metadata:
        return []
    value = metadata[key]
    return [v for v in (value if isinstance(value, list) else [value]) if _kind(v) != "none"]


def _kind(value: object) -> str:
    if value is None or isinstance(value, (bool, str)):
        return type(value).__name__
    return "number" if isinstance(value, (int, float)) else "none"


def _equal(value: Scalar, wanted: Scalar) -> bool:
    return _kind(value) == _kind(wanted) and _ordered(value) == _ordered(wanted)


def _ordered(value: Scalar) -> Any:
    """The value to compare: an integer beyond 64 bits as float64, one beyond that as infinity."""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        try:
            return float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf
    return value
