"""What a collection holds: its fields, and the facts in its properties.

A row is a vector of the index::

    pk          VARCHAR, a hash of the document's id, and the number of the chunk
    vector      FLOAT_VECTOR, the unit vector; searched by inner product, which is the cosine
    id, text    VARCHAR, the document's
    metadata    VARCHAR, a JSON object: the document's, to the letter
    chunk       INT64, the number of the chunk in its document; 0 without chunks
    start, stop INT64, the chunk's characters; null without chunks
    truncated   BOOL, whether the encoder cut the document
    digest      VARCHAR, a hash of all of that, by which the next export finds what changed
    meta_…      a column of the metadata whose values are of one type, to filter by; see ``Column``

The property ``simsearch`` has the ``Facts``, as JSON.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from simsearch.encoder import Vectors
from simsearch.errors import StoreError
from simsearch.milvus.door import data_types
from simsearch.store import Passage

FORMAT = 1
PROPERTY = "simsearch"
TEXT_BYTES = 65_535
"""Bytes of UTF-8 that Milvus takes in a field, at most."""
_MOST_COLUMNS = 48  # Milvus takes 64 fields
_MOST_ELEMENTS = 4096

ColumnKind = Literal["string", "integer", "number", "boolean", "list"]


@dataclass(frozen=True, slots=True)
class Column:
    """A typed field for a key of the metadata. A value that is null is null in it, as none is."""

    field: str
    kind: ColumnKind


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """How Milvus searches: its kind of index, what it was built and is asked with.

    ``recall_at_10`` is what was measured; 1 where every vector is compared, ``None`` where there
    were too many to measure.
    """

    kind: Literal["FLAT", "HNSW", "IVF_SQ8"]
    build: Mapping[str, int]
    search: Mapping[str, int]
    recall_at_10: float | None


@dataclass(frozen=True, eq=False)
class Facts:
    """What a search must know of a collection, which ``folder`` names.

    ``columns`` has each key of the metadata, and its ``Column``, or ``None`` where its values are
    of several types. ``finished`` says that all of the index, of this ``generation``, is there.
    """

    folder: str
    identity: Mapping[str, Any]
    fingerprint: str
    settings: Mapping[str, Any]
    dim: int
    chunk: tuple[int, int] | None
    generation: int
    created: str
    documents: int
    rows: int
    columns: Mapping[str, Column | None]
    background: Vectors
    plan: SearchPlan
    finished: bool

    def written(self) -> str:
        """As the property has it."""
        sample = np.ascontiguousarray(self.background, "<f4")
        values = {
            **{name: getattr(self, name) for name in self.__dataclass_fields__},
            "format": FORMAT,
            "columns": {key: column and asdict(column) for key, column in self.columns.items()},
            "background": base64.b64encode(sample.tobytes()).decode("ascii"),
            "plan": asdict(self.plan),
        }
        return json.dumps(values)


def read_facts(property: str, address: str) -> Facts:
    """The facts that a property has. Raises StoreError for one that is not ours, or damaged."""
    try:
        values = json.loads(property)
        if values.pop("format") != FORMAT:
            raise StoreError(
                f"{address} is of another version of simsearch; export it anew with --replace"
            )
        sample = base64.b64decode(values.pop("background"), validate=True)
        columns = values.pop("columns").items()
        chunk, plan = values.pop("chunk"), SearchPlan(**values.pop("plan"))
        return Facts(
            **{**values, "folder": address},
            chunk=chunk and tuple(chunk),
            columns={key: column and Column(**column) for key, column in columns},
            background=np.frombuffer(sample, "<f4").astype(np.float32),
            plan=plan,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StoreError(
            f"{address}: its property {PROPERTY!r} was altered ({error!r}); export it anew with "
            "--replace"
        ) from None


# Columns


def find_columns(documents: Iterable[Mapping[str, Any]]) -> dict[str, Column | None]:
    """The columns for these metadata: every key, those of one type with a field."""
    kinds: dict[str, ColumnKind | None] = {}
    seen: Counter[str] = Counter()
    for metadata in documents:
        for key, value in metadata.items():
            if value is not None:
                kind = kind_of(value)
                kinds[key] = _joined(kinds[key], kind) if seen[key] else kind
            seen[key] += value is not None
    typed = [key for key, _ in seen.most_common() if kinds.get(key) is not None][:_MOST_COLUMNS]
    fields = {key: _field_name(key, number) for number, key in enumerate(typed)}
    found: dict[str, Column | None] = dict.fromkeys(seen)
    for key in typed:
        if kind := kinds[key]:
            found[key] = Column(fields[key], kind)
    return found


def kind_of(value: object) -> ColumnKind | None:
    """The kind of column that takes a value that is not null; ``None`` if none does."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, str):
        return "string" if len(value.encode()) <= TEXT_BYTES else None
    if isinstance(value, int):
        return "integer" if -(2**63) <= value < 2**63 else None
    if isinstance(value, float):
        return "number"
    if isinstance(value, list) and len(value) <= _MOST_ELEMENTS:
        return "list" if all(isinstance(v, str) and kind_of(v) for v in value) else None
    return None


