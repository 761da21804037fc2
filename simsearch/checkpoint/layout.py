"""Which files of a folder are the config and the weights, and how the weights are stored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from simsearch.checkpoint.json_file import read_json
from simsearch.config import Family
from simsearch.errors import CheckpointError

_SAFETENSORS, _SHARDS, _TENSORFLOW = (
    "model.safetensors",
    "model.safetensors.index.json",
    "tf_model.h5",
)
_WEIGHTS = (_SAFETENSORS, _SHARDS, _TENSORFLOW)
_PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the config is, where the weights are, and their format."""

    config: Path
    weights: tuple[Path, ...]
    format: Literal["google", "safetensors", "h5"]

    def seen_family(self) -> Family | None:
        """The family that the names of the variables give away, where Google's configs are silent.

        They are read from the index as bytes: it holds each name's end, after what it shares with
        the one before.
        """
        if self.format != "google" or not self.weights:
            return None
        names = self.weights[0].read_bytes()
        if b"electra/" in names:
            return "electra"
        return "albert" if b"transformer/group_" in names else None


def find_layout(folder: Path) -> Layout:
    """Google's layout, else Hugging Face's. Raises CheckpointError if the folder has neither."""
    if (folder / "bert_config.json").is_file():
        return _google(folder, folder / "bert_config.json")
    googles = any(folder.glob("*.index"))
    if (folder / "config.json").is_file():
        # some repositories of the hub hold Google's weights beside a config of the other name
        googles = googles and not _huggingface_weights(folder)
        return _google(folder, folder / "config.json") if googles else _huggingface(folder)
    if googles and (config := _config_of_another_name(folder)) is not None:
        return _google(folder, config)
    raise CheckpointError(
        f"{folder}: neither bert_config.json (Google layout: bert_config.json, bert_model.ckpt.*, "
        "vocab.txt) nor config.json (Hugging Face layout: config.json, model.safetensors, "
        "vocab.txt) is there"
    )


def config_alone(folder: Path) -> Layout:
    """A folder whose weights, if it has any, play no part. CheckpointError without a config."""
    for name in ("bert_config.json", "config.json"):
        if (folder / name).is_file():
            return Layout(folder / name, (), "google")
    raise CheckpointError(f"{folder}: neither bert_config.json nor config.json is there")


def _config_of_another_name(folder: Path) -> Path | None:
    """Such as albert_config.json or base_discriminator_config.json, if it is clear which."""
    for pattern in ("*discriminator*.json", "*config*.json", "*.json"):
        found = list(folder.glob(pattern))
        if found:
            return found[0] if len(found) == 1 else None
    return None


def _google(folder: Path, config: Path) -> Layout:
    prefix = _checkpoint_prefix(folder)
    data = sorted(folder.glob(f"{prefix.name}.data-?????-of-?????"))
    shards = int(data[0].name[-5:]) if data else 1
    if len(data) != shards:
        found = f"{len(data)} of {shards}" if data else "none"
        raise CheckpointError(
            f"{folder}: {found} of the files {prefix.name}.data-*-of-{shards:05d} found; "
            "copy all of them from the archive that the checkpoint came in"
        )
    return Layout(config, (prefix.with_name(f"{prefix.name}.index"), *data), "google")


def _checkpoint_prefix(folder: Path) -> Path:
    # a release of ELECTRA calls its files electra_base.index and so on
    indexes = list(folder.glob("*.ckpt*.index")) or list(folder.glob("*.index"))
    prefixes = sorted({path.with_suffix("") for path in indexes})
    if not prefixes:
        raise CheckpointError(
            f"{folder}: no file bert_model.ckpt.index; copy bert_model.ckpt.index and "
            "bert_model.ckpt.data-* from the archive that the checkpoint came in"
        )
    if len(prefixes) > 1:
        names = ", ".join(prefix.name for prefix in prefixes)
        raise CheckpointError(f"{folder}: several checkpoints ({names}); keep one in the folder")
    return prefixes[0]


def _huggingface_weights(folder: Path) -> str | None:
    """The file that says where the weights are."""
    return next((name for name in _WEIGHTS if (folder / name).is_file()), None)


def _huggingface(folder: Path) -> Layout:
    config = folder / "config.json"
    weights = _huggingface_weights(folder)
    if weights == _SHARDS:
        return Layout(config, _shards(folder), "safetensors")
    if weights is not None:
        kind: Literal["safetensors", "h5"] = "h5" if weights == _TENSORFLOW else "safetensors"
        return Layout(config, (folder / weights,), kind)
    pickles = [name for name in _PICKLES if (folder / name).exists()]
    advice = (
        f"{pickles[0]} is a Python pickle, which can run any program when it is read, so "
        "it is not; convert it with transformers' save_pretrained(safe_serialization=True)"
        if pickles
        else "copy it from the model's repository"
    )
    raise CheckpointError(f"{folder / _SAFETENSORS}: no such file; {advice}")


def _shards(folder: Path) -> tuple[Path, ...]:
    index = folder / _SHARDS
    placed: Any = read_json(index).get("weight_map")
    if not isinstance(placed, dict) or not placed:
        raise CheckpointError(f"{index}: has no weight_map; copy it anew")
    # only the last part of a name: nothing outside the folder is read
    shards = tuple(sorted({folder / Path(str(name)).name for name in placed.values()}))
    for shard in shards:
        if not shard.is_file():
            raise CheckpointError(f"{shard}: no such file, and {_SHARDS} names it; copy it anew")
    return shards
