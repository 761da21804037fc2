"""Makes a collection the image of an index: all of it at first, later what has changed."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from simsearch.config import IndexSettings
from simsearch.errors import StoreError
from simsearch.index.vectors import Rows
from simsearch.milvus.door import Address, connected, milvus_errors
from simsearch.milvus.layout import (
    PROPERTY,
    Column,
    Facts,
    SearchPlan,
    find_columns,
    loosened,
    read_facts,
    row_of,
    schema_of,
)
from simsearch.milvus.planning import build_index, plan_search, tuned_plan
from simsearch.search import live_rows
from simsearch.store import StoredIndex, differing_fields

_ROWS_AT_ONCE = 1000  # of 1.5 KB of vector and some text: below what one request may have
Progress = Callable[[int, int | None], None]


@dataclass(frozen=True, slots=True)
class MilvusReport:
    """What an export did, in rows of the collection: ``written`` are new or changed."""

    address: Address
    documents: int
    rows: int
    written: int
    deleted: int
    plan: SearchPlan


def export_to_milvus(
    folder: Path,
    address: Address,
    *,
    settings: IndexSettings | None = None,
    replace: bool = False,
    progress: Progress | None = None,
) -> MilvusReport:
    """Make a collection of Milvus the image of a finished index.

    By default its name is that of the folder. One that is an image of this index already, at an
    earlier generation, gets what has changed since; while that is written, a search may see some
    of it. Else, or to ``replace`` what is there, a collection is filled beside it and takes the
    name at one stroke. Interrupted, the same call goes on. ``settings`` are those by which the kind
    of index is planned; writers of the folder wait until the export has finished.

    Raises the StoreErrors of the folder, SettingsError for a plan that cannot be kept, and
    StoreError for a collection of another encoder, with other chunks, or not ours, for documents
    that are too long for Milvus, and for what Milvus itself says.
    """
    name = address.collection or collection_name(folder)
    place = Address(address.uri, name)
    with (
        StoredIndex.open(folder) as stored,
        stored.reading(),
        connected(address.uri) as client,
        milvus_errors(str(place)),
    ):
        export = _Export(client, stored, place, progress)
        there = export.there()
        if there is None or replace:
            return export.anew(settings or IndexSettings())
        return export.updated(read_facts(there, str(place)))


def collection_name(folder: Path) -> str:
    """The name of a collection for the index in a folder."""
    plain = re.sub(r"[^A-Za-z0-9_]+", "_", folder.resolve().name).strip("_")
    return plain if re.match(r"[A-Za-z_]", plain) else f"simsearch_{plain}".rstrip("_")


@dataclass
class _Export:
    client: Any
    stored: StoredIndex
    place: Address
    progress: Progress | None

    @property
    def _name(self) -> str:
        return self.place.collection or ""

    def there(self) -> str | None:
        """The facts, as they are written, of the collection that has the name, if there is one."""
        if not self.client.has_collection(self._name):
            return None
        found = self._property(self._name)
        if found is None:
            raise StoreError(
                f"{self.place} holds something else; give another name with --collection"
            )
        return found

    def updated(self, there: Facts) -> MilvusReport:
        """Write what has changed since the collection was written."""
        stored = self.stored
        one = {**there.identity, "chunk": there.chunk}
        if fields := differing_fields(one, {**stored.identity, "chunk": stored.chunk}):
            raise StoreError(
                f"{self.place} is the image of an index of another encoder or with other chunks:"
                + "".join(f"\n  {field}" for field in fields)
                + "\nGive another name with --collection, or export it anew with --replace"
            )
        stamp = stored.generation, stored.info()["created"]
        if there.finished and (there.generation, there.created) == stamp:
            return self._report(there, 0, 0)
        # first the facts: whoever asks meanwhile must know of keys and types that are new
        facts = self._facts(loosened(there.columns, self._metadata()), there.plan)
        physical = self._physical()
        self._state(physical, replace(facts, finished=False))
        written, deleted = self._synchronize(physical, facts.columns)
        return self._done(physical, facts, written, deleted)

    def anew(self, settings: IndexSettings) -> MilvusReport:
        """Fill a collection beside the one that is there, and give it the name."""
        plan = plan_search(self.stored.rows, self.stored.dim, settings)
        facts = self._facts(find_columns(self._metadata()), plan)
        physical = self._begun(facts)
        written, deleted = self._synchronize(physical, facts.columns)
        if plan.kind != "FLAT":
            self.client.flush(physical)
            build_index(self.client, physical, plan)
            plan = tuned_plan(self.client, physical, self.stored, plan, settings.recall_target)
            facts = replace(facts, plan=plan)
        report = self._done(physical, facts, written, deleted)
        self._take_name(physical)
        return report

    def _begun(self, facts: Facts) -> str:
        """A collection to fill: one that an interrupted export has begun, or a new one."""
        wanted = replace(facts, finished=False).written()
        begun = re.compile(re.escape(self._name) + "_[0-9a-f]{8}")
        for name in filter(begun.fullmatch, self.client.list_collections()):
            if self._property(name) == wanted:
                return str(name)
            if self._property(name) is not None and not self.client.list_aliases(name)["aliases"]:
                self.client.drop_collection(name)
        name = f"{self._name}_{secrets.token_hex(4)}"
        schema = schema_of(self.client, facts.dim, facts.columns)
        self.client.create_collection(name, schema=schema, properties={PROPERTY: wanted})
        # rows can be asked for only with an index; the one to search by is built when all are there
        build_index(self.client, name, SearchPlan("FLAT", {}, {}, 1.0), empty=True)
        return name

    def _take_name(self, physical: str) -> None:
        if not self.client.has_collection(self._name):
            self.client.create_alias(physical, self._name)
            return
        before = self._physical()
        self.client.alter_alias(physical, self._name)
        if before != physical:
            self.client.drop_collection(before)

    def _physical(self) -> str:
        """The collection that has the name as an alias."""
        return str(self.client.describe_alias(self._name)["collection_name"])

    # Facts

    def _facts(self, columns: Mapping[str, Column | None], plan: SearchPlan) -> Facts:
        stored = self.stored
        facts = stored.info()
        return Facts(
            folder=str(stored.folder),
            identity=dict(stored.identity),
            fingerprint=stored.fingerprint,
            settings=dict(stored.settings),
            dim=stored.dim,
            chunk=stored.chunk,
            generation=stored.generation,
            created=facts["created"],
            documents=stored.count,
            rows=len(self._rows),
            columns=columns,
            background=stored.background,
            plan=plan,
            finished=True,
        )

    def _property(self, name: str) -> str | None:
        found = self.client.describe_collection(name).get("properties", {}).get(PROPERTY)
        return None if found is None else str(found)

    def _state(self, name: str, facts: Facts) -> None:
        self.client.alter_collection_properties(name, {PROPERTY: facts.written()})

    def _done(self, name: str, facts: Facts, written: int, deleted: int) -> MilvusReport:
        self.client.flush(name)
        self._state(name, facts)
        return self._report(facts, written, deleted)

    def _report(self, facts: Facts, written: int, deleted: int) -> MilvusReport:
        return MilvusReport(self.place, facts.documents, facts.rows, written, deleted, facts.plan)

    # Rows

    @cached_property
    def _rows(self) -> Rows:
        """The numbers of the rows of documents that were not deleted, int64 (n,)."""
        live = live_rows(self.stored)
        return np.arange(self.stored.rows) if live is None else live.rows

    def _metadata(self) -> Iterator[Any]:
        numbers = np.unique(self.stored.chunks.documents[self._rows])
        return (self.stored.document(number).metadata for number in numbers.tolist())

    def _synchronize(self, name: str, columns: Mapping[str, Column | None]) -> tuple[int, int]:
        """Write the rows that are not there as they should be; delete those that should not be."""
        there = self._digests(name)
        rows = self._rows
        written = 0
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            batch = self._made(rows[start : start + _ROWS_AT_ONCE], columns)
            changed = [row for row in batch if there.pop(row["pk"], None) != row["digest"]]
            if changed:
                self.client.upsert(name, changed)
                written += len(changed)
            if self.progress is not None:
                self.progress(min(start + _ROWS_AT_ONCE, len(rows)), len(rows))
        gone = list(there)
        for start in range(0, len(gone), _ROWS_AT_ONCE):
            self.client.delete(name, ids=gone[start : start + _ROWS_AT_ONCE])
        return written, len(gone)

    def _digests(self, name: str) -> dict[str, str]:
        """The rows that are there, and the digest of each."""
        self.client.load_collection(name)
        found: dict[str, str] = {}
        rows = self.client.query_iterator(
            name, batch_size=_ROWS_AT_ONCE, output_fields=["digest"], consistency_level="Strong"
        )
        try:
            while batch := rows.next():
                found.update((row["pk"], row["digest"]) for row in batch)
        finally:
            rows.close()
        return found

    def _made(self, rows: Rows, columns: Mapping[str, Column | None]) -> list[dict[str, Any]]:
        stored = self.stored
        documents = stored.chunks.documents[rows]
        chunks = rows - np.searchsorted(stored.chunks.documents, documents)
        return [
            row_of(passage, chunk, vector, number in stored.truncated, columns)
            for number, chunk, vector, passage in zip(
                documents.tolist(),
                chunks.tolist(),
                stored.vectors(rows),
                stored.passages(rows.tolist()),
                strict=True,
            )
        ]