def fits(column: Column | None, value: object) -> bool:
    """Whether a column takes a value."""
    return column is None or value is None or _joined(column.kind, kind_of(value)) == column.kind


def _joined(one: ColumnKind | None, other: ColumnKind | None) -> ColumnKind | None:
    if one == other:
        return one
    return "number" if {one, other} == {"integer", "number"} else None


def _field_name(key: str, number: int) -> str:
    plain = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_]{0,60}", key)
    return f"meta_{key}" if plain else f"meta__{number}"


# Schema and rows


def schema_of(client: Any, dim: int, columns: Mapping[str, Column | None]) -> Any:
    """The schema of a collection."""
    types = data_types()
    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("pk", types.VARCHAR, is_primary=True, max_length=64)
    schema.add_field("vector", types.FLOAT_VECTOR, dim=dim)
    for name in ("id", "text", "metadata"):
        schema.add_field(name, types.VARCHAR, max_length=TEXT_BYTES)
    schema.add_field("digest", types.VARCHAR, max_length=64)
    schema.add_field("chunk", types.INT64)
    for name in ("start", "stop"):
        schema.add_field(name, types.INT64, nullable=True)
    schema.add_field("truncated", types.BOOL)
    plain = {
        "string": types.VARCHAR,
        "integer": types.INT64,
        "number": types.DOUBLE,
        "boolean": types.BOOL,
        "list": types.ARRAY,
    }
    for column in filter(None, columns.values()):
        more: dict[str, Any] = {}
        if column.kind in ("string", "list"):
            more["max_length"] = TEXT_BYTES
        if column.kind == "list":
            more.update(element_type=types.VARCHAR, max_capacity=_MOST_ELEMENTS)
        schema.add_field(column.field, plain[column.kind], nullable=True, **more)
    return schema


def row_of(
    passage: Passage,
    chunk: int,
    vector: Vectors,
    truncated: bool,
    columns: Mapping[str, Column | None],
) -> dict[str, Any]:
    """The row of a vector. Raises StoreError for a document that is too long for Milvus."""
    document = passage.document
    start, stop = passage.span or (None, None)
    row: dict[str, Any] = {
        "pk": f"{hashlib.sha256(document.id.encode()).hexdigest()[:40]}-{chunk}",
        "id": document.id,
        "text": document.text,
        "metadata": json.dumps(document.metadata, ensure_ascii=False),
        "chunk": chunk,
        "start": start,
        "stop": stop,
        "truncated": truncated,
    }
    for name in ("id", "text", "metadata"):
        if len(row[name].encode()) > TEXT_BYTES:
            raise StoreError(
                f"the document {document.id[:80]!r}: its {name} has {len(row[name].encode()):,} "
                f"bytes, and Milvus takes {TEXT_BYTES:,}; cut it, or leave it out"
            )
    digest = hashlib.sha256(json.dumps(row, sort_keys=True).encode())
    digest.update(np.ascontiguousarray(vector, "<f4").tobytes())
    row.update(digest=digest.hexdigest(), vector=vector)
    for key, column in columns.items():
        if column is not None:
            value = document.metadata.get(key)
            if column.kind == "number" and isinstance(value, int):
                value = float(value)
            row[column.field] = value
    return row


def loosened(
    columns: Mapping[str, Column | None], documents: Iterable[Mapping[str, Any]]
) -> dict[str, Column | None]:
    """The columns of a collection once it has these metadata too: a field cannot change its type.

    A key that is new has none, and one with a value that its field does not take loses it.
    """
    found = dict(columns)
    for metadata in documents:
        for key, value in metadata.items():
            if not fits(found.setdefault(key, None), value):
                found[key] = None
    return found
