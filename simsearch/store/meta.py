"""What an index says about itself: the plan it was built by, and the facts of the result."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import apsw
import numpy as np
import numpy.typing as npt

from simsearch.config import IndexSettings
from simsearch.encoder import Encoder, fingerprint
from simsearch.errors import EncoderMismatchError
from simsearch.store.database import damaged, record, records, sqlite_errors
from simsearch.store.search_record import SearchRecord, from_json, to_json

Chunk = tuple[int, int]
"""The most tokens of a chunk, and how many of them consecutive chunks share."""


@dataclass(frozen=True)
class BuildPlan:
    """What decides the content of an index: two builds with equal plans make equal indexes.

    ``inputs`` is a hash of the corpus files and how they are read, ``identity`` and ``fingerprint``
    are the encoder's, ``settings`` (JSON values) say how to load it again, ``dim`` is the length of
    its vectors. ``chunk`` is (tokens, overlap) of the pieces that documents are cut into, or
    ``None`` where a vector is a whole document. ``search`` says what the search should be like.
    """

    inputs: str
    identity: Mapping[str, Any]
    fingerprint: str
    settings: Mapping[str, Any]
    dim: int
    chunk: Chunk | None = None
    search: IndexSettings = field(default_factory=IndexSettings)


@dataclass(frozen=True, eq=False)
class Meta:
    """The ``meta`` table, one row a field. ``stage`` is "finished" once every text has a vector.

    ``numbered`` documents have got a number, those deleted since included; ``generation`` counts
    the commits. ``background`` is float32, ascending: see ``index.background``. ``created`` is
    ISO 8601, UTC. ``chunk`` is that of the plan. ``queries``, float32 (n, dim), are those that the
    search is tuned on, if any were given: see ``index.tuner``.
    """

    generation: int
    numbered: int
    fingerprint: str
    identity: Mapping[str, Any]
    settings: Mapping[str, Any]
    inputs: str
    dim: int
    search: SearchRecord
    created: str
    version: str
    stage: Literal["ingested", "finished"]
    background: npt.NDArray[np.float32]
    chunk: Chunk | None
    queries: npt.NDArray[np.float32]


_JSON_FIELDS = {"identity", "settings", "chunk", "search"}
_INTEGERS = {"generation", "numbered", "dim"}
_ARRAYS = {"background", "queries"}


def save_meta(connection: apsw.Connection, meta: Meta) -> None:
    """Write every field, inside the caller's transaction."""
    values: dict[str, object] = {field.name: getattr(meta, field.name) for field in fields(Meta)}
    for name in _JSON_FIELDS:
        value = getattr(meta, name)
        plain = dict(value) if isinstance(value, Mapping) else value
        if isinstance(value, SearchRecord):
            plain = to_json(value)
        values[name] = json.dumps(plain, ensure_ascii=False)
    for name in _ARRAYS:
        values[name] = getattr(meta, name).astype("<f4").tobytes()
    connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", cast(Any, values.items()))


def load_meta(connection: apsw.Connection, path: Path) -> Meta:
    """Read every field. CorruptIndexError if one is missing, or is not what it must be."""
    with sqlite_errors(path):
        stored = dict(records(connection, "SELECT key, value FROM meta"))
    stored.setdefault("queries", b"")  # which the first indexes of this format don't have
    values = {field.name: _parsed(field.name, stored, path) for field in fields(Meta)}
    meta = Meta(**values)
    if fingerprint(meta.identity) != meta.fingerprint:
        raise damaged(path, "its fingerprint is not that of its identity")
    if meta.dim < 1 or meta.stage not in ("ingested", "finished"):
        raise damaged(path, f"its dim is {meta.dim}, its stage {meta.stage!r}")
    if len(meta.queries) % meta.dim:
        raise damaged(path, f"{len(meta.queries)} values are no queries of {meta.dim} dimensions")
    return replace(meta, queries=meta.queries.reshape(-1, meta.dim))


