"""The variables in a checkpoint's files: read them, hash them, write them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from simsearch.bert.backend import tf
from simsearch.checkpoint import Checkpoint
from simsearch.checkpoint.architecture import Architecture
from simsearch.checkpoint.names import (
    from_tensorflow,
    huggingface_names,
    unknown_names,
    without_prefix,
)
from simsearch.checkpoint.variables import (
    OUTPUT_BIAS,
    Shapes,
    all_shapes,
    backbone_shapes,
    mlm_shapes,
    pooler_shapes,
    position_embeddings,
    word_embeddings,
)
from simsearch.config import Family
from simsearch.errors import CheckpointError
from simsearch.files import system_error

Array = npt.NDArray[np.float32]
Variables = dict[str, Array]
_BELONG = "Check that config and weights belong together, and leave --family out"
# a part of the model itself, as Google or Hugging Face call it
_BACKBONE = re.compile(r"(bert|electra)/(embeddings|encoder)/|(embeddings|encoder)\.")


def read_variables(checkpoint: Checkpoint, shapes: Shapes) -> Variables:
    """The checkpoint's variables of these names and shapes, as float32.

    Rows that belong to token ids are in the model's order, in which 0 is padding; positions begin
    with the first that a token can have. Raises CheckpointError naming the file and the variable if
    one is missing, has another shape, or if the file is damaged.
    """
    names = variable_names(checkpoint)
    _check_names(checkpoint, shapes, names)
    with _damage_reported(checkpoint):
        variables = _READERS[checkpoint.layout.format](checkpoint, shapes)
    positions = position_embeddings(checkpoint.architecture.family)
    if checkpoint.first_position and positions in variables:
        variables[positions] = variables[positions][checkpoint.first_position :]
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
    return with_padding_first(checkpoint, variables)


def with_padding_first(checkpoint: Checkpoint, variables: Variables) -> Variables:
    """Exchange the rows of padding and of token 0, there and back: see ``tokenizer``."""
    padding = checkpoint.vocabulary.padding
    for name in (word_embeddings(checkpoint.architecture.family), OUTPUT_BIAS):
        if padding and name in variables:
            exchanged = variables[name].copy()
            exchanged[[0, padding]] = exchanged[[padding, 0]]
            variables[name] = exchanged
    return variables


def variable_names(checkpoint: Checkpoint) -> set[str]:
    """Canonical names of what the checkpoint holds; names that we cannot map stay as they are."""
    with _damage_reported(checkpoint):
        if checkpoint.layout.format == "google":
            return set(_google_reader(checkpoint).get_variable_to_shape_map())
        return set(_placed(checkpoint))


def _read_google(checkpoint: Checkpoint, shapes: Shapes) -> Variables:
    reader = _google_reader(checkpoint)
    return {name: reader.get_tensor(name).astype(np.float32) for name in shapes}


def _google_reader(checkpoint: Checkpoint) -> Any:
    return tf.train.load_checkpoint(str(checkpoint.weight_files[0].with_suffix("")))


def _read_safetensors(checkpoint: Checkpoint, shapes: Shapes) -> Variables:
    variables: Variables = {}
    placed = _placed(checkpoint)
    for path in checkpoint.weight_files:
        with safe_open(path, "numpy") as file:
            here = set(file.keys())
            for name in shapes:
                if placed[name] in here:
                    value = file.get_tensor(placed[name]).astype(np.float32)
                    transposed = name.endswith("/kernel") and not _is_tensorflow(placed[name])
                    variables[name] = value.T if transposed else value
    return variables


def _read_h5(checkpoint: Checkpoint, shapes: Shapes) -> Variables:
    variables: Variables = {}
    placed = _placed(checkpoint)
    with h5py.File(checkpoint.weight_files[0], "r") as file:
        for name, shape in shapes.items():
            value = np.asarray(file[placed[name]], np.float32)
            # transformers 4.2 and 4.3 gave the attention's heads an axis of their own
            variables[name] = value.reshape(shape) if value.size == math.prod(shape) else value
    return variables


_READERS = {"google": _read_google, "safetensors": _read_safetensors, "h5": _read_h5}


def _placed(checkpoint: Checkpoint) -> dict[str, str]:
    """Where a Hugging Face layout keeps each variable: canonical name to its own.

    What we cannot map is there under its own name, without the model's prefix.
    """
    a = checkpoint.architecture
    ours = {theirs: name for name, theirs in huggingface_names(a, all_shapes(a)).items()}
    keys = _h5_keys if checkpoint.layout.format == "h5" else _safetensors_keys
    bare = {name: key for path in checkpoint.weight_files for name, key in keys(path)}
    return {ours.get(name, name): key for name, key in bare.items()}


def _safetensors_keys(path: Path) -> Iterator[tuple[str, str]]:
    """Hugging Face's name and the file's key of every variable."""
    with safe_open(path, "numpy") as file:
        for key in file.keys():  # noqa: SIM118
            yield (from_tensorflow if _is_tensorflow(key) else without_prefix)(key), key


def _is_tensorflow(key: str) -> bool:
    """Whether a TensorFlow model wrote it, whose kernels are as Google's."""
    return key.endswith(":0")


