"""BERT and its relatives in plain NumPy, written from the papers and not from our code.

BERT: Devlin et al. 2019 (arXiv:1810.04805); ALBERT: Lan et al. 2020 (arXiv:1909.11942); NEZHA: Wei
et al. 2019 (arXiv:1909.00204); ELECTRA: Clark et al. 2020 (arXiv:2003.10555); RoFormer: Su et al.
2021 (arXiv:2104.09864). One sentence at a time, no padding, float64.
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


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def split(x: np.ndarray, v: Mapping[str, np.ndarray], name: str, heads: int):
    """(query, key, value) of every head; queries and keys may be narrower than values."""
    parts = (dense(x, v, f"{name}/self/{part}") for part in ("query", "key", "value"))
    return zip(*(np.split(part, heads, axis=1) for part in parts), strict=True)


def attention(x: np.ndarray, v: Mapping[str, np.ndarray], name: str, heads: int) -> np.ndarray:
    """Multi-head self-attention (Vaswani et al. 2017), before the output projection."""
    out = []
    for query, key, value in split(x, v, name, heads):
        out.append(softmax(query @ key.T / math.sqrt(key.shape[1])) @ value)
    return np.concatenate(out, axis=1)


def sinusoid(position: int, size: int) -> list[float]:
    """sin, cos, sin, cos, ... of the position at falling frequencies (Vaswani et al. 2017)."""
    angles = [position / 10000 ** (2 * k / size) for k in range(size // 2)]
    return [f(angle) for angle in angles for f in (math.sin, math.cos)]


def nezha_attention(x, v, name: str, heads: int, reach: int = 64) -> np.ndarray:
    """A fixed vector for the distance from query i to key j joins key j and value j.

    The paper's formula takes the sinusoid of the clipped distance itself; its authors' model, and
    so every published checkpoint, of the distance plus ``reach``, which is never negative.
    """
    n, out = len(x), []
    for query, key, value in split(x, v, name, heads):
        table = [sinusoid(position, key.shape[1]) for position in range(2 * reach + 1)]
        relation = np.array(
            [[table[max(-reach, min(reach, j - i)) + reach] for j in range(n)] for i in range(n)]
        )
        logits = np.array([(key + relation[i]) @ query[i] for i in range(n)])
        weights = softmax(logits / math.sqrt(key.shape[1]))
        out.append(np.array([weights[i] @ (value + relation[i]) for i in range(n)]))
    return np.concatenate(out, axis=1)


def rotate(x: np.ndarray) -> np.ndarray:
    """Row m's pairs (x0, x1), (x2, x3), ... as complex numbers, times exp(i m theta)."""
    n, size = x.shape
    theta = 10000.0 ** (-2 * np.arange(size // 2) / size)
    turned = (x[:, 0::2] + 1j * x[:, 1::2]) * np.exp(1j * np.outer(np.arange(n), theta))
    return np.stack([turned.real, turned.imag], axis=2).reshape(n, size)


def roformer_attention(x, v, name: str, heads: int) -> np.ndarray:
    out = []
    for query, key, value in split(x, v, name, heads):
        out.append(softmax(rotate(query) @ rotate(key).T / math.sqrt(key.shape[1])) @ value)
    return np.concatenate(out, axis=1)


def float64(variables: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: value.astype(np.float64) for name, value in variables.items()}


def embed(ids: list[int], v: Mapping[str, np.ndarray], eps: float, root="bert") -> np.ndarray:
    """Word + token type, + position where the family has absolute positions; normalised."""
    x = v[f"{root}/embeddings/word_embeddings"][ids]
    x = x + v[f"{root}/embeddings/token_type_embeddings"][0]
    if f"{root}/embeddings/position_embeddings" in v:
        x = x + v[f"{root}/embeddings/position_embeddings"][: len(ids)]
    return norm(x, v, f"{root}/embeddings/LayerNorm", eps)


def project(x: np.ndarray, v: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """Factorised embeddings to the hidden size, in checkpoints where the two differ."""
    return dense(x, v, name) if f"{name}/kernel" in v else x


def encode(x, v, *, layers: int, heads: int, eps: float, act, attend=attention, root="bert"):
    """All hidden states, ``x`` first: a list of (tokens, hidden)."""
    states = [x]
    for i in range(layers):
        x, name = states[-1], f"{root}/encoder/layer_{i}"
        y = dense(attend(x, v, f"{name}/attention", heads), v, f"{name}/attention/output/dense")
        x = norm(x + y, v, f"{name}/attention/output/LayerNorm", eps)
        y = dense(act(dense(x, v, f"{name}/intermediate/dense")), v, f"{name}/output/dense")
        states.append(norm(x + y, v, f"{name}/output/LayerNorm", eps))
    return states


def bert_states(ids, variables, *, layers: int, heads: int, eps: float, act=gelu):
    """All hidden states, embeddings first: a list of (tokens, hidden)."""
    v = float64(variables)
    return encode(embed(ids, v, eps), v, layers=layers, heads=heads, eps=eps, act=act)


def electra_states(ids, variables, *, layers: int, heads: int, eps: float, act=gelu):
    v = float64(variables)
    x = project(embed(ids, v, eps, "electra"), v, "electra/embeddings_project")
    return encode(x, v, layers=layers, heads=heads, eps=eps, act=act, root="electra")


def nezha_states(ids, variables, *, layers: int, heads: int, eps: float, act=gelu):
    v = float64(variables)
    x, attend = embed(ids, v, eps), nezha_attention
    return encode(x, v, layers=layers, heads=heads, eps=eps, act=act, attend=attend)


def roformer_states(ids, variables, *, layers: int, heads: int, eps: float, act=gelu):
    v = float64(variables)
    x = project(embed(ids, v, eps), v, "bert/encoder/embedding_hidden_mapping_in")
    attend = roformer_attention
    return encode(x, v, layers=layers, heads=heads, eps=eps, act=act, attend=attend)


def albert_states(ids, variables, *, layers: int, heads: int, eps: float, act=gelu_new):
    v = float64(variables)
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
    v = float64(variables)
    x = act(dense(states[-1][position], v, "cls/predictions/transform/dense"))
    x = norm(x, v, "cls/predictions/transform/LayerNorm", eps)
    logits = x @ v["bert/embeddings/word_embeddings"].T + v["cls/predictions/output_bias"]
    return softmax(logits)


def pooled(name: str, states, ids, variables, root: str = "bert") -> np.ndarray:
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
        "static_mean": lambda: variables[f"{root}/embeddings/word_embeddings"][ids].mean(0),
    }[name]()
