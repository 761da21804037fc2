"""A model whose variables change, and which is a checkpoint again at any time."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from simsearch.bert.backend import tf
from simsearch.bert.checkpoint_files import Array, Variables, with_padding_first
from simsearch.bert.model import build_model, heads_of
from simsearch.checkpoint import Checkpoint

_LAYER = re.compile(r"Transformer-(\d+)-")


class TrainableModel:
    """The bert4keras model of a checkpoint, with ``variables`` (see ``read_variables``) to train.

    It gives ``heads`` (outputs, see pooling.py) and, with ``mlm``, the scores of the
    masked-language-model head. To be made in the scope of the strategy that will train it.
    ``dropout`` acts in blocks of ``dropout.dropout`` only; with ``bfloat16`` the large products are
    computed in it, while the variables stay float32. ``head`` are the first values of further
    variables, which are trained with it: see ``head`` and ``dropout``.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        variables: Variables,
        heads: Sequence[str],
        *,
        mlm: bool = False,
        dropout: float = 0.0,
        bfloat16: bool = False,
        head: Mapping[str, Array] | None = None,
    ) -> None:
        self.checkpoint, self._heads = checkpoint, tuple(heads)
        pooler = "pooler" in heads
        a = checkpoint.architecture
        self._transformer = build_model(
            a, variables, pooler=pooler, mlm=mlm, bfloat16=bfloat16, dropout=dropout
        )
        self._encode: Callable[[Any], dict[str, Any]]
        self._model, self._encode = heads_of(self._transformer, heads)
        named = list(self._named())
        self.variables: list[Any] = [variable for _, _, variable in named]
        self.depths: list[int] = [self._depth(layer) for layer, _, _ in named]
        self.dropout = dropout
        self.head: dict[str, Any] = {
            name: tf.Variable(value, name=name) for name, value in (head or {}).items()
        }
        self.variables += self.head.values()
        self.depths += [0] * len(self.head)

    def heads(self, ids: Any) -> list[Any]:
        """The heads of ids (rows, tokens), 0 being padding; float32."""
        found = self._encode(ids)
        return [found[head] for head in self._heads]

    def pooled(self, ids: Any) -> Any:
        """The mean of the heads, float32 (rows, hidden): what a pooling makes of its heads."""
        heads = self.heads(ids)
        return heads[0] if len(heads) == 1 else tf.add_n(heads) / len(heads)

    def mask_scores(self, states: Any) -> Any:
        """Logits over the vocabulary, (n, vocab), for last hidden states, (n, hidden)."""
        layers = self._transformer.layers
        x = layers["MLM-Norm"](layers["MLM-Dense"](states))
        return layers["MLM-Bias"](layers["Embedding-Token"](x, mode="dense"))

    def values(self) -> Variables:
        """Its variables as they are now, by their canonical names, rows in the vocabulary's order.

        Float32 arrays: what ``write_checkpoint`` takes, and those of ``head`` by their own names.
        """
        values = {name: np.asarray(variable.numpy()) for _, name, variable in self._named()}
        values |= {name: np.asarray(variable.numpy()) for name, variable in self.head.items()}
        return with_padding_first(self.checkpoint, values)

    def _named(self) -> Iterator[tuple[str, str, Any]]:
        """Layer, canonical name and variable, in bert4keras' order, for all that is trained."""
        layers = self._transformer.layers
        for layer, names in self._transformer.variable_mapping().items():
            if layer in layers:
                for variable, name in zip(layers[layer].trainable_weights, names, strict=False):
                    yield layer, name, variable

    def _depth(self, layer: str) -> int:
        """How many layers lie above: 0 for the last one and for heads, most for embeddings."""
        count = self.checkpoint.architecture.num_hidden_layers
        if layer.startswith("Embedding-"):
            return count
        found = _LAYER.match(layer)  # ALBERT's layers are one, without a number
        return count - 1 - int(found[1]) if found else 0
