"""What every saved encoder has: a folder of its own, and the manifest that loads it again."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import save_file

from simsearch.checkpoint import MANIFEST, Checkpoint
from simsearch.errors import SettingsError
from simsearch.files import naming, new_folder, system_error
from simsearch.pooling import Pooling
from simsearch.whitening import Whitening


@contextlib.contextmanager
def fresh_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill, which is there under its name only when the block ends well.

    Raises SettingsError if ``folder`` exists and is not empty, or cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SettingsError(f"{folder}: exists; give a new or empty folder to save to")
    with naming(folder), new_folder(folder) as aside:
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
        with (folder / "whitening.npz").open("wb") as file:
            whitening.write(file)
        manifest |= {"whitening": "whitening.npz", "dim": whitening.rank}
    write_json(folder / MANIFEST, manifest)


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file that people can read."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False), "utf-8")


def write_tensors(path: Path, tensors: Mapping[str, npt.NDArray[np.float32]]) -> None:
    """Write a safetensors file as PyTorch's, which whoever may read the folder can read.

    Raises OSError if the system refuses.
    """
    try:
        save_file(dict(tensors), path, metadata={"format": "pt"})
    except SafetensorError as error:
        raise system_error(str(error)) from None
    beside = path.with_suffix(".mode")
    beside.touch()
    path.chmod(beside.stat().st_mode)  # safetensors lets nobody else read
    beside.unlink()
