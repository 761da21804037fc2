"""The values of columns: converted to the types that were declared, and fit for an index.

::

    string     a string, or an integer, which becomes one
    integer    an integer; 3.0 is 3
    number     an integer or a decimal such as 0.5 or 6e23, no NaN or infinity
    boolean    true or false, yes or no, 1 or 0, in any case
    list       a list of strings; of a string, the parts between ``|`` without spaces around them
               and without those that are empty

A string is read as these say, from whatever kind of file it comes, and one that is empty or holds
only spaces is null. Null stays null. A column without a declared type is left as it is.
"""

from __future__ import annotations

import json
import math
import re
import reprlib
from collections.abc import Callable, Mapping
from typing import Any

from simsearch.config import ColumnType

_INTEGER = re.compile(r"[+-]?[0-9]+")
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


def typed(metadata: Mapping[str, Any], types: Mapping[str, ColumnType]) -> dict[str, Any]:
    """The metadata with the columns in ``types`` converted.

    Raises ValueError, saying column, value and what was expected, for a value of another type.
    """
    converted = dict(metadata)
    for name, kind in types.items():
        value = metadata.get(name)
        if name not in metadata or value is None:
            continue
        if isinstance(value, str) and not value.strip():
            converted[name] = None
            continue
        convert, expected = _TYPES[kind]
        try:
            converted[name] = convert(value)
        except ValueError:
            shown = reprlib.repr(value)
            raise ValueError(f"column {name!r} is {shown}; expected {expected}") from None
    return converted


def _string(value: object) -> str:
    if isinstance(value, str):
        return value
    if type(value) is int:
        return str(value)
    raise ValueError


def _integer(value: object) -> int:
    if type(value) is int:
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and _INTEGER.fullmatch(value.strip()):
        return int(value)
    raise ValueError


def _number(value: object) -> int | float:
    if type(value) in (int, float):
        number: int | float = value  # type: ignore[assignment]
    elif isinstance(value, str) and _INTEGER.fullmatch(value.strip()):
        number = int(value)
    elif isinstance(value, str) and _DECIMAL.fullmatch(value.strip()):
        number = float(value)
    else:
        raise ValueError
    if isinstance(number, float) and not math.isfinite(number):
        raise ValueError
    return number


def _boolean(value: object) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower() if isinstance(value, (str, int)) else ""
    if word not in _BOOLEANS:
        raise ValueError
    return _BOOLEANS[word]


def _list(value: object) -> list[str]:
    if isinstance(value, str):
        return [part.strip() for part in value.split("|") if part.strip()]
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return value
    raise ValueError


_TYPES: dict[ColumnType, tuple[Callable[[object], Any], str]] = {
    "string": (_string, "a string"),
    "integer": (_integer, "an integer such as -12"),
    "number": (_number, "a number such as -12, 0.5 or 6e23"),
    "boolean": (_boolean, "true or false, yes or no, 1 or 0"),
    "list": (_list, "strings with | between them, or a list of strings"),
}


def string_problem(value: object, what: str, expected: str) -> str | None:
    """Why a value can be no text or id, which are strings that say something."""
    if not isinstance(value, str):
        return f"the {what} must be {expected}, not {reprlib.repr(value)}"
    if not value.strip():
        return f"empty {what}"
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        return f"lone surrogate \\u{ord(value[error.start]):x} in the {what}"
    return None


def metadata_problem(metadata: Mapping[str, Any]) -> str | None:
    """Why JSON in UTF-8 cannot carry the metadata, with the column at fault."""
    try:
        _JSON.encode(metadata).encode("utf-8")
        return None
    except (ValueError, RecursionError) as error:
        if len(metadata) > 1:  # which column is it?
            parts = (metadata_problem({name: value}) for name, value in metadata.items())
            return next(reason for reason in parts if reason is not None)
        if isinstance(error, UnicodeEncodeError):
            what = "lone surrogate"
        elif isinstance(error, ValueError):
            what = "NaN or Infinity, which JSON cannot carry; leave the value out or use null"
        else:
            what = "nested too deeply"
        return f"column {next(iter(metadata))!r}: {what}"
