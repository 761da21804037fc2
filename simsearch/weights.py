"""The hash of a checkpoint's weights, remembered: TensorFlow is needed only the first time."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from simsearch.cache import cache_folder, read_json, remember
from simsearch.checkpoint import Checkpoint
from simsearch.checkpoint.variables import backbone_shapes, pooler_shapes
from simsearch.errors import CheckpointError
from simsearch.files import sha256_of


@dataclass(frozen=True, slots=True)
class WeightHashes:
    """SHA-256 of embeddings and layers, and of the pooler if the checkpoint has one."""

    backbone: str
    pooler: str | None


def weight_hashes(checkpoint: Checkpoint) -> WeightHashes:
    """The hashes of the variables' values: equal for the same weights in any layout.

    They are remembered by path, size and modification time of the files, and by the files' bytes,
    so that a copied or touched checkpoint is known again. Raises CheckpointError if the name of the
    checkpoint stands for other weights.
    """
    hashes = _remembered(checkpoint)
    if checkpoint.known_weights not in (None, hashes.backbone):
        raise CheckpointError(
            f"{checkpoint.folder}: these are not the weights that {checkpoint.name!r} stands for "
            f"(SHA-256 of their values {hashes.backbone[:16]}…, expected "
            f"{str(checkpoint.known_weights)[:16]}…); delete the folder to have it fetched anew, "
            "or give its path if these are the weights you want"
        )
    return hashes


def _remembered(checkpoint: Checkpoint) -> WeightHashes:
    by_stat = _memo(checkpoint, *(_stat_key(path) for path in checkpoint.weight_files))
    if (known := _recall(by_stat)) is not None:
        return known
    by_bytes = _memo(checkpoint, *(sha256_of(path) for path in checkpoint.weight_files))
    hashes = _recall(by_bytes) or _computed(checkpoint)
    for path in (by_bytes, by_stat):
        remember(path, {"backbone": hashes.backbone, "pooler": hashes.pooler})
    return hashes


def _computed(checkpoint: Checkpoint) -> WeightHashes:
    from simsearch import bert  # costs seconds, and a known checkpoint does without

    a = checkpoint.architecture
    pooler = pooler_shapes(a)
    has_pooler = bert.has_variables(checkpoint, pooler)
    variables = bert.read_variables(checkpoint, backbone_shapes(a) | (pooler if has_pooler else {}))
    head = {name: variables.pop(name) for name in pooler if has_pooler}
    return WeightHashes(bert.hash_variables(variables), bert.hash_variables(head) if head else None)


def _recall(memo: Path) -> WeightHashes | None:
    content = read_json(memo)
    if content is None or not isinstance(content.get("backbone"), str):
        return None
    return WeightHashes(content["backbone"], content.get("pooler"))


def _memo(checkpoint: Checkpoint, *keys: str) -> Path:
    # which variables are read, of what shape and in which order of rows
    read = (checkpoint.architecture, checkpoint.first_position, checkpoint.vocabulary.padding)
    name = hashlib.sha256("\n".join([repr(read), *keys]).encode()).hexdigest()
    return cache_folder() / "weights" / f"{name}.json"


def _stat_key(path: Path) -> str:
    stat = path.stat()
    return f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}"
