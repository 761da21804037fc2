"""What a training leaves on disk while it runs: its state, the best model so far, its metrics."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from simsearch.bert.backend import tf
from simsearch.bert.checkpoint_files import (
    Variables,
    read_google_variables,
    write_google_checkpoint,
    writing,
)
from simsearch.files import naming, new_folder, remove_folder, replaced

_STATE, _BEST = "state-", "best-"


@dataclass(frozen=True)
class Position:
    """How far a training is: ``step`` steps are done.

    ``best`` is the greatest value of the dev metric so far, reached at ``best_step``;
    ``without_gain`` counts evaluations since. ``rows`` are those of metrics.csv, ``losses`` those
    of the steps after the last of them.
    """

    step: int = 0
    best: float | None = None
    best_step: int | None = None
    without_gain: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)


class State:
    """The folder of one training. Each state appears whole, or not at all."""

    def __init__(self, folder: Path, variables: Sequence[Any]) -> None:
        self._folder = folder
        self._tracked = tf.train.Checkpoint(**{f"v{i}": v for i, v in enumerate(variables)})

    def restore(self) -> Position:
        """Set the variables as they were saved last; where that was. A new one begins at 0."""
        steps = _steps(self._folder, _STATE)
        if not steps:
            return Position()
        folder = self._folder / f"{_STATE}{max(steps)}"
        self._tracked.read(str(folder / "variables")).assert_consumed()
        return Position(**json.loads((folder / "position.json").read_text("utf-8")))

    def save(self, position: Position) -> None:
        """Keep the variables and where we are. Raises SettingsError if the system refuses."""
        folder = self._folder / f"{_STATE}{position.step}"
        with naming(folder), writing():
            remove_folder(folder)
            with new_folder(folder) as aside:
                self._tracked.write(str(aside / "variables"))
                (aside / "position.json").write_text(json.dumps(asdict(position)), "utf-8")
        self._sweep(_STATE, {position.step})
        self._sweep(_BEST, {position.best_step})
        self._write_metrics(position.rows)

    def save_best(self, step: int, variables: Mapping[str, Any]) -> None:
        """Keep the model of this step, which is better than any before."""
        folder = self._folder / f"{_BEST}{step}"
        with naming(folder), writing():
            remove_folder(folder)
            with new_folder(folder) as aside:
                write_google_checkpoint(variables, aside / "bert_model.ckpt")

    def best(self, step: int) -> Variables:
        """The model that was kept at this step, as ``TrainableModel.values`` gave it."""
        return read_google_variables(self._folder / f"{_BEST}{step}" / "bert_model.ckpt")

    def clear(self) -> None:
        """Remove what only an unfinished training needs."""
        self._sweep(_STATE, set())
        self._sweep(_BEST, set())

    def _sweep(self, prefix: str, keep: set[int | None]) -> None:
        for step in _steps(self._folder, prefix):
            if step not in keep:
                shutil.rmtree(self._folder / f"{prefix}{step}", ignore_errors=True)

    def _write_metrics(self, rows: Sequence[Mapping[str, Any]]) -> None:
        names = list(dict.fromkeys(name for row in rows for name in row))
        path = self._folder / "metrics.csv"
        with naming(path), replaced(path) as aside, aside.open("w", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def _steps(folder: Path, prefix: str) -> list[int]:
    names = [path.name.removeprefix(prefix) for path in folder.glob(f"{prefix}*")]
    return [int(name) for name in names if name.isdigit()]
