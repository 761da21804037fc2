"""The variables of a BERT checkpoint: their names, their shapes, and the names others give them.

The canonical name is Google's (``bert/encoder/layer_0/attention/self/query/kernel``), which is what
bert4keras reads. Hugging Face's names are mapped onto it; kernels are transposed there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Family = Literal["bert", "albert"]
FAMILIES: tuple[Family, ...] = ("bert", "albert")
Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Architecture:
    """The numbers of ``bert_config.json`` / ``config.json`` that shape the computation."""

    family: Family
    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int
    type_vocab_size: int
    embedding_size: int
    hidden_act: str
    layer_norm_eps: float


def backbone_shapes(a: Architecture) -> Shapes:
    """What every checkpoint must have: embeddings and layers."""
    hidden, embedding = a.hidden_size, a.embedding_size
    shapes: Shapes = {
        "bert/embeddings/word_embeddings": (a.vocab_size, embedding),
        "bert/embeddings/token_type_embeddings": (a.type_vocab_size, embedding),
        "bert/embeddings/position_embeddings": (a.max_position_embeddings, embedding),
        **_norm("bert/embeddings/LayerNorm", embedding),
    }
    if a.family == "albert":
        if embedding != hidden:
            shapes |= _dense("bert/encoder/embedding_hidden_mapping_in", embedding, hidden)
        layer = "bert/encoder/transformer/group_0/inner_group_0/"
        for part in ("self/query", "self/key", "self/value", "output/dense"):
            shapes |= _dense(f"{layer}attention_1/{part}", hidden, hidden)
        shapes |= _dense(f"{layer}ffn_1/intermediate/dense", hidden, a.intermediate_size)
        shapes |= _dense(f"{layer}ffn_1/intermediate/output/dense", a.intermediate_size, hidden)
        return shapes | _norm(f"{layer}LayerNorm", hidden) | _norm(f"{layer}LayerNorm_1", hidden)
    for i in range(a.num_hidden_layers):
        layer = f"bert/encoder/layer_{i}/"
        for part in ("self/query", "self/key", "self/value", "output/dense"):
            shapes |= _dense(f"{layer}attention/{part}", hidden, hidden)
        shapes |= _norm(f"{layer}attention/output/LayerNorm", hidden)
        shapes |= _dense(f"{layer}intermediate/dense", hidden, a.intermediate_size)
        shapes |= _dense(f"{layer}output/dense", a.intermediate_size, hidden)
        shapes |= _norm(f"{layer}output/LayerNorm", hidden)
    return shapes


def pooler_shapes(a: Architecture) -> Shapes:
    """The head behind pooling ``pooler``; many checkpoints have none."""
    return _dense("bert/pooler/dense", a.hidden_size, a.hidden_size)


def mlm_shapes(a: Architecture) -> Shapes:
    """The masked-language-model head, whose output matrix is the word embeddings."""
    return {
        **_dense("cls/predictions/transform/dense", a.hidden_size, a.embedding_size),
        **_norm("cls/predictions/transform/LayerNorm", a.embedding_size),
        "cls/predictions/output_bias": (a.vocab_size,),
    }


def _dense(name: str, rows: int, columns: int) -> Shapes:
    return {f"{name}/kernel": (rows, columns), f"{name}/bias": (columns,)}


def _norm(name: str, size: int) -> Shapes:
    return {f"{name}/beta": (size,), f"{name}/gamma": (size,)}


_IGNORED = re.compile(
    # what training leaves behind: optimizer slots and step counters
    r"(.*/)?(adam_[mv](_\d+)?|lamb_[mv](_\d+)?|Adam(_\d+)?|LAMBOptimizer(_\d+)?|AdamWeightDecayOptimizer(_\d+)?)"
    r"|global_step|(bad|good)_steps|loss_scale|.*[Ll]earning_rate.*|beta[12]_power|save_counter"
    r"|_CHECKPOINTABLE_OBJECT_GRAPH|.*/\.(ATTRIBUTES|OPTIMIZER_SLOT)/.*"
    # heads that make no sentence vector: next sentence, sentence order, classifiers
    r"|cls/seq_relationship/.*|cls/predictions/(output_weights|extra_output_weights)"
    r"|output_weights|output_bias|(bert/)?classifier/.*|(sop_classifier|classifier|dropout)\..*"
    # Hugging Face: buffers, and the output matrix that is the word embeddings again
    r"|(.*\.)?embeddings\.(position_ids|token_type_ids)|cls\.seq_relationship\..*"
    r"|cls\.predictions\.decoder\.(weight|bias)|predictions\.decoder\.(weight|bias)"
)


def is_ignored(name: str) -> bool:
    """Whether a variable of a checkpoint is knowingly left alone."""
    return _IGNORED.fullmatch(name) is not None


# What follows the module's name in Hugging Face's and in Google's naming. Older exports say gamma
# and beta for the two parameters of a normalisation.
_TAILS = {
    "exact": {"": ""},
    "dense": {"weight": "/kernel", "bias": "/bias"},
    "norm": {"weight": "/gamma", "bias": "/beta", "gamma": "/gamma", "beta": "/beta"},
}
_HF_EMBEDDINGS = (
    ("exact", r"embeddings\.(word|token_type|position)_embeddings\.weight", r"bert/embeddings/\1_embeddings"),
    ("norm", r"embeddings\.LayerNorm\.", "bert/embeddings/LayerNorm"),
)  # fmt: skip
_HF_LAYER, _LAYER = r"encoder\.layer\.(\d+)\.", r"bert/encoder/layer_\1/"
_HF_GROUP = r"encoder\.albert_layer_groups\.0\.albert_layers\.0\."
_GROUP = "bert/encoder/transformer/group_0/inner_group_0/"
_HF_NAMES: dict[str, tuple[tuple[str, str, str], ...]] = {
    "bert": (
        *_HF_EMBEDDINGS,
        ("dense", rf"{_HF_LAYER}attention\.self\.(query|key|value)\.", rf"{_LAYER}attention/self/\2"),
        ("dense", rf"{_HF_LAYER}attention\.output\.dense\.", f"{_LAYER}attention/output/dense"),
        ("norm", rf"{_HF_LAYER}attention\.output\.LayerNorm\.", f"{_LAYER}attention/output/LayerNorm"),
        ("dense", rf"{_HF_LAYER}(intermediate|output)\.dense\.", rf"{_LAYER}\2/dense"),
        ("norm", rf"{_HF_LAYER}output\.LayerNorm\.", f"{_LAYER}output/LayerNorm"),
        ("dense", r"pooler\.dense\.", "bert/pooler/dense"),
        ("dense", r"cls\.predictions\.transform\.dense\.", "cls/predictions/transform/dense"),
        ("norm", r"cls\.predictions\.transform\.LayerNorm\.", "cls/predictions/transform/LayerNorm"),
        ("exact", r"cls\.predictions\.bias", "cls/predictions/output_bias"),
    ),
    "albert": (
        *_HF_EMBEDDINGS,
        ("dense", r"encoder\.(embedding_hidden_mapping_in)\.", r"bert/encoder/\1"),
        ("dense", rf"{_HF_GROUP}attention\.(query|key|value)\.", rf"{_GROUP}attention_1/self/\1"),
        ("dense", rf"{_HF_GROUP}attention\.dense\.", f"{_GROUP}attention_1/output/dense"),
        ("norm", rf"{_HF_GROUP}attention\.LayerNorm\.", f"{_GROUP}LayerNorm"),
        ("dense", rf"{_HF_GROUP}ffn\.", f"{_GROUP}ffn_1/intermediate/dense"),
        ("dense", rf"{_HF_GROUP}ffn_output\.", f"{_GROUP}ffn_1/intermediate/output/dense"),
        ("norm", rf"{_HF_GROUP}full_layer_layer_norm\.", f"{_GROUP}LayerNorm_1"),
        ("dense", r"pooler\.", "bert/pooler/dense"),
        ("dense", r"predictions\.dense\.", "cls/predictions/transform/dense"),
        ("norm", r"predictions\.LayerNorm\.", "cls/predictions/transform/LayerNorm"),
        ("exact", r"predictions\.bias", "cls/predictions/output_bias"),
    ),
}  # fmt: skip


def canonical_name(name: str, family: Family) -> str | None:
    """The canonical name of a Hugging Face parameter; ``None`` if it is not one of ours."""
    bare = name.removeprefix(f"{family}.")
    for kind, pattern, target in _HF_NAMES[family]:
        match = re.match(pattern, bare)
        if match and bare[match.end() :] in _TAILS[kind]:
            return match.expand(target) + _TAILS[kind][bare[match.end() :]]
    return None


def unknown_names(names: Iterable[str], known: Iterable[str]) -> list[str]:
    """Those of ``names`` that are neither known nor knowingly ignored, sorted."""
    known = set(known)
    return sorted(name for name in names if name not in known and not is_ignored(name))
