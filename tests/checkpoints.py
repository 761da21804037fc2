"""Small random checkpoints, written to disk in the layouts that users have."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from simsearch import bert
from simsearch.variables import Architecture, backbone_shapes, mlm_shapes, pooler_shapes

PIECES = [
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "dog", "bit", "man", "##s"),
    *".!,abcdef张三请李四吃饭。",
]

TINY_BERT = Architecture(
    family="bert",
    vocab_size=len(PIECES),
    hidden_size=12,
    num_hidden_layers=3,
    num_attention_heads=3,
    intermediate_size=20,
    max_position_embeddings=16,
    type_vocab_size=2,
    embedding_size=12,
    hidden_act="gelu",
    layer_norm_eps=1e-12,
)
TINY_ALBERT = replace(TINY_BERT, family="albert", embedding_size=8, hidden_act="gelu_new")


def random_variables(a: Architecture, seed: int = 0) -> dict[str, np.ndarray]:
    """Values large enough that every part of the computation shows in the result."""
    random = np.random.default_rng(seed)
    shapes = backbone_shapes(a) | pooler_shapes(a) | mlm_shapes(a)
    return {
        name: (random.normal(1 if name.endswith("gamma") else 0, 0.4, shape)).astype(np.float32)
        for name, shape in shapes.items()
    }


def config_of(a: Architecture) -> dict[str, object]:
    config = asdict(a)
    config["model_type"] = config.pop("family")
    return config


def write_google(folder: Path, a: Architecture, variables: dict[str, np.ndarray]) -> Path:
    folder.mkdir(parents=True)
    (folder / "bert_config.json").write_text(json.dumps(config_of(a)), "utf-8")
    (folder / "vocab.txt").write_text("\n".join(PIECES) + "\n", "utf-8")
    bert.write_google_checkpoint(variables, folder / "bert_model.ckpt")
    return folder


# Hugging Face's names, written down from a model's own listing
_BERT = {
    "bert/embeddings/word_embeddings": "embeddings.word_embeddings.weight",
    "bert/embeddings/token_type_embeddings": "embeddings.token_type_embeddings.weight",
    "bert/embeddings/position_embeddings": "embeddings.position_embeddings.weight",
    "bert/embeddings/LayerNorm": "embeddings.LayerNorm",
    "bert/pooler/dense": "pooler.dense",
}
_BERT_LAYER = {
    "attention/self/query": "attention.self.query",
    "attention/self/key": "attention.self.key",
    "attention/self/value": "attention.self.value",
    "attention/output/dense": "attention.output.dense",
    "attention/output/LayerNorm": "attention.output.LayerNorm",
    "intermediate/dense": "intermediate.dense",
    "output/dense": "output.dense",
    "output/LayerNorm": "output.LayerNorm",
}
_ALBERT = {
    **{k: v for k, v in _BERT.items() if "pooler" not in k},
    "bert/pooler/dense": "pooler",
    "bert/encoder/embedding_hidden_mapping_in": "encoder.embedding_hidden_mapping_in",
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
_HEAD = {
    "bert": {
        "cls/predictions/transform/dense": "cls.predictions.transform.dense",
        "cls/predictions/transform/LayerNorm": "cls.predictions.transform.LayerNorm",
        "cls/predictions/output_bias": "cls.predictions.bias",
    },
    "albert": {
        "cls/predictions/transform/dense": "predictions.dense",
        "cls/predictions/transform/LayerNorm": "predictions.LayerNorm",
        "cls/predictions/output_bias": "predictions.bias",
    },
}


def huggingface_names(a: Architecture) -> dict[str, str]:
    """Google's variable name → Hugging Face's parameter name, for every variable."""
    if a.family == "albert":
        modules = dict(_ALBERT)
        google = "bert/encoder/transformer/group_0/inner_group_0/"
        theirs = "encoder.albert_layer_groups.0.albert_layers.0."
        modules |= {google + k: theirs + v for k, v in _ALBERT_LAYER.items()}
    else:
        modules = dict(_BERT)
        for i in range(a.num_hidden_layers):
            layer = f"bert/encoder/layer_{i}/"
            modules |= {layer + k: f"encoder.layer.{i}.{v}" for k, v in _BERT_LAYER.items()}
    names = {}
    for module, theirs in modules.items():
        theirs = f"{a.family}.{theirs}"
        if module.endswith("_embeddings"):
            names[module] = theirs
        elif "LayerNorm" in module:
            names |= {f"{module}/gamma": f"{theirs}.weight", f"{module}/beta": f"{theirs}.bias"}
        else:
            names |= {f"{module}/kernel": f"{theirs}.weight", f"{module}/bias": f"{theirs}.bias"}
    for module, theirs in _HEAD[a.family].items():
        if "LayerNorm" in module:
            names |= {f"{module}/gamma": f"{theirs}.weight", f"{module}/beta": f"{theirs}.bias"}
        elif module.endswith("bias"):
            names[module] = theirs
        else:
            names |= {f"{module}/kernel": f"{theirs}.weight", f"{module}/bias": f"{theirs}.bias"}
    return names


def write_huggingface(
    folder: Path, a: Architecture, variables: dict[str, np.ndarray], prefix: bool = True
) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config_of(a)), "utf-8")
    (folder / "vocab.txt").write_text("\n".join(PIECES) + "\n", "utf-8")
    tensors = {}
    for ours, theirs in huggingface_names(a).items():
        value = variables[ours].T if ours.endswith("/kernel") else variables[ours]
        key = theirs if prefix else theirs.removeprefix(f"{a.family}.")
        tensors[key] = np.ascontiguousarray(value)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder
