"""How an index is searched: settings, the plan made by them, what was measured, the cells' file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pydantic

from simsearch.config import IndexSettings
from simsearch.index.approximate import CellIndex
from simsearch.index.cells import Cells
from simsearch.index.combined import CombinedIndex
from simsearch.index.flat import FlatIndex
from simsearch.index.planner import IndexPlan, outgrown, plan_index
from simsearch.index.tuner import Tuning, measure_flat, tune_cells
from simsearch.index.vectors import Vectors
from simsearch.store.database import damaged, unreadable
from simsearch.store.folder import is_cells_name, new_cells_name, write_whole
from simsearch.store.segments import RowReader

SearchIndex = FlatIndex | CombinedIndex


@dataclass(frozen=True)
class CellsFile:
    """The file of the cells: its name in the folder, its size and hash."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class SearchRecord:
    """What the database keeps of it: ``settings`` from the first, the rest once it is built.

    ``plan.rows`` are the rows that it was built for; those after them were added since.
    """

    settings: IndexSettings = field(default_factory=IndexSettings)
    plan: IndexPlan | None = None
    tuning: Tuning | None = None
    file: CellsFile | None = None

    @property
    def kind(self) -> str:
        """The kind of index, "flat" or "ivf"."""
        return "flat" if self.plan is None else self.plan.kind

    def outgrown(self, rows: int, deleted: int) -> str | None:
        """Why the index should be optimized now that it has so many rows; ``None`` if not."""
        return None if self.plan is None else outgrown(self.plan, rows, deleted)


_ADAPTER = pydantic.TypeAdapter(SearchRecord)


def to_json(record: SearchRecord) -> dict[str, Any]:
    """The record as JSON values."""
    return {**asdict(record), "settings": record.settings.model_dump()}


def from_json(values: Mapping[str, Any], path: Path) -> SearchRecord:
    """The record. CorruptIndexError where it isn't what ``to_json`` made."""
    try:
        record = _ADAPTER.validate_python(dict(values))
    except pydantic.ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise damaged(path, f"its record of how it is searched is wrong at {where}") from None
    in_cells = record.kind == "ivf"
    if in_cells != (record.file is not None) or (
        record.file is not None and not is_cells_name(record.file.name)
    ):
        raise damaged(path, "its record of how it is searched names no file of cells")
    return record


def build_search(
    folder: Path,
    segments: Sequence[Vectors],
    dim: int,
    settings: IndexSettings,
    queries: Vectors,
) -> SearchRecord:
    """Plan, build and tune a search of these rows; writes the cells' file, which nothing names yet.

    It is tuned on ``queries``, float32 (n, dim), or on rows where there are none. Raises
    SettingsError where the settings cannot be met by any index.
    """
    plan = plan_index(sum(map(len, segments)), dim, settings)
    if plan.cells is None or plan.dims_per_code is None:
        tuning = measure_flat(segments) if plan.rows else None
        return SearchRecord(settings, plan, tuning)
    cells = Cells.build(segments, plan.cells, plan.dims_per_code)
    tuning = tune_cells(cells, segments, settings.recall_target, queries if len(queries) else None)
    content = cells.to_bytes()
    file = CellsFile(new_cells_name(), content.nbytes, hashlib.sha256(content.data).hexdigest())
    write_whole(folder / file.name, content.data)
    return SearchRecord(settings, plan, tuning, file)


def tune_again(
    folder: Path,
    segments: Sequence[Vectors],
    dim: int,
    record: SearchRecord,
    settings: IndexSettings,
    queries: Vectors,
) -> SearchRecord | None:
    """The record with its cells tuned anew by ``settings``; ``None`` where these need other cells.

    Raises SettingsError as ``build_search`` does, and CorruptIndexError as ``load_cells``.
    """
    if record.file is None or plan_index(sum(map(len, segments)), dim, settings) != record.plan:
        return None
    cells = load_cells(folder, record.file, dim)
    tuning = tune_cells(cells, segments, settings.recall_target, queries if len(queries) else None)
    return replace(record, settings=settings, tuning=tuning)


def load_cells(folder: Path, file: CellsFile, dim: int) -> Cells:
    """The cells of this file, its hash checked first.

    CorruptIndexError if the file is missing, or isn't what was written.
    """
    path = folder / file.name
    try:
        if path.stat().st_size != file.bytes:
            raise damaged(path, f"it has not the {file.bytes} bytes that were written")
        content = np.memmap(path, dtype=np.uint8, mode="r").view(np.ndarray)
    except FileNotFoundError:
        raise damaged(path, "it is missing") from None
    except OSError as error:
        raise unreadable(path, error) from error
    if hashlib.sha256(content.data).hexdigest() != file.sha256:
        raise damaged(path, "it was altered, its SHA-256 is not the one in the index")
    try:
        return Cells.from_bytes(content, dim)
    except ValueError as error:
        raise damaged(path, str(error)) from None


def search_index(
    record: SearchRecord, cells: Cells | None, segments: Sequence[Vectors], rows: RowReader
) -> SearchIndex:
    """The index over all ``segments``, of which ``cells`` hold the first rows, if there are any."""
    if cells is None or record.tuning is None:
        return FlatIndex(segments)
    first = 0
    held = 0
    while held < cells.total:
        held += len(segments[first])
        first += 1
    within = CellIndex(cells, segments[:first], record.tuning.width, rows.check)
    return CombinedIndex(within, segments[first:])
