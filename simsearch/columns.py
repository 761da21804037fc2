"""Which columns of a corpus file hold the texts, the ids and values of a declared type."""

from __future__ import annotations

import difflib
import reprlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from simsearch.config import ColumnType
from simsearch.errors import CorpusError, SettingsError


class Wanted(NamedTuple):
    """The columns that were asked for; ``None`` stands for the defaults."""

    text: str | None
    id: str | None
    types: Mapping[str, ColumnType]


class Columns(NamedTuple):
    """The columns of a table or a JSON object; ``id`` is ``None`` where there is none."""

    text: str
    id: str | None
    types: Mapping[str, ColumnType]


def wanted_columns(
    text: str | None, id_: str | None, types: Mapping[str, ColumnType] | None
) -> Wanted:
    """What the options ask for. SettingsError for a type of texts or ids, which are strings."""
    names = (("text" if text is None else text, "texts"), ("id" if id_ is None else id_, "ids"))
    for name, what in names:
        if types and name in types:
            raise SettingsError(
                f"--type {name}={types[name]}: {name!r} is the column of the {what}, which are "
                "strings; give types of other columns"
            )
    return Wanted(text, id_, types or {})


def table_columns(path: Path, names: Sequence[str], wanted: Wanted) -> Columns:
    """The columns of a table with these names; CorpusError if it lacks one of those wanted."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise CorpusError(
            f"{path}: the header has {_listed(twice)} more than once; give each column its own name"
        )
    asked = [(wanted.text, "--text-column"), (wanted.id, "--id-column")]
    for name, option in asked + [(name, "--type") for name in wanted.types]:
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
    return _with_defaults(wanted, names)


def object_columns(record: Mapping[str, Any], wanted: Wanted) -> tuple[Columns, str | None]:
    """The keys of a JSON object, and what is wrong if it lacks that of the text or of the id.

    Keys that have a type may be missing.
    """
    columns = _with_defaults(wanted, record)
    for name, option in ((columns.text, "--text-column"), (columns.id, "--id-column")):
        if name is not None and name not in record:
            keys = f"there are {_listed(record)}" if record else "there are none"
            return columns, f"no key {name!r}; {keys}; name one with {option}"
    return columns, None


def _with_defaults(wanted: Wanted, names: Iterable[str]) -> Columns:
    id_ = wanted.id if wanted.id is not None or "id" not in names else "id"
    return Columns("text" if wanted.text is None else wanted.text, id_, wanted.types)


def _listed(names: Iterable[str]) -> str:
    shown = [reprlib.repr(name) for name in names]
    return ", ".join(shown[:20]) + (f" and {len(shown) - 20} more" if len(shown) > 20 else "")
