"""The layout of Hugging Face, with which sentence-transformers gives the same vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from simsearch.checkpoint import Checkpoint
from simsearch.checkpoint.architecture import Architecture
from simsearch.checkpoint.names import huggingface_names
from simsearch.checkpoint.variables import backbone_shapes, pooler_shapes
from simsearch.errors import SettingsError
from simsearch.pooling import Pooling
from simsearch.saving.card import model_card
from simsearch.saving.folder import fresh_folder, write_json, write_manifest, write_tensors
from simsearch.saving.modules import (
    Tensors,
    modules_after,
    reads_layers,
    unrepresentable,
    write_modules,
)
from simsearch.saving.tokenizer_files import write_tokenizer
from simsearch.whitening import Whitening

# transformers' classes of the families that it computes
_CLASSES = {
    "bert": "BertModel",
    "albert": "AlbertModel",
    "electra": "ElectraModel",
    "roformer": "RoFormerModel",
}
# those that have a pooler
_WITH_POOLER = ("bert", "albert")


def save_huggingface(
    folder: Path, checkpoint: Checkpoint, pooling: Pooling, whitening: Whitening | None
) -> None:
    """Write a model for sentence-transformers that also loads as this encoder.

    The masked-language-model head is left out (``save_google`` keeps it). Raises SettingsError for
    what sentence-transformers would compute otherwise, and if ``folder`` exists and is not empty,
    or cannot be written.
    """
    a = checkpoint.architecture
    _check_representable(checkpoint, pooling)
    with fresh_folder(folder) as aside:
        tensors = _tensors(checkpoint)
        write_tensors(aside / "model.safetensors", tensors)
        write_json(aside / "config.json", _config(checkpoint, pooling))
        write_tokenizer(checkpoint, aside)
        modules = modules_after(
            pooling, a.num_hidden_layers, a.hidden_size, _pooler(tensors), whitening
        )
        write_modules(modules, aside)
        # a WordPiece lowers case by itself
        lower = checkpoint.lower_case and checkpoint.vocabulary.program is not None
        length = {"max_seq_length": checkpoint.max_length, "do_lower_case": lower}
        write_json(aside / "sentence_bert_config.json", length)
        write_json(aside / "config_sentence_transformers.json", _prompts_config(checkpoint))
        (aside / "README.md").write_text(model_card(checkpoint, pooling, whitening), "utf-8")
        write_manifest(checkpoint, pooling, whitening, aside)


def _check_representable(checkpoint: Checkpoint, pooling: Pooling) -> None:
    reason = _unrepresentable_architecture(checkpoint.architecture)
    if reason is not None:
        raise SettingsError(
            f"{checkpoint.name}: cannot be exported: {reason}; SentenceEncoder.save writes any "
            "model, for simsearch"
        )
    reason = unrepresentable(pooling)
    if pooling.name == "pooler" and not _has_pooler(checkpoint.architecture):
        reason = (
            f"transformers' {checkpoint.architecture.family} has no pooler with this activation"
        )
    if reason is not None:
        raise SettingsError(
            f"{checkpoint.name}: cannot be exported: {reason}; choose another pooling, such as "
            "'mean' or 'cls'"
        )


def _unrepresentable_architecture(a: Architecture) -> str | None:
    """Why transformers has no model that computes this; ``None`` if it has."""
    if a.family not in _CLASSES:
        return (
            f"transformers 5 has no {a.family} any more; it computes {', '.join(_CLASSES)} (say "
            "--family if the model is one of them)"
        )
    head_size = a.hidden_size // a.num_attention_heads
    if a.attention_key_size != head_size:
        return (
            f"attention_key_size is {a.attention_key_size}, and transformers takes "
            f"hidden_size / num_attention_heads, {head_size}"
        )
    sizes = f"embedding_size is {a.embedding_size}, hidden_size {a.hidden_size}"
    if a.family == "bert" and a.embedding_size != a.hidden_size:
        return f"{sizes}, and transformers' BERT has one size for both"
    if a.family == "albert" and a.embedding_size == a.hidden_size:
        return f"{sizes}, and transformers' ALBERT always has a matrix between the two"
    return None


def _has_pooler(a: Architecture) -> bool:
    """Whether transformers' model has a pooler, and computes it as ours."""
    return a.family in _WITH_POOLER and a.pooler_act == "tanh"


def _tensors(checkpoint: Checkpoint) -> Tensors:
    """The model's parameters by transformers' names; kernels are [out, in] there."""
    from simsearch import bert  # TensorFlow, which a query does without

    a, variables = checkpoint.architecture, bert.checkpoint_variables(checkpoint)
    shapes = backbone_shapes(a) | (pooler_shapes(a) if _has_pooler(a) else {})
    tensors = {
        theirs: variables[name].T if name.endswith("/kernel") else variables[name]
        for name, theirs in huggingface_names(a, shapes).items()
        if name in variables
    }
    if a.family == "roformer":
        head_size = a.hidden_size // a.num_attention_heads
        tensors["encoder.embed_positions.weight"] = _sinusoids(_positions(checkpoint), head_size)
    return {name: np.ascontiguousarray(value, np.float32) for name, value in tensors.items()}


def _sinusoids(positions: int, size: int) -> npt.NDArray[np.float64]:
    """RoFormer's positions (Su et al. 2021, arXiv:2104.09864), float64 (positions, size).

    transformers keeps them as a parameter: sines, then cosines, of position / 10000^(2i / size).
    """
    angles = np.arange(positions)[:, None] / 10000 ** (np.arange(0, size, 2) / size)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)


def _positions(checkpoint: Checkpoint) -> int:
    """How many positions transformers' model has."""
    a = checkpoint.architecture
    if a.family != "roformer":
        return a.max_position_embeddings
    # computed, not learned: as many as a text may have tokens
    return max(a.max_position_embeddings, checkpoint.max_length)


def _pooler(tensors: Tensors) -> Tensors:
    """``weight`` and ``bias`` of the pooler, if it is among the parameters."""
    return {
        name.rpartition(".")[2]: value
        for name, value in tensors.items()
        if name.startswith("pooler.")
    }


def _config(checkpoint: Checkpoint, pooling: Pooling) -> dict[str, Any]:
    a = checkpoint.architecture
    config: dict[str, Any] = {
        "architectures": [_CLASSES[a.family]],
        "model_type": a.family,
        "vocab_size": a.vocab_size,
        "hidden_size": a.hidden_size,
        "num_hidden_layers": a.num_hidden_layers,
        "num_attention_heads": a.num_attention_heads,
        "intermediate_size": a.intermediate_size,
        "hidden_act": a.hidden_act,
        "max_position_embeddings": _positions(checkpoint),
        "type_vocab_size": a.type_vocab_size,
        "layer_norm_eps": a.layer_norm_eps,
        "pad_token_id": checkpoint.vocabulary.padding,
        "torch_dtype": "float32",
    }
    if a.family != "bert":
        config["embedding_size"] = a.embedding_size
    if a.family == "albert":
        config |= {"num_hidden_groups": 1, "inner_group_num": 1}
    if a.family == "roformer":
        config["rotary_value"] = False
    if reads_layers(pooling, a.num_hidden_layers):
        config["output_hidden_states"] = True
    return config


def _prompts_config(checkpoint: Checkpoint) -> dict[str, Any]:
    prompts = {kind: checkpoint.prompts.get(kind, "") for kind in ("query", "document")}
    return {
        "prompts": prompts if any(prompts.values()) else {},
        # as in SentenceEncoder.encode
        "default_prompt_name": "document" if prompts["document"] else None,
        "similarity_fn_name": "cosine",
    }
