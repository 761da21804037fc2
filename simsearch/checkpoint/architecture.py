"""The numbers of a config file that shape the computation, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simsearch.config import FAMILIES, Family
from simsearch.errors import CheckpointError

_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_new",
    "gelu_fast": "gelu_new",
    "gelu_pytorch_tanh": "gelu_new",
    "relu": "relu",
}
_POOLERS = ("tanh", "linear")
_SIZES = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
)
_MOST_LAYERS = 1000
# RoBERTa's are BERTs of other names, whose positions are counted from the id of padding + 1
_ROBERTAS = ("roberta", "xlm-roberta", "camembert")
# how their classes begin; a BERT's needs no telling
_CLASSES = (
    ("XLMRoberta", "xlm-roberta"),
    ("Roberta", "roberta"),
    ("Camembert", "camembert"),
    ("Albert", "albert"),
    ("Electra", "electra"),
    ("Nezha", "nezha"),
    ("RoFormer", "roformer"),
)
# NEZHA's relative positions are clipped at this distance, in its paper and in bert4keras
_NEZHA_DISTANCE = 64


@dataclass(frozen=True, slots=True)
class Architecture:
    """The numbers of ``bert_config.json`` / ``config.json`` that shape the computation.

    ``max_position_embeddings`` counts positions that a token can have; ``attention_key_size`` is
    the length of a head's queries and keys. A RoBERTa is a ``bert``.
    """

    family: Family
    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int
    type_vocab_size: int
    embedding_size: int
    attention_key_size: int
    hidden_act: str
    layer_norm_eps: float
    pooler_act: str = "tanh"


def architecture_from(
    config: Mapping[str, Any], path: Path, family: Family | None, seen_in_weights: Family | None
) -> Architecture:
    """The architecture that a config describes.

    ``family`` is the user's word and goes before the config's; ``seen_in_weights`` is what the
    names of the variables tell, for configs that say nothing. Raises CheckpointError, naming
    ``path`` and the key, for what we don't know or cannot be.
    """
    said = family
    family = family or _family(config, path) or seen_in_weights or "bert"
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
    sizes["max_position_embeddings"] -= 0 if said else first_position(config, path)
    head_size = sizes["hidden_size"] // sizes["num_attention_heads"]
    _check_supported(config, path, family)
    usual = "gelu_new" if family == "albert" else "gelu"
    activation = str(config.get("hidden_act", usual))
    if activation not in _ACTIVATIONS:
        raise CheckpointError(
            f"{path}: hidden_act {activation!r} is unknown; we know {', '.join(_ACTIVATIONS)}"
        )
    pooler = str(config.get("pooler_activation", "tanh"))
    if pooler not in _POOLERS:
        raise CheckpointError(
            f"{path}: pooler_activation {pooler!r} is unknown; we know {', '.join(_POOLERS)}"
        )
    epsilon = config.get("layer_norm_eps", 1e-12)
    if not isinstance(epsilon, float) or not 0 < epsilon < 1:
        raise CheckpointError(f"{path}: layer_norm_eps is {epsilon!r}; expected a small number")
    return Architecture(
        family=family,
        type_vocab_size=_positive(config, "type_vocab_size", path, default=2),
        embedding_size=_positive(config, "embedding_size", path, default=sizes["hidden_size"]),
        attention_key_size=_positive(config, "attention_key_size", path, default=head_size),
        hidden_act=_ACTIVATIONS[activation],
        layer_norm_eps=epsilon,
        pooler_act=pooler,
        **sizes,
    )


def first_position(config: Mapping[str, Any], path: Path) -> int:
    """The row of the position table that belongs to the first token: 0, but in a RoBERTa."""
    if model_type(config) not in _ROBERTAS:
        return 0
    padding = config.get("pad_token_id", 1)
    positions = _positive(config, "max_position_embeddings", path)
    if not isinstance(padding, int) or not 0 <= padding < positions - 1:
        raise CheckpointError(f"{path}: pad_token_id is {padding!r}; expected the id of padding")
    return padding + 1


def model_type(config: Mapping[str, Any]) -> Any:
    """What Hugging Face's configs call the family; ``None`` in Google's."""
    if "model_type" in config:
        return config["model_type"]
    # old ones name only the class, such as XLMRobertaModel
    classes = config.get("architectures")
    if not isinstance(classes, list) or not classes:
        return None
    return next((named for start, named in _CLASSES if str(classes[0]).startswith(start)), None)


def _check_supported(config: Mapping[str, Any], path: Path, family: Family) -> None:
    """Refuse what would be computed otherwise than the model means it."""
    only = {
        "position_embedding_type": "absolute",
        "is_decoder": False,
        "rotary_value": False,
        "norm_type": "layer_norm",  # RoFormer V2 has another, and no biases
        "use_bias": True,
        "max_relative_position": _NEZHA_DISTANCE,
    }
    if family == "albert":
        only |= {"num_hidden_groups": 1, "inner_group_num": 1}
    only["attention_head_size"] = config["hidden_size"] // config["num_attention_heads"]
    for key, value in only.items():
        given = config.get(key)
        if given is not None and given != value:
            raise CheckpointError(
                f"{path}: {key} is {given!r}, which is not supported; expected {value!r}"
            )


def _positive(config: Mapping[str, Any], key: str, path: Path, default: int | None = None) -> int:
    value = config.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise CheckpointError(f"{path}: {key} is {value!r}; expected a positive whole number")
    return value


def _family(config: Mapping[str, Any], path: Path) -> Family | None:
    """What the config says; ``None`` if nothing, as in Google's files."""
    named = model_type(config)
    if named in _ROBERTAS:
        return "bert"
    for family in FAMILIES:
        if named == family:
            return family
    if named is not None:
        raise CheckpointError(
            f"{path}: model family {named!r} is not supported; we read {', '.join(FAMILIES)} and "
            "RoBERTa"
        )
    if "num_hidden_groups" in config:
        return "albert"  # only ALBERT's configs speak of groups
    return "nezha" if config.get("use_relative_position") else None
