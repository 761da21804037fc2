"""The hash of a checkpoint's weights, remembered: TensorFlow is needed only the first time."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from simsearch.cache import cache_folder, read_json, write_json
from simsearch.checkpoint import Checkpoint
from simsearch.variables import backbone_shapes, pooler_shapes


@dataclass(frozen=True, slots=True)
class WeightHashes:
    """SHA-256 of embeddings and layers, and of the pooler if the checkpoint has one."""

    backbone: str
    pooler: str | None


def weight_hashes(checkpoint: Checkpoint) -> WeightHashes:
    """The hashes of the variables' values: equal for the same weights in any layout.

    They are remembered by path, size and modification time of the files, and by the files' bytes,
    so that a copied or touched checkpoint is known again.
    """
    by_stat = _memo(checkpoint, *(_stat_key(path) for path in checkpoint.weight_files))
    if (known := _recall(by_stat)) is not None:
        return known
    by_bytes = _memo(checkpoint, *(_file_hash(path) for path in checkpoint.weight_files))
    hashes = _recall(by_bytes) or _computed(checkpoint)
    for path in (by_bytes, by_stat):
        write_json(path, {"backbone": hashes.backbone, "pooler": hashes.pooler})
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
    # which variables are read, and of what shape, is the architecture's to say
    name = hashlib.sha256("\n".join([repr(checkpoint.architecture), *keys]).encode()).hexdigest()
    return cache_folder() / "weights" / f"{name}.json"


def _stat_key(path: Path) -> str:
    stat = path.stat()
    return f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}"


def _file_hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
