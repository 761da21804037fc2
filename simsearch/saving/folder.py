"""What every saved encoder has: a folder of its own, and the manifest that loads it again."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from simsearch.checkpoint import MANIFEST, Checkpoint
from simsearch.errors import SettingsError
from simsearch.files import new_folder
from simsearch.pooling import Pooling
from simsearch.whitening import Whitening


@contextlib.contextmanager
def fresh_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill, which is there under its name only when the block ends well.

    Raises SettingsError if ``folder`` exists and is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SettingsError(f"{folder}: exists; give a new or empty folder to save to")
    with new_folder(folder) as aside:
        yield aside


def write_manifest(
    checkpoint: Checkpoint, pooling: Pooling, whitening: Whitening | None, folder: Path
) -> None:
    """Write ``simsearch.json`` and the whitening: what makes the folder load as this encoder."""
    manifest: dict[str, Any] = {
        "pooling": pooling.name,
        "layers": list(pooling.layers) or None,
        "lower_case": checkpoint.lower_case,
        "strip_accents": checkpoint.strip_accents,
        "max_length": checkpoint.max_length,
        "prompts": dict(checkpoint.prompts),
    }
    if whitening is not None:
        whitening.save(folder / "whitening.npz")
        manifest |= {"whitening": "whitening.npz", "dim": whitening.rank}
    write_json(folder / MANIFEST, manifest)


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file that people can read."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False), "utf-8")
