"""Checkpoints: from a name or a folder to what an encoder needs to know, without TensorFlow."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from simsearch.errors import CheckpointError
from simsearch.huggingface import read_json, sentence_transformers_defaults
from simsearch.tokenizer import Vocabulary, read_vocabulary
from simsearch.variables import FAMILIES, Architecture, Family

DEFAULT_MODEL = "zhen-mini"
MANIFEST = "simsearch.json"
_EMBEDDED = (DEFAULT_MODEL,)
_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_new",
    "gelu_pytorch_tanh": "gelu_new",
    "relu": "relu",
}
_SIZES = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
)
_MOST_LAYERS = 1000
_SHORTEST = 3  # [CLS], [SEP] and a token between them


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A folder of weights that we can read, and the defaults that come with it.

    ``name`` is what the user called it; ``weight_files`` are the files that hold its variables;
    ``max_length`` counts tokens, [CLS] and [SEP] included; ``prompts`` maps "query" and
    "document" to what is put before a text.
    """

    name: str
    folder: Path
    layout: Literal["google", "huggingface"]
    architecture: Architecture
    weight_files: tuple[Path, ...]
    vocabulary: Vocabulary
    lower_case: bool
    max_length: int
    pooling: str = "mean"
    layers: tuple[int, ...] | None = None
    prompts: Mapping[str, str] = field(default_factory=dict)
    whitening: Path | None = None
    dim: int | None = None

    @property
    def reference(self) -> str:
        """What finds this checkpoint again from anywhere: its path, or an embedded model's name."""
        return self.name if self.name in _EMBEDDED else str(self.folder)


def load_checkpoint(name: str | Path) -> Checkpoint:
    """Find the checkpoint that ``name`` stands for: a folder, or an embedded model.

    Raises CheckpointError if there is none, if a file is missing or is not what it should be, or if
    the model is of a family we don't know.
    """
    folder = _find_folder(str(name))
    if (folder / "bert_config.json").is_file():
        return _google(str(name), folder)
    if (folder / "config.json").is_file():
        return _huggingface(str(name), folder)
    raise CheckpointError(
        f"{folder}: neither bert_config.json (Google layout: bert_config.json, bert_model.ckpt.*, "
        "vocab.txt) nor config.json (Hugging Face layout: config.json, model.safetensors, "
        "vocab.txt) is there"
    )


def _find_folder(name: str) -> Path:
    if name in _EMBEDDED:
        return Path(str(resources.files("simsearch"))) / "models" / name
    folder = Path(name)
    with contextlib.suppress(RuntimeError):  # the home of a user who doesn't exist
        folder = folder.expanduser()
    if folder.is_dir():
        return folder.resolve()
    if folder.exists():
        raise CheckpointError(
            f"{name}: is a file; give the folder that holds the checkpoint (unpack an "
            "archive first)"
        )
    raise CheckpointError(
        f"no checkpoint {name!r}: it is neither a folder nor one of the embedded models "
        f"({', '.join(_EMBEDDED)})"
    )


def _google(name: str, folder: Path) -> Checkpoint:
    config = read_json(folder / "bert_config.json")
    architecture = _architecture(config, folder / "bert_config.json")
    prefix = _checkpoint_prefix(folder)
    data = sorted(folder.glob(f"{prefix.name}.data-?????-of-?????"))
    shards = int(data[0].name[-5:]) if data else 1
    if len(data) != shards:
        found = f"{len(data)} of {shards}" if data else "none"
        raise CheckpointError(
            f"{folder}: {found} of the files {prefix.name}.data-*-of-{shards:05d} found; "
            "copy all of them from the archive that the checkpoint came in"
        )
    weights = (prefix.with_name(f"{prefix.name}.index"), *data)
    return _checkpoint(name, folder, "google", architecture, weights, {}, None)


def _checkpoint_prefix(folder: Path) -> Path:
    prefixes = sorted({path.with_suffix("") for path in folder.glob("*.ckpt*.index")})
    if not prefixes:
        raise CheckpointError(
            f"{folder}: no file bert_model.ckpt.index; copy bert_model.ckpt.index and "
            "bert_model.ckpt.data-* from the archive that the checkpoint came in"
        )
    if len(prefixes) > 1:
        names = ", ".join(prefix.name for prefix in prefixes)
        raise CheckpointError(f"{folder}: several checkpoints ({names}); keep one in the folder")
    return prefixes[0]


def _huggingface(name: str, folder: Path) -> Checkpoint:
    config = read_json(folder / "config.json")
    architecture = _architecture(config, folder / "config.json")
    weights = folder / "model.safetensors"
    if not weights.is_file():
        pickle = folder / "pytorch_model.bin"
        advice = (
            "pytorch_model.bin is a Python pickle, which can run any program when it is read, so "
            "it is not; convert it with transformers' save_pretrained(safe_serialization=True)"
            if pickle.exists()
            else "copy it from the model's repository"
        )
        raise CheckpointError(f"{weights}: no such file; {advice}")
    defaults, lower_case = sentence_transformers_defaults(folder)
    return _checkpoint(name, folder, "huggingface", architecture, (weights,), defaults, lower_case)


