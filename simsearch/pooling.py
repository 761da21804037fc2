"""Pooling: from the token vectors of a sentence to one vector.

Every strategy is written once, over an array namespace ``xp``: ``tensorflow.experimental.numpy``
when it becomes part of the encoder's graph, ``numpy`` when it is checked by hand. The arguments are

- ``states``: float32 (batch, tokens, hidden), one hidden state of the model;
- ``mask``: float32 (batch, tokens), 1 for a token ([CLS] and [SEP] included), 0 for padding;

and the result is float32 (batch, hidden). A pooling name stands for one strategy and the hidden
states it reads by default; vectors pooled from several states are averaged. (For every strategy but
``max`` that equals pooling the averaged states.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from simsearch.config import POOLINGS
from simsearch.errors import SettingsError

Strategy = Callable[[Any, Any, Any], Any]


def cls(xp: Any, states: Any, mask: Any) -> Any:
    """The vector of the first token, [CLS] (Devlin et al. 2019, arXiv:1810.04805)."""
    return states[:, 0]


def mean(xp: Any, states: Any, mask: Any) -> Any:
    """The mean over the tokens (Reimers and Gurevych 2019, arXiv:1908.10084)."""
    return _masked_sum(xp, states, mask) / xp.sum(mask, axis=1, keepdims=True)


def mean_sqrt_len(xp: Any, states: Any, mask: Any) -> Any:
    """The sum over the tokens by the square root of their number (sentence-transformers).

    It points where ``mean`` points: after normalisation to unit length the two are the same vector.
    """
    return _masked_sum(xp, states, mask) / xp.sqrt(xp.sum(mask, axis=1, keepdims=True))


def max_over_tokens(xp: Any, states: Any, mask: Any) -> Any:
    """The greatest value of each coordinate (Reimers and Gurevych 2019)."""
    # -1e9 and not -inf: bfloat16 holds it, and no hidden state comes near it.
    return xp.max(states + (mask[:, :, None] - 1.0) * 1e9, axis=1)


def position_weighted_mean(xp: Any, states: Any, mask: Any) -> Any:
    """The mean with weight 1 for the first token, 2 for the second, … (SGPT, arXiv:2202.08904)."""
    weights = xp.cumsum(mask, axis=1) * mask  # [batch, tokens]: 1, 2, … n, 0, 0
    return _masked_sum(xp, states, weights) / xp.sum(weights, axis=1, keepdims=True)


def _masked_sum(xp: Any, states: Any, weights: Any) -> Any:
    return xp.sum(states * weights[:, :, None], axis=1)


STRATEGIES: dict[str, Strategy] = {
    "cls": cls,
    "mean": mean,
    "mean_sqrt_len": mean_sqrt_len,
    "max": max_over_tokens,
    "position_weighted_mean": position_weighted_mean,
}
"""The strategies that every hidden state of the graph offers as an output."""

# name -> (strategy, hidden states); state 0 is the embedding output, -1 the last layer
_DEFAULTS: dict[str, tuple[str, tuple[int, ...]]] = {
    **{name: (name, (-1,)) for name in STRATEGIES},
    "first_last_mean": ("mean", (1, -1)),
    "last2_mean": ("mean", (-2, -1)),
}
# these read something else than hidden states, so that layers say nothing to them
_WITHOUT_LAYERS = ("pooler", "static_mean")


@dataclass(frozen=True, slots=True)
class Pooling:
    """A pooling as the graph knows it: the outputs (``heads``) whose mean is the vector.

    ``layers`` are the hidden states read, counted from 0; empty for ``pooler`` and ``static_mean``.
    """

    name: str
    layers: tuple[int, ...]
    heads: tuple[str, ...]


def head_name(strategy: str, state: int) -> str:
    """The graph's output for a strategy on a hidden state: ``mean@6``."""
    return f"{strategy}@{state}"


def all_heads(num_layers: int, *, pooler: bool) -> tuple[str, ...]:
    """Every output that a model of ``num_layers`` layers can offer."""
    states = range(num_layers + 1)
    return (
        *(head_name(strategy, state) for state in states for strategy in STRATEGIES),
        token_head(num_layers),
        "static_mean",
        *(("pooler",) if pooler else ()),
    )


def token_head(num_layers: int) -> str:
    """The output that holds the token vectors themselves, of the last hidden state."""
    return head_name("tokens", num_layers)


def resolve_pooling(name: str, layers: Sequence[int] | None, num_layers: int) -> Pooling:
    """Which outputs of the graph make up pooling ``name`` for a model of ``num_layers`` layers.

    ``layers`` replaces the hidden states that the name reads by default; negative numbers count
    from the last. Raises SettingsError for an unknown name or a layer that the model doesn't have.
    """
    if name not in POOLINGS:
        raise SettingsError(f"pooling {name!r} is unknown; choose one of {', '.join(POOLINGS)}")
    if name in _WITHOUT_LAYERS:
        if layers is not None:
            raise SettingsError(
                f"pooling {name!r} does not read hidden states, so layers {list(layers)} say "
                "nothing to it; leave layers out, or pool with 'mean'"
            )
        return Pooling(name, (), (name,))
    strategy, default = _DEFAULTS[name]
    chosen = tuple(_count_from_zero(s, num_layers) for s in (default if layers is None else layers))
    if not chosen or len(set(chosen)) != len(chosen):
        raise SettingsError(
            f"layers {list(layers or ())} name no layer, or one twice; "
            f"give distinct hidden states from 0 to {num_layers}"
        )
    return Pooling(name, chosen, tuple(head_name(strategy, state) for state in chosen))


def _count_from_zero(state: int, num_layers: int) -> int:
    if not -num_layers - 1 <= state <= num_layers:
        raise SettingsError(
            f"hidden state {state} does not exist: this model has states 0 (embeddings) to "
            f"{num_layers} (last layer), or -1 (last) to {-num_layers - 1}"
        )
    return state % (num_layers + 1)
