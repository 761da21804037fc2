"""The variables in a checkpoint's files: read them, hash them, write them."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from simsearch.bert.backend import tf
from simsearch.checkpoint import Checkpoint
from simsearch.errors import CheckpointError
from simsearch.variables import (
    Architecture,
    Shapes,
    backbone_shapes,
    canonical_name,
    mlm_shapes,
    pooler_shapes,
    unknown_names,
)

Array = npt.NDArray[np.float32]
Variables = dict[str, Array]


def read_variables(checkpoint: Checkpoint, shapes: Shapes) -> Variables:
    """The checkpoint's variables of these names and shapes, as float32.

    Raises CheckpointError naming the file and the variable if one is missing, has another shape, or
    if the file is damaged.
    """
    _check_names(checkpoint, shapes, variable_names(checkpoint))
    read = _read_google if checkpoint.layout == "google" else _read_safetensors
    variables = read(checkpoint, shapes)
    for name, shape in shapes.items():
        if variables[name].shape != shape:
            raise CheckpointError(
                f"{checkpoint.weight_files[0]}: {name} has shape {variables[name].shape}; the "
                f"config asks for {shape}. Config and weights belong to different models"
            )
        if not np.isfinite(variables[name]).all():
            raise CheckpointError(
                f"{checkpoint.weight_files[0]}: {name} holds values that are not finite"
            )
    return variables


def variable_names(checkpoint: Checkpoint) -> set[str]:
    """Canonical names of what the checkpoint holds; names that we cannot map stay as they are."""
    if checkpoint.layout == "google":
        with _damage_reported(checkpoint):
            return set(_google_reader(checkpoint).get_variable_to_shape_map())
    with _damage_reported(checkpoint), safe_open(checkpoint.weight_files[0], "numpy") as file:
        family = checkpoint.architecture.family
        return {canonical_name(key, family) or key for key in file.keys()}  # noqa: SIM118


def _read_google(checkpoint: Checkpoint, shapes: Shapes) -> Variables:
    with _damage_reported(checkpoint):
        reader = _google_reader(checkpoint)
        return {name: reader.get_tensor(name).astype(np.float32) for name in shapes}


def _google_reader(checkpoint: Checkpoint) -> Any:
    return tf.train.load_checkpoint(str(checkpoint.weight_files[0].with_suffix("")))


def _read_safetensors(checkpoint: Checkpoint, shapes: Shapes) -> Variables:
    variables: Variables = {}
    with _damage_reported(checkpoint), safe_open(checkpoint.weight_files[0], "numpy") as file:
        for key in file.keys():  # noqa: SIM118
            name = canonical_name(key, checkpoint.architecture.family)
            if name in shapes:
                value = file.get_tensor(key).astype(np.float32)
                variables[name] = value.T if name.endswith("/kernel") else value
    return variables


@contextlib.contextmanager
def _damage_reported(checkpoint: Checkpoint) -> Iterator[None]:
    try:
        yield
    except (
        tf.errors.OpError,
        SafetensorError,
        OSError,
        LookupError,
        ValueError,
        RuntimeError,
    ) as error:
        reason = str(error).split("\n")[0]
        files = ", ".join(file.name for file in checkpoint.weight_files)
        raise CheckpointError(
            f"{checkpoint.folder}: {files} cannot be read, as if cut short or damaged ({reason}); "
            "copy the files anew"
        ) from None


def _check_names(checkpoint: Checkpoint, shapes: Shapes, names: set[str]) -> None:
    a, file = checkpoint.architecture, checkpoint.weight_files[0]
    strangers = unknown_names(names, _all_shapes(a))
    missing = sorted(shapes.keys() - names)
    if missing:
        found = f" It holds names that we don't know, such as {strangers[0]}." if strangers else ""
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise CheckpointError(
            f"{file}: {', '.join(missing[:3])}{more} missing for a {a.family} of "
            f"{a.num_hidden_layers} layers.{found} Is the config the one of these weights?"
        )
    # to compute without them would give other vectors than the model's
    left_out = [
        name for name in strangers if name.startswith(("bert/embeddings/", "bert/encoder/"))
    ]
    if left_out:
        raise CheckpointError(
            f"{file}: holds {left_out[0]}, which a {a.family} of {a.num_hidden_layers} layers does "
            "not have. Is the config the one of these weights?"
        )


def _all_shapes(architecture: Architecture) -> Shapes:
    return backbone_shapes(architecture) | pooler_shapes(architecture) | mlm_shapes(architecture)


def has_variables(checkpoint: Checkpoint, shapes: Shapes) -> bool:
    """Whether all variables of ``shapes`` are in the checkpoint."""
    return shapes.keys() <= variable_names(checkpoint)


def hash_variables(variables: Mapping[str, Array]) -> str:
    """SHA-256 over names, shapes and float32 values: equal for the same weights in any layout."""
    digest = hashlib.sha256()
    for name in sorted(variables):
        value = np.ascontiguousarray(variables[name], "<f4")
        digest.update(f"{name} {value.shape}\n".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def save_checkpoint(checkpoint: Checkpoint, folder: Path) -> None:
    """Write the checkpoint's config, vocabulary and variables in Google layout, heads included."""
    a = checkpoint.architecture
    shapes = backbone_shapes(a)
    for head in (pooler_shapes(a), mlm_shapes(a)):
        if has_variables(checkpoint, head):
            shapes |= head
    write_google_checkpoint(read_variables(checkpoint, shapes), folder / "bert_model.ckpt")
    config = asdict(a)
    config["model_type"] = config.pop("family")
    (folder / "bert_config.json").write_text(json.dumps(config, indent=2), "utf-8")
    checkpoint.vocabulary.write(folder / "vocab.txt")


def write_google_checkpoint(variables: Mapping[str, Array], prefix: Path) -> None:
    """Write ``<prefix>.index`` and ``<prefix>.data-00000-of-00001`` with exactly these names."""
    names = sorted(variables)
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[tf.constant(variables[name]) for name in names],
    )
