"""Small random checkpoints, written to disk in the layouts that users have."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from pathlib import Path

import h5py
import numpy as np
from safetensors.numpy import save_file

from simsearch import bert
from simsearch.checkpoint.architecture import Architecture
from simsearch.checkpoint.variables import backbone_shapes, mlm_shapes, pooler_shapes

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
    attention_key_size=4,
    hidden_act="gelu",
    layer_norm_eps=1e-12,
)
TINY_ALBERT = replace(TINY_BERT, family="albert", embedding_size=8, hidden_act="gelu_new")
TINY_ELECTRA = replace(TINY_BERT, family="electra", embedding_size=8)
# their positions are computed, for texts of any length
TINY_NEZHA = replace(TINY_BERT, family="nezha", max_position_embeddings=200)
TINY_ROFORMER = replace(TINY_BERT, family="roformer", embedding_size=8, max_position_embeddings=200)
# heads whose queries and keys are longer than their values
WIDE_BERT = replace(TINY_BERT, attention_key_size=6)


def random_variables(a: Architecture, seed: int = 0) -> dict[str, np.ndarray]:
    """Values large enough that every part of the computation shows in the result."""
    random = np.random.default_rng(seed)
    heads = {} if a.family == "electra" else pooler_shapes(a) | mlm_shapes(a)
    shapes = backbone_shapes(a) | heads
    return {
        name: (random.normal(1 if name.endswith("gamma") else 0, 0.4, shape)).astype(np.float32)
        for name, shape in shapes.items()
    }


def config_of(a: Architecture) -> dict[str, object]:
    config = asdict(a)
    config["model_type"] = config.pop("family")
    config["pooler_activation"] = config.pop("pooler_act")
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
        if a.embedding_size != a.hidden_size:
            modules["bert/encoder/embedding_hidden_mapping_in"] = "embeddings_project"
        for i in range(a.num_hidden_layers):
            layer = f"bert/encoder/layer_{i}/"
            modules |= {layer + k: f"encoder.layer.{i}.{v}" for k, v in _BERT_LAYER.items()}
    if a.family in ("nezha", "roformer"):
        del modules["bert/embeddings/position_embeddings"]
    if a.family == "electra":
        del modules["bert/pooler/dense"]
        modules = {k.replace("bert/", "electra/", 1): v for k, v in modules.items()}
        projection = modules.pop("electra/encoder/embedding_hidden_mapping_in", None)
        modules |= {"electra/embeddings_project": projection} if projection else {}
    names = {}
    for module, theirs in modules.items():
        theirs = f"{a.family}.{theirs}"
        if module.endswith("_embeddings"):
            names[module] = theirs
        elif "LayerNorm" in module:
            names |= {f"{module}/gamma": f"{theirs}.weight", f"{module}/beta": f"{theirs}.bias"}
        else:
            names |= {f"{module}/kernel": f"{theirs}.weight", f"{module}/bias": f"{theirs}.bias"}
    if a.family == "electra":
        return names
    for module, theirs in _HEAD["albert" if a.family == "albert" else "bert"].items():
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


def tensorflow_names(a: Architecture) -> dict[str, str]:
    """Google's variable name → TensorFlow's, which spells PyTorch's modules in another way."""
    names = {}
    for ours, theirs in huggingface_names(a).items():
        module, kind = theirs.rpartition(".")[0].replace(".", "/"), ours.rpartition("/")[2]
        module = re.sub(r"/(layer|albert_layer_groups|albert_layers)/(\d+)", r"/\1_._\2", module)
        module = re.sub("^cls/", "mlm___cls/", module)
        if kind.endswith("_embeddings"):
            kind = "weight" if kind == "word_embeddings" else "embeddings"
        names[ours] = f"{module}/{'bias' if kind == 'output_bias' else kind}:0"
    return names


def split_heads(name: str, value: np.ndarray, heads: int) -> np.ndarray:
    """Heads and head size as two axes, in the attention's kernels and biases."""
    if "/self/" in name:
        return value.reshape(*value.shape[:-1], heads, -1)
    if name.endswith(("attention/output/dense/kernel", "attention_1/output/dense/kernel")):
        return value.reshape(heads, -1, value.shape[-1])
    return value


def write_tensorflow_h5(
    folder: Path,
    a: Architecture,
    variables: dict[str, np.ndarray],
    *,
    prefix: bool = True,
    einsum: bool = False,
) -> Path:
    """As ``save_pretrained`` of transformers' TensorFlow models wrote it, from 2.0 to 4.57.

    Without ``prefix``: without the model's name and without heads, as 2.x did for ALBERT. With
    ``einsum``: the attention's kernels in three axes, as 4.2 and 4.3 did for BERT and ELECTRA.
    """
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config_of(a)), "utf-8")
    (folder / "vocab.txt").write_text("\n".join(PIECES) + "\n", "utf-8")
    model, family = f"tf_{a.family}_for_pre_training", f"{a.family}/"
    groups: dict[str, dict[str, np.ndarray]] = {}
    for ours, theirs in tensorflow_names(a).items():
        if prefix or theirs.startswith(family):
            key = theirs if prefix else theirs.removeprefix(family)
            value = variables[ours]
            value = split_heads(ours, value, a.num_attention_heads) if einsum else value
            groups.setdefault(key.partition("/")[0], {})[f"{model}/{key}"] = value
    shared = {
        name: value for name, value in groups.get(a.family, {}).items() if "/embeddings/" in name
    }
    with h5py.File(folder / "tf_model.h5", "w") as file:
        file.attrs["layer_names"] = [group.encode() for group in groups]
        for group, values in groups.items():
            # the layer of the head has the embeddings a second time
            values |= shared if group in ("mlm___cls", "predictions") else {}
            file.create_group(group).attrs["weight_names"] = [name.encode() for name in values]
            for name, value in values.items():
                file[f"{group}/{name}"] = value
    return folder
