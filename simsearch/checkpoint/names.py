"""What others call the variables of ``variables``, and which of theirs are knowingly left alone.

A kernel of Hugging Face's PyTorch files is the transpose of Google's; in TensorFlow's it is the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from simsearch.checkpoint.architecture import Architecture
from simsearch.checkpoint.variables import OUTPUT_BIAS, Shapes, root_of

_IGNORED = re.compile(
    # what training leaves behind: optimizer slots and step counters
    r"(.*/)?(adam_[mv](_\d+)?|lamb_[mv](_\d+)?|Adam(_\d+)?|LAMBOptimizer(_\d+)?|AdamWeightDecayOptimizer(_\d+)?)"
    r"|global_step|(bad|good)_steps|loss_scale|.*[Ll]earning_rate.*|beta[12]_power|save_counter"
    r"|_CHECKPOINTABLE_OBJECT_GRAPH|.*/\.(ATTRIBUTES|OPTIMIZER_SLOT)/.*"
    # heads that make no sentence vector: next sentence, sentence order, classifiers, ELECTRA's two
    r"|cls/seq_relationship/.*|cls/predictions/(output_weights|extra_output_weights)"
    r"|output_weights|output_bias|(bert/)?classifier/.*|(sop_classifier|classifier|dropout)\..*"
    r"|generator/.*|(generator|discriminator)_predictions[/.].*|generator_lm_head\..*"
    # Hugging Face: buffers, and the output matrix that is the word embeddings again
    r"|(.*\.)?embeddings\.(position_ids|token_type_ids)|cls\.seq_relationship\..*"
    r"|(cls\.)?predictions\.decoder\.(weight|bias)|lm_head\.decoder\.(weight|bias)"
    r"|(encoder|.*)\.(embed_positions\.weight|relative_positions_encoding\.positions_encoding)"
)
# what programs that wrap a model put before its names, and the model's own
_PREFIX = re.compile(
    r"((_orig_mod|module|model|0|auto_model)\.)*((bert|albert|roberta|electra|nezha|roformer)\.)?"
)
# RoBERTa's names for the parts of BERT's masked-language-model head
_ROBERTA_HEAD = {
    "lm_head.dense.": "cls.predictions.transform.dense.",
    "lm_head.layer_norm.": "cls.predictions.transform.LayerNorm.",
    "lm_head.bias": "cls.predictions.bias",
}
_LAYER = {
    "attention/self/query": "attention.self.query",
    "attention/self/key": "attention.self.key",
    "attention/self/value": "attention.self.value",
    "attention/output/dense": "attention.output.dense",
    "attention/output/LayerNorm": "attention.output.LayerNorm",
    "intermediate/dense": "intermediate.dense",
    "output/dense": "output.dense",
    "output/LayerNorm": "output.LayerNorm",
}
_ALBERT_LAYER = {
    "attention_1/self/query": "attention.query",
    "attention_1/self/key": "attention.key",
    "attention_1/self/value": "attention.value",
    "attention_1/output/dense": "attention.dense",
    "LayerNorm": "attention.LayerNorm",
    "ffn_1/intermediate/dense": "ffn",
    "ffn_1/intermediate/output/dense": "ffn_output",
    "LayerNorm_1": "full_layer_layer_norm",
}
_PARAMETERS = {"kernel": "weight", "bias": "bias", "gamma": "weight", "beta": "bias"}


def is_ignored(name: str) -> bool:
    """Whether a variable of a checkpoint is knowingly left alone."""
    return _IGNORED.fullmatch(name) is not None


def unknown_names(names: Iterable[str], known: Iterable[str]) -> list[str]:
    """Those of ``names`` that are neither known nor knowingly ignored, sorted."""
    known = set(known)
    return sorted(name for name in names if name not in known and not is_ignored(name))


def huggingface_names(a: Architecture, shapes: Shapes) -> dict[str, str]:
    """The canonical names among ``shapes`` to Hugging Face's, which lack the model's prefix."""
    modules, whole = _modules(a), _whole(a)
    names = {}
    for name in shapes:
        module, _, parameter = name.rpartition("/")
        if parameter in _PARAMETERS:
            names[name] = f"{modules[module]}.{_PARAMETERS[parameter]}"
        else:
            names[name] = whole[name]
    return names


def _whole(a: Architecture) -> dict[str, str]:
    """The variables that are a parameter each, and not a part of a layer."""
    root = root_of(a.family)
    head = "" if a.family == "albert" else "cls."
    return {
        **{
            f"{root}/embeddings/{kind}_embeddings": f"embeddings.{kind}_embeddings.weight"
            for kind in ("word", "token_type", "position")
        },
        OUTPUT_BIAS: f"{head}predictions.bias",
    }


def _modules(a: Architecture) -> dict[str, str]:
    if a.family == "albert":
        group, theirs = (
            "bert/encoder/transformer/group_0/inner_group_0",
            "encoder.albert_layer_groups.0.albert_layers.0",
        )
        return {
            "bert/embeddings/LayerNorm": "embeddings.LayerNorm",
            "bert/encoder/embedding_hidden_mapping_in": "encoder.embedding_hidden_mapping_in",
            "bert/pooler/dense": "pooler",
            "cls/predictions/transform/dense": "predictions.dense",
            "cls/predictions/transform/LayerNorm": "predictions.LayerNorm",
            **{f"{group}/{ours}": f"{theirs}.{name}" for ours, name in _ALBERT_LAYER.items()},
        }
    root = root_of(a.family)
    return {
        f"{root}/embeddings/LayerNorm": "embeddings.LayerNorm",
        "electra/embeddings_project": "embeddings_project",
        "bert/encoder/embedding_hidden_mapping_in": "embeddings_project",
        f"{root}/pooler/dense": "pooler.dense",
        "cls/predictions/transform/dense": "cls.predictions.transform.dense",
        "cls/predictions/transform/LayerNorm": "cls.predictions.transform.LayerNorm",
        **{
            f"{root}/encoder/layer_{i}/{ours}": f"encoder.layer.{i}.{name}"
            for i in range(a.num_hidden_layers)
            for ours, name in _LAYER.items()
        },
    }


def without_prefix(name: str) -> str:
    """A Hugging Face parameter as ``huggingface_names`` spells it, whatever wrote the file."""
    bare = _PREFIX.sub("", name, count=1)
    for theirs, ours in _ROBERTA_HEAD.items():
        bare = bare.replace(theirs, ours) if bare.startswith(theirs) else bare
    # older exports say gamma and beta for the two parameters of a normalisation
    return re.sub(r"\.gamma$", ".weight", re.sub(r"\.beta$", ".bias", bare))


def from_tensorflow(name: str) -> str:
    """A variable of Hugging Face's TensorFlow models as ``huggingface_names`` spells it.

    ``bert/encoder/layer_._0/output/dense/kernel:0`` is the ``encoder.layer.0.output.dense.weight``
    of PyTorch, transposed.
    """
    bare = name.removesuffix(":0").replace("_._", ".").replace("/", ".")
    bare = re.sub(r"^(mlm|nsp)___cls\.", "cls.", bare)
    return without_prefix(re.sub(r"\.(kernel|embeddings)$", ".weight", bare))
