"""What sentence-transformers computes after the model: layers, pooling, linear maps, unit length.

The files are in the form that its versions 3, 5 and 6 were seen to read alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from simsearch.pooling import Pooling
from simsearch.saving.folder import write_json, write_tensors
from simsearch.whitening import Whitening

Tensors = dict[str, npt.NDArray[np.float32]]

# our strategies: sentence-transformers' name, and the flag that stood for it before version 6
_MODES = {
    "cls": ("cls", "cls_token"),
    "mean": ("mean", "mean_tokens"),
    "max": ("max", "max_tokens"),
    "mean_sqrt_len": ("mean_sqrt_len_tokens", "mean_sqrt_len_tokens"),
    "position_weighted_mean": ("weightedmean", "weightedmean_tokens"),
}
_IDENTITY = "torch.nn.modules.linear.Identity"
_TANH = "torch.nn.modules.activation.Tanh"


@dataclass(frozen=True, slots=True)
class Module:
    """A module: the name of its class, and what is in its folder."""

    kind: str
    config: Mapping[str, Any] = field(default_factory=dict)
    tensors: Tensors = field(default_factory=dict)


def modules_after(
    pooling: Pooling, num_layers: int, hidden: int, pooler: Tensors, whitening: Whitening | None
) -> list[Module]:
    """The modules that take the model's hidden states to our unit vectors.

    ``pooler`` has the ``weight`` (hidden, hidden) and ``bias`` (hidden,) of the head of that name,
    for the pooling that reads it. The pooling is one that ``unrepresentable`` has nothing against.
    """
    return list(_after(pooling, num_layers, hidden, pooler, whitening))


def _after(
    pooling: Pooling, num_layers: int, hidden: int, pooler: Tensors, whitening: Whitening | None
) -> Iterator[Module]:
    if reads_layers(pooling, num_layers):
        yield _mean_of_layers(pooling, num_layers, hidden)
    yield _pooling(_strategy(pooling), hidden)
    if pooling.name == "pooler":
        yield _dense(pooler["weight"], pooler["bias"], _TANH)
    if whitening is not None:
        # (x - mean) @ kernel = x @ kernel - mean @ kernel, the latter rounded once
        bias = -(whitening.mean.astype(np.float64) @ whitening.kernel.astype(np.float64))
        yield _dense(whitening.kernel.T, bias.astype(np.float32), _IDENTITY)
    yield Module("Normalize")


def unrepresentable(pooling: Pooling) -> str | None:
    """Why no modules compute this pooling exactly; ``None`` if some do."""
    if pooling.name == "static_mean":
        return (
            "pooling 'static_mean' averages the word vectors themselves, and sentence-transformers "
            "pools hidden states"
        )
    if len(pooling.layers) > 1 and _strategy(pooling) == "max":
        return (
            f"pooling 'max' of layers {', '.join(map(str, pooling.layers))} averages their maxima, "
            "and sentence-transformers takes the maximum of the averaged layers; 'max' of one "
            "layer can be exported"
        )
    return None


def reads_layers(pooling: Pooling, num_layers: int) -> bool:
    """Whether other hidden states than the last are read."""
    return bool(pooling.layers) and pooling.layers != (num_layers,)


def _strategy(pooling: Pooling) -> str:
    # the pooler is a map of what 'cls' gives
    return "cls" if pooling.name == "pooler" else pooling.heads[0].partition("@")[0]


def _mean_of_layers(pooling: Pooling, num_layers: int, hidden: int) -> Module:
    """The mean of the chosen hidden states; pooling it is our mean of pooled ones (see pooling)."""
    weights = np.zeros(num_layers + 1, np.float32)
    weights[list(pooling.layers)] = 1
    config = {
        "word_embedding_dimension": hidden,
        "layer_start": 0,
        "num_hidden_layers": num_layers,
    }
    return Module("WeightedLayerPooling", config, {"layer_weights": weights})


def _pooling(strategy: str, hidden: int) -> Module:
    mode, chosen = _MODES[strategy]
    # version 6 reads the name and drops the flags, older ones take both
    flags = {f"pooling_mode_{flag}": flag == chosen for _, flag in _MODES.values()}
    config = {"word_embedding_dimension": hidden, "pooling_mode": mode, **flags}
    return Module("Pooling", {**config, "include_prompt": True})


def _dense(
    weight: npt.NDArray[np.float32], bias: npt.NDArray[np.float32], activation: str
) -> Module:
    rows, columns = weight.shape  # PyTorch's: [out, in]
    config = {
        "in_features": columns,
        "out_features": rows,
        "bias": True,
        "activation_function": activation,
    }
    tensors = {"linear.weight": np.ascontiguousarray(weight), "linear.bias": bias}
    return Module("Dense", config, tensors)


def write_modules(modules: list[Module], folder: Path) -> None:
    """Write ``modules.json``, which begins with the model itself, and a folder for each module."""
    listed = [("", "Transformer"), *((f"{i}_{m.kind}", m.kind) for i, m in enumerate(modules, 1))]
    content = [
        # the names that version 6 keeps for what older ones wrote, and older ones understand
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(listed)
    ]
    write_json(folder / "modules.json", content)
    for (path, _), module in zip(listed[1:], modules, strict=True):
        (folder / path).mkdir()
        if module.config:
            write_json(folder / path / "config.json", module.config)
        if module.tensors:
            write_tensors(folder / path / "model.safetensors", module.tensors)