def read_generation(connection: apsw.Connection, path: Path) -> int:
    """Which commit this is. CorruptIndexError if the database doesn't say."""
    with sqlite_errors(path):
        found = record(connection, "SELECT value FROM meta WHERE key = 'generation'")
    if found is None or not isinstance(found[0], int):
        raise damaged(path, "its table meta has no generation")
    return found[0]


def _parsed(name: str, stored: Mapping[str, object], path: Path) -> Any:
    if name not in stored:
        raise damaged(path, f"{name!r} is missing from its table meta")
    value = stored[name]
    if name in _ARRAYS:
        if isinstance(value, bytes) and len(value) % 4 == 0:
            return np.frombuffer(value, "<f4").astype(np.float32)
    elif name in _INTEGERS:
        if isinstance(value, int):
            return value
    elif isinstance(value, str):
        if name not in _JSON_FIELDS:
            return value
        try:
            parsed = json.loads(value)
        except ValueError:
            parsed = value  # which is none of these
        if name == "chunk":
            if parsed is None or is_chunk(parsed):
                return parsed and tuple(parsed)
        elif isinstance(parsed, dict):
            return from_json(parsed, path) if name == "search" else parsed
    raise damaged(path, f"{name!r} in its table meta is not of the right type")


def is_chunk(value: object) -> bool:
    """Whether these are the tokens of a chunk and an overlap, as JSON has them."""
    if not isinstance(value, list) or [type(number) for number in value] != [int, int]:
        return False
    tokens, overlap = value
    return bool(0 <= overlap < tokens)


def plan_differences(meta: Meta, plan: BuildPlan) -> list[str]:
    """What sets ``plan`` apart from the plan of this index, in words; empty for equal plans."""
    lines = [] if meta.inputs == plan.inputs else ["the corpus (its files or columns)"]
    lines += differing_fields(meta.identity, plan.identity)
    lines += differing_fields(meta.settings, plan.settings)
    wanted = meta.search.settings.model_dump()
    lines += [f"index.{line}" for line in differing_fields(wanted, plan.search.model_dump())]
    if meta.chunk != plan.chunk:
        lines.append(f"chunk: index {_chunk_words(meta.chunk)}, given {_chunk_words(plan.chunk)}")
    if not lines and meta.dim != plan.dim:
        lines.append(f"dim: index {meta.dim}, given {plan.dim}")
    return list(dict.fromkeys(lines))  # a setting may be a field of the identity as well


def _chunk_words(chunk: Chunk | None) -> str:
    return "none" if chunk is None else f"{chunk[0]} tokens with an overlap of {chunk[1]}"


def differing_fields(index: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """One line a field that differs, with both values: ``pooling: index "cls", given "mean"``."""
    left, right = _shown(index), _shown(given)
    return [
        f"{name}: index {left.get(name, '(none)')}, given {right.get(name, '(none)')}"
        for name in sorted({*left, *right})
        if left.get(name) != right.get(name)
    ]


class Built(Protocol):
    """An index that says where it is and which encoder made it."""

    @property
    def folder(self) -> Path | str:
        """Its folder, or what else it is named by."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """The encoder's identity."""

    @property
    def fingerprint(self) -> str:
        """And its fingerprint."""


def check_encoder(index: Built, encoder: Encoder) -> None:
    """EncoderMismatchError, with the fields that differ, unless the index is of this encoder."""
    if encoder.fingerprint == index.fingerprint:
        return
    fields = differing_fields(index.identity, encoder.identity)
    raise EncoderMismatchError(
        f"{index.folder} was built with another encoder:"
        + "".join(f"\n  {field}" for field in fields)
        + "\nOpen it with that encoder, or build it anew with --replace"
    )


def _shown(values: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: json.dumps(value, ensure_ascii=False, sort_keys=True)
        for name, value in values.items()
    }


def program_version() -> str:
    """The version of simsearch that runs; "unknown" from a source tree that isn't installed."""
    try:
        return metadata.version("simsearch")
    except metadata.PackageNotFoundError:
        return "unknown"
