"""The folder of a training: claimed by its recipe, and a checkpoint when it has ended."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from simsearch.bert.checkpoint_files import Variables, write_checkpoint, writing
from simsearch.checkpoint import Checkpoint
from simsearch.errors import SettingsError
from simsearch.files import naming, new_folder, replaced
from simsearch.heads import Head
from simsearch.pooling import Pooling
from simsearch.saving.folder import write_json, write_manifest

WORK = "training"
"""The folder in the result with the metrics and, until the end, the state."""
RECIPE = "training.json"
_CONFIG = "bert_config.json"  # the last file to come: without it a folder is no checkpoint


@contextmanager
def claimed(folder: Path, recipe: Mapping[str, Any]) -> Iterator[Path]:
    """The folder where the training of this recipe works, for one process at a time.

    Raises SettingsError if ``folder`` holds something else, another recipe's training, a result, or
    one that another process is at.
    """
    work = folder / WORK
    known = work / "recipe.json"
    if folder.exists() and not folder.is_dir():
        raise SettingsError(f"{folder}: is a file; give a new folder to write")
    if (folder / _CONFIG).exists():
        raise SettingsError(f"{folder}: holds a checkpoint already; give a new folder to write")
    if folder.is_dir() and any(folder.iterdir()) and not known.is_file():
        raise SettingsError(f"{folder}: is not empty; give a new or empty folder to write")
    with naming(folder):
        work.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(work / "lock", timeout=0):
            if known.is_file() and any(work.glob("state-*")):
                _check_same(folder, json.loads(known.read_text("utf-8")), recipe)
            else:
                with naming(known), replaced(known) as aside:
                    write_json(aside, recipe)
            yield work
    except Timeout:
        raise SettingsError(
            f"{folder}: another process is training it; wait for it, or give another folder"
        ) from None


def _check_same(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    differ = [
        f"{key} was {before.get(key)!r}, now {now.get(key)!r}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    ]
    if differ:
        raise SettingsError(
            f"{folder}: holds an unfinished training of another recipe ({'; '.join(differ)}); go "
            "on with that one, or give another folder"
        )


def finish(
    folder: Path,
    checkpoint: Checkpoint,
    variables: Variables,
    pooling: Pooling,
    report: Mapping[str, Any],
    head: Head | None = None,
) -> None:
    """Make the folder a checkpoint with these variables; ``report`` becomes training.json.

    Those of ``head`` are written beside it.
    """
    own = {} if head is None else head.values
    backbone = {name: value for name, value in variables.items() if name not in own}
    with naming(folder), writing(), new_folder(folder / WORK / "result") as aside:
        write_checkpoint(checkpoint, backbone, aside)
        write_manifest(checkpoint, pooling, None, aside)
        write_json(aside / RECIPE, report)
        if head is not None:
            head.with_values(variables).save(aside)
        for path in sorted(aside.iterdir(), key=lambda path: path.name == _CONFIG):
            path.replace(folder / path.name)
    (folder / WORK / "result").rmdir()
