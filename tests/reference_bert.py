"""A BERT and an ALBERT in plain NumPy, written from the papers and not from our code.

Devlin et al. 2019 (arXiv:1810.04805), Lan et al. 2020 (arXiv:1909.11942). One sentence at a time,
no padding, float64.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

_erf = np.vectorize(math.erf)


def gelu(x: np.ndarray) -> np.ndarray:
    return x * 0.5 * (1 + _erf(x / math.sqrt(2)))


def gelu_new(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def norm(x: np.ndarray, v: Mapping[str, np.ndarray], name: str, eps: float) -> np.ndarray:
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + eps) * v[f"{name}/gamma"] + v[f"{name}/beta"]


def dense(x: np.ndarray, v: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    return x @ v[f"{name}/kernel"] + v[f"{name}/bias"]


def attention(x: np.ndarray, v: Mapping[str, np.ndarray], name: str, heads: int) -> np.ndarray:
    """Multi-head self-attention (Vaswani et al. 2017), before the output projection."""
    query, key, value = (dense(x, v, f"{name}/self/{part}") for part in ("query", "key", "value"))
    size, out = x.shape[1] // heads, []
    for h in range(heads):
        columns = slice(h * size, (h + 1) * size)
        logits = query[:, columns] @ key[:, columns].T / math.sqrt(size)
        weights = np.exp(logits - logits.max(-1, keepdims=True))
        out.append(weights / weights.sum(-1, keepdims=True) @ value[:, columns])
    return np.concatenate(out, axis=1)


def embed(ids: list[int], v: Mapping[str, np.ndarray], eps: float) -> np.ndarray:
    x = v["bert/embeddings/word_embeddings"][ids]
    x = x + v["bert/embeddings/token_type_embeddings"][0]
    x = x + v["bert/embeddings/position_embeddings"][: len(ids)]
    return norm(x, v, "bert/embeddings/LayerNorm", eps)


def bert_states(ids, variables, *, layers: int, heads: int, eps: float, act=gelu):
    """All hidden states, embeddings first: a list of (tokens, hidden)."""
    v = {name: value.astype(np.float64) for name, value in variables.items()}
    states = [embed(ids, v, eps)]
    for i in range(layers):
        x, name = states[-1], f"bert/encoder/layer_{i}"
        y = dense(attention(x, v, f"{name}/attention", heads), v, f"{name}/attention/output/dense")
        x = norm(x + y, v, f"{name}/attention/output/LayerNorm", eps)
        y = dense(act(dense(x, v, f"{name}/intermediate/dense")), v, f"{name}/output/dense")
        states.append(norm(x + y, v, f"{name}/output/LayerNorm", eps))
    return states


def albert_states(ids, variables, *, layers: int, heads: int, eps: float, act=gelu_new):
    v = {name: value.astype(np.float64) for name, value in variables.items()}
    states = [dense(embed(ids, v, eps), v, "bert/encoder/embedding_hidden_mapping_in")]
    name = "bert/encoder/transformer/group_0/inner_group_0"
    for _ in range(layers):
        x = states[-1]
        y = attention(x, v, f"{name}/attention_1", heads)
        x = norm(x + dense(y, v, f"{name}/attention_1/output/dense"), v, f"{name}/LayerNorm", eps)
        y = act(dense(x, v, f"{name}/ffn_1/intermediate/dense"))
        y = dense(y, v, f"{name}/ffn_1/intermediate/output/dense")
        states.append(norm(x + y, v, f"{name}/LayerNorm_1", eps))
    return states


def pooler(states, variables) -> np.ndarray:
    return np.tanh(dense(states[-1][0], variables, "bert/pooler/dense"))


def mlm_probabilities(states, variables, position: int, *, eps: float, act) -> np.ndarray:
    v = {name: value.astype(np.float64) for name, value in variables.items()}
    x = act(dense(states[-1][position], v, "cls/predictions/transform/dense"))
    x = norm(x, v, "cls/predictions/transform/LayerNorm", eps)
    logits = x @ v["bert/embeddings/word_embeddings"].T + v["cls/predictions/output_bias"]
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def pooled(name: str, states, ids, variables) -> np.ndarray:
    """Each pooling as its definition reads, over (tokens, hidden) states of one sentence."""
    last = states[-1]
    n = len(ids)
    return {
        "cls": lambda: last[0],
        "pooler": lambda: pooler(states, variables),
        "mean": lambda: sum(last) / n,
        "max": lambda: np.array([max(column) for column in last.T]),
        "mean_sqrt_len": lambda: sum(last) / math.sqrt(n),
        "position_weighted_mean": lambda: (
            sum((i + 1) * row for i, row in enumerate(last)) / (n * (n + 1) / 2)
        ),
        "first_last_mean": lambda: (states[1].mean(0) + states[-1].mean(0)) / 2,
        "last2_mean": lambda: (states[-2].mean(0) + states[-1].mean(0)) / 2,
        "static_mean": lambda: variables["bert/embeddings/word_embeddings"][ids].mean(0),
    }[name]()