def _h5_keys(path: Path) -> list[tuple[str, str]]:
    """As ``_safetensors_keys``; two names of Keras' stand before each variable's own."""
    keys = []

    def visit(key: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            keys.append((from_tensorflow(key.split("/", 2)[-1]), key))

    with h5py.File(path, "r") as file:
        file.visititems(visit)
    return keys


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
    strangers = unknown_names(names, all_shapes(a))
    missing = sorted(shapes.keys() - names)
    if missing and any("/.ATTRIBUTES/" in name for name in names):
        raise CheckpointError(
            f"{file}: is a checkpoint of objects, as tf.train.Checkpoint writes it, and its names "
            "say nothing of a BERT; save it by names (tf.compat.v1.train.Saver), or convert it "
            "with transformers"
        )
    if missing:
        found = f" It holds names that we don't know, such as {strangers[0]}." if strangers else ""
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise CheckpointError(
            f"{file}: {', '.join(missing[:3])}{more} missing for {_a(a.family)} of "
            f"{a.num_hidden_layers} layers.{found} {_question(a, missing)}"
        )
    # to compute without them would give other vectors than the model's
    left_out = [name for name in strangers if _BACKBONE.match(name)]
    if left_out:
        raise CheckpointError(
            f"{file}: holds {left_out[0]}, which {_a(a.family)} of {a.num_hidden_layers} layers "
            f"does not have. {_BELONG}"
        )


def _question(a: Architecture, missing: Sequence[str]) -> str:
    if all("position_embeddings" in name for name in missing):
        return "NEZHA and RoFormer have none: if it is one, say --family nezha or roformer"
    return _BELONG


def _a(family: Family) -> str:
    return f"an {family}" if family in ("albert", "electra") else f"a {family}"


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
    write_checkpoint(checkpoint, checkpoint_variables(checkpoint), folder)


def write_checkpoint(checkpoint: Checkpoint, variables: Mapping[str, Array], folder: Path) -> None:
    """Write such a model with these variables, rows in the vocabulary's own order: Google's layout.

    Raises OSError if the system refuses.
    """
    write_google_checkpoint(variables, folder / "bert_model.ckpt")
    config = asdict(checkpoint.architecture)
    config["model_type"] = config.pop("family")
    config["pooler_activation"] = config.pop("pooler_act")
    checkpoint.vocabulary.write(folder)
    (folder / "bert_config.json").write_text(json.dumps(config, indent=2), "utf-8")


def checkpoint_variables(checkpoint: Checkpoint) -> Variables:
    """All that we know of a checkpoint, heads included, its rows in the vocabulary's own order."""
    a = checkpoint.architecture
    shapes = backbone_shapes(a)
    for head in (pooler_shapes(a), mlm_shapes(a)):
        if has_variables(checkpoint, head):
            shapes |= head
    return with_padding_first(checkpoint, read_variables(checkpoint, shapes))


def write_google_checkpoint(variables: Mapping[str, Array], prefix: Path) -> None:
    """Write ``<prefix>.index`` and ``<prefix>.data-00000-of-00001`` with exactly these names.

    Raises OSError if the system refuses.
    """
    names = sorted(variables)
    tensors = [tf.constant(variables[name]) for name in names]
    with writing():
        tf.raw_ops.SaveV2(
            prefix=str(prefix),
            tensor_names=names,
            shape_and_slices=[""] * len(names),
            tensors=tensors,
        )


def read_google_variables(prefix: Path) -> Variables:
    """What ``write_google_checkpoint`` wrote."""
    reader = tf.train.load_checkpoint(str(prefix))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


@contextlib.contextmanager
def writing() -> Iterator[None]:
    """Turn TensorFlow's error of the block, which only writes files, into the OSError it was."""
    try:
        yield
    except tf.errors.OpError as error:
        raise system_error(error.message) from None
