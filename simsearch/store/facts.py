"""What is told about a finished index: its facts, and ``manifest.json`` with a copy of them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import apsw

from simsearch.store.database import FORMAT, records, sqlite_errors
from simsearch.store.folder import MANIFEST, write_whole
from simsearch.store.meta import Meta, load_meta
from simsearch.store.search_record import to_json
from simsearch.store.segments import Segment, read_segments
from simsearch.store.truncation import Truncation, read_truncation


@dataclass(frozen=True)
class Facts:
    """What the database of an index says, without what only a search needs."""

    meta: Meta
    segments: list[Segment]
    documents: int
    truncation: Truncation

    @property
    def rows(self) -> int:
        """How many vectors there are."""
        return sum(segment.rows for segment in self.segments)


def read_facts(connection: apsw.Connection, path: Path) -> Facts:
    """Read them. CorruptIndexError for what is missing or isn't what it must be."""
    meta = load_meta(connection, path)
    with sqlite_errors(path):
        ((deleted,),) = records(connection, "SELECT count(*) FROM tombstones")
    return Facts(
        meta=meta,
        segments=read_segments(connection, path),
        documents=meta.numbered - deleted,
        truncation=read_truncation(connection, path),
    )


def write_manifest(folder: Path, facts: Facts) -> None:
    """Write the copy for people, unless it is there."""
    shown = asdict(facts.meta)
    shown["search"] = to_json(facts.meta.search)
    del shown["background"], shown["queries"]
    manifest = {
        "note": "A copy for people. simsearch reads index.sqlite and never this file.",
        "format": FORMAT,
        "count": facts.documents,
        "chunks": facts.rows,
        **shown,
        "truncated": facts.truncation.documents,
        "segments": [asdict(segment) for segment in facts.segments],
    }
    content = (json.dumps(manifest, ensure_ascii=False, indent=2) + "\n").encode()
    path = folder / MANIFEST
    if not path.is_file() or path.read_bytes() != content:
        write_whole(path, content)