def _checkpoint(
    name: str,
    folder: Path,
    layout: Literal["google", "huggingface"],
    architecture: Architecture,
    weights: tuple[Path, ...],
    defaults: Mapping[str, Any],
    lower_case: bool | None,
) -> Checkpoint:
    vocabulary = read_vocabulary(folder)
    if vocabulary.size != architecture.vocab_size:
        raise CheckpointError(
            f"{vocabulary.path}: has {vocabulary.size} lines, but the embedding table has "
            f"{architecture.vocab_size} rows (vocab_size in the config); use the vocabulary that "
            "belongs to this checkpoint"
        )
    manifest = read_json(folder / MANIFEST, optional=True)
    chosen = {**defaults, **manifest}
    layers, whitening = chosen.get("layers"), chosen.get("whitening")
    longest = architecture.max_position_embeddings
    if lower_case is None:
        lower_case = not vocabulary.looks_cased
    try:
        return Checkpoint(
            name=name,
            folder=folder,
            layout=layout,
            architecture=architecture,
            weight_files=weights,
            vocabulary=vocabulary,
            lower_case=bool(chosen.get("lower_case", lower_case)),
            max_length=_length(chosen.get("max_length", longest), longest),
            pooling=str(chosen.get("pooling", "mean")),
            layers=None if layers is None else tuple(int(layer) for layer in layers),
            prompts={str(k): str(v) for k, v in chosen.get("prompts", {}).items()},
            whitening=None if whitening is None else folder / Path(whitening).name,
            dim=chosen.get("dim"),
        )
    except (TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{folder / MANIFEST}: a value is not usable ({error})") from None


def _length(given: Any, longest: int) -> int:
    length = min(int(given), longest)
    if length < _SHORTEST:
        raise ValueError(f"max_length {length}, expected {_SHORTEST} tokens or more")
    return length


def _architecture(config: Mapping[str, Any], path: Path) -> Architecture:
    family = _family(config, path)
    sizes = {key: _positive(config, key, path) for key in _SIZES}
    if sizes["num_hidden_layers"] > _MOST_LAYERS:
        raise CheckpointError(
            f"{path}: num_hidden_layers is {sizes['num_hidden_layers']}; expected {_MOST_LAYERS} "
            "at most"
        )
    if sizes["hidden_size"] % sizes["num_attention_heads"]:
        raise CheckpointError(
            f"{path}: hidden_size {sizes['hidden_size']} is not a multiple of "
            f"num_attention_heads {sizes['num_attention_heads']}"
        )
    activation = str(config.get("hidden_act", "gelu"))
    if activation not in _ACTIVATIONS:
        raise CheckpointError(
            f"{path}: hidden_act {activation!r} is unknown; we know {', '.join(_ACTIVATIONS)}"
        )
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise CheckpointError(
            f"{path}: position_embedding_type {config['position_embedding_type']!r} is not "
            "supported; expected 'absolute'"
        )
    groups = (config.get("num_hidden_groups", 1), config.get("inner_group_num", 1))
    if family == "albert" and groups != (1, 1):
        raise CheckpointError(f"{path}: an ALBERT of several groups is not supported; expected one")
    epsilon = config.get("layer_norm_eps", 1e-12)
    if not isinstance(epsilon, float) or not 0 < epsilon < 1:
        raise CheckpointError(f"{path}: layer_norm_eps is {epsilon!r}; expected a small number")
    return Architecture(
        family=family,
        type_vocab_size=_positive({"type_vocab_size": 2, **config}, "type_vocab_size", path),
        embedding_size=_positive(
            {"embedding_size": sizes["hidden_size"], **config}, "embedding_size", path
        ),
        hidden_act=_ACTIVATIONS[activation],
        layer_norm_eps=epsilon,
        **sizes,
    )


def _positive(config: Mapping[str, Any], key: str, path: Path) -> int:
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise CheckpointError(f"{path}: {key} is {value!r}; expected a positive whole number")
    return value


def _family(config: Mapping[str, Any], path: Path) -> Family:
    named = config.get("model_type")
    if named is None:
        # Google's configs do not name the family; only ALBERT's speak of groups.
        return "albert" if "num_hidden_groups" in config or "embedding_size" in config else "bert"
    for family in FAMILIES:
        if named == family:
            return family
    advice = (
        " (Chinese whole-word-masking RoBERTa is a BERT: its model_type is 'bert')"
        if named == "roberta"
        else ""
    )
    raise CheckpointError(
        f"{path}: model family {named!r} is not supported; we read {' and '.join(FAMILIES)}{advice}"
    )
